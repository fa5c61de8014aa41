"""The filters of a list of invocations: their allowed values, and the SQL conditions that they become.

Values enter a statement only as ``:name``. ``reader.py`` has the statement around the conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any

from restate_lab._public import nearest_names
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.status import ENDED, STATUSES

ALL = "all"
# A group: backing off, or running in an attempt after the first, so that rows that alternate stay in the list.
RETRYING = "retrying"
MOST = 10_000  # rows; for more, use SQL
SORTS = ("trouble", "newest", "oldest")
_IN_FLIGHT = tuple(name for name in STATUSES if name not in ENDED)
PRESETS: Mapping[str, tuple[str, ...]] = {
    "attention": ("paused", RETRYING, "pending"),
    "in-flight": _IN_FLIGHT,
    "ended": ENDED,
    ALL: (*_IN_FLIGHT, *ENDED),
}
PRESET_LABELS = {"attention": "Needs attention", "in-flight": "In flight", "ended": "Ended", ALL: "All"}
"""A preset → its label."""
FIELD_LABELS = {
    "text": "text contains",
    "service": "service",
    "handler": "handler",
    "key": "key",
    "age": "older than",
    "error_code": "error code",
    "retries": "attempts ≥",
    "deployment": "deployment",
    "since": "created after",
    "until": "created before",
    "ended_since": "ended after",
    "ended_until": "ended before",
    "id": "id",
    "limit": "limit",
}
"""A filter → its label."""
_RAW = {
    "pending": "inboxed",
    **dict.fromkeys(("ready", "backing-off", "running", RETRYING), "invoked"),
    **dict.fromkeys(ENDED, "completed"),
}
_TEXTS = ("handler", "key", "deployment", "error_code", "text")
_INNER = {
    "service": "s.target_service_name IN :service",
    "handler": "s.target_handler_name = :handler",
    "key": "s.target_service_key = :key",
    "deployment": "coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) = :deployment",
    "id": "s.id IN :id",
}
_OUTER = {"retries": "retry_count >= :retries", "error_code": "error_code = :error_code"}
_TIMES = {
    "since": "s.created_at >= :since",
    "until": "s.created_at < :until",
    "ended_since": "s.completed_at >= :ended_since",
    "ended_until": "s.completed_at < :ended_until",
}
TIMES = frozenset(_TIMES)  # from which an age counts
_ANY_TIME = datetime.fromisoformat("2026-01-01T00:00:00Z")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of a statement: ``inner`` is on the tables, ``outer`` is on the resulting columns."""

    inner: tuple[str, ...]
    outer: tuple[str, ...]
    params: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Filters:
    """Which invocations a list shows; a filter with the value None hides nothing.

    ``status``: names of STATUSES, "retrying", or one of PRESETS; empty means "in-flight". ``service``: one name or
    several. ``handler, key``: as in the target. ``deployment``: of the last attempt, or the pinned one.
    ``since, until, ended_since, ended_until``: limits of the creation or end time (an age such as "2h", or a time with
    its zone).
    ``age``: minimum age. ``error_code``: such as "RT0007". ``retries``: minimum of the server's ``retry_count``.
    ``text``: the failure or the target contains this text; case is ignored if it has no capital letter. ``id``: only
    these ids.
    ``limit``: maximum number of rows. ``sort`` sets the order, and therefore which rows ``limit`` keeps: "trouble"
    (paused, then retrying with most attempts, pending, suspended, running, scheduled, failed, others), "newest" or
    "oldest".

    Raises:
        ArgumentError: a value is invalid.
    """

    status: tuple[str, ...] = ()
    service: tuple[str, ...] = ()
    handler: str | None = None
    key: str | None = None
    deployment: str | None = None
    since: TimeInput | None = None
    until: TimeInput | None = None
    ended_since: TimeInput | None = None
    ended_until: TimeInput | None = None
    age: DurationInput | None = None
    error_code: str | None = None
    retries: int | None = None
    text: str | None = None
    id: tuple[str, ...] = ()
    limit: int = MOST
    sort: str = SORTS[0]

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", _check_status(self.status))
        object.__setattr__(self, "service", _check_services(self.service))
        object.__setattr__(self, "id", tuple(check_invocation_id(each) for each in _as_list(self.id)))
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ArgumentError(f"{name} is {value!r}: it must be a text.")
        _check_whole("retries", self.retries, least=0, most=2**63 - 1)
        _check_whole("limit", self.limit, least=1, most=MOST)
        if self.sort not in SORTS:
            raise ArgumentError(f"sort is {self.sort!r}: choose from {', '.join(SORTS)}.")
        for name, value in self._times().items():
            to_datetime(value, now=_ANY_TIME, name=name)
        if self.age is not None:
            age = to_timedelta(self.age, name="age")
            object.__setattr__(self, "age", self.age if isinstance(self.age, str) else age)

    @property
    def changed(self) -> dict[str, Any]:
        """Return the filters that differ from their defaults, as keyword arguments; a single name as plain text."""
        current = {field.name: getattr(self, field.name) for field in fields(self)}
        defaults = {field.name: field.default for field in fields(self)}
        return {name: _plain(value) for name, value in current.items() if value != defaults[name]}

    @property
    def narrowing(self) -> dict[str, Any]:
        """Return the filters that can hide rows: all except the order and the limit."""
        return {name: value for name, value in self.changed.items() if name not in {"sort", "limit"}}

    @property
    def needs_events(self) -> bool:
        """Return whether failures must be read from the journals' events, which requires a scan of all events."""
        return self.error_code is not None or bool(self.text)

    def without(self, *names: str) -> Filters:
        """Return the same filters with the named ones reset to their defaults."""
        defaults: dict[str, Any] = {field.name: field.default for field in fields(self) if field.name in names}
        return replace(self, **defaults)

    def conditions(self, now: datetime) -> Conditions:
        """Return the SQL conditions; ages are relative to ``now``.

        The condition on the raw status comes first, because the server applies it during the scan.
        """
        params: dict[str, Any] = {}
        inner = [self._raw_status(params), *self._equal(_INNER, params), *self._time_conditions(params, now)]
        return Conditions(tuple(inner), tuple(self._outer(params)), params)

    def _equal(self, conditions: Mapping[str, str], params: dict[str, Any]) -> Iterator[str]:
        for name, condition in conditions.items():
            value = getattr(self, name)
            if value not in (None, ()):
                params[name] = list(value) if isinstance(value, tuple) else value
                yield condition

    def _times(self) -> dict[str, TimeInput]:
        return {name: value for name in _TIMES if (value := getattr(self, name)) is not None}

    def _raw_status(self, params: dict[str, Any]) -> str:
        names = statuses_of(self.status)
        if set(PRESETS[ALL]) <= set(names):
            return "s.status IS NOT NULL"
        if set(names) == set(_IN_FLIGHT):
            return "s.status <> 'completed'"
        params["raw_status"] = list(dict.fromkeys(_RAW.get(name, name) for name in names))
        return "s.status IN :raw_status"

    def _time_conditions(self, params: dict[str, Any], now: datetime) -> list[str]:
        conditions = []
        for name, value in self._times().items():
            conditions.append(_TIMES[name])
            params[name] = to_datetime(value, now=now, name=name)
        if self.age is not None:
            conditions.append("s.created_at <= :created_before")
            params["created_before"] = to_datetime(to_timedelta(self.age, name="age"), now=now, name="age")
        return conditions

    def _outer(self, params: dict[str, Any]) -> list[str]:
        conditions = []
        if self.status not in {(), ("in-flight",), (ALL,)}:
            conditions.append(_status_condition(statuses_of(self.status), params))
        conditions += self._equal(_OUTER, params)
        if self.text:
            # Not LIKE: it would treat % and _ in the text as wildcards.
            is_plain = self.text == self.text.lower()
            names = [f"lower({name})" if is_plain else name for name in ("failure", "target")]
            conditions.append(f"({' OR '.join(f'strpos({name}, :text) > 0' for name in names)})")
            params["text"] = self.text
        return conditions


