"""What an InvocationsPanel shows: the filters, checked, and the one statement that they make.

The statement joins constant fragments; values enter by ``:name`` alone. The predicate on the raw status stands first:
it is the one that the server's scan takes in.

The SQL is made of constant fragments, and is right with vqueues and without, on servers and on evidence. What is joined
first is what the server holds in memory, so the small tables stand first. With vqueues a long back-off shows in
sys_vqueue_entry_status alone, and its reason in the journal's events, as does that of a paused one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.status import STATUS_SQL, STATUSES

__all__ = ["ALL", "MOST", "Filters", "InvocationQuery", "errors_sql"]

# Servers give scheduled_start_at only where scheduled_at is read, too.
# All that is filtered stands here, too: servers of 1.6 compare another column otherwise.
_SHOWN = """
  id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status,
  created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
  substr(split_part(failure, chr(10), 1), 1, 500) AS failure, deployment_id, invoked_by_id, journal_size"""
_WITH_WORDS = f"""
  SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty,
    {STATUS_SQL.replace(chr(10), chr(10) + "    ")} AS status,
    created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
    failure, deployment_id, invoked_by_id, journal_size"""
_JOINED = """
    SELECT s.id, s.target, s.target_service_name, s.target_handler_name, s.target_service_key, s.target_service_ty,
      CASE
        WHEN s.status = 'inboxed' THEN 'pending'
        WHEN s.status <> 'invoked' THEN s.status
        WHEN r.in_flight THEN 'running'
        WHEN r.retry_count > 0{or_queued} THEN 'backing-off'
        ELSE 'ready' END AS status,
      s.completion_result, s.completion_failure,
      s.created_at, s.modified_at, s.completed_at,
      CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END AS scheduled_start_at,
      CASE WHEN s.status = 'invoked' THEN {retries} END AS retry_count,
      CASE WHEN s.status = 'invoked' THEN {next_retry} END AS next_retry_at,
      CASE
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure_error_code{event_code} END
        AS error_code,
      CASE
        WHEN s.status = 'completed' THEN s.completion_failure
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure{event_message} END AS failure,
      coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) AS deployment_id,
      s.invoked_by_id, CAST(s.journal_size AS BIGINT) AS journal_size
    FROM {tables}
    WHERE {where}"""
# Others have gone on since their last event, and it tells nothing about them any more.
_EVENT = """
        WHEN s.status = 'paused'{or_queued} THEN e.{name}"""
_STATE = "sys_invocation_state r RIGHT JOIN sys_invocation_status s ON r.id = s.id"
_QUEUED = """(
        SELECT entry_id, next_at, CAST(retry_attempts AS BIGINT UNSIGNED) AS retry_attempts
        FROM sys_vqueue_entry_status WHERE status = 'backing-off') q
      RIGHT JOIN ({tables}) ON q.entry_id = s.id"""
_ERRORS = """last_errors e
      RIGHT JOIN ({tables}) ON e.id = s.id"""
_EVENTS = """WITH errors AS (
  SELECT id, appended_at, after_journal_entry_index,
    coalesce(json_get_str(event_json, 'error_message'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'error_message')) AS message,
    coalesce(json_get_str(event_json, 'restate_doc_error_code'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'restate_doc_error_code')) AS code
  FROM sys_journal_events
  WHERE event_type IN ('TransientError', 'Paused') AND id IN {ids}),
last_errors AS (
  SELECT id, last_value(message ORDER BY appended_at, after_journal_entry_index) AS message,
    last_value(code ORDER BY appended_at, after_journal_entry_index) AS code
  FROM errors
  WHERE message IS NOT NULL
  GROUP BY id)
"""
_LAST = "SELECT id, code AS error_code, substr(split_part(message, chr(10), 1), 1, 500) AS failure FROM last_errors"
_FAILING = "(SELECT id FROM sys_invocation_status WHERE status IN ('paused', 'invoked'))"
_BEGIN, _END = f"SELECT{_SHOWN}\nFROM (", "\nORDER BY created_at DESC, id\nLIMIT :limit"
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


def selection_sql(inner: Sequence[str], outer: Sequence[str], *, has_vqueues: bool, events: bool) -> str:
    """Return the statement that finds invocations with all that a list shows of them, newest first.

    ``inner`` are conditions over ``s`` (sys_invocation_status) and ``r`` (sys_invocation_state), ``outer`` over the
    columns that come out. ``events`` takes the failures in that only the journal's events have, which cost a scan of
    these; without it they are null, and ``errors_sql`` gives them for the rows that were found.
    """
    or_queued = " OR q.entry_id IS NOT NULL" if has_vqueues else ""
    joined = _JOINED.format(
        or_queued=or_queued,
        retries="greatest(r.retry_count, q.retry_attempts)" if has_vqueues else "r.retry_count",
        next_retry="coalesce(r.next_retry_at, q.next_at)" if has_vqueues else "r.next_retry_at",
        event_code=_EVENT.format(or_queued=or_queued, name="code") if events else "",
        event_message=_EVENT.format(or_queued=or_queued, name="message") if events else "",
        tables=_tables(has_vqueues=has_vqueues, events=events),
        where="\n      AND ".join(inner),
    )
    where = "\nWHERE " + "\n  AND ".join(outer) if outer else ""
    before = _EVENTS.format(ids=_FAILING) if events else ""
    return f"{before}{_BEGIN}{_WITH_WORDS}\n  FROM ({joined})){where}{_END}"


def count_sql(selection: str) -> str:
    """Return the statement that counts what a selection would find without its limit."""
    return selection.replace(_BEGIN, "SELECT count(*) AS n\nFROM (", 1).removesuffix(_END)


def errors_sql() -> str:
    """Return the statement that gives the last error of each of ``:ids`` that its journal's events have: point reads.

    Columns: ``id, error_code, failure`` (the first line).
    """
    return _EVENTS.format(ids=":ids") + _LAST


def _tables(*, has_vqueues: bool, events: bool) -> str:
    tables = _QUEUED.format(tables=_STATE) if has_vqueues else _STATE
    return _ERRORS.format(tables=tables) if events else tables


@dataclass(frozen=True, slots=True)
class InvocationQuery:
    """A statement and the values of its parameters; ``lab.sql(it.sql, params=it.params)`` runs it as it stands."""

    sql: str
    params: Mapping[str, Any]

    @property
    def counting(self) -> InvocationQuery:
        """Return the statement that counts what this one would find without its limit."""
        return InvocationQuery(
            count_sql(self.sql), {name: value for name, value in self.params.items() if name != "limit"}
        )


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
            to_datetime(value, now=_ANY_TIME, name=name)
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

    def statement(self, *, now: datetime, has_vqueues: bool) -> InvocationQuery:
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
        return InvocationQuery(sql, {**params, "limit": self.limit})

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
            params["since"] = to_datetime(self.since, now=now, name="since")
        if self.until is not None:
            conditions.append("s.created_at < :until")
            params["until"] = to_datetime(self.until, now=now, name="until")
        if self.age is not None:
            conditions.append("s.created_at <= :created_before")
            params["created_before"] = to_datetime(to_timedelta(self.age, name="age"), now=now, name="age")
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
