"""The view of queues on sources that have none; tests/integration/test_limits.py has it on a server with rules."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from restate_lab.panels.panel import Panel
from restate_lab.panels.panel.state import PanelState
from restate_lab.panels.queues import QueuesView
from support.sample_rows import SampleRows

pytestmark = pytest.mark.usefixtures("no_doctor")


def test_a_source_without_vqueues_is_one_line(make: Callable[..., Panel]) -> None:
    panel = make(SampleRows(), view="queues")
    assert panel.error == ""
    assert isinstance(panel.view, QueuesView)
    text = panel.view.summary.text
    assert text.startswith("queues and limits need vqueues, which Restate 1.8 has and 1.7 can enable; made (restate ")
    assert [part.layout.display for part in panel.view.children[1:]] == ["none"] * 6
    assert text.partition(";")[0] in "".join(panel.view.static())


def test_a_rule_is_part_of_the_state_and_filters_are_not() -> None:
    state = PanelState.of({"view": "queues", "open": "green/*", "service": "Work"})
    assert state.keywords == {"view": "queues", "open": "green/*"}
    assert state.code == "rl.Panel(lab, view='queues', open='green/*')"
