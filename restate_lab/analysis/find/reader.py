"""Read what is searched: the ids of a window, newest first, their inputs, and the values in a service's state."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from datetime import datetime

import pyarrow as pa

from restate_lab.analysis.journal.encoding import NO_INPUTS, content_column
from restate_lab.analysis.journal.reader import input_statement, payload_size
from restate_lab.errors import NotOnThisServer
from restate_lab.frames import to_rows
from restate_lab.reads import Reads, Row

MOST_BYTES = 1 << 20
"""The largest input, and the largest value of state, that is searched; the server does not send larger ones."""
MOST_ROWS = 100_000
"""The most invocations of a window; the newest are searched."""

_WITHOUT_TEXT = """
SELECT id, {content} IS NULL OR {size} IS NULL AS is_null
FROM sys_journal
WHERE id IN :ids AND index = 0"""


class FindReader:
    """Reads from one source.

    Raises:
        NotOnThisServer: the source has no inputs.
    """

    def __init__(self, reads: Reads) -> None:
        self.reads = reads
        content = content_column(reads, reads.has)
        if content is None:
            raise NotOnThisServer(f"{reads.name} cannot be searched: {NO_INPUTS}.")
        self._content = content
        self._statement = input_statement(reads, content, MOST_BYTES, of_ids=True)

    def invocations(self, since: datetime, service: str | None) -> pa.Table:
        """Return the invocations that were created since a time, newest first, at most one more than are searched."""
        return self.reads.table("find/ids", since=since, service=service, limit=MOST_ROWS + 1)

    def inputs(self, ids: Sequence[str]) -> Generator[tuple[Row, int]]:
        """Yield the inputs of these invocations in no order, each as its row of ``sys_journal`` and its bytes."""
        for batch in self.reads.batches(self._statement, {"ids": list(ids)}):
            yield from ((entry, payload_size(entry, self._content)) for entry in batch.to_pylist())

    def has_content(self, entry: Row) -> bool:
        """Return whether a row of ``inputs`` has a payload; in a joined source, those of the archive can lack it."""
        return entry[self._content] is not None

    def without_text(self, ids: Sequence[str]) -> dict[str, bool]:
        """Return which of these invocations have an input, and whether it has no content that can be read.

        An input that 1.6 wrote can lack ``entry_json`` and ``raw_length``.
        """
        size = "raw_length" if self.reads.has("sys_journal.raw_length") else self._content
        rows = self.reads.query(_WITHOUT_TEXT.format(content=self._content, size=size), {"ids": list(ids)})
        return {row["id"]: row["is_null"] for row in to_rows(rows)}

    def values(self, service: str) -> Generator[Row]:
        """Yield the values in the state of a service, with the object and the name of each."""
        statement = self.reads.statement("find/values")
        for batch in self.reads.batches(statement, {"service": service, "most_bytes": MOST_BYTES}):
            yield from batch.to_pylist()
