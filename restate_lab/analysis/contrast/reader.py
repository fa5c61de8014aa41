"""Read what is compared: rows of both sides, counts of all rows, the steps that were taken, and inputs.

A sample is exact and repeatable: the first rows in the order of ``md5(id)``, on a large server of those in a share of
the partition keys. The server accepts ``TABLESAMPLE`` and ignores it.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import numpy as np

from restate_lab.analysis.contrast.attributes import ATTRIBUTES, COLUMNS, AttributeSource
from restate_lab.analysis.contrast.inputs import MOST_BYTES, TOTAL_BYTES, Inputs, input_of
from restate_lab.analysis.contrast.model import MISSING, Counted, Where
from restate_lab.analysis.journal.encoding import content_column
from restate_lab.analysis.journal.reader import CHUNK, input_statement, payload_size
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.frames import to_rows
from restate_lab.reads import Reads, Row
from restate_lab.source import decoding_of
from restate_lab.status import STOPPED_SQL

Sample = tuple[list[Row], int | None]
"""The rows of a sample, and the number of all if it is known."""
_ENTRIES_FOR_AN_ID = 100  # journal entries that a server scans in the time of one lookup by id (1.7.12)
_MOST_SCANNED = 10  # inputs that a scan may send for each wanted one
_MOST_GROUPS, _MOST_PREFIXES = 10_000, 2_000
_MANY = 200_000  # invocations; with more, a server sorts ids and looks their rows up faster than it sorts rows
_SHARE = 3  # times as many invocations are expected in a share of the partition keys as are chosen there
_KEYS = 1 << 64  # partition keys
_NOT_KEPT = "their journals are not in the source"
_TOO_LARGE = "their inputs have more than 64 KiB"
_TOO_MANY = "all inputs together have more than 64 MiB"
_MALFORMED = "their inputs have an unknown form"
_ROWS = """
SELECT {columns}
FROM sys_invocation_status
WHERE {where}"""
_NEEDED = (
    *("id", "target_service_name", "target_handler_name", "status", "completion_result", "completion_failure"),
    *("created_at", "completed_at", "scheduled_at", "scheduled_start_at", "journal_size"),
)
_HANDLER = "id, target_service_name, target_handler_name, created_at"
_OF_IDS = "id IN :ids"
_COUNT = "SELECT count(*) AS n FROM sys_invocation_status WHERE {where}"
_IN_SHARES = """
SELECT id, CASE {which} END AS side
FROM sys_invocation_status
WHERE {where}"""
_OUTCOMES = f"""
WITH counts AS (
  SELECT target_service_name, target_handler_name, status, completion_result,
    {STOPPED_SQL} AS is_stopped{{expressions}},
    count(*) AS n, min(created_at) AS first_created_at, max(created_at) AS last_created_at,
    sum(journal_size) AS journal_entries
  FROM sys_invocation_status
  GROUP BY target_service_name, target_handler_name, status, completion_result, is_stopped{{names}})
SELECT target_service_name, target_handler_name,
  CASE
    WHEN status <> 'completed' THEN status
    WHEN completion_result = 'success' THEN 'succeeded'
    WHEN is_stopped THEN 'stopped'
    ELSE 'failed' END AS outcome{{names}},
  n, first_created_at, last_created_at, journal_entries
FROM counts"""  # noqa: S608 - constants
_GROUPS = """
SELECT is_failing, {names}, count(*) AS n
FROM (
  SELECT {failing} AS is_failing, {expressions}
  FROM sys_invocation_status
  WHERE ({failing}) OR ({healthy}))
GROUP BY is_failing, {names}
ORDER BY n DESC, is_failing, {names}
LIMIT {limit}"""


@dataclass(frozen=True, slots=True)
class SideCondition:
    """A condition on ``sys_invocation_status``, with the values of its parameters."""

    where: str
    params: Mapping[str, Any]

    def also(self, where: str, **params: Any) -> SideCondition:
        """Return a condition that needs this one and another one."""
        return SideCondition(f"{self.where} AND {where}", {**self.params, **params})


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The number of invocations by handler and outcome; for open invocations the outcome is the status.

    ``rows`` has one row for each handler and outcome: ``n, first_created_at, last_created_at, journal_entries``.
    ``groups`` has the same counts, also by the columns that are counted, if these were read.
    """

    rows: Sequence[Row] = ()
    groups: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """The counts of all rows of both sides: of some attributes, and of the rows."""

    counted: tuple[Counted, ...]
    failing: int
    healthy: int


