"""The tables and columns of a source, read beside the typing: who completes waits a moment for them and no longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from types import MappingProxyType

from restate_lab.errors import RestateLabError
from restate_lab.source import Source

__all__ = ["Catalogue", "Columns"]

Columns = Mapping[str, tuple[str, ...]]
"""table → its columns, in the table's own order."""

PATIENCE = 0.5  # seconds that typing may wait
AGAIN_AFTER = 30.0  # seconds until a source that failed is asked again
_NOTHING: Columns = MappingProxyType({})


class Catalogue:
    """What one source has; read once, in a thread that ends when it has read."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns = _NOTHING
        self._started = 0.0
        self._thread: threading.Thread | None = None
        self._read_again()

    def columns(self) -> Columns:
        """Return the columns of each table; nothing when they do not come at once, or cannot be read."""
        if not self._columns:
            self._read_again()
            if self._thread is not None:
                self._thread.join(PATIENCE)
        return self._columns

    def _read_again(self) -> None:
        is_reading = self._thread is not None and self._thread.is_alive()
        if is_reading or (self._thread is not None and time.monotonic() - self._started < AGAIN_AFTER):
            return
        self._started = time.monotonic()
        # daemon: a kernel that ends does not wait for a server that does not answer.
        self._thread = threading.Thread(target=self._read, name="restate-lab-catalogue", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            tables = self._source.tables()
        except RestateLabError:
            return
        names = {str(table): tuple(group["column"]) for table, group in tables.groupby("table", sort=False)}
        self._columns = MappingProxyType(names)
