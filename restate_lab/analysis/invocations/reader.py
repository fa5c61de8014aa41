"""Read a list of invocations, the counts for its filters, and histograms of creation and end times.

The SQL consists of constant fragments. It is correct with and without vqueues, on servers and on evidence. The server
keeps the first table of a join in memory, so the small tables come first. With vqueues, a long back-off is visible only
in sys_vqueue_entry_status, and its reason only in the journal's events. The reason of a pause is also only there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.invocations.filters import ALL, TIMES, Conditions, Filters
from restate_lab.analysis.patterns import hide_refusals
from restate_lab.client.schema import check_rows, translate_errors
from restate_lab.client.sql.parts import complete_for
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.reads import Reads
from restate_lab.source import Source
from restate_lab.status import STATUS_SQL, STATUSES

FIRST = 300  # rows of a first page
_COUNT_WITHIN = 5.0  # seconds; the list works without a count
_PREFIX = r"^\[\d[^\]]*\] "  # of the failure of an invocation that is retried: "[500 Internal] "
_BINS = 720  # so that a short part of the window still has bars
# Servers return scheduled_start_at only if scheduled_at is also selected.
_COLUMNS = """
  id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status,
  created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
  substr(split_part(failure, chr(10), 1), 1, 500) AS failure, step, deployment_id, invoked_by_id, journal_size,
  in_vqueue"""
_WITH_WORDS = f"""
  SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty,
    {STATUS_SQL.replace(chr(10), chr(10) + "    ")} AS status,
    created_at, modified_at, scheduled_start_at, completed_at, retry_count, next_retry_at, error_code,
    failure, step, deployment_id, invoked_by_id, journal_size, in_vqueue"""
_JOINED = """
    SELECT s.id, s.target, s.target_service_name, s.target_handler_name, s.target_service_key, s.target_service_ty,
      CASE
        WHEN s.status = 'inboxed' THEN 'pending'
        WHEN s.status <> 'invoked' THEN s.status
        WHEN r.in_flight THEN 'running'
        WHEN r.retry_count > 0 OR b.id IS NOT NULL THEN 'backing-off'
        ELSE 'ready' END AS status,
      s.completion_result, s.completion_failure,
      s.created_at, s.modified_at, s.completed_at,
      CASE WHEN s.scheduled_at IS NOT NULL THEN s.scheduled_start_at END AS scheduled_start_at,
      CASE WHEN s.status = 'invoked' THEN greatest(r.retry_count, b.retry_attempts) END AS retry_count,
      CASE WHEN s.status = 'invoked' THEN coalesce(r.next_retry_at, b.next_at) END AS next_retry_at,
      CASE
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure_error_code{event_code} END
        AS error_code,
      CASE
        WHEN s.status = 'completed' THEN s.completion_failure
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure{event_message} END AS failure,
      CASE
        WHEN s.status = 'invoked' AND r.last_failure IS NOT NULL THEN r.last_failure_related_command_name{event_step}
        END AS step,
      coalesce(r.last_attempt_deployment_id, s.pinned_deployment_id) AS deployment_id,
      s.invoked_by_id, CAST(s.journal_size AS BIGINT) AS journal_size,
-- if: sys_invocation_status.vqueue_id
      s.vqueue_id IS NOT NULL AS in_vqueue
-- else
      false AS in_vqueue
-- end
    FROM {tables}
    WHERE {where}"""
# Other invocations have made progress since their last event, so it does not describe their current state.
_EVENT = """
        WHEN s.status = 'paused' OR b.id IS NOT NULL THEN e.{name}"""
_TABLES = """backing_off b
      RIGHT JOIN (sys_invocation_state r RIGHT JOIN sys_invocation_status s ON r.id = s.id) ON b.id = s.id"""
_ERRORS = """last_errors e
      RIGHT JOIN ({tables}) ON e.id = s.id"""
_EVENTS = """WITH errors AS (
  SELECT id, appended_at, after_journal_entry_index,
    coalesce(json_get_str(event_json, 'error_message'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'error_message')) AS message,
    coalesce(json_get_str(event_json, 'restate_doc_error_code'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'restate_doc_error_code')) AS code,
    coalesce(json_get_str(event_json, 'related_command_name'),
      json_get_str(json_get_json(event_json, 'last_failure'), 'related_command_name')) AS step
  FROM sys_journal_events
  WHERE event_type IN ('TransientError', 'Paused') AND id IN {ids}),
