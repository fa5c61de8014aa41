"""The editor of one key: enter a text, compare both values, give a reason, and set it; a conflict shows all values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias, cast

import ipywidgets as widgets

from restate_lab._text import format_time
from restate_lab.actions.state import State
from restate_lab.errors import ArgumentError, OutcomeUnknown, StateConflict
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.submit import Submit, fields_row
from restate_lab.panels.state.edit import Edit, begin_edit, readable_value

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
    """Edit one key of a state; ``box`` is its widget.

    ``guard`` wraps its handlers. ``send`` is called with an Edit and a reason after the user has reviewed the change,
    ``closed`` when the editor closes. ``where`` is the name of the cluster.
    """

    def __init__(
        self,
        *,
        where: str,
        guard: Callable[..., Callable[..., None]],
        send: Callable[[Edit, str], object],
        closed: Callable[[], object],
    ) -> None:
        self._closed = closed
        self._where = where
        self._guard = guard
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
        self.enter("closed")

    def begin(self, state: State, name: str, text: str | None = None) -> None:
        """Start editing a key with the text of its value, or with ``text``.

        Raises:
            ArgumentError: the value cannot be edited as text, or another edit is not finished.
        """
        self.check_free()
        self.edit = begin_edit(state, name)
        self._text_before = self.edit.text or ""
        self.text.value = self._text_before if text is None else text
        self.reason.value = ""
        self.compare.show()
        self.enter("editing")

    def review(self, *_: object) -> None:
        """Show the old value beside the new one, and ask for the reason."""
        self._review(self._edit_of(self.text.value))

    def review_deletion(self, *_: object) -> None:
        """Show the value to delete, and ask for the reason."""
        self._review(self._edit_of(None))

    def set(self, *_: object) -> None:
        """Send the reviewed change; the caller reports its result with ``cancel``, ``conflict`` or ``unknown``."""
        if self.stage == "sending":
            self.check_free()
        if self.stage != "reviewing" or self.edit is None:
            raise ArgumentError("press Review first to compare both values.")
        if not self.reason.value.strip():
            raise ArgumentError("the reason is empty; enter a reason for the audit log. Nothing was sent.")
        self.enter("sending")
        self._send(self.edit, self.reason.value.strip())

    def cancel(self, *_: object) -> None:
        """Close the editor; this does not undo a change that was sent."""
        self.edit = None
        self.enter("closed")
        self._closed()

    def back(self, *_: object) -> None:
        """Return from the review to the text."""
        self.compare.show()
        self.enter("editing")

    def conflict(self, error: StateConflict) -> None:
        """Show the value that was read, the new value, and the current one."""
        edit, before, theirs = self._present(), cast("State", error.before), cast("State", error.theirs)
        self._theirs = theirs
        others = sorted(key for key in {*before, *theirs} if before.raw.get(key) != theirs.raw.get(key))
        mine = "was sent, but the server did not apply it" if error.sent else "was not sent"
        self.compare.show(
            Block(
                "The state has changed since you read it", f"Changed: {', '.join(others)}. Your change {mine}.", "bad"
            ),
            Block("value you read", readable_value(edit.before.raw, edit.name), is_value=True),
            Block("your value", edit.new, "warning", is_value=True),
            Block("current value", readable_value(theirs.raw, edit.name), "good", is_value=True),
        )
        self.enter("conflict")

    def take_theirs_as_base(self, *_: object) -> None:
        """Continue with the new text, based on the current state."""
        edit = self._present()
        self.cancel()
        self.begin(self._theirs, edit.name, edit.text)

    def unknown(self, error: OutcomeUnknown) -> None:
        """Show that the change was accepted but is not visible yet."""
        self.compare.show(Block("Accepted, but not applied yet", str(error), "warning"))
        self.enter("unknown")

    def watch(self, state: State) -> None:
        """Compare with the current state: report whether it changed since the edit began, or contains the change."""
        edit = self.edit
        if edit is None or state.state_version == edit.before.state_version:
            return
        if self.stage == "unknown":
            self.compare.show(_came_of(edit, state))
        elif self.stage in {"editing", "reviewing"}:
            self.head.show(*self._heads(edit, state))

    def _review(self, edit: Edit) -> None:
        if not edit.is_changed:
            raise ArgumentError(f"the value of {edit.name!r} has not changed; edit it first.")
        self.edit = edit
        self.set_button.renew()
        code = edit.code
        self.compare.show(
            Block("before", readable_value(edit.before.raw, edit.name), is_value=True),
            Block("after", edit.new, "warning", is_value=True),
            *([Block("as code", code, is_code=True)] if len(code) < _LONGEST_CODE else []),
        )
        self.enter("reviewing")

    def _edit_of(self, text: str | None) -> Edit:
        edit = self._present()
        return Edit(edit.before, edit.name, text)

    def _present(self) -> Edit:
        if self.edit is None:
            raise ArgumentError("no key is being edited; click one first.")
        return self.edit

    def check_free(self) -> None:
        """Raise ArgumentError if an edit would be lost or a change is being sent."""
        if self.stage == "sending":
            raise ArgumentError("a change is in progress; wait for its result.")
        edit = self.edit
        if edit is None or self.stage in {"closed", "unknown"}:
            return
        if edit.text is None or self.stage == "conflict" or self.text.value != self._text_before:
            raise ArgumentError(f"your edit of {edit.name!r} is not finished; set it or close it first.")

    def _heads(self, edit: Edit, now: State | None = None) -> list[Block]:
        kind = "empty; the new value is JSON" if edit.encoding == "empty" else edit.encoding
        said = f"{kind}, as read at {format_time(edit.before.read_at)}"
        heads = [Block(f"Edit {edit.name or '(empty)'} of {edit.before.object}", said)]
        heads += [Block("The change can be lost", text, "warning") for text in edit.before.warnings]
        if now is not None:
            same = now.raw.get(edit.name) == edit.before.raw.get(edit.name)
            which = "other keys of this state" if same else "this key"
            text = f"Since then, {which} changed, so setting the value now causes a conflict."
            heads.append(Block("", text, "warning"))
        return heads

    def enter(self, stage: Stage) -> None:
        """Show the parts of a stage."""
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
        self.set_button = Submit("Set it", self._guard(self.set), fields=[self.reason], button_style="danger")
        self.back_button = self._button("Back to the text", self.back)
        self.edit_buttons = fields_row(
            Submit("Review", self._guard(self.review), fields=[self.text], button_style="primary"),
            self._button("Delete this key…", self.review_deletion),
            self._button("Close", self.cancel),
        )
        self.send_row = fields_row(self.reason, self.set_button, self.back_button)
        self.conflict_buttons = fields_row(
            self._button("Continue with the current state", self.take_theirs_as_base, style="primary"),
            self._button("Discard my change", self.cancel),
        )
        self.done_buttons = fields_row(self._button("Close", self.cancel))

    def _button(self, text: str, act: Callable[..., object], *, style: str = "") -> widgets.Button:
        button = widgets.Button(description=text, button_style=style)
        button.on_click(self._guard(act))
        return button


def _came_of(edit: Edit, now: State) -> Block:
    is_there = edit.is_in(now)
    if is_there:
        return Block("The change is applied", f"The state read at {format_time(now.read_at)} has your change.", "good")
    return Block(
        "The change was dropped",
        f"The state read at {format_time(now.read_at)} is newer and does not have your change: Restate drops a change "
        f"that was made for an older state. Click the key to see its value.",
        "bad",
    )
