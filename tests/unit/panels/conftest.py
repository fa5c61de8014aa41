"""The fixture of tests that use a panel without a browser."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ipywidgets.widgets import widget

from restate_lab.panels.panel import Panel
from support.bench import wait_for


@pytest.fixture
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not run the doctor, which ``test_findings.py`` has."""
    monkeypatch.setattr(Panel, "run_doctor", lambda _: None)


@pytest.fixture
def make(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Panel]]:
    """Give a function that makes panels and waits for their first reads.

    At the end they are closed: no thread, no widget and no output remains.
    """
    panels: list[Panel] = []
    before = set(widget._instances)

    def make(source: Any, **options: Any) -> Panel:
        panels.append(Panel(source, **options))
        panels[-1].wait()
        return panels[-1]

    yield make
    for panel in panels:
        panel.close()
    wait_for(lambda: not any(each.name.startswith("restate-lab") for each in threading.enumerate()))
    assert [each for id_, each in widget._instances.items() if id_ not in before] == []
    assert capsys.readouterr() == ("", "")