last_errors AS (
  SELECT id, last_value(message ORDER BY appended_at, after_journal_entry_index) AS message,
    last_value(code ORDER BY appended_at, after_journal_entry_index) AS code,
    last_value(step ORDER BY appended_at, after_journal_entry_index) AS step
  FROM errors
  WHERE message IS NOT NULL
  GROUP BY id)
"""
_LAST = (
    "SELECT id, code AS error_code, substr(split_part(message, chr(10), 1), 1, 500) AS failure, step FROM last_errors"
)
_PARTS = "-- with: backing_off\n"
_FAILING = "(SELECT id FROM sys_invocation_status WHERE status IN ('paused', 'invoked'))"
_BEGIN = f"SELECT{_COLUMNS}\nFROM ("
_TROUBLE = """CASE
    WHEN status IN ('paused', 'backing-off') OR (status = 'running' AND retry_count > 1) THEN 0
    WHEN status = 'pending' THEN 2
    WHEN status = 'suspended' THEN 3
    WHEN status = 'running' THEN 4
    WHEN status = 'scheduled' THEN 6
    WHEN status = 'failed' THEN 7
    WHEN completed_at IS NOT NULL THEN 8
    ELSE 5 END, retry_count DESC NULLS LAST, completed_at DESC NULLS LAST, created_at, id"""
_ORDERS = {"trouble": _TROUBLE, "newest": "created_at DESC, id", "oldest": "created_at, id"}
_FACETS = """SELECT target_service_name, status, status = 'running' AND retry_count > 1 AS is_retried,
  count(*) AS invocations
