"""Select invocations for a freeze: the matches of its arguments, their callers and callees.

Upward, the selection follows callers to the root. Downward, it follows callees, attached invocations, and the holders
of keys that a call waits for, to the end. Other callees of a caller are not selected. The members of a story are all
that belongs together, so only the holders of their keys are added, without which a wait has no explanation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

import pandas as pd

from restate_lab.analysis.ids import NEW_RUN, check_invocation_id, creation_times_by_id, is_other_run
from restate_lab.analysis.story.result import Story
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.reads import Reads, Row

Finder: TypeAlias = Callable[[Sequence[str]], set[str]]
"""It returns the ids of the invocations that have a relation to these."""
MAX_INVOCATIONS = 100_000
"""The maximum number of invocations of one selection; to freeze more, freeze the whole cluster."""

_CHUNK_BYTES = 400_000  # of the values of one IN; a statement can have 2 MB
_FILTERS = {
    "ids": "id IN :ids",
    "service": "target_service_name IN :service",
    "handler": "target_handler_name IN :handler",
    "since": "(completed_at IS NULL OR completed_at >= :since)",
    "until": "created_at <= :until",
}
_MATCHES = "SELECT id{run} FROM sys_invocation_status WHERE {filters} LIMIT :limit"
_CALLERS = (
    "SELECT DISTINCT invoked_by_id AS id FROM sys_invocation_status WHERE id IN :ids AND invoked_by_id IS NOT NULL"
)
_CALLED = "SELECT id FROM sys_invocation_status WHERE invoked_by_id IN :ids"
_CALLEES = """
SELECT DISTINCT coalesce(
  json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'Call'), 'invocation_id'),
  json_get_str(json_get_json(json_get_json(entry_lite_json, 'Command'), 'OneWayCall'), 'invocation_id'),
  json_get_str(json_get_json(json_get_json(json_get_json(entry_lite_json, 'Command'), 'AttachInvocation'), 'target'),
    'InvocationId')) AS id
FROM sys_journal WHERE id IN :ids
  AND entry_type IN ('Command: Call', 'Command: OneWayCall', 'Command: AttachInvocation')"""
_HOLDERS = """
SELECT DISTINCT h.invocation_id AS id FROM sys_keyed_service_status h
JOIN sys_invocation_status s ON s.target_service_name = h.service_name AND s.target_service_key = h.service_key
WHERE s.id IN :ids AND s.status = 'inboxed' AND h.invocation_id IS NOT NULL"""
_LOCKERS = """
SELECT DISTINCT l.acquired_by AS id FROM sys_locks l
JOIN sys_invocation_status s ON s.target_service_name || '/' || s.target_service_key = l.lock_name
  AND s.scope IS NOT DISTINCT FROM l.scope
