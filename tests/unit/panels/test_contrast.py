"""What do they share? The panel asks for the other side and for payloads, and reads nothing before that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from restate_lab.analysis.doctor import additions
from restate_lab.panels import panel as panel_module
from restate_lab.panels.contrast import QUESTION
from restate_lab.panels.panel import Panel
from support.compared_rows import CALLER, charges
from support.sample_rows import SampleRows

Make = Callable[..., Panel]
FAILING = 25


def source_of(**more: Any) -> SampleRows:
    return SampleRows(sys_invocation_status=[*charges(FAILING)], **more)


def failing_ids(panel: Panel) -> list[str]:
    return list(panel.frame.loc[panel.frame["status"] == "failed", "id"])


def comparisons(source: SampleRows) -> list[str]:
    """Return the statements that only a comparison sends."""
    return [each for each in source.asked if "md5(id)" in each or "is_failing" in each]


def asked(make: Make, source: Any) -> Panel:
    """Return a panel whose failing rows are selected and asked about."""
    panel = make(source, status="all")
    panel.selected = failing_ids(panel)
    panel.click(QUESTION)
    return panel


@pytest.mark.usefixtures("no_doctor")
@pytest.mark.parametrize(
    ("other", "inputs", "level", "chosen"),
    [
        ("the 75 others of their handler in this list", "are not read", False, 75),
        ("healthy ones of their handler", "only names, types and sizes: no value is shown", "shape", 75),
    ],
)
def test_a_selection_is_compared_as_the_user_chooses(
    make: Make, other: str, inputs: str, level: Any, chosen: int
) -> None:
    source = source_of()
    panel = asked(make, source)
    assert comparisons(source) == []
    panel.fill("compare with", other)
    panel.fill("inputs and headers", inputs)
    panel.click("Compare")
    assert panel.wait(action=True)
    assert panel.error == ""
    result = panel.contrast
    assert result is not None
    assert result.payloads == level
    assert list(result.sides["total"]) == [FAILING, chosen]
    assert CALLER in panel.view.contrast.card.value
    panel.click("Close")
    assert panel.contrast is result


@pytest.mark.usefixtures("no_doctor")
def test_the_other_rows_of_the_filter_are_offered_first_and_only_if_there_are_some(make: Make) -> None:
    panel = asked(make, source_of())
    assert panel.view.contrast.healthy.label == "the 75 others of their handler in this list"
    panel.state = {"status": "failed"}
    panel.wait()
    panel.selected = failing_ids(panel)
    panel.click(QUESTION)
    assert panel.view.contrast.healthy.label == "healthy ones of their handler"


@pytest.mark.usefixtures("no_doctor")
def test_few_selected_rows_have_no_such_button(make: Make) -> None:
    panel = make(source_of(), status="all")
    panel.selected = failing_ids(panel)[:3]
    with pytest.raises(Exception, match=QUESTION.rstrip("?")):
        panel.click(QUESTION)


@pytest.mark.usefixtures("no_doctor")
def test_each_question_asks_again_whether_to_read_payloads(make: Make) -> None:
    panel = asked(make, source_of())
    panel.fill("inputs and headers", "with values, which are shown here")
    panel.selected = failing_ids(panel)[:5]
    panel.click(QUESTION)
    assert panel.view.contrast.payloads.value is False


def test_a_finding_has_the_button_and_its_line_says_what_they_share(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panel_module, "_DOCTOR_TIMEOUT", "10m")  # more time than a busy machine needs
    monkeypatch.setattr(additions, "_FLOOR", 600.0)
    panel = make(source_of())
    assert panel.wait(doctor=True)
    rows = panel.findings.content["rows"]
    (at,) = [at for at, row in enumerate(rows) if "failed permanently" in row["title"]]
    assert CALLER in rows[at]["details"]
    panel.click(QUESTION, row=at)
    panel.click("Compare")
    assert panel.wait(action=True)
    assert panel.contrast is not None
    assert CALLER in panel.contrast.verdict


@pytest.mark.usefixtures("no_doctor")
def test_an_error_is_shown_and_leaves_no_old_result(make: Make) -> None:
    source = source_of()
    panel = asked(make, source)
    source.fails = ValueError("a defect")
    panel.click("Compare")
    panel.wait(action=True)
    assert "a defect" in panel.error
    assert panel.view.contrast.card.value == ""
    source.fails = None
