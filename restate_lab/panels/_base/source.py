"""The source of a panel: it reads without progress output, with a time limit, and stops when the panel is closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Event
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._text import format_timestamp
from restate_lab.client.lab import is_lab
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import RequestRefused, RestateLabError, Unreachable
from restate_lab.panels._base.refresher import LOST
from restate_lab.reads import UntilStopped
from restate_lab.source import Source, SourceWrapper, timeout_seconds

LIMIT = 30.0  # seconds for one read of a panel, unless the connection allows less
_REACH_WITHIN = 5.0  # seconds for the cheap request that checks whether the server responds


class PanelSource(SourceWrapper):
    """The same source for the threads of a panel: reads show no progress and end when ``closed`` is set.

    The time limit of a read is ``LIMIT`` seconds or the limit of the caller, and at most ``connect(timeout=…)`` of the
    source. ``allowed`` is the limit of the last read, in seconds. A live read ends within a second when ``closed`` is
    set. With ``between``, a read of evidence, which reports no progress, ends before its next statement.
    """

    def __init__(self, source: Source, closed: Event, *, between: bool = False) -> None:
        super().__init__(source)
        self._between = between
        self._transport = source.transport if is_lab(source) and isinstance(source.transport, Transport) else None
        self._closed = UntilStopped(closed)
        self._progress: Any = self._closed if source.live else False
        self.allowed = self._within(None)

    def probe_error(self, error: RestateLabError | None = None, *, was_away: bool = False) -> RestateLabError | None:
        """Return the error of a cheap request (GET /version, sent once), or None if the server responds.

        ``error`` is the error of the read; for a source without a connection, it is the only evidence. ``was_away``
        means that the server was unreachable before; the connection then waits for the server to catch up before it
        trusts rows.

        Raises:
            Stopped: the panel was closed during the request.
            ArgumentError: the connection was closed.
        """
        if self._transport is None:
            return error if isinstance(error, Unreachable) else None
        within = min(_REACH_WITHIN, self._transport.timeout)
        try:
            with self._transport.stream("GET", "/version", timeout=within, retry_for=0, tick=self._closed.check):
                pass
        except LOST as refused:
            return refused
        except RequestRefused as refused:  # another service responds at this address
            return Unreachable(str(refused))
        if was_away:
            self._transport.note_return()
        return None

    def answered_since(self, moment: float) -> bool:
        """Return whether the server has responded to any request of this connection since a time.monotonic()."""
        return self._transport is not None and self._transport.answered_at > moment

    def _within(self, timeout: float | None) -> float:
        wanted = LIMIT if timeout is None else timeout
        self.allowed = wanted if self._transport is None else min(wanted, self._transport.timeout)
        return self.allowed

    def stream(
        self, statement: str, /, *, timeout: DurationInput | None = None, **options: Any
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time."""
        if self._between:
            self._closed.check()
        options["progress"] = self._progress
        return super().stream(statement, timeout=self._within(timeout_seconds(timeout)), **options)


def query_of(answer: pd.DataFrame) -> str:
    """Return the SQL statement of a result, or "" if it has none."""
    return str(answer.attrs.get("sql", ""))


def params_of(answer: pd.DataFrame) -> Mapping[str, Any]:
    """Return the parameter values of a statement as a source takes them; ``attrs`` has timestamps as text."""
    params = dict(answer.attrs.get("params", {}))
    return {**params, "now": datetime.fromisoformat(params["now"])} if "now" in params else params


def why_read_only(source: Source) -> str | None:
    """Return the reason why nothing can be changed through this source, or None if changes are possible."""
    if not source.live:
        return f"{source.name} is {_kind(source)}, not a live cluster, so it is read-only."
    if not is_lab(source):
        return f"A {type(source).__name__} is read-only; pass the Lab of connect() to the panel to make changes."
    if source.read_only:
        return "This connection is read-only; to make changes, connect without read_only=True."
    return None


def place_of(source: Source, version: str = "") -> str:
    """Return where the rows of a source come from: its address and version, or the kind of a copy."""
    return f"{source.address if source.live else _kind(source)}{f' · restate {version}' if version else ''}"


def _kind(source: Source) -> str:
    if source.coverage.is_past:
        return f"a cluster at an earlier time, {format_timestamp(source.now)}"
    return "frozen evidence" if source.coverage.open_invocations else "a history"
