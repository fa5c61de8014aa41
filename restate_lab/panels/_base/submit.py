"""A button that sends the visible field values with its click, because messages can arrive in a different order.

ipywidgets delays a typed text until the kernel has processed the text before it, but sends a click at once. After fast
typing, the kernel would use an incomplete reason or value. While the kernel is busy, clicks wait in a queue: without
this button, a click on the visible plan could confirm the plan that an earlier click creates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import ipywidgets as widgets
import traitlets
from pydantic import Field, TypeAdapter

from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import MessageWidget, ViewMessage


class _Press(ViewMessage):
    type: Literal["press"]
    seen: int
    values: Annotated[tuple[str | int | bool | None, ...], Field(strict=False)]


class Submit(MessageWidget):
    """A button; ``act`` is called without arguments after its ``fields`` have the values that the user saw.

    A field is a Text, a Textarea, a Combobox, a Dropdown or a Checkbox. With ``disabled`` the button looks disabled but
    can still be pressed, so that Tab reaches it and ``act`` can report the missing input. ``changed`` has the fields
    changed by the last press. ``renew()`` gives the button a new meaning: a press sent before it does nothing.
    """

    _esm = read_assets("_base/submit.js")
    messages = TypeAdapter(_Press)

    description = traitlets.Unicode("").tag(sync=True)
    tooltip = traitlets.Unicode("").tag(sync=True)
    button_style = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(default_value=False).tag(sync=True)
    shown = traitlets.Int(0).tag(sync=True)
    fields = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(
        self,
        description: str,
        act: Callable[[], object],
        *,
        fields: Sequence[Any],
        button_style: str = "",
        tooltip: str = "",
    ) -> None:
        self._act = act
        self._widgets = tuple(fields)
        self.changed: tuple[Any, ...] = ()
        super().__init__(
            description=description,
            button_style=button_style,
            tooltip=tooltip,
            fields=[{"model": field.model_id, "name": _name(field)} for field in self._widgets],
        )

    def click(self) -> None:
        """Press the button with the current values of its fields."""
        self.receive(self.controls(None)[self.description])

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a press with the current values of the fields."""
        values = [getattr(field, _name(field)) for field in self._widgets]
        return {self.description: {"type": "press", "seen": self.shown, "values": values}} if row is None else {}

    def renew(self) -> None:
        """Give the button a new meaning; a press is valid only if the user has seen it."""
        self.error = ""
        self.shown += 1

    def handle(self, press: _Press, /) -> None:
        """Set the fields to the values that the user saw, and act; an outdated press does nothing."""
        if press.seen != self.shown:
            self.error = "The content changed before your click arrived, so nothing was done. Check it and click again."
            return
        try:
            new = [(field, _name(field), value) for field, value in zip(self._widgets, press.values, strict=True)]
            self.changed = tuple(field for field, name, value in new if getattr(field, name) != value)
            for field, name, value in new:
                setattr(field, name, value)
        except (traitlets.TraitError, ValueError):
            self.error = "The button sent invalid data, so nothing was done. Reload the page."
            return
        self.error = ""
        self._act()


def _name(field: Any) -> str:
    return "index" if isinstance(field, widgets.Dropdown) else "value"


def fields_row(*parts: Any) -> Any:
    """Return controls side by side; they wrap on a narrow page."""
    row = widgets.Box(parts)
    row.add_class("rl-fields")
    return row
