"""The filters of an InvocationsPanel as fields: chips for the statuses, texts for the rest, applied by Enter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import ipywidgets as widgets

from restate_lab._text import format_duration
from restate_lab.errors import ArgumentError
from restate_lab.panels.filters import ALL, Filters
from restate_lab.status import STATUSES

__all__ = ["FilterBar"]


@dataclass(frozen=True, slots=True)
class _Field:
    label: str
    hint: str
    width: int = 110


_ALWAYS = {
    "service": _Field("service", "Payments", 130),
    "handler": _Field("handler", "charge"),
    "key": _Field("key", "berlin"),
    "text": _Field("failure has", "timed out", 140),
    "age": _Field("older than", "2h", 60),
}
_MORE = {
    "error_code": _Field("error code", "RT0007", 70),
    "retries": _Field("retry count from", "10", 50),
    "deployment": _Field("deployment", "dp_…", 180),
    "since": _Field("created since", "2h, or 2026-11-25T03:00:00Z", 180),
    "until": _Field("and before", "1h, or 2026-11-25T04:00:00Z", 180),
    "id": _Field("id", "inv_…, several with spaces", 300),
    "limit": _Field("at most", "10000", 60),
}


class FilterBar(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The fields; ``filters`` is what they say, and ``changed`` is called when a reader has said something else.

    ``filters`` raises ArgumentError where a field has what does not fit.
    """

    def __init__(self, filters: Filters, changed: Callable[[], object]) -> None:
        self._changed = changed
        self._quiet = False
        self._untouched: dict[str, Any] = {}
        self._chips = {word: _chip(word) for word in (*STATUSES, ALL) if word != "yielded"}
        self._fields = {name: _field(each) for name, each in (_ALWAYS | _MORE).items()}
        self._more = widgets.ToggleButton(description="More filters", tooltip="Show the other filters")
        self._none = widgets.Button(description="Clear filters", tooltip="Show all that has not ended")
        self._rest = _row([self._fields[name] for name in _MORE])
        chips = _row([widgets.Label("status"), *self._chips.values()])
        chips.add_class("rl-chips")
        super().__init__([chips, _row([*(self._fields[name] for name in _ALWAYS), self._more, self._none]), self._rest])
        self.add_class("rl-filters")
        self.filters = filters
        self._more.value = any(self._fields[name].value for name in _MORE if name != "limit")
        self._fold()
        self._more.observe(lambda _: self._fold(), "value")
        self._none.on_click(lambda _: self._clear())
        for each in (*self._chips.values(), *self._fields.values()):
            each.observe(self._note, "value")

    @property
    def filters(self) -> Filters:
        """Return what the fields say; setting it fills them, and calls nobody."""
        texts = {name: field.value.strip() for name, field in self._fields.items()}
        given: dict[str, Any] = {name: self._untouched.get(name, text) for name, text in texts.items() if text}
        for name in ("retries", "limit"):
            if name in given:
                given[name] = _number(name, given[name])
        if isinstance(given.get("id"), str):
            given["id"] = tuple(given["id"].replace(",", " ").split())
        return Filters(status=tuple(word for word, chip in self._chips.items() if chip.value), **given)

    @filters.setter
    def filters(self, filters: Filters) -> None:
        self._quiet = True
        try:
            given = filters.given
            for word, chip in self._chips.items():
                chip.value = word in filters.status
            for name, field in self._fields.items():
                field.value = _shown(given.get(name))
            # A timedelta or a datetime stays itself until the reader writes into its field.
            self._untouched = {name: value for name, value in given.items() if isinstance(value, datetime | timedelta)}
        finally:
            self._quiet = False

    def suggest(self, name: str, values: Sequence[str]) -> None:
        """Offer these in a field."""
        if tuple(self._fields[name].options) != tuple(values):
            self._fields[name].options = tuple(values)

    def _note(self, change: Any) -> None:
        if self._quiet:
            return
        name = next((name for name, field in self._fields.items() if field is change["owner"]), "")
        self._untouched.pop(name, None)
        self._quiet = True
        try:
            self._only(change["owner"])
        finally:
            self._quiet = False
        self._changed()

    def _only(self, chip: Any) -> None:
        """Let "all" and the single statuses take each other out."""
        everything = self._chips[ALL]
        if chip is everything and chip.value:
            for each in self._chips.values():
                each.value = each is everything
        elif chip in self._chips.values() and chip.value:
            everything.value = False

    def _clear(self) -> None:
        self.filters = Filters()
        self._changed()

    def _fold(self) -> None:
        self._rest.layout.display = "" if self._more.value else "none"


def _chip(word: str) -> Any:
    hint = "Show those that have ended, too" if word == ALL else f"Show those that are {word}"
    chip = widgets.ToggleButton(description="all" if word == ALL else word, tooltip=hint)
    chip.add_class("rl-chip")
    return chip


def _field(field: _Field) -> Any:
    # A field with suggestions and one without are the same to a reader.
    made = widgets.Combobox(
        description=field.label,
        placeholder=field.hint,
        continuous_update=False,
        ensure_option=False,
        style={"description_width": "auto"},
    )
    made.layout.width = "auto"
    made.add_class("rl-field")
    made.add_class(f"rl-w{field.width}")
    return made


def _row(parts: Sequence[Any]) -> Any:
    row = widgets.Box(list(parts))
    row.add_class("rl-fields")
    return row


def _number(name: str, text: Any) -> int:
    try:
        return int(str(text).replace(",", ""))
    except ValueError as error:
        raise ArgumentError(f"{name} is {text!r}: give a whole number.") from error


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, timedelta):
        return format_duration(value, exact=True)
    return value.isoformat() if isinstance(value, datetime) else str(value)
