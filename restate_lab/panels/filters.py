"""What an InvocationsPanel shows: the filters, checked, and the one statement that they make.

The statement joins constant fragments; values enter by ``:name`` alone. The predicate on the raw status stands first:
it is the one that the server's scan takes in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.times import TimeInput, moment
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.panels.invocation_sql import count_sql, selection_sql
from restate_lab.status import STATUSES

__all__ = ["ALL", "MOST", "Filters", "Statement"]

ALL = "all"
MOST = 10_000  # rows; more is for SQL
_RAW = {
    "pending": "inboxed",
    **dict.fromkeys(("ready", "backing-off", "running"), "invoked"),
    **{word: "completed" for word, status in STATUSES.items() if status.ended},
}
_TEXTS = {
    "service": "s.target_service_name = :service",
    "handler": "s.target_handler_name = :handler",
    "key": "s.target_service_key = :key",
    "deployment": "coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) = :deployment",
}


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement and the values of its parameters; ``lab.sql(it.sql, params=it.params)`` runs it as it stands."""

    sql: str
    params: Mapping[str, Any]

    @property
    def counting(self) -> Statement:
        """Return the statement that counts what this one would find without its limit."""
        return Statement(count_sql(self.sql), {name: value for name, value in self.params.items() if name != "limit"})


@dataclass(frozen=True, slots=True)
class Filters:
    """What is shown; None is no filter.

    ``status``: words of STATUSES; none means what has not ended, and "all" all. ``service, handler, key``: as they
    stand in the target. ``deployment``: of the last attempt, or the one that it is bound to. ``since, until``: created
    then (an age, or a moment with its zone). ``age``: created at least so long ago. ``error_code``: such as "RT0007".
    ``retries``: the server's ``retry_count`` is at least this. ``text``: stands anywhere in the failure; without a
    capital in it, the case is ignored. ``id``: these alone. ``limit``: at most so many rows, the newest.

    Raises:
        ArgumentError: a value does not fit.
    """

    status: tuple[str, ...] = ()
    service: str | None = None
    handler: str | None = None
    key: str | None = None
    deployment: str | None = None
    since: TimeInput | None = None
    until: TimeInput | None = None
    age: DurationInput | None = None
    error_code: str | None = None
    retries: int | None = None
    text: str | None = None
    id: tuple[str, ...] = ()
    limit: int = MOST

    def __post_init__(self) -> None:
        object.__setattr__(self, "status", _words(self.status))
        object.__setattr__(self, "id", tuple(check_invocation_id(each) for each in _listed(self.id)))
        for name in (*_TEXTS, "error_code", "text"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise ArgumentError(f"{name} is {value!r}: give a text.")
        _check_whole("retries", self.retries, least=0, most=2**63 - 1)
        _check_whole("limit", self.limit, least=1, most=MOST)
        for name, value in self._times().items():
            moment(value, now=_ANY_TIME, name=name)
        if self.age is not None:
            age = to_timedelta(self.age, name="age")
            object.__setattr__(self, "age", self.age if isinstance(self.age, str) else age)

    @property
    def given(self) -> dict[str, Any]:
        """Return the filters that differ from those of an untouched panel, as keywords of one."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        untouched = {field.name: field.default for field in fields(self)}
        return {name: _plain(value) for name, value in found.items() if value != untouched[name]}

    @property
    def needs_now(self) -> bool:
        """Tell whether the statement depends on the source's clock."""
        return self.age is not None or bool(self._times())

    def statement(self, *, now: datetime, has_vqueues: bool) -> Statement:
        """Return what finds the invocations, newest first; ``now`` is the moment that ages count from."""
        params: dict[str, Any] = {}
        inner = [self._raw_status(params)]
        for name, condition in _TEXTS.items():
            if getattr(self, name) is not None:
                inner.append(condition)
                params[name] = getattr(self, name)
        if self.id:
            inner.append("s.id IN :id")
            params["id"] = list(self.id)
        inner += self._created(params, now)
        outer = self._outer(params)
        events = self.error_code is not None or bool(self.text)
        sql = selection_sql(inner, outer, has_vqueues=has_vqueues, events=events)
        return Statement(sql, {**params, "limit": self.limit})

    def _times(self) -> dict[str, TimeInput]:
        return {name: value for name in ("since", "until") if (value := getattr(self, name)) is not None}

    def _raw_status(self, params: dict[str, Any]) -> str:
        if self.status == (ALL,):
            return "s.status IS NOT NULL"
        if not self.status:
            return "s.status <> 'completed'"
        params["raw_status"] = list(dict.fromkeys(_RAW.get(word, word) for word in self.status))
        return "s.status IN :raw_status"

    def _created(self, params: dict[str, Any], now: datetime) -> list[str]:
        conditions = []
        if self.since is not None:
            conditions.append("s.created_at >= :since")
            params["since"] = moment(self.since, now=now, name="since")
        if self.until is not None:
            conditions.append("s.created_at < :until")
            params["until"] = moment(self.until, now=now, name="until")
        if self.age is not None:
            conditions.append("s.created_at <= :created_before")
            params["created_before"] = moment(to_timedelta(self.age, name="age"), now=now, name="age")
        return conditions

    def _outer(self, params: dict[str, Any]) -> list[str]:
        conditions = []
        if self.status and self.status != (ALL,):
            conditions.append("status IN :status")
            params["status"] = list(self.status)
        if self.retries is not None:
            conditions.append("retry_count >= :retries")
            params["retries"] = self.retries
        if self.error_code is not None:
            conditions.append("error_code = :error_code")
            params["error_code"] = self.error_code
        if self.text:
            # Not LIKE: in it, % and _ of a text would stand for others.
            is_plain = self.text == self.text.lower()
            conditions.append(f"strpos({'lower(failure)' if is_plain else 'failure'}, :text) > 0")
            params["text"] = self.text
        return conditions


_ANY_TIME = datetime.fromisoformat("2026-01-01T00:00:00Z")


def _words(status: object) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(_listed(status)))
    strange = [word for word in words if word not in STATUSES and word != ALL]
    if strange:
        raise ArgumentError(f"status {strange[0]!r} is none: give some of {', '.join(STATUSES)}, or {ALL!r}.")
    if ALL in words and len(words) > 1:
        raise ArgumentError(f"status has {ALL!r} and others: give the one or the others.")
    return words


def _listed(value: Any) -> Iterable[Any]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _check_whole(name: str, value: object, *, least: int, most: int) -> None:
    if value is None and name != "limit":
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ArgumentError(f"{name} is {value!r}: give a whole number from {least:,} to {most:,}.")


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
