"""The second step of the search in a panel: a text that no loaded row has is searched in inputs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from restate_lab.panels.find import SEARCH
from restate_lab.panels.panel import Panel
from support.bench import wait_for
from support.sample_rows import NOW, SampleRows, invocation, sample_id

pytestmark = pytest.mark.usefixtures("no_doctor")

Make = Callable[..., Panel]
NEEDLE = "order-4711"


def source_of(**more: Any) -> SampleRows:
    """Return a source with three open invocations, of which the second has the text in its input, and an ended one."""
    rows = [invocation(number, created_at=NOW) for number in range(3)]
    payloads = [{"order": "x"}, {"order": {"id": NEEDLE}}, {"order": "y"}, {"note": f"after {NEEDLE}"}]
    return SampleRows(
        sys_invocation_status=[*rows, invocation(3, "succeeded", created_at=NOW)],
        sys_journal=[_input(number, payload) for number, payload in enumerate(payloads)],
        **more,
    )


def _input(number: int, payload: Any) -> dict[str, Any]:
    content = {"headers": [], "payload": list(json.dumps(payload).encode()), "name": ""}
    entry = json.dumps({"Command": {"Input": content}})
    return {"id": sample_id(number), "index": 0, "entry_type": "Command: Input", "entry_json": entry}


def searches(source: SampleRows) -> list[str]:
    return [each for each in source.asked if "entry_json" in each]


def test_a_text_without_a_loaded_row_is_searched_in_inputs_on_request(make: Make) -> None:
    """The found invocations are a filter named after the question; the text is in no state, code or widget."""
    source = source_of()
    panel = make(source)
    form = panel.view.find
    assert form.layout.display == "none"
    panel.fill("search", NEEDLE)
    assert "Not among the loaded rows." in form._lines.text
    assert searches(source) == []
    panel.click(SEARCH)
    assert panel.wait(action=True)
    assert panel.error == ""
    assert set(panel.frame["id"]) == {sample_id(1), sample_id(3)}
    assert (panel.view.grid.unmatched, panel.view.grid.controller.count()) == ("", "2 invocations")
    assert panel.state == {"status": "all", "id": [sample_id(1), sample_id(3)]}
    assert "found: 2 with this text" in str(panel.view.strip.get_state())
    assert "2 invocations have the text." in form._lines.text
    assert "Searched: all 4 invocations since 2026-11-24 03:00:00 UTC" in form._lines.text
    assert NEEDLE not in "".join(map(str, (panel.code, panel.state, panel.sql, panel.params, *_widget_states(panel))))
    panel.click("Close")
    assert form.layout.display == "none"


def _widget_states(widget: Any) -> list[str]:
    return [
        str(widget.get_state()),
        *(text for each in getattr(widget, "children", ()) for text in _widget_states(each)),
    ]


def test_the_offer_follows_the_filter(make: Make) -> None:
    """It is withdrawn when a row matches, for a text that is too short, and for a source without payloads."""
    panel = make(source_of())
    form = panel.view.find
    panel.fill("search", NEEDLE)
    assert form.layout.display == ""
    panel.fill("search", "Svc/run")
    assert form.layout.display == "none"
    panel.fill("search", "xyz")
    assert form.layout.display == "none"
    panel.fill("search", "")
    panel.state = {"text": NEEDLE}  # the filter of the server, which has no row either
    panel.wait()
    assert form.layout.display == ""


def test_a_search_without_a_match_keeps_its_answer(make: Make) -> None:
    panel = make(source_of())
    panel.fill("search", "nowhere-at-all")
    panel.click(SEARCH)
    assert panel.wait(action=True)
    panel.refresh()
    assert "No searched invocation has the text." in panel.view.find._lines.text
    panel.fill("search", "another text")
    assert "Not among the loaded rows." in panel.view.find._lines.text


def test_a_search_can_be_stopped(make: Make) -> None:
    """It keeps what it found, and says back to when it looked."""
    is_reading = threading.Event()

    class Waiting(SampleRows):
        def rows(self, statement: str, params: Any, **options: Any) -> Any:
            if "entry_json" in statement:
                is_reading.set()
                wait_for(stop.is_set)
            return super().rows(statement, params, **options)

    source = Waiting(now=NOW)
    source.__dict__ |= source_of().__dict__
    source.put(sys_invocation_status=[invocation(number, created_at=NOW) for number in range(600)])
    panel = make(source)
    stop = panel.view.find._background.stop
    panel.fill("search", NEEDLE)
    panel.click(SEARCH)
    wait_for(is_reading.is_set)
    panel.click("Stop")
    assert panel.wait(action=True)
    assert panel.error == ""
    result = panel.view.find.result
    assert result is not None
    assert (result.looked, result.ended_by) == (500, "the search was stopped")
    assert "because the search was stopped." in panel.view.find._lines.text


def test_an_error_is_shown_and_does_not_have_the_text(make: Make) -> None:
    panel = make(source_of(without=("sys_journal.entry_json",)))
    panel.fill("search", NEEDLE)
    panel.click(SEARCH)
    assert panel.wait(action=True)
    assert "the source has no inputs" in panel.error
    assert NEEDLE not in panel.error
    assert panel.view.find.layout.display == "none"
