"""Which invocations a freeze is about: those that were meant, who called them, and what they wait for.

Upward it follows callers, and theirs. Downward it follows callees, what is attached to, and who holds the key of a
call that waits in a queue, and theirs in turn. It does not come down again from a caller: what else that one called
is another story.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab.analysis.ids import NEW_RUN, check_invocation_id, created_by_id, is_other_run
from restate_lab.analysis.times import TimeInput, moment
from restate_lab.client.schema import checked
from restate_lab.errors import ArgumentError, EvidenceWarning, NotFound
from restate_lab.source import Source

__all__ = ["MOST", "Meant", "Scope", "chunks", "meant", "scope_of"]

MOST = 100_000
"""Invocations that a scoped freeze takes; more are a whole freeze's business."""

_CHUNK_BYTES = 400_000  # of the values of one IN; a statement may have 2 MB
_FILTERS = {
    "ids": "id IN :ids",
    "service": "target_service_name IN :service",
    "handler": "target_handler_name IN :handler",
    "since": "(completed_at IS NULL OR completed_at >= :since)",
    "until": "created_at <= :until",
}
_MEANT = "SELECT id{run} FROM sys_invocation_status WHERE {filters} LIMIT :limit"
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
SELECT DISTINCT k.invocation_id AS id FROM sys_keyed_service_status k
JOIN sys_invocation_status s ON s.target_service_name = k.service_name AND s.target_service_key = k.service_key
WHERE s.id IN :ids AND s.status = 'inboxed' AND k.invocation_id IS NOT NULL"""
_LOCKERS = """
SELECT DISTINCT l.acquired_by AS id FROM sys_locks l
JOIN sys_invocation_status s ON s.target_service_name || '/' || s.target_service_key = l.lock_name
  AND s.scope IS NOT DISTINCT FROM l.scope
WHERE s.id IN :ids AND s.status = 'inboxed' AND l.acquired_by IS NOT NULL"""
_KEYS = "SELECT DISTINCT target_service_name, target_service_key{queue} FROM sys_invocation_status WHERE id IN :ids"


@dataclass(frozen=True, slots=True)
class Meant:
    """What a freeze was asked to be about, parsed; all None for the whole cluster.

    ``created`` has the creation times of the runs that are meant, for ids where that was given.
    """

    ids: tuple[str, ...] | None = None
    service: tuple[str, ...] | None = None
    handler: tuple[str, ...] | None = None
    since: datetime | None = None
    until: datetime | None = None
    created: Mapping[str, frozenset[datetime]] = field(default_factory=dict)

    @property
    def given(self) -> dict[str, Any]:
        """Return what was given, by the name of its argument."""
        pairs = {name: getattr(self, name) for name in _FILTERS}
        return {name: value for name, value in pairs.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Scope:
    """The invocations of a scoped freeze, and the keys and queues of theirs; ``notes`` say what was not followed."""

    asked: Mapping[str, Any]
    named: int
    ids: tuple[str, ...]
    keys: frozenset[tuple[str, str]]
    queues: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def locks(self) -> list[str]:
        """Return the names of the keys' locks."""
        return sorted(f"{service}/{key}" for service, key in self.keys)


def meant(
    *,
    ids: Any = None,
    service: str | Iterable[str] | None = None,
    handler: str | Iterable[str] | None = None,
    since: TimeInput | None = None,
    until: TimeInput | None = None,
    now: datetime,
) -> Meant:
    """Return what these arguments of a freeze mean.

    Raises:
        ArgumentError: one of them is malformed or empty.
    """
    found = Meant(
        None if ids is None else _ids(ids),
        _texts(service, "service"),
        _texts(handler, "handler"),
        None if since is None else moment(since, now=now, name="since"),
        None if until is None else moment(until, now=now, name="until"),
        _created(ids),
    )
    if found.since is not None and found.until is not None and found.since > found.until:
        raise ArgumentError(f"since ({found.since.isoformat()}) is later than until ({found.until.isoformat()}).")
    return found