WHERE s.id IN :ids AND s.status = 'inboxed' AND l.acquired_by IS NOT NULL"""
_KEYS = "SELECT DISTINCT target_service_name, target_service_key{queue} FROM sys_invocation_status WHERE id IN :ids"


@dataclass(frozen=True, slots=True)
class _InvocationFilter:
    """The parsed arguments of a freeze that select invocations; all None for the whole cluster.

    ``created`` has id → creation times of the requested runs, for ids from a frame with ``created_at``. ``is_story``:
    the ids are all members of a story, so their callers and callees are among them.
    """

    ids: tuple[str, ...] | None = None
    service: tuple[str, ...] | None = None
    handler: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    created: Mapping[str, frozenset[datetime]] = field(default_factory=dict)
    is_story: bool = False

    @property
    def arguments(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in _FILTERS}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class InvocationSelection:
    """The selected invocations of a freeze, with their keys and queues.

    ``arguments`` are those of the freeze as JSON, and ``matches`` is the number of invocations that match them. ``ids``
    also has their callers and callees. ``notes`` are sentences about missing ids and callers or callees that were not
    followed.
    """

    arguments: Mapping[str, Any]
    matches: int
    ids: tuple[str, ...]
    keys: frozenset[tuple[str, str]]
    queues: tuple[str, ...]
    notes: tuple[str, ...]


def parse_filter(
    *,
    ids: Any = None,
    service: str | Iterable[str] | None = None,
    handler: str | Iterable[str] | None = None,
    since: TimeInput | None = None,
    until: TimeInput | None = None,
    now: datetime,
) -> _InvocationFilter:
    """Parse the arguments of a freeze to a filter.

    Raises:
        ArgumentError: an argument is malformed or empty.
    """
    is_story = isinstance(ids, Story)
    ids = ids.members if isinstance(ids, Story) else ids
    has_times = isinstance(ids, pd.DataFrame) and {"id", "created_at"} <= set(ids.columns)
    parsed = _InvocationFilter(
        None if ids is None else _parse_ids(ids),
        _parse_names(service, "service"),
        _parse_names(handler, "handler"),
        None if since is None else to_datetime(since, now=now, name="since"),
        None if until is None else to_datetime(until, now=now, name="until"),
        creation_times_by_id(ids["id"], ids["created_at"], name="ids") if has_times else {},
        is_story,
    )
    if parsed.since is not None and parsed.until is not None and parsed.since > parsed.until:
        raise ArgumentError(f"since ({parsed.since.isoformat()}) is later than until ({parsed.until.isoformat()}).")
    return parsed


def select_invocations(
    reads: Reads, wanted: _InvocationFilter, columns: Mapping[str, Sequence[str]]
) -> InvocationSelection | None:
    """Find the invocations that match a filter, with their callers and callees; None for the whole cluster.

    ``columns`` are those of the source's tables.

    Raises:
        NotFound: no invocation matches.
        ArgumentError: more than ``MAX_INVOCATIONS`` match.
    """
    if not wanted.arguments:
        return None
    matches, other_runs = _matches(reads, wanted)
    notes = list(_missing_notes(wanted, matches, other_runs))
    ids = tuple(sorted(_related(reads, wanted, matches, columns, notes)))
    has_queues = "vqueue_id" in columns.get("sys_invocation_status", ())
    rows = list(_rows(reads, _KEYS.format(queue=", vqueue_id" if has_queues else ""), ids))
    return InvocationSelection(
        arguments=_as_json(wanted),
        matches=len(matches),
        ids=ids,
        keys=frozenset(
            (row["target_service_name"], row["target_service_key"])
            for row in rows
            if row["target_service_key"] is not None
        ),
        queues=tuple(sorted({row["vqueue_id"] for row in rows if row["vqueue_id"]})) if has_queues else (),
        notes=tuple(notes),
    )


def _related(
    reads: Reads,
    wanted: _InvocationFilter,
    matches: set[str],
    columns: Mapping[str, Sequence[str]],
    notes: list[str],
) -> set[str]:
    """Return the matches with their callers, callees, and holders of keys; for a story only with the holders."""
    holders = {"sys_locks": _LOCKERS, "sys_keyed_service_status": _HOLDERS}
    down: list[Finder] = [partial(_ids_of, reads, text) for table, text in holders.items() if table in columns]
    if wanted.is_story:
        return matches.union(*(find(sorted(matches)) for find in down))
    down += [partial(_ids_of, reads, text) for text in (_CALLED, *([_CALLEES] if "sys_journal" in columns else []))]
    up = _follow([partial(_ids_of, reads, _CALLERS)], matches, notes, "callers")
    return up | _follow(down, matches, notes, "callees")


def _ids_of(reads: Reads, statement: str, ids: Iterable[str]) -> set[str]:
    return {row["id"] for row in _rows(reads, statement, ids)}


def statement_chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """Yield the values in lists that fit in one statement."""
    chunk: list[str] = []
    size = 0
    for value in values:
        chunk.append(value)
        size += 3 + len(value.encode())
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _matches(reads: Reads, wanted: _InvocationFilter) -> tuple[set[str], list[str]]:
    matches: set[str] = set()
    seen: set[str] = set()
    filters = " AND ".join(_FILTERS[name] for name in wanted.arguments)
    statement = _MATCHES.format(run=", created_at" if wanted.created else "", filters=filters)
    for ids in statement_chunks(wanted.ids) if wanted.ids is not None else [None]:
        values = wanted.arguments | ({"ids": ids} if ids is not None else {}) | {"limit": MAX_INVOCATIONS + 1}
        rows = reads.query(statement, values, progress=None).to_pylist()
        seen.update(row["id"] for row in rows)
        matches.update(row["id"] for row in rows if not is_other_run(row.get("created_at"), wanted.created, row["id"]))
    if not matches:
        unknown = unknown_names(reads, service=wanted.service, handler=wanted.handler)
        raise NotFound(
            " ".join([*(each.message for each in unknown), "No invocation matches:"])
            + f" {_describe(wanted)}, on {reads.name}. Nothing was frozen.",
            status=404,
        )
    if len(matches) > MAX_INVOCATIONS:
        raise ArgumentError(
            f"more than {MAX_INVOCATIONS:,} invocations match: {_describe(wanted)}. Select fewer invocations, or "
            f"freeze the whole cluster. Nothing was frozen."
        )
    return matches, sorted(seen - matches)


def _missing_notes(wanted: _InvocationFilter, matches: set[str], other_runs: list[str]) -> Iterator[str]:
    if wanted.ids is None:
        return
    if other_runs:
        yield f"{len(other_runs):,} of {len(wanted.ids):,} ids now have {NEW_RUN}: {', '.join(other_runs[:3])}"
    missing = sorted(set(wanted.ids) - matches - set(other_runs))
    if missing and len(wanted.arguments) == 1:
        yield f"{len(missing)} of {len(wanted.ids)} ids do not exist, or no longer exist: {', '.join(missing[:3])}"


def _follow(finders: Sequence[Finder], start: set[str], notes: list[str], what: str) -> set[str]:
    """Return these invocations and all that the finders find from them, level by level."""
    seen, frontier = set(start), sorted(start)
    while frontier:
        ids = set[str]().union(*(find(frontier) for find in finders))
        frontier = sorted(ids - seen - {None})
        if len(seen) + len(frontier) > MAX_INVOCATIONS:
            notes.append(f"{what} were followed only up to {MAX_INVOCATIONS:,} invocations; there are more")
            frontier = frontier[: MAX_INVOCATIONS - len(seen)]
            return seen | set(frontier)
        seen.update(frontier)
    return seen


def _rows(reads: Reads, statement: str, ids: Iterable[str]) -> Iterator[Row]:
    for chunk in statement_chunks(ids):
        yield from reads.query(statement, {"ids": chunk}, progress=None).to_pylist()


def _parse_ids(ids: Any) -> tuple[str, ...]:
    if isinstance(ids, pd.DataFrame):
        if "id" not in ids.columns:
            raise ArgumentError(f"ids is a frame without a column id; it has {', '.join(map(str, ids.columns))}.")
        ids = ids["id"]
    values = [ids] if isinstance(ids, str) else list(ids)
    if not values:
        raise ArgumentError("ids is empty: pass at least one invocation id.")
    return tuple(dict.fromkeys(check_invocation_id(value, name="ids") for value in values))


def _parse_names(value: str | Iterable[str] | None, argument: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise ArgumentError(f"{argument} is {value!r}: pass a name, or a list of names.")
    return names


def _as_json(wanted: _InvocationFilter) -> dict[str, Any]:
    """Return the arguments as JSON; ids become their number, because the evidence contains the ids."""
    converters: dict[str, Callable[[Any], Any]] = {"ids": len, "service": list, "handler": list}
    return {name: converters.get(name, datetime.isoformat)(value) for name, value in wanted.arguments.items()}


def _describe(wanted: _InvocationFilter) -> str:
    arguments = _as_json(wanted).items()
    return ", ".join(f"{name} {value if name != 'ids' else f'one of {value}'}" for name, value in arguments)
