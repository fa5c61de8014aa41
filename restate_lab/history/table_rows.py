"""Read rows of a server's tables in its own types, with a limit for the memory of one statement."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.client.schema import check_types
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ResultTooLarge
from restate_lab.evidence.tables import quote_name
from restate_lab.progress import Progress
from restate_lab.reads import CHUNK, Reads

_BLOCK = 200_000  # rows that are filtered at once: each filter hashes all ids
_NO_PARAMS: Mapping[str, Any] = MappingProxyType({})
Columns: TypeAlias = AbstractSet[str] | None
Values: TypeAlias = Mapping[str, AbstractSet[str]]


@dataclass(slots=True, kw_only=True)
class RowFetcher:
    """The read of one statement: ``reads`` has its time limit, ``progress`` its progress, ``max_bytes`` its memory.

    ``columns`` and ``types`` are those of the tables. ``has_earlier_runs`` is set if the source also has earlier runs
    of an id, ``inv_…@time``; a server refuses such ids.
    """

    reads: Reads
    columns: Mapping[str, Sequence[tuple[str, str]]]
    types: Mapping[str, pa.Schema]
    progress: Progress
    max_bytes: float
    has_earlier_runs: bool = False
    _size: int = 0

    def fetch(
        self,
        name: str,
        columns: Columns,
        values: Values,
        kept: pa.Array[Any] | None = None,
        *,
        condition: str = "",
        params: Mapping[str, Any] = _NO_PARAMS,
    ) -> pa.Table:
        """Read the columns of a table, as far as it has them: rows with these ``values``, and an ``id`` in ``kept``.

        ``condition`` limits the rows further, with its ``params``.
        """
        known, conditions = dict(params), [condition] if condition else []
        for number, (column, texts) in enumerate(values.items()):
            if column != "id" and column in self.types[name].names and len(texts) <= CHUNK:
                known[f"texts{number}"] = sorted(texts)
                conditions.append(f"{quote_name(column)} IN :texts{number}")
        ids = values.get("id")
        if not all(values.values()):
            return self.empty(name, columns)
        if ids is None:
            return self._statement(name, columns, conditions, known, kept)
        listed = sorted(each for each in ids if self.has_earlier_runs or "@" not in each)
        parts = [
            self._statement(name, columns, [*conditions, '"id" IN :ids'], {**known, "ids": part}, kept)
            for part in chunks(listed, CHUNK)
        ]
        return pa.concat_tables([self.empty(name, columns), *parts])

    def _statement(
        self, name: str, columns: Columns, conditions: list[str], params: dict[str, Any], kept: pa.Array[Any] | None
    ) -> pa.Table:
        schema = self.empty(name, columns).schema
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        statement = f"SELECT {', '.join(map(quote_name, schema.names))} FROM {quote_name(name)}{where}"  # noqa: S608
        rows: list[pa.Table] = []
        with self.reads.stream(statement, params=params, max_bytes=math.inf, progress=self.progress) as reader:
            declared = {column: kind for column, kind in self.columns[name] if column in schema.names}
            check_types(reader.schema, declared, statement, self.reads)
            for block in _blocks(reader):
                found: Any = block if kept is None else block.filter(pc.is_in(block["id"], value_set=kept))
                rows.append(found.cast(schema))
                self._add_size(rows[-1])
        return pa.concat_tables([schema.empty_table(), *rows])

    def _add_size(self, rows: pa.Table) -> None:
        self._size += rows.nbytes
        if self._size > self.max_bytes:
            raise ResultTooLarge(
                f"the rows that this statement needs from the server exceed {self.max_bytes / 1e6:,.0f} MB. Select "
                f"fewer columns, or invocations by id; or pass connect(max_bytes=…) for the cluster.",
                rows=len(rows),
                size=self._size,
            )

    def empty(self, name: str, columns: Columns) -> pa.Table:
        """Return an empty table with these columns, as far as the table has them; None means all."""
        schema = self.types[name]
        names = [each for each in schema.names if columns is None or each in columns] or schema.names[:1]
        return pa.schema([schema.field(each) for each in names]).empty_table()


def ids_of(runs: pa.Table) -> pa.Array[Any]:
    """Return the ids of runs as one array."""
    ids: Any = runs["id"].combine_chunks()
    return ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids


def _blocks(reader: pa.RecordBatchReader) -> Iterator[pa.Table]:
    """Yield the rows in few large tables: each filter hashes all ids."""
    batches: list[pa.RecordBatch] = []
    rows = 0
    for batch in reader:
        batches.append(batch)
        rows += batch.num_rows
        if rows >= _BLOCK:
            yield pa.Table.from_batches(batches)
            batches, rows = [], 0
    if batches:
        yield pa.Table.from_batches(batches)