def scope_of(source: Source, asked: Meant, columns: Mapping[str, Sequence[str]]) -> Scope:
    """Find the invocations that are meant, and follow them up and down; ``columns`` are those of the source's tables.

    Raises:
        NotFound: there is no such invocation.
        ArgumentError: there are more than ``MOST``.
    """
    named, others = _named(source, asked)
    notes: list[str] = []
    if others:
        notes.append(f"{len(others):,} of {len(asked.ids or ()):,} ids have {NEW_RUN} by now: {', '.join(others[:3])}")
    if asked.ids is not None and (missing := sorted(set(asked.ids) - named - set(others))) and len(asked.given) == 1:
        notes.append(f"{len(missing)} of {len(asked.ids)} ids are not there (any more): {', '.join(missing[:3])}")
    down = [_CALLED, *([_CALLEES] if "sys_journal" in columns else [])]
    down += [
        text for text, table in ((_HOLDERS, "sys_keyed_service_status"), (_LOCKERS, "sys_locks")) if table in columns
    ]
    up = _followed(source, named, [_CALLERS], notes, "callers")
    ids = tuple(sorted(up | _followed(source, named, down, notes, "callees")))
    for note in notes:
        warnings.warn(note, EvidenceWarning, stacklevel=4)
    has_queues = "vqueue_id" in columns.get("sys_invocation_status", ())
    rows = list(_rows(source, _KEYS.format(queue=", vqueue_id" if has_queues else ""), ids))
    return Scope(
        asked=_shown(asked),
        named=len(named),
        ids=ids,
        keys=frozenset(
            (row["target_service_name"], row["target_service_key"])
            for row in rows
            if row["target_service_key"] is not None
        ),
        queues=tuple(sorted({row["vqueue_id"] for row in rows if row["vqueue_id"]})) if has_queues else (),
        notes=tuple(notes),
    )


def chunks(values: Iterable[str]) -> Iterator[list[str]]:
    """Give the values in lists that fit into one statement."""
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


def _named(source: Source, asked: Meant) -> tuple[set[str], list[str]]:
    """Return the ids that are meant, and those of which only another run than the one that is meant exists."""
    found: set[str] = set()
    filters = " AND ".join(_FILTERS[name] for name in asked.given)
    statement = _MEANT.format(run=", created_at" if asked.created else "", filters=filters)
    seen: set[str] = set()
    for ids in chunks(asked.ids) if asked.ids is not None else [None]:
        values = {**asked.given, **({"ids": ids} if ids is not None else {}), "limit": MOST + 1}
        rows = checked(source.arrow(statement, params=values), statement, source).to_pylist()
        seen.update(row["id"] for row in rows)
        found.update(row["id"] for row in rows if not is_other_run(row.get("created_at"), asked.created, row["id"]))
    if not found:
        raise NotFound(
            f"{source.name} has no invocation of which this is true: {_words(asked)}. Nothing was frozen.", status=404
        )
    if len(found) > MOST:
        raise ArgumentError(
            f"there are more than {MOST:,} invocations of which this is true: {_words(asked)}. Narrow it, or freeze "
            f"the whole cluster. Nothing was frozen."
        )
    return found, sorted(seen - found)


def _followed(source: Source, start: set[str], ways: Sequence[str], notes: list[str], what: str) -> set[str]:
    """Return the invocations that can be reached from these, and themselves."""
    seen, frontier = set(start), sorted(start)
    while frontier:
        found = {row["id"] for way in ways for row in _rows(source, way, frontier)} - seen - {None}
        frontier = sorted(found)
        if len(seen) + len(frontier) > MOST:
            notes.append(f"{what} were followed up to {MOST:,} invocations; there are more")
            frontier = frontier[: MOST - len(seen)]
            return seen | set(frontier)
        seen.update(frontier)
    return seen


def _rows(source: Source, statement: str, ids: Iterable[str]) -> Iterator[dict[str, Any]]:
    for chunk in chunks(ids):
        yield from checked(source.arrow(statement, params={"ids": chunk}), statement, source).to_pylist()


def _created(given: Any) -> dict[str, frozenset[datetime]]:
    """Return which runs a frame means by its created_at."""
    if not isinstance(given, pd.DataFrame) or "created_at" not in given.columns:
        return {}
    return created_by_id(given["id"], given["created_at"], name="ids")


def _ids(given: Any) -> tuple[str, ...]:
    if isinstance(given, pd.DataFrame):
        if "id" not in given.columns:
            raise ArgumentError(f"ids is a frame without a column id; it has {', '.join(map(str, given.columns))}.")
        given = given["id"]
    ids = [given] if isinstance(given, str) else list(given)
    if not ids:
        raise ArgumentError("ids is empty: there is nothing to freeze.")
    return tuple(dict.fromkeys(check_invocation_id(each, name="ids") for each in ids))


def _texts(given: str | Iterable[str] | None, name: str) -> tuple[str, ...] | None:
    if given is None:
        return None
    texts = (given,) if isinstance(given, str) else tuple(given)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise ArgumentError(f"{name} is {given!r}: give a name, or a list of names.")
    return texts


def _shown(asked: Meant) -> dict[str, Any]:
    """Return what was asked as JSON has it; ids by their number, for they stand in the evidence itself."""
    turn: dict[str, Callable[[Any], Any]] = {"ids": len, "service": list, "handler": list}
    return {name: turn.get(name, datetime.isoformat)(value) for name, value in asked.given.items()}


def _words(asked: Meant) -> str:
    shown = _shown(asked)
    return ", ".join(f"{name} {value if name != 'ids' else f'one of {value}'}" for name, value in shown.items())
