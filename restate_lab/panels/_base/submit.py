"""A button that takes along what a reader saw: the click of another one can overtake, or be overtaken.

ipywidgets holds a typed text back until the kernel has taken the text before, and sends a click at once. Who types fast
would give half a reason, or half a value. And while the kernel is busy clicks wait: what is pressed last in sight of
one plan would confirm the plan that a click before it makes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import anywidget
import ipywidgets as widgets
import traitlets
from pydantic import Field, ValidationError

from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import ViewMessage

__all__ = ["Submit"]


class _Press(ViewMessage):
    type: Literal["press"]
    seen: int
    values: Annotated[tuple[str | int | None, ...], Field(strict=False)]


class Submit(anywidget.AnyWidget):
    """A button; ``act`` is called without an argument once its ``fields`` have what a reader saw in them.

    A field is a Text, a Textarea, a Combobox or a Dropdown. Where ``disabled`` is set it looks so, and can be pressed
    all the same, so that it is reached by Tab and ``act`` can say what is lacking. ``changed`` are the fields that the
    last press has changed. ``renew()`` says that it stands for something else now: a press of before does nothing.
    """

    _esm = read_assets("_base/submit.js")

    description = traitlets.Unicode("").tag(sync=True)
    tooltip = traitlets.Unicode("").tag(sync=True)
    button_style = traitlets.Unicode("").tag(sync=True)
    disabled = traitlets.Bool(default_value=False).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
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
        self.on_msg(self._receive)

    def click(self) -> None:
        """Press it."""
        self.changed = ()
        self._act()

    def renew(self) -> None:
        """Stand for something else: whoever presses has to have seen it."""
        self.error = ""
        self.shown += 1

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Refuse: a view says in messages what it wants, and sets nothing."""
        self.error = f"A view tried to set {', '.join(map(str, sync_data))[:200]}: nothing was set. Reload the page."

    def __repr__(self) -> str:
        return f"<Submit: {self.description}>"

    def _receive(self, _: object, content: object, __: object) -> None:
        try:
            press = _Press.model_validate(content)
            new = [(field, _name(field), value) for field, value in zip(self._widgets, press.values, strict=True)]
            if press.seen != self.shown:
                self.error = "What you pressed it for has changed meanwhile, and nothing was done. Look at it again."
                return
            self.changed = tuple(field for field, name, value in new if getattr(field, name) != value)
            for field, name, value in new:
                setattr(field, name, value)
        except (ValidationError, traitlets.TraitError, ValueError):
            self.error = "The button sent what it may not send, and nothing was done. Reload the page."
            return
        self.error = ""
        self._act()


def _name(field: Any) -> str:
    return "index" if isinstance(field, widgets.Dropdown) else "value"