FROM ("""
_HISTOGRAM = """SELECT 'created' AS kind, date_bin(:bin, s.created_at) AS start, 'created' AS result,
  count(*) AS invocations
FROM sys_invocation_status s
WHERE s.created_at >= :start{conditions}
GROUP BY 1, 2, 3
UNION ALL
SELECT 'ended' AS kind, date_bin(:bin, s.completed_at) AS start,
  {status} AS result, count(*) AS invocations
FROM sys_invocation_status s
WHERE s.status = 'completed' AND s.completed_at >= :start{conditions}
GROUP BY 1, 2, 3"""
_HISTOGRAM_FILTERS = {
    "service": "s.target_service_name IN :service",
    "handler": "s.target_handler_name = :handler",
    "key": "s.target_service_key = :key",
}


@dataclass(frozen=True, slots=True)
class InvocationQuery:
    """A statement and the values of its parameters; ``lab.sql(query.sql, params=query.params)`` runs it."""

    sql: str
    params: Mapping[str, Any]

    @property
    def counting(self) -> InvocationQuery:
        """Return the statement that counts the rows of this one without its limit."""
        inner = self.sql.replace(_BEGIN, "SELECT count(*) AS invocations\nFROM (", 1).rpartition("\nORDER BY ")[0]
        return InvocationQuery(inner, {name: value for name, value in self.params.items() if name != "limit"})

    @property
    def for_ids(self) -> InvocationQuery:
        """Return the statement that reads only the ids: it scans only the columns of the filters and the order."""
        return InvocationQuery(self.sql.replace(_BEGIN, "SELECT id\nFROM (", 1), {**self.params, "limit": FIRST})


@dataclass(frozen=True, slots=True)
class Rows:
    """The result of a read: ``total`` is the number of matching rows in the source, None if they were not counted.

    ``note`` is shown above the list. ``is_first_page`` means that there are more rows; ``read_rows`` reads all of them.
    """

    frame: pd.DataFrame
    filters: Filters
    statement: InvocationQuery
    total: int | None
    note: str = ""
    is_first_page: bool = False


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many invocations were created and ended in each time span.

    ``counts`` has the columns ``kind`` ("created", "ended"), ``start`` (of the span, UTC), ``result`` ("created", or
    for ended ones "succeeded", "failed", "cancelled", "killed") and ``invocations``. Spans without invocations have no
    row. The window is from ``start`` to ``end``.
    """

    counts: pd.DataFrame
    start: datetime
    end: datetime
    span: timedelta


def statement_of(filters: Filters, *, now: datetime) -> InvocationQuery:
    """Return the statement that reads the invocations, in the order of ``filters.sort``, to be completed.

    A filter by text or error code joins the journals' events, which requires a scan of all events. Without such a
    filter, failures that are recorded only in events are null; ``read_rows`` adds them to the resulting rows.
    """
    conditions = filters.conditions(now)
    before, body = _body(conditions, events=filters.needs_events)
    where = "\nWHERE " + "\n  AND ".join(conditions.outer) if conditions.outer else ""
    sql = f"{before}{_BEGIN}{body}){where}\nORDER BY {_ORDERS[filters.sort]}\nLIMIT :limit"
    return InvocationQuery(sql, {**conditions.params, "limit": filters.limit})


def _body(conditions: Conditions, *, events: bool) -> tuple[str, str]:
    event = {f"event_{name}": _EVENT.format(name=name) if events else "" for name in ("code", "message", "step")}
    joined = _JOINED.format(
        tables=_ERRORS.format(tables=_TABLES) if events else _TABLES,
        where="\n      AND ".join(conditions.inner),
        **event,
    )
    return _PARTS + (_EVENTS.format(ids=_FAILING) if events else ""), f"{_WITH_WORDS}\n  FROM ({joined})"


@translate_errors
def read_first_rows(source: Source, filters: Filters) -> Rows:
    """Read the first 300 matching rows, or all rows if there are fewer.

    The ids are read first, and then the rows by id. On a large server this takes about half the time of one read with
    all columns.
    """
    if filters.limit <= FIRST or filters.id or filters.needs_events:
        return read_rows(source, filters)
    reads = Reads(source)
    statement = _statement_for(reads, filters)
    ids = list(reads.query_frame(statement.for_ids.sql, statement.for_ids.params)["id"])
    if not ids:
        return read_rows(reads, filters)
    rows = replace(read_rows(reads, replace(filters, id=tuple(ids))), filters=filters, statement=statement)
    if len(ids) < FIRST:
        return rows
    return replace(rows, total=None, note=f"{rows.note} Loading the other rows.".strip(), is_first_page=True)


def _statement_for(reads: Reads, filters: Filters) -> InvocationQuery:
    query = statement_of(filters, now=_now(reads, filters))
    return replace(query, sql=complete_for(query.sql, reads.has))


def _now(reads: Reads, filters: Filters) -> datetime:
    """Return the time from which the filters count; the clock of the source is read only if a filter needs it."""
    needs_clock = filters.age is not None or not TIMES.isdisjoint(filters.changed)
    return reads.now if needs_clock else datetime.now(UTC)


@translate_errors
def read_rows(source: Source, filters: Filters) -> Rows:
    """Read the matching rows; an invocation that changes between two statements is shown as the first one read it."""
    reads = Reads(source)
    statement = _statement_for(reads, filters)
    frame = reads.query_frame(statement.sql, statement.params)
    total = len(frame)
    counted, note = _count(reads, statement) if total >= filters.limit else (total, "")
    going = ~frame["status"].isin([word for word, status in STATUSES.items() if status.ended])
    frame.loc[going, "failure"] = frame.loc[going, "failure"].str.replace(_PREFIX, "", regex=True)
    frame, older = _newest_runs(frame)
    counted = None if counted is None else counted - (total - len(frame))
    note = " ".join(filter(None, (note, older, _add_reasons(reads, frame))))
    return Rows(hide_refusals(frame), filters, statement, counted, note)


@translate_errors
def read_targets(source: Source, ids: Sequence[str], *, timeout: float) -> dict[str, str]:
    """Return the target of each of these invocations that the source has, without progress output."""
    statement = "SELECT id, target FROM sys_invocation_status WHERE id IN :id LIMIT :limit"
    answer = source.sql(statement, id=list(ids), limit=len(ids), timeout=timeout, progress=False)
    return dict(zip(answer["id"], answer["target"], strict=True))


@translate_errors
def count_by_status(source: Source, filters: Filters) -> pd.DataFrame:
    """Count invocations by service and status; the filters on service, status, failures and attempts are ignored.

    This scans the status of every invocation.

    Returns:
        One row per ``target_service_name``, ``status`` and ``is_retried`` (running in an attempt after the first), with
        the number of ``invocations``.
    """
    reads = Reads(source)
    every = filters.without("service", "error_code", "retries", "text", "id", "limit", "sort")
    conditions = replace(every, status=(ALL,)).conditions(_now(reads, filters))
    parts, body = _body(conditions, events=False)
    return reads.query_frame(f"{parts}{_FACETS}{body})\nGROUP BY 1, 2, 3\nORDER BY 1, 2, 3", conditions.params)


@translate_errors
def read_histogram(source: Source, filters: Filters, *, window: timedelta) -> Histogram:
    """Count invocations created or ended in the last ``window``, for the filters' services, handler and key."""
    span = max(timedelta(seconds=1), timedelta(seconds=round(window.total_seconds() / _BINS)))
    reads = Reads(source)
    end = reads.now
    # The start of a span, as the server's date_bin computes it.
    spans = (end - window).timestamp() // span.total_seconds()
    start = datetime.fromtimestamp(int(spans) * span.total_seconds(), UTC)
    params = {name: value for name, value in filters.conditions(end).params.items() if name in _HISTOGRAM_FILTERS}
    conditions = "".join(f" AND {_HISTOGRAM_FILTERS[name]}" for name in params)
    statement = _HISTOGRAM.format(conditions=conditions, status=STATUS_SQL)
    params |= {"bin": span, "start": start}
    return Histogram(reads.query_frame(statement, params), start, end, span)


def _newest_runs(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the newest run of each id and a note about the older ones; some sources keep several runs of one id."""
    older = frame.sort_values("created_at", ascending=False, kind="stable")["id"].duplicated().reindex(frame.index)
    if not older.any():
        return frame, ""
    words = f"{int(older.sum()):,} older runs with the same id as a newer one are not shown."
    return frame[~older].reset_index(drop=True), words


def read_recorded_errors(reads: Reads, ids: Sequence[str]) -> pd.DataFrame:
    """Return the last errors of these invocations from the events of their journals, by point reads.

    One row per invocation with an error, with its id as the index: ``error_code, failure`` (the first line), ``step``.
    """
    return reads.query_frame(_EVENTS.format(ids=":ids") + _LAST, {"ids": list(ids)}).set_index("id")


def without_prefix(failure: str) -> str:
    """Return the failure of a retrying invocation without the server's prefix, such as "[500 Internal] "."""
    return re.sub(_PREFIX, "", failure)


def _count(reads: Reads, statement: InvocationQuery) -> tuple[int | None, str]:
    counting = statement.counting
    try:
        rows = reads.query_frame(counting.sql, counting.params, timeout=_COUNT_WITHIN)
    except TimedOut:
        limit, within = statement.params["limit"], format_duration(_COUNT_WITHIN)
        return None, f"Showing the first {limit:,} rows; the total could not be counted within {within}."
    check_rows(rows, counting.sql, reads)
    return int(rows["invocations"].iloc[0]), ""


def _add_reasons(reads: Reads, frame: pd.DataFrame) -> str:
    """Add the failures of paused invocations and of long back-offs, which only their journals' events have."""
    lacking = frame["failure"].isna() & frame["status"].isin(["paused", "backing-off"])
    if not lacking.any():
        return ""
    try:
        found = read_recorded_errors(reads, list(frame.loc[lacking, "id"]))
    except RestateLabError as error:
        return f"The failures of {plural(int(lacking.sum()), 'invocation')} could not be read: {error}"
    for name in ("failure", "error_code", "step"):
        frame.loc[lacking, name] = frame.loc[lacking, "id"].map(found[name]).astype(frame[name].dtype)
    return ""
