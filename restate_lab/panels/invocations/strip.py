"""The strip above the list: presets, statuses and services with counts, time histograms, and the other filters."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, TypeAlias

import pandas as pd
from pydantic import Field, TypeAdapter

from restate_lab._text import format_age, format_duration, format_time, format_timestamp
from restate_lab.analysis.invocations.filters import (
    ALL,
    FIELD_LABELS,
    PRESET_LABELS,
    PRESETS,
    RETRYING,
    Filters,
    statuses_of,
)
from restate_lab.analysis.invocations.reader import Histogram
from restate_lab.durations import to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.content import ContentWidget, ViewMessage
from restate_lab.status import COLOURS, PAST_ONLY, STATUSES

WINDOWS = ("15m", "1h", "6h", "24h", "7d")
_EXAMPLES = {
    "text": "timed out",
    "handler": "charge",
    "key": "berlin",
    "age": "2h",
    "error_code": "RT0007",
    "retries": "10",
    "deployment": "dp_…",
    "since": "2h, or 2026-11-25T03:00Z",
    "until": "1h, or 2026-11-25T04:00Z",
    "ended_since": "2h",
    "ended_until": "1h",
    "id": "inv_…, separate several with spaces",
    "limit": "10000",
}
_FIELDS = {name: (FIELD_LABELS[name], example) for name, example in _EXAMPLES.items()}
"""Filter → its label and an example."""
_TIMES = {"created": ("since", "until"), "ended": ("ended_since", "ended_until")}
_CHIPS = tuple(RETRYING if name == "backing-off" else name for name in STATUSES if name != "yielded")
_COLOURS = {**COLOURS, RETRYING: COLOURS["backing-off"]}
_SERVICES_SHOWN = 2_000
_BARS = 60  # the most bars of a histogram
_Text = Annotated[str, Field(max_length=100_000)]


class _Name(ViewMessage):
    type: Literal["status", "service"]
    name: _Text
    add: bool


class _Time(ViewMessage):
    type: Literal["time"]
    kind: Literal["created", "ended"]
    start: float | None
    end: float | None


class _Window(ViewMessage):
    type: Literal["window"]
    name: Literal["15m", "1h", "6h", "24h", "7d"]


class _FieldValue(ViewMessage):
    type: Literal["field"]
    name: _Text
    value: _Text


class _Clear(ViewMessage):
    type: Literal["clear"]
    names: list[_Text]


class _Group(ViewMessage):
    type: Literal["group"]
    on: bool


_Message: TypeAlias = _Name | _Time | _Window | _FieldValue | _Clear | _Group


class FilterStrip(ContentWidget):
    """Show the filters with counts; ``change`` is called with the new filters after the user changes them.

    ``has_open`` is whether the source has open invocations; without them, "Ended" is the only preset. ``is_live`` is
    whether the histograms end now; otherwise their ends have times. ``regroup`` is
    called with a bool, ``set_window`` with one of WINDOWS. An invalid filter raises ArgumentError in the handler.
    """

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "invocations/strip.js")
    _css = read_assets("invocations/strip.css")
    messages = TypeAdapter(Annotated[_Message, Field(discriminator="type")])

    def __init__(
        self,
        filters: Filters,
        *,
        has_open: bool,
        is_live: bool,
        guard: Callable[[Callable[..., object]], Callable[..., None]],
        change: Callable[[Filters], object],
        regroup: Callable[[bool], object],
        set_window: Callable[[str], object],
    ) -> None:
        self.filters = filters
        self.labels = {f"filter {label}": name for name, (label, _) in _FIELDS.items()}
        self._presets = tuple(PRESET_LABELS) if has_open else ("ended",)
        self._is_live = is_live
        self._change, self._regroup, self._set_window = change, regroup, set_window
        super().__init__(guard(self._act))

    def draw(
        self,
        filters: Filters,
        *,
        counts: pd.DataFrame | None,
        histogram: Histogram | None,
        window: str,
        group: bool,
        id_name: str = "",
    ) -> None:
        """Show these filters; without ``counts`` or ``histogram`` (not read yet), there are no numbers or bars.

        ``id_name`` is the text of the chip for a filter by ids.
        """
        self.filters = filters
        table = [] if counts is None else records(counts)
        self.show(
            {
                "is_counted": counts is not None,
                "presets": [_preset(name, filters, table) for name in self._presets],
                "chips": [_chip(name, filters, table) for name in _chips_for(filters, table)],
                "bar": _bar(filters, table),
                "services": _services(filters, table),
                "histogram": None if histogram is None else _histogram(histogram, self._is_live),
                "brush": _brush(filters),
                "window": window,
                "windows": list(WINDOWS),
                "fields": [
                    {"name": name, "label": label, "hint": hint, "value": _field_text(filters, name)}
                    for name, (label, hint) in _FIELDS.items()
                ],
                "active": _active(filters, id_name),
                "group": group,
            }
        )

    # Messages

    def enter(self, name: str, value: str, /) -> None:
        """Enter a value into one of the further filters."""
        self.receive({"type": "field", "name": name, "value": value})

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click on each preset, status and service, and on "Clear all" and "Group"."""
        if row is not None:
            return {}
        content = self.content
        named = [(each["label"], "status", each["name"]) for each in content["presets"]]
        named += [(f"status {each['name']}", "status", each["name"]) for each in content["chips"]]
        named += [(f"service {each['name']}", "service", each["name"]) for each in content["services"]]
        messages: dict[str, dict[str, Any]] = {
            label: {"type": kind, "name": name, "add": False} for label, kind, name in named
        }
        messages |= {f"window {name}": {"type": "window", "name": name} for name in content["windows"]}
        return {
            **messages,
            "Clear all": {"type": "clear", "names": []},
            "Group": {"type": "group", "on": not content["group"]},
        }

    def _act(self, message: _Message) -> None:
        if isinstance(message, _Group):
            self._regroup(message.on)
        elif isinstance(message, _Window):
            self._set_window(message.name)
        else:
            self._change(self._filters_after(message))

    def _filters_after(self, message: _Name | _Time | _FieldValue | _Clear) -> Filters:
        filters = self.filters
        if isinstance(message, _Name):
            return _with(filters, **{message.type: _toggle(getattr(filters, message.type), message)})
        if isinstance(message, _Time):
            return _with(filters, **_time_filters(message))
        if isinstance(message, _FieldValue):
            return _with(filters, **{message.name: _field_value(message.name, message.value)})
        return filters.without(*message.names) if message.names else Filters(sort=filters.sort)