def statuses_of(status: Iterable[str]) -> tuple[str, ...]:
    """Return the statuses of these names and presets; no name means the statuses of "in-flight"."""
    names = tuple(status) or ("in-flight",)
    return tuple(dict.fromkeys(word for name in names for word in PRESETS.get(name, (name,))))


def chips_of(status: Iterable[str]) -> tuple[str, ...]:
    """Return the statuses to choose from, in their order; after "backing-off" its group "retrying", if it is chosen."""
    groups = [RETRYING] if RETRYING in status else []
    return tuple(each for name in STATUSES for each in (name, *(groups if name == "backing-off" else ())))


def _status_condition(names: tuple[str, ...], params: dict[str, Any]) -> str:
    plain = [name for name in names if name != RETRYING]
    if RETRYING not in names:
        params["status"] = plain
        return "status IN :status"
    params["status"] = list(dict.fromkeys([*plain, "backing-off"]))
    return "(status IN :status OR (status = 'running' AND retry_count > 1))"


def _check_status(status: object) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_as_list(status)))
    known = (*STATUSES, RETRYING, *PRESETS)
    for name in names:
        if name not in known:
            nearest = nearest_names(str(name).replace("_", "-"), known, 1)
            hint = f"; did you mean {nearest[0]!r}?" if nearest else f"; choose from {', '.join(known)}."
            raise ArgumentError(f"unknown status {name!r}{hint}")
    presets = [name for name in names if name in PRESETS]
    if presets and len(names) > 1:
        raise ArgumentError(f"status has {presets[0]!r} and other names: pass the preset alone, or only statuses.")
    return () if names == ("in-flight",) else names


def _check_services(service: object) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(_as_list(service)))
    wrong = [name for name in names if not isinstance(name, str)]
    if wrong:
        raise ArgumentError(f"service is {wrong[0]!r}: pass a name, or a list of names.")
    return names


def _as_list(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return (value,) if not isinstance(value, list | tuple | set | frozenset) else value


def _check_whole(name: str, value: object, *, least: int, most: int) -> None:
    if value is None and name != "limit":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArgumentError(f"{name} is {value!r}: pass a whole number from {least:,} to {most:,}.")


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else list(value)
    return value
