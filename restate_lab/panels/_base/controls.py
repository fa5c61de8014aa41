"""The visible controls of a panel by name, so that code can click them without a browser.

A click sends the message that the view of the control would send, and a filled field gets the value that the page would
set. So everything that the kernel checks for a user is checked here, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, Protocol, runtime_checkable

import ipywidgets as widgets

from restate_lab._text import join
from restate_lab.errors import ArgumentError

_FIELDS = widgets.Text | widgets.Textarea | widgets.Combobox
_COUNT = re.compile(r"(?<![\s\d,.()…])[\s\d,.()…]+$")  # of "Resume 15", "All facts (17)" and "Plan resume…"
_MOST_NAMES = 40
Message = Mapping[str, Any]


@runtime_checkable
class Clickable(Protocol):
    """A widget whose view sends messages; ``controls`` has the message of a click on each control."""

    def controls(self, row: Any, /) -> Mapping[str, Message]:
        """Return the name of each control and its message: controls of a row, or with None those outside of rows."""

    def receive(self, content: object, /) -> None:
        """Handle a message of a view."""


@runtime_checkable
class Form(Protocol):
    """A widget whose view has fields of its own."""

    labels: Mapping[str, str]
    """The label of each field, and its name."""

    def enter(self, name: str, value: str, /) -> None:
        """Enter a value into a field."""


def click(root: Any, name: str, row: Any) -> None:
    """Click the control with this name, which has a number or "…" at its end or not.

    Raises:
        ArgumentError: not exactly one visible control has this name.
    """
    _choose("control", name, list(_controls(root, row)))()


def fill(root: Any, name: str, value: Any) -> None:
    """Set the value of the field with this label; a list of choices takes one of its labels.

    Raises:
        ArgumentError: not exactly one visible field has this label, or the list does not have the choice.
    """
    _choose("field", name, list(_fields(root)))(value)


def _parts(part: Any) -> Iterator[Any]:
    if part.layout.display != "none":
        yield part
        for child in getattr(part, "children", ()):
            yield from _parts(child)


def _fields(root: Any) -> Iterator[tuple[str, Callable[[Any], object]]]:
    for part in _parts(root):
        if isinstance(part, Form):
            for label, name in part.labels.items():
                yield label, partial(part.enter, name)
        elif isinstance(part, widgets.Dropdown) and not part.disabled:
            yield part.description, partial(_pick, part)
        elif isinstance(part, _FIELDS) and not part.disabled:
            yield part.description, partial(setattr, part, "value")


def _pick(field: Any, value: Any) -> None:
    labels = [label if isinstance(label, str) else label[0] for label in field.options]
    if value not in labels:
        names = join(labels, _MOST_NAMES)
        raise ArgumentError(f"{field.description!r} has no choice {value!r}; choose from {names}.")
    field.index = labels.index(value)


def _controls(root: Any, row: Any) -> Iterator[tuple[str, Callable[[], object]]]:
    for part in _parts(root):
        if isinstance(part, Clickable):
            for name, message in part.controls(row).items():
                yield name, partial(part.receive, message)
        elif row is None and isinstance(part, widgets.Button) and not part.disabled:
            yield part.description, part.click
        elif row is None and isinstance(part, widgets.Checkbox) and not part.disabled:
            yield part.description, partial(setattr, part, "value", not part.value)


def _choose(kind: str, name: str, offered: list[tuple[str, Any]]) -> Any:
    exact = [each for label, each in offered if label == name]
    found = exact or [each for label, each in offered if _COUNT.sub("", label) == name]
    if len(found) != 1:
        names = join(dict.fromkeys(label for label, _ in offered), _MOST_NAMES)
        number = f"{len(found):,} visible {kind}s are" if found else f"no visible {kind} is"
        raise ArgumentError(f"{number} named {name!r}; choose from {names or 'none'}.")
    return found[0]