def sample_of(ids: Iterable[str], most: int) -> list[str]:
    """Return at most this many of the ids, chosen as the server chooses them."""
    return sorted(ids, key=lambda id_: hashlib.md5(id_.encode(), usedforsecurity=False).hexdigest())[:most]


class ContrastReader:
    """Reads from one source."""

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        own = [name for name in COLUMNS if reads.has(f"sys_invocation_status.{name}")]
        self._columns = ", ".join(dict.fromkeys([*_NEEDED, *own]))
        self._is_large = False
        self._prepared: dict[str, Sample] = {}

    def outcomes(self, *, has_groups: bool) -> Outcomes:
        """Count the invocations of each handler and outcome; ``has_groups`` also counts the values of the columns."""
        sources = self._counted_columns() if has_groups else []
        statement = _OUTCOMES.format(
            expressions="".join(f", {each.counted} AS c{at}" for at, each in enumerate(sources)),
            names="".join(f", c{at}" for at in range(len(sources))),
        )
        groups = self._read(statement, {})
        self._is_large = self.reads.live and sum(int(row["n"]) for row in groups) > _MANY
        return Outcomes(_outcomes_of(groups), groups if has_groups else ())

    def retried(self, service: str | None, handler: str | None) -> list[Row]:
        """Return the invocations that back off, or are in their second or a later attempt."""
        return to_rows(self.reads.table("contrast/retried", service=service, handler=handler))

    def durations(self, service: str, handler: str, until: datetime) -> Row:
        """Return the number and the quantiles of the durations of successful invocations, in milliseconds."""
        (row,) = to_rows(self.reads.table("contrast/durations", service=service, handler=handler, until=until))
        return row

    def rows_of(self, ids: Sequence[str]) -> list[Row]:
        """Return the rows of these ids that exist; of several runs with one id, the newest."""
        return self._rows_of(ids, SideCondition(_OF_IDS, {}))

    def handlers_of(self, ids: Sequence[str]) -> list[Row]:
        """Return the id, the handler and the time of creation of all these ids that exist, as ``rows_of``."""
        return self._rows_of(ids, SideCondition(_OF_IDS, {}), columns=_HANDLER)

    def _rows_of(self, ids: Sequence[str], condition: SideCondition, *, columns: str = "") -> list[Row]:
        statement = f"{_ROWS.format(columns=columns or self._columns, where=condition.where)}\nORDER BY created_at"
        parts = chunks(ids, CHUNK)
        newest = {row["id"]: row for part in parts for row in self._read(statement, {**condition.params, "ids": part})}
        return [newest[id_] for id_ in ids if id_ in newest]

    def prepare(self, sides: Sequence[tuple[SideCondition, int]], most: int) -> None:
        """Read the samples of several conditions with one scan of a large server; each has its expected number."""
        samples = self._from_share(sides, most)
        self._prepared.update((repr(each), sample) for (each, _), sample in zip(sides, samples, strict=False))

    def sample(self, condition: SideCondition, most: int, *, expected: int = 0) -> Sample:
        """Return at most this many rows that meet a condition, chosen by their hash, and the number of all.

        None as the number means that there can be more rows. ``expected``: about how many meet it; 0 is unknown.
        """
        if (prepared := self._prepared.pop(repr(condition), None)) is not None:
            return prepared
        if not self._is_large:
            rows = self._ordered(self._columns, condition, "md5(id)", most)
            return rows, len(rows) if len(rows) < most else None
        if in_share := self._from_share([(condition, expected)], most):
            return in_share[0]
        ids = [row["id"] for row in self._ordered("id", condition, "md5(id)", most)]
        rows = self._rows_of(ids, condition.also(_OF_IDS))
        return rows, len(rows) if len(ids) < most else None

    def _from_share(self, sides: Sequence[tuple[SideCondition, int]], most: int) -> list[Sample]:
        """Return a sample for each condition from a share of the partition keys, with one scan; none if it is unfair.

        A server hashes and sorts no ids for it. A partition key is random only without key and scope: those with the
        same key or scope are in the same place.
        """
        if not self._is_large or any(expected <= _SHARE * most for _, expected in sides):
            return []
        which = " ".join(f"WHEN {each.where} THEN {at}" for at, (each, _) in enumerate(sides))
        shares = [each.also(f"partition_key < {_KEYS * _SHARE * most // expected}").where for each, expected in sides]
        params = {name: value for each, _ in sides for name, value in each.params.items()}
        found = self._read(_IN_SHARES.format(which=which, where=" OR ".join(f"({each})" for each in shares)), params)
        samples: list[Sample] = []
        for at, (condition, _) in enumerate(sides):
            ids = sample_of((row["id"] for row in found if row["side"] == at), most)
            rows = self._rows_of(ids, condition.also(_OF_IDS)) if len(ids) == most else []
            is_random = all(row["target_service_key"] is None and row["scope"] is None for row in rows)
            if not rows or not is_random:
                return []
            samples.append((rows, None))
        return samples

    def last(self, condition: SideCondition, most: int) -> list[Row]:
        """Return the rows that meet a condition and were created last."""
        return self._ordered(self._columns, condition, "created_at DESC, id", most)

    def first(self, condition: SideCondition, most: int) -> list[Row]:
        """Return the rows that meet a condition and were created first."""
        return self._ordered(self._columns, condition, "created_at, id", most)

    def those_of(self, ids: Sequence[str], condition: SideCondition) -> set[str]:
        """Return the ids that meet a condition."""
        statement = _ROWS.format(columns=", ".join(_NEEDED), where=condition.also(_OF_IDS).where)
        return {
            row["id"] for part in chunks(ids, CHUNK) for row in self._read(statement, {**condition.params, "ids": part})
        }

    def count(self, condition: SideCondition) -> int:
        """Return the number of rows that meet a condition."""
        (row,) = self._read(_COUNT.format(where=condition.where), condition.params)
        return int(row["n"])

    def _ordered(self, columns: str, condition: SideCondition, order: str, most: int) -> list[Row]:
        statement = f"{_ROWS.format(columns=columns, where=condition.where)}\nORDER BY {order}\nLIMIT :limit"
        return list(self._read(statement, {**condition.params, "limit": most}))

    def _read(self, statement: str, params: Mapping[str, Any]) -> list[Row]:
        return to_rows(self.reads.query(statement, params))

    def sdks(self) -> Mapping[str, str] | None:
        """Return the SDK of each deployment from the Admin API; None if the source has none, or refuses the request."""
        lab = innermost_source(self.reads)
        if not is_lab(lab):
            return None
        try:
            with time_limit(self.reads.seconds_left):
                return {each.id: each.sdk_version or "unknown" for each in lab.admin.list_deployments()}
        except TimedOut:
            raise
        except RestateLabError:
            return None

    def totals(
        self,
        failing: SideCondition,
        healthy: SideCondition,
        *,
        has_keys: bool = True,
        known: Sequence[Row] = (),
    ) -> Totals:
        """Count the values of the columns and, with keys, their prefixes in all rows of both sides.

        ``known``: the groups of both sides by the columns, with ``is_failing``, if they were already read.
        """
        columns = self._counted_columns()
        keys = [
            each for each in ATTRIBUTES if each.counted and each.where is Where.KEY and has_keys and self._has(each)
        ]
        read = [([each], _MOST_PREFIXES) for each in keys]
        read = read if known else [(columns, _MOST_GROUPS), *read]
        parts = [partial(self._groups, part, limit, failing, healthy) for part, limit in read]
        tables = self.reads.together(parts) if parts else []
        groups, *of_keys = [known, *tables] if known else tables
        all_failing, every = (sum(int(row["n"]) for row in rows) for rows in (filter(_is_failing, groups), groups))
        totals = all_failing, every - all_failing
        counted = [_counted(each, f"c{at}", groups, totals) for at, each in enumerate(columns)]
        counted += [_counted(each, "c0", rows, totals) for each, rows in zip(keys, of_keys, strict=True)]
        return Totals(tuple(counted) if len(groups) < _MOST_GROUPS else (), *totals)

    def _counted_columns(self) -> list[AttributeSource]:
        return [each for each in ATTRIBUTES if each.counted and each.where is not Where.KEY and self._has(each)]

    def _has(self, source: AttributeSource) -> bool:
        return not self.reads.missing(f"sys_invocation_status.{name}" for name in source.columns)

    @staticmethod
    def _groups(
        sources: Sequence[AttributeSource], limit: int, failing: SideCondition, healthy: SideCondition, reads: Reads
    ) -> list[Row]:
        names = [f"c{at}" for at in range(len(sources))]
        statement = _GROUPS.format(
            names=", ".join(names),
            expressions=", ".join(f"{each.counted} AS {name}" for each, name in zip(sources, names, strict=True)),
            failing=failing.where,
            healthy=healthy.where,
            limit=limit,
        )
        return to_rows(reads.query(statement, {**failing.params, **healthy.params}))

    def journals(self, ids: Sequence[str]) -> dict[str, list[Row]]:
        """Return id → its steps and results in order; an id without a journal is omitted."""
        entries: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.reads.rows_of("contrast/steps", ids, chunk=CHUNK):
            entries[row["id"]].append(row)
        return {id_: sorted(rows, key=lambda row: int(row["entry_index"])) for id_, rows in entries.items()}

    def inputs(self, rows: Sequence[Row], handlers: Iterable[Row]) -> Inputs | None:
        """Return the inputs of the rows; None if the source has no payloads.

        They are read by id, or with one scan of all journals if that costs less. The server sends no input of more than
        64 KiB, and reading ends at 64 MiB.
        """
        content = content_column(self.reads, self.reads.has)
        if content is None:
            return None
        wanted = {row["id"]: row for row in rows}
        inputs, decoding, size = Inputs(), decoding_of(self.reads), 0
        # In the order of their hashes, both sides are read equally far.
        for entry in self._entries(sample_of(wanted, len(wanted)), content, handlers):
            id_ = entry["id"]
            if id_ not in wanted or id_ in inputs.by_id:
                continue
            size += payload_size(entry, content)
            if size > TOTAL_BYTES:
                break
            try:
                inputs.by_id[id_] = input_of(entry, decoding)
            except ValueError:
                inputs.unread[id_] = _MALFORMED
        for id_, row in wanted.items():
            if id_ not in inputs.by_id and id_ not in inputs.unread:
                lacks = _NOT_KEPT if not row["journal_size"] else _TOO_MANY if size > TOTAL_BYTES else _TOO_LARGE
                inputs.unread[id_] = lacks
        return inputs

    def _entries(self, ids: Sequence[str], content: str, handlers: Iterable[Row]) -> Iterator[Row]:
        if self._is_scan_cheaper(len(ids), handlers):
            for batch in self.reads.batches(input_statement(self.reads, content, MOST_BYTES)):
                yield from batch.to_pylist()
            return
        statement = input_statement(self.reads, content, MOST_BYTES, of_ids=True)
        for part in chunks(ids, CHUNK):
            yield from self.reads.query(statement, {"ids": part}).to_pylist()

    @staticmethod
    def _is_scan_cheaper(wanted: int, handlers: Iterable[Row]) -> bool:
        rows = list(handlers)
        entries = sum(int(row["journal_entries"] or 0) for row in rows)
        return entries < wanted * _ENTRIES_FOR_AN_ID and sum(int(row["n"]) for row in rows) < wanted * _MOST_SCANNED


