"""Read what a replay needs: the invocations, the shapes of their journals, the journals themselves, a deployment.

A journal is read from ``raw``, which is the body of each message. Evidence does not have ``raw``.
Then ``entry_json`` is read, which contains the same and is about four times as large; evidence has it only with
payloads.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.analysis.ids import parse_ids
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.analysis.invocations.reader import read_rows
from restate_lab.analysis.journal.encoding import content_column
from restate_lab.analysis.replay.recording import Recording, recording_of
from restate_lab.client.arguments import check_id
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ArgumentError, NotFound
from restate_lab.reads import Reads
from restate_lab.server import has_feature
from restate_lab.source import Source
from restate_lab.status import ENDED, STATUS_SQL

Row = Mapping[str, Any]
Shape = tuple[Any, ...]  # the handler of an invocation and the sequence of its entries: (type, name)
_INVOCATIONS = f"""
SELECT id, target, target_service_name AS service, target_handler_name AS handler, target_service_key AS key,
  {STATUS_SQL} AS status, pinned_service_protocol_version AS protocol_version, pinned_deployment_id AS deployment_id,
  created_at, idempotency_key, journal_size, restarted_from, {{scope}} AS scope, {{limit_key}} AS limit_key
FROM sys_invocation WHERE id IN :ids ORDER BY created_at"""  # noqa: S608 - constants
_SHAPES = "SELECT id, index, entry_type, name FROM sys_journal WHERE id IN :ids ORDER BY id, index"
_ENTRIES = """
SELECT id, index, entry_type, name{content}
FROM sys_journal WHERE id IN :ids ORDER BY id, index"""
_DEPLOYMENT = "SELECT id, ty, endpoint FROM sys_deployment WHERE id = :id"
_BATCH = 50  # journals in memory at a time
_SHAPES_AT_ONCE = 500


def target_ids(source: Source, targets: Any) -> list[str]:
    """Return the ids that ``targets`` selects: ids, a frame with a column ``id``, or filters of the list.

    Raises:
        ArgumentError: ``targets`` has another type, or a filter is unknown or invalid.
    """
    if isinstance(targets, Mapping) and not hasattr(targets, "columns"):
        names = list(Filters.__dataclass_fields__)
        unknown = [str(name) for name in targets if name not in names]
        if unknown:
            hint = did_you_mean(nearest_names(unknown[0], names)) or f"Choose from {', '.join(names)}."
            raise ArgumentError(f"targets has the unknown filter {unknown[0]!r}. {hint}")
        targets = Filters(**targets)
    if isinstance(targets, Filters):
        return [str(id_) for id_ in read_rows(source, targets).frame["id"]]
    return parse_ids(targets)[0]


def uri_of_deployment(reads: Reads, deployment: str) -> str:
    """Return the address of a registered deployment.

    Raises:
        NotFound: it is not registered.
        ArgumentError: it has no address, because it is a Lambda function.
    """
    check_id("deployment", deployment, "deployment")
    rows = reads.query(_DEPLOYMENT, {"id": deployment}).to_pylist()
    if not rows:
        raise NotFound(f"{reads.name} has no deployment {deployment}.", status=404)
    if rows[0]["ty"] != "http":
        raise ArgumentError(
            f"deployment {deployment} has the type {rows[0]['ty']!r} ({rows[0]['endpoint']}); only an HTTP endpoint "
            f"can be checked. Serve the same code over HTTP, and pass its address."
        )
    return str(rows[0]["endpoint"])


@dataclass(frozen=True, slots=True)
class RecordingReader:
    """Reads recordings from one source; ``as_restart`` gives each another id."""

    source: Reads
    as_restart: bool = False

    def rows(self, ids: Sequence[str]) -> dict[str, Row]:
        """Return id → its row; of several runs with one id, the newest."""
        choices = {name: name if self.source.has(f"sys_invocation.{name}") else "NULL" for name in _OPTIONAL}
        statement = _INVOCATIONS.format(**choices)
        rows = {row["id"]: row for row in self.source.query_of(statement, ids, chunk=_SHAPES_AT_ONCE)}
        return {id_: rows[id_] for id_ in ids if id_ in rows}

    def shapes(self, rows: Mapping[str, Row]) -> dict[str, Shape]:
        """Return id → the shape of its journal; invocations with equal shapes mostly share a verdict."""
        entries: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        for row in self.source.query_of(_SHAPES, list(rows), chunk=_SHAPES_AT_ONCE):
            entries[row["id"]].append((row["entry_type"], row["name"] or ""))
        return {
            id_: (row["service"], row["handler"], row["protocol_version"], *entries[id_]) for id_, row in rows.items()
        }

    def recordings(
        self, rows: Mapping[str, Row], last_entries: Mapping[str, int]
    ) -> Iterator[tuple[list[Recording], list[str]]]:
        """Yield batches of recordings, each with the ids of the invocations that changed while they were read.

        ``last_entries`` has the index of the last entry to keep, for ids of which only a prefix is replayed.
        """
        has_unique_seeds = has_feature(self.source, "unique_random_seeds")
        for part in chunks(list(rows), _BATCH):
            entries = self._entries(part)
            after = self.rows(part)
            moved = [id_ for id_ in part if self._has_moved(rows[id_], after.get(id_), len(entries[id_]))]
            recordings = [
                recording_of(
                    after[id_],
                    entries[id_],
                    as_restart=self.as_restart,
                    has_unique_seeds=has_unique_seeds,
                    last_entry=last_entries.get(id_),
                )
                for id_ in part
                if id_ not in moved
            ]
            yield recordings, moved

    def _entries(self, ids: Sequence[str]) -> defaultdict[str, list[Row]]:
        content = content_column(self.source, self.source.has)
        if content == "entry_json" and self.source.has("sys_journal.raw"):
            content = "entry_json, raw"  # an input of the older form has only the latter
        statement = _ENTRIES.format(content=f", {content}" if content else "")
        entries: defaultdict[str, list[Row]] = defaultdict(list)
        for row in self.source.query_of(statement, ids):
            entries[row["id"]].append(row)
        return entries

    def _has_moved(self, before: Row, after: Row | None, entries: int) -> bool:
        names = ("created_at", "journal_size", "deployment_id", "protocol_version")
        if after is None or any(before[name] != after[name] for name in names):
            return True
        has_ended = [row["status"] in ENDED for row in (before, after)]
        return has_ended[0] != has_ended[1] or (entries > 0 and after["journal_size"] not in {None, entries})


_OPTIONAL = ("scope", "limit_key")
