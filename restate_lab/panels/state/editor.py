"""The editor of one key: a text, a look at before and after, a reason, and only then the change; a lost race shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, cast

import ipywidgets as widgets

from restate_lab._text import format_time
from restate_lab.actions.state import State
from restate_lab.errors import ArgumentError, OutcomeUnknown, StateConflict
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.submit import Submit
from restate_lab.panels.state.edit import Edit, begin_edit, in_words

__all__ = ["StateEditor"]

Stage: TypeAlias = Literal["closed", "editing", "reviewing", "sending", "conflict", "unknown"]
_LONGEST_CODE = 2_000
_SHOWN: Mapping[str, set[Stage]] = {
    "text": {"editing"},
    "edit_buttons": {"editing"},
    "send_row": {"reviewing", "sending"},
    "conflict_buttons": {"conflict"},
    "done_buttons": {"unknown"},
}


class StateEditor:
    """Edits one key of a state; ``box`` is its widget.

    ``handled`` wraps its handlers, ``send`` is called with an Edit and a reason once a reader has looked at both values
    and given the reason, ``closed`` when the editor goes away; ``where`` names the cluster.
    """

    def __init__(
        self,
        *,
        where: str,
        handled: Callable[..., Callable[..., None]],
        send: Callable[[Edit, str], object],
        closed: Callable[[], object],
    ) -> None:
        self._closed = closed
        self._where = where
        self._handled = handled
        self._send = send
        self.edit: Edit | None = None
        self.stage: Stage = "closed"
        self._text_before = ""
        self._make_parts()
        self.box = widgets.VBox(
            [
                self.head,
                self.text,
                self.edit_buttons,
                self.compare,
                self.send_row,
                self.conflict_buttons,
                self.done_buttons,
            ]
        )
        self._enter("closed")

    def close(self) -> None:
        """Take its widgets away."""
        for row in (self.edit_buttons, self.send_row, self.conflict_buttons, self.done_buttons, self.box):
            for part in row.children:
                part.close()
        self.box.close()

    def begin(self, state: State, name: str, text: str | None = None) -> None:
        """Start to edit a key, with its own text or with the one given.

        Raises:
            ArgumentError: it cannot be edited as text, or there is an edit that is not finished.
        """
        self.check_free()
        self.edit = begin_edit(state, name)
        self._text_before = self.edit.text or ""
        self.text.value = self._text_before if text is None else text
        self.reason.value = ""
        self.compare.show()
        self._enter("editing")

    def review(self, *_: object) -> None:
        """Show the value that was read beside the new one, and ask for the reason."""
        self._review(self._edited(self.text.value))

    def review_deletion(self, *_: object) -> None:
        """Show what would be deleted, and ask for the reason."""
        self._review(self._edited(None))

    def set(self, *_: object) -> None:
        """Make the change that was reviewed; what comes of it is told by ``done``, ``conflict`` or ``unknown``."""
        if self.stage == "sending":
            self.check_free()
        if self.stage != "reviewing" or self.edit is None:
            raise ArgumentError("look at before and after first: Review.")
        if not self.reason.value.strip():
            raise ArgumentError("say why, in Reason: it goes to the audit log. Nothing was sent.")
        self._enter("sending")
        self._send(self.edit, self.reason.value.strip())

    def cancel(self, *_: object) -> None:
        """Give the edit up; what was sent before is not taken back."""
        self.edit = None
        self._enter("closed")
        self._closed()

    def back(self, *_: object) -> None:
        """Return from the review to the text."""
        self.compare.show()
        self._enter("editing")

    def failed(self) -> None:
        """Note that nothing was changed: the review is open again."""
        self._enter("reviewing")

    def conflict(self, error: StateConflict) -> None:
        """Show what was read, what was meant, and what is there now."""
        edit, before = self._present(), error.before
        self._theirs = theirs = cast("State", error.theirs)
        others = sorted(key for key in {*before, *theirs} if _differs(before, theirs, key))
        mine = "was sent, and the server left the state alone" if error.sent else "was not sent"
        self.compare.show(
            Block("Somebody else changed this state", f"Changed meanwhile: {', '.join(others)}. Yours {mine}.", "bad"),
            Block("as you read it", in_words(edit.before.raw, edit.name), is_value=True),
            Block("yours", edit.new, "warning", is_value=True),
            Block("as it is now", in_words(theirs.raw, edit.name), "good", is_value=True),
        )
        self._enter("conflict")

    def take_theirs_as_base(self, *_: object) -> None:
        """Go on with one's own text, on the state that is there now."""
        edit = self._present()
        self.cancel()
        self.begin(self._theirs, edit.name, edit.text)

    def unknown(self, error: OutcomeUnknown) -> None:
        """Show that the change was taken and is not to be seen yet."""
        self.compare.show(Block("Accepted, and not applied yet", str(error), "warning"))
        self._enter("unknown")

    def watch(self, state: State) -> None:
        """Take the state as it is now: say where it is another one than the one that is edited, or has the change."""
        edit = self.edit
        if edit is None or state.version == edit.before.version:
            return
        if self.stage == "unknown":
            self.compare.show(_came_of(edit, state))
        elif self.stage in {"editing", "reviewing"}:
            self.head.show(*self._heads(edit, state))

    def _review(self, edit: Edit) -> None:
        if not edit.is_changed:
            raise ArgumentError(f"the value of {edit.name!r} is what it was: there is nothing to set.")
        self.edit = edit
        self.set_button.renew()
        code = edit.code
        self.compare.show(
            Block("before", in_words(edit.before.raw, edit.name), is_value=True),
            Block("after", edit.new, "warning", is_value=True),
            *([Block("the same in code", code, is_code=True)] if len(code) < _LONGEST_CODE else []),
        )
        self._enter("reviewing")

    def _edited(self, text: str | None) -> Edit:
        edit = self._present()
        return Edit(edit.before, edit.name, text)

    def _present(self) -> Edit:
        if self.edit is None:
            raise ArgumentError("no key is being edited: click one.")
        return self.edit

    def check_free(self) -> None:
        """Raise ArgumentError where there is an edit that would get lost, or a change under way."""
        if self.stage == "sending":
            raise ArgumentError("a change is under way: wait until it is told what came of it.")
        edit = self.edit
        if edit is None or self.stage in {"closed", "unknown"}:
            return
        if edit.text is None or self.stage == "conflict" or self.text.value != self._text_before:
            raise ArgumentError(f"your edit of {edit.name!r} is not finished: set it, or close it first.")

    def _heads(self, edit: Edit, now: State | None = None) -> list[Block]:
        kind = "empty; what you give is JSON" if edit.encoding == "empty" else edit.encoding
        said = f"{kind}, as read at {format_time(edit.before.read_at)}"
        heads = [Block(f"Edit {edit.name or '(empty)'} of {edit.before.where}", said)]
        if now is not None:
            same = now.raw.get(edit.name) == edit.before.raw.get(edit.name)
            which = "other keys of it" if same else "this very key"
            heads.append(
                Block("", f"Since then somebody has changed {which}: setting it now ends in a conflict.", "warning")
            )
        return heads

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        if stage == "closed":
            self.head.show()
            self.compare.show()
        elif self.edit is not None and stage != "unknown":
            self.head.show(*self._heads(self.edit))
        for name, stages in _SHOWN.items():
            getattr(self, name).layout.display = "" if stage in stages else "none"
        is_deletion = self.edit is not None and self.edit.text is None
        self.set_button.description = (
            "Sending …" if stage == "sending" else f"{'Delete' if is_deletion else 'Set'} it on {self._where}"
        )
        self.set_button.disabled = self.back_button.disabled = stage == "sending"

    def _make_parts(self) -> None:
        self.head = Blocks()
        self.compare = Blocks(side_by_side=True)
        self.text = widgets.Textarea(
            description="New value", rows=8, layout={"width": "100%"}, style={"description_width": "initial"}
        )
        self.reason = widgets.Text(
            description="Reason", placeholder="why, for the audit log", layout={"width": "360px"}
        )
        self.set_button = Submit("Set it", self._handled(self.set), fields=[self.reason], button_style="danger")
        self.back_button = self._button("Back to the text", self.back)
        self.edit_buttons = _row(
            Submit("Review", self._handled(self.review), fields=[self.text], button_style="primary"),
            self._button("Delete this key …", self.review_deletion),
            self._button("Close", self.cancel),
        )
        self.send_row = _row(self.reason, self.set_button, self.back_button)
        self.conflict_buttons = _row(
            self._button("Edit from what is there now", self.take_theirs_as_base, style="primary"),
            self._button("Leave it as it is now", self.cancel),
        )
        self.done_buttons = _row(self._button("Close", self.cancel))

    def _button(self, text: str, act: Callable[..., object], *, style: str = "") -> widgets.Button:
        button = widgets.Button(description=text, button_style=style)
        button.on_click(self._handled(act))
        return button


def _came_of(edit: Edit, now: State) -> Block:
    is_there = edit.is_in(now)
    if is_there:
        return Block("It is applied", f"The state read at {format_time(now.read_at)} has your change.", "good")
    return Block(
        "It was dropped, or comes no more",
        f"The state read at {format_time(now.read_at)} is another one, without your change: a change of an older state "
        f"is left out. Click the key to look at it again.",
        "bad",
    )


def _differs(before: Mapping[str, object], theirs: State, key: str) -> bool:
    return cast("State", before).raw.get(key) != theirs.raw.get(key)


def _row(*parts: widgets.Widget) -> widgets.Box:
    row = widgets.Box(list(parts))
    row.add_class("rl-fields")
    return row