def _with(filters: Filters, **values: Any) -> Filters:
    defaults = Filters()
    changed = {**filters.changed, **values}
    return Filters(**{name: getattr(defaults, name) if value is None else value for name, value in changed.items()})


def _toggle(chosen: Sequence[str], message: _Name) -> tuple[str, ...]:
    """Return only this name, or none if it was the only one; with ``add``, add the name or remove it."""
    name = message.name
    if not name or (message.type == "status" and name in PRESETS):
        return (name,) if name else ()
    names = tuple(each for each in chosen if message.type == "service" or each not in PRESETS)
    if not message.add:
        return () if names == (name,) else (name,)
    return tuple(each for each in names if each != name) if name in names else (*names, name)


def _time_filters(message: _Time) -> dict[str, Any]:
    since, until = _TIMES[message.kind]
    values = {since: _from_seconds(message.start), until: _from_seconds(message.end)}
    # Ended invocations are hidden by default, so a span of end times selects the ended ones.
    return values if message.kind == "created" or message.start is None else {**values, "status": ("ended",)}


def _from_seconds(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(round(seconds), UTC)


def _field_value(name: str, value: str) -> Any:
    if name not in _FIELDS:
        raise ArgumentError(f"unknown filter {name!r}; choose from {', '.join(_FIELDS)}.")
    text = value.strip()
    if not text:
        return None
    if name in {"retries", "limit"}:
        if not text.replace(",", "").isdecimal():
            raise ArgumentError(f"{_FIELDS[name][0]} is {text!r}, but must be a whole number.")
        return int(text.replace(",", ""))
    if name == "age":
        to_timedelta(text, name=_FIELDS[name][0])
    return tuple(text.replace(",", " ").split()) if name == "id" else text


# Content


def _preset(name: str, filters: Filters, table: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    count = _sum(table, statuses_of((name,)), filters.service)
    is_current = statuses_of(filters.status) == statuses_of((name,))
    return {"name": name, "label": PRESET_LABELS[name], "count": count, "pressed": is_current}


def _active(filters: Filters, id_name: str) -> list[dict[str, str]]:
    texts = {name: f"{label} {text}" for name, (label, _) in _FIELDS.items() if (text := _field_text(filters, name))}
    if id_name:
        texts["id"] = id_name
    return [{"name": name, "text": text} for name, text in texts.items()]


def _chips_for(filters: Filters, table: Sequence[Mapping[Any, Any]]) -> tuple[str, ...]:
    """Return the statuses to choose from: in flight, ended, or both, depending on the filters."""
    words = statuses_of(filters.status)
    ended = any(STATUSES[word].ended for word in words if word in STATUSES)
    in_flight = any(word == RETRYING or not STATUSES[word].ended for word in words)
    there = {row["status"] for row in table}
    return tuple(
        name
        for name in _CHIPS
        if (ended if name in STATUSES and STATUSES[name].ended else in_flight)
        and (name not in PAST_ONLY or name in there)
    )


def _chip(name: str, filters: Filters, table: Sequence[Mapping[Any, Any]]) -> dict[str, Any]:
    return {
        "name": name,
        "count": _sum(table, (name,), filters.service),
        "colour": _COLOURS[name],
        "pressed": name in filters.status or (name == RETRYING and "backing-off" in filters.status),
    }


def _bar(filters: Filters, table: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """Return the parts of the bar for the current preset: a million ended invocations must not hide three paused."""
    names = statuses_of(filters.status) if filters.status in {("ended",), (ALL,)} else PRESETS["in-flight"]
    parts = []
    for name in _CHIPS:
        if name in names or (name == RETRYING and "backing-off" in names):
            count = _sum(table, (name,), filters.service, is_split=True)
            parts.append({"name": name, "count": count, "colour": _COLOURS[name]})
    return [part for part in parts if part["count"]]


def _services(filters: Filters, table: Sequence[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    words = statuses_of(filters.status)
    names = dict.fromkeys([*filters.service, *(str(row["target_service_name"]) for row in table)])
    counts = {name: _sum(table, words, (name,)) for name in names}
    trouble = {name: _sum(table, PRESETS["attention"], (name,)) for name in names}
    order = sorted(counts, key=lambda name: (-trouble[name], -counts[name], name))[:_SERVICES_SHOWN]
    shown = [
        {"name": name, "count": counts[name], "trouble": trouble[name], "pressed": name in filters.service}
        for name in order
    ]
    return [each for each in shown if each["count"] or each["pressed"]]


def _sum(
    table: Sequence[Mapping[Any, Any]], names: Sequence[str], services: Sequence[str], *, is_split: bool = False
) -> int:
    """Return the number of invocations in these statuses; ``is_split`` excludes retried ones from the running ones."""
    total = 0
    for row in table:
        if services and row["target_service_name"] not in services:
            continue
        status, is_retried = row["status"], row["is_retried"] is True
        is_retrying = status == "backing-off" or is_retried
        if (status in names and not (is_split and is_retried)) or (RETRYING in names and is_retrying):
            total += int(row["invocations"])
    return total


def _histogram(histogram: Histogram, is_live: bool) -> dict[str, Any]:
    """Return the bars from the first time at which there is something, and the texts at both ends."""
    seconds = histogram.span.total_seconds()
    last = int((histogram.end - histogram.start).total_seconds() // seconds)
    rows = [
        (int((pd.Timestamp(row["start"]).timestamp() - histogram.start.timestamp()) // seconds), row)
        for row in records(histogram.counts)
    ]
    rows = [(at, row) for at, row in rows if 0 <= at <= last]
    first = min((at for at, _ in rows), default=0)
    step = math.ceil((last - first + 1) / _BARS)
    bars = math.ceil((last - first + 1) / step)
    series = {name: [0] * bars for name in ("created", "succeeded", "failed", "cancelled")}
    for at, row in rows:
        result = "cancelled" if row["result"] == "killed" else row["result"]
        series[result][(at - first) // step] += int(row["invocations"])
    start = histogram.start + first * histogram.span
    ends = [f"{format_age(start, histogram.end)} ago", "now"]
    if not is_live:
        ends = [format_timestamp(start, now=histogram.end), format_timestamp(histogram.end)]
    form = {"span": seconds * step, "ends": ends, "colours": {name: _COLOURS[name] for name in series}}
    return {"start": start.timestamp(), **form, **series}


def _brush(filters: Filters) -> dict[str, list[float | None]]:
    brush = {}
    for kind, names in _TIMES.items():
        values = [getattr(filters, name) for name in names]
        brush[kind] = [value.timestamp() if isinstance(value, datetime) else None for value in values]
    return brush


def _field_text(filters: Filters, name: str) -> str:
    value = filters.changed.get(name)
    if value is None:
        return ""
    if isinstance(value, list):
        return " ".join(value)
    if isinstance(value, timedelta):
        return format_duration(value, exact=True)
    return format_time(value) if isinstance(value, datetime) else str(value)
