"""Views of a widget, and the base of small widgets: the kernel sets ``content`` and the view sends messages."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import anywidget
import traitlets
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from restate_lab._text import escape_invisible

SILENCE = 35.0  # seconds; a visible view sends a message every 10 s, and a busy kernel receives it later


class ViewMessage(BaseModel):
    """A message of a view; a subclass adds ``type`` and the fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class MessageWidget(anywidget.AnyWidget):
    """A widget whose views can only send messages: ``messages`` validates them, and ``handle`` gets the valid ones."""

    error = traitlets.Unicode("").tag(sync=True)
    messages: TypeAdapter[Any]

    def __init__(self, **traits: Any) -> None:
        super().__init__(**traits)
        self.on_msg(lambda _, content, __: self.receive(content))

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore the data, and report that in ``error``."""
        self.error = f"A view tried to set {', '.join(map(str, sync_data))[:200]}. Nothing was set. Reload the page."

    def receive(self, content: object, /) -> None:
        """Handle a message of a view; an invalid one is reported in ``error`` and does nothing."""
        try:
            message = self.messages.validate_python(content)
        except ValidationError as error:
            self.error = f"the view sent an invalid message ({error.error_count()} invalid fields). Reload the page."
            return
        self.handle(message)

    @abstractmethod
    def handle(self, message: Any, /) -> None:
        """Do what a valid message requests."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class ContentWidget(MessageWidget):
    """Show ``content``, which is plain data; texts are shown as text. ``deliver`` gets the messages of the views."""

    content = traitlets.Dict().tag(sync=True)

    def __init__(self, deliver: Callable[[Any], object]) -> None:
        self._deliver = deliver
        super().__init__()

    def show(self, content: dict[str, Any]) -> None:
        """Show the content with invisible characters made visible; safe from any thread."""
        shown = _visible(content)
        if shown != self.content:
            self.content = shown

    def handle(self, message: Any, /) -> None:
        """Deliver the message."""
        self.error = ""
        self._deliver(message)


class Views:
    """The open views of one widget, each with an id that it chose itself; ``clock`` returns seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._heard: dict[str, float] = {}
        self._in_sight: dict[str, bool] = {}
        self._holding: set[str] = set()

    def hear(self, view: str, *, in_sight: bool) -> None:
        """Record that a view is open, and whether the user can see it now."""
        self._heard[view] = self._clock()
        self._in_sight[view] = in_sight

    def forget(self, view: str) -> None:
        """Record that a view was closed."""
        self._heard.pop(view, None)
        self._in_sight.pop(view, None)
        self._holding.discard(view)

    def hold(self, view: str, *, on: bool) -> None:
        """Record whether the pointer or the focus is in the table of a view."""
        (self._holding.add if on else self._holding.discard)(view)

    def any_holding(self) -> bool:
        """Return whether rows must not move: the pointer or the focus is in the table of a visible view."""
        return self.any_in_sight() and any(self._in_sight.get(view) for view in self._holding)

    def any_in_sight(self) -> bool:
        """Return whether the user can see any view; a view without messages for too long counts as closed."""
        for view, heard in list(self._heard.items()):
            if self._in_sight.get(view) and self._clock() - heard > SILENCE:
                self.forget(view)
        return any(self._in_sight.values())

    def __len__(self) -> int:
        return len(self._heard)


def close_all(part: Any) -> None:
    """Close a widget and all in it; ``Widget.close`` leaves its children, its layout and its style open."""
    for child in getattr(part, "children", ()):
        close_all(child)
    part.close()
    for each in (getattr(part, "layout", None), getattr(part, "style", None)):
        if each is not None:
            each.close()


def _visible(value: Any) -> Any:
    if isinstance(value, str):
        return escape_invisible(value)
    if isinstance(value, dict):
        return {name: _visible(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_visible(each) for each in value]
    return value