def _is_failing(row: Row) -> bool:
    return bool(row["is_failing"])


def _outcomes_of(groups: Sequence[Row]) -> list[Row]:
    """Return one row for each handler and outcome."""
    merged: dict[tuple[str, str, str], Row] = {}
    for group in groups:
        name = group["target_service_name"], group["target_handler_name"], group["outcome"]
        row = merged.setdefault(name, group | {"n": 0, "journal_entries": 0})
        row["n"] += int(group["n"])
        row["journal_entries"] += int(group["journal_entries"] or 0)
        row["first_created_at"] = min(row["first_created_at"], group["first_created_at"])
        row["last_created_at"] = max(row["last_created_at"], group["last_created_at"])
    return list(merged.values())


def _counted(source: AttributeSource, name: str, groups: Sequence[Row], totals: tuple[int, int]) -> Counted:
    """Return the counts of the values of one column of the groups."""
    sums: defaultdict[object, list[int]] = defaultdict(lambda: [0, 0])
    for row in groups:
        value = row[name]
        sums[MISSING if value is None else str(value)][0 if row["is_failing"] else 1] += int(row["n"])
    failing, healthy = (np.array([each[side] for each in sums.values()], dtype=np.int64) for side in (0, 1))
    return Counted(source.attribute, list(sums), failing, healthy, *totals)
