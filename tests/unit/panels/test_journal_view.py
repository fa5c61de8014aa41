"""The live journal's messages: a page opens and expands only entries that it was shown, and cannot set anything."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

from restate_lab.analysis.journal.bars import journal_bars
from restate_lab.panels.invocation.reader import DeadlockContent, Related
from restate_lab.panels.invocation.view import DeadlockLine, Folds, JournalView
from support.pictures import journal


def view() -> tuple[JournalView, list[Any]]:
    """Return the view of a journal with one call, linked to an invocation that it blocks, and its requests."""
    frame = journal(["a", "b\u202e<b>"], entry_type=["Call", "Run"], callee=["inv_b", None])
    shown, asked = JournalView(), []  # type: ignore[var-annotated]
    related = (Related("blocks", "inv_c", "Cart/do"), Related("calls", "inv_b", "Cart/do"))
    shown.show("inv_a", journal_bars(frame), related, zone=UTC, is_live=True)
    shown.on_open = lambda id_: asked.append(("open", id_))
    shown.on_expand = lambda id_: asked.append(("expand", id_))
    shown.on_more = lambda: asked.append("more")
    return shown, asked


def test_a_page_opens_what_it_was_shown() -> None:
    """Ids of rows and links are accepted; others, and unknown messages, do nothing."""
    shown, asked = view()
    for kind, id_ in (("open", "inv_b"), ("open", "inv_c"), ("expand", "inv_b"), ("open", "inv_other")):
        shown.receive({"type": kind, "id": id_})
    shown.receive({"type": "more"})
    for wrong in ({"type": "kill", "id": "inv_b"}, {"type": "open", "id": 3}, {"type": "open", "id": "inv_b", "x": 1}):
        shown.receive(wrong)
    assert asked == [("open", "inv_b"), ("open", "inv_c"), ("expand", "inv_b"), "more"]
    assert "Reload the page" in shown.error
    before = shown.content
    shown.set_state({"content": {}})
    assert shown.content is before


def test_a_deadlock_line_opens_only_its_members() -> None:
    """Names are text with visible codes; without a deadlock there is no line and no control."""
    asked: list[Any] = []
    line = DeadlockLine(
        open_invocation=asked.append, show_picture=lambda: asked.append("picture"), guard=lambda act: act
    )
    line.show_deadlock(DeadlockContent(is_certain=False, others=(("inv_b", "Cart/<b>\u202e/do"),)))
    assert line.content == {
        "text": "Perhaps in a deadlock with",
        "members": [{"id": "inv_b", "label": "Cart/<b>‹U+202E›/do inv_b"}],
    }
    for message in ({"type": "open", "id": "inv_b"}, {"type": "open", "id": "inv_c"}, {"type": "picture"}):
        line.receive(message)
    assert asked == ["inv_b", "picture"]
    line.show_deadlock(DeadlockContent(is_certain=True, others=()))
    assert line.content["text"] == "In a deadlock with itself"
    line.show_deadlock(None)
    assert (line.layout.display, line.controls(None)) == ("none", {})


def test_rows_go_to_the_page_as_json() -> None:
    """Invisible characters become visible; a call whose journal is among the rows' callees has no link."""
    shown, _ = view()
    json.dumps(shown.content)
    assert [row["label"] for row in shown.content["rows"]] == ["a", "b‹U+202E›<b>"]
    assert [row["expand"] for row in shown.content["rows"]] == [True, False]
    assert [link["id"] for link in shown.links] == ["inv_c"]
    assert (shown.content["live"], shown.content["ended"]) == (True, False)


def test_a_link_has_the_target_and_the_short_id_of_its_invocation() -> None:
    shown, id_ = JournalView(), "inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK3k8Ep"
    shown.show("inv_a", journal_bars(journal(["a"])), [Related("blocks", id_, "a\u202eb/do")], zone=UTC, is_live=False)
    assert shown.links == [{"how": "blocks", "id": id_, "label": "a‹U+202E›b/do inv_…k8Ep"}]


def test_folds_open_and_close() -> None:
    """A click opens a section and the next one closes it; unknown keys do nothing."""
    toggled: list[tuple[str, bool]] = []
    folds = Folds({"why": "Why", "facts": "All facts"}, lambda key, is_open: toggled.append((key, is_open)))
    for key in ("facts", "other", "facts"):
        folds.receive({"type": "toggle", "key": key})
    assert toggled == [("facts", True), ("facts", False)]
    assert folds.opened == set()


def test_an_open_section_without_a_button_is_closed_until_it_has_one_again() -> None:
    """Another invocation may have no errors: their empty table, which nothing could close, is not shown."""
    folds = Folds({"errors": "Errors"}, print)
    folds.toggle("errors")
    folds.offer("errors", on=False)
    assert folds.opened == set()
    folds.offer("errors", on=True)
    assert folds.opened == {"errors"}
