"""The story in a panel: it is read on request, can be stopped, and its members open their invocations."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from restate_lab.errors import QueryRefused
from restate_lab.panels._base.source import PanelSource
from restate_lab.panels.invocation import InvocationView
from restate_lab.panels.panel import Panel
from restate_lab.panels.story import AGAIN, SEARCH, STOP, STORY
from restate_lab.reads import Stopped
from support.called_rows import CHARGE, HOSTILE_CALL, ORDER, OTHER, CalledRows, source_of
from support.sample_source import SampleSource, invocations

pytestmark = pytest.mark.usefixtures("no_doctor")


@pytest.fixture(autouse=True)
def going() -> None:
    CalledRows.go_on.set()


def detail_of(panel: Panel) -> InvocationView:
    assert isinstance(panel.view, InvocationView)
    return panel.view


def test_the_section_of_an_invocation_reads_its_story_and_opens_members(make: Callable[..., Panel]) -> None:
    source = source_of()
    panel = make(source, open=CHARGE)
    assert panel.story is None
    panel.click(STORY)
    assert panel.wait(action=True)
    assert panel.error == ""
    found = panel.story
    assert found is not None
    assert found.ids == [ORDER, CHARGE, HOSTILE_CALL]
    html = detail_of(panel).detail.story.picture.content["html"]
    assert html.count("data-open=") == 3
    assert f'data-open="{CHARGE}" data-focus="story-{CHARGE}" aria-current="true"' in html
    assert "&lt;img src=x" in html
    assert not any(each in html for each in ("<img", "</script", "\x1b", "\u202e"))
    assert found.summary in "".join(panel.view.static())
    panel.click("open member", row=ORDER)
    assert panel.state["open"] == ORDER
    panel.wait()
    assert panel.story is None, "the section closes with its invocation"


def test_an_id_that_is_not_in_the_story_does_nothing(make: Callable[..., Panel]) -> None:
    panel = make(source_of(), open=CHARGE)
    panel.click(STORY)
    assert panel.wait(action=True)
    detail_of(panel).detail.story.picture.receive({"type": "open", "id": OTHER})
    assert panel.state["open"] == CHARGE


def test_equal_members_are_listed(make: Callable[..., Panel]) -> None:
    """A press of their row shows them in the list, and their name is that of the filter."""
    panel = make(source_of(equal=30), open=CHARGE)
    panel.click(STORY)
    assert panel.wait(action=True)
    assert panel.story is not None
    equal = list(panel.story.members.loc[panel.story.members["handler"] == "store", "id"])
    assert len(equal) == 30
    panel.click("list members", row=equal[0])
    panel.wait()
    assert panel.state["id"] == equal
    assert sorted(panel.frame["id"]) == sorted(equal)
    assert "story: 30 × Rows/store succeeded" in str(panel.view.strip.content)


def test_only_the_button_searches_all_journals(make: Callable[..., Panel]) -> None:
    panel = make(source_of(), open=CHARGE)
    panel.click(STORY)
    assert panel.wait(action=True)
    assert panel.story is not None
    assert not panel.story.searched
    panel.click(SEARCH)
    assert panel.wait(action=True)
    assert panel.story.searched
    panel.click(AGAIN)
    assert panel.wait(action=True)
    assert panel.story.searched, "the story is read again as it was"


def test_a_selection_has_a_story_below_the_list(make: Callable[..., Panel]) -> None:
    panel = make(source_of(), status="all")
    assert panel.view.story.layout.display == "none"
    panel.selected = [CHARGE, OTHER]
    panel.click(STORY)
    assert panel.wait(action=True)
    assert panel.error == ""
    assert panel.story is not None
    assert sorted(panel.story.ids) == sorted([ORDER, CHARGE, HOSTILE_CALL, OTHER])
    assert panel.view.story.layout.display == ""
    panel.click("Close")
    assert panel.view.story.layout.display == "none"
    panel.click(STORY)
    panel.click("open member", row=ORDER)
    assert panel.state["open"] == ORDER


def test_a_read_can_be_stopped_and_repeated(make: Callable[..., Panel]) -> None:
    source = source_of()
    panel = make(source, open=CHARGE, refresh=None)
    source.go_on.clear()
    panel.click(STORY)
    form = detail_of(panel).detail.story
    assert form.again.description == STOP
    panel.click(STOP)
    assert panel.wait(action=True)
    assert form.lines.text == "Stopped before the story was read."
    assert (panel.story, panel.error) == (None, "")
    source.go_on.set()
    panel.click(AGAIN)
    assert panel.wait(action=True)
    assert panel.story is not None
    assert form.lines.text == ""


def test_an_error_is_shown_and_the_story_stays(make: Callable[..., Panel]) -> None:
    source = source_of()
    panel = make(source, open=CHARGE, refresh=None)
    panel.click(STORY)
    assert panel.wait(action=True)
    before = panel.story
    source.fails = QueryRefused("the query engine refused the query: no memory", status=500)
    panel.click(AGAIN)
    assert panel.wait(action=True)
    assert "no memory" in panel.error
    assert panel.story is before is not None
    assert before.summary in "".join(panel.view.static())


def test_a_read_of_evidence_ends_before_its_next_statement() -> None:
    """Evidence reports no progress, so only the source of the panel can end its read."""
    stop = threading.Event()
    frozen = SampleSource(invocations())
    source = PanelSource(frozen, stop, between=True)
    stop.set()
    with pytest.raises(Stopped):
        source.sql("SELECT 1")
    assert frozen.asked == []
