"""A panel's own way to its source: no line of progress, a limit in time, and an end when the panel is closed."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import datetime
from threading import Event
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.client.lab import is_lab
from restate_lab.client.transport import Transport
from restate_lab.durations import DurationInput
from restate_lab.errors import RequestRefused, RestateLabError, Unreachable
from restate_lab.panels._base.refresher import LOST
from restate_lab.source import Source, SourceWrapper, timeout_seconds

__all__ = ["Closed", "PanelSource", "params_of", "query_of"]

LIMIT = 30.0  # seconds for one read of a panel, where the connection allows more
_REACH_WITHIN = 5.0  # seconds for the cheap request that tells whether the server answers at all


class Closed(RestateLabError):
    """Do nothing: the panel was closed while it read."""


class PanelSource(SourceWrapper):
    """The same source, for a panel's threads: what it reads shows no progress and ends when ``closed`` is set.

    A read may take ``LIMIT`` seconds, or what its caller allows, and never longer than ``connect(timeout=…)`` of the
    source. ``allowed`` is the limit of the last read, in seconds. A read ends within a second when ``closed`` is set.
    """

    def __init__(self, source: Source, closed: Event) -> None:
        super().__init__(source)
        self._transport = source.transport if is_lab(source) and isinstance(source.transport, Transport) else None
        self._closed = _UntilClosed(closed)
        self._progress: Any = self._closed if source.live else False
        self.allowed = self._within(None)

    def probe_error(self, error: RestateLabError | None = None, *, was_away: bool = False) -> RestateLabError | None:
        """Return what a cheap request (GET /version, sent once) raises, or None where the server answers it.

        ``error`` is what a read raised; it decides alone for a source that has no connection of its own. With
        ``was_away`` the server has just come back: the connection then lets it catch up before it trusts its rows.

        Raises:
            Closed: the panel was closed meanwhile.
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
        except RequestRefused as refused:  # something else answers at this address
            return Unreachable(str(refused))
        if was_away:
            self._transport.note_return()
        return None

    def answered_since(self, moment: float) -> bool:
        """Tell whether the server has answered any request of this connection since a time.monotonic()."""
        return self._transport is not None and self._transport.answered_at > moment

    def _within(self, timeout: float | None) -> float:
        wanted = LIMIT if timeout is None else timeout
        self.allowed = wanted if self._transport is None else min(wanted, self._transport.timeout)
        return self.allowed

    def stream(
        self, statement: str, /, *, timeout: DurationInput | None = None, **options: Any
    ) -> AbstractContextManager[pa.RecordBatchReader]:
        """Return a reader that holds one batch at a time."""
        options["progress"] = self._progress
        return super().stream(statement, timeout=self._within(timeout_seconds(timeout)), **options)


class _UntilClosed:
    """Progress that shows nothing, and breaks off what it is told of once its panel is closed."""

    def __init__(self, closed: Event) -> None:
        self._closed = closed

    def update(self, rows: int, size: int) -> None:  # noqa: ARG002 - Progress's signature
        self.check()

    def check(self) -> None:
        if self._closed.is_set():
            raise Closed("the panel was closed while it read.")

    def close(self) -> None:
        return


def query_of(answer: pd.DataFrame) -> str:
    """Return the statement that an answer came from; "" where there is none."""
    return str(answer.attrs.get("sql", ""))


def params_of(answer: pd.DataFrame) -> Mapping[str, Any]:
    """Return the values of its parameters, as a source takes them: ``attrs`` has moments as text."""
    params = dict(answer.attrs.get("params", {}))
    return {**params, "now": datetime.fromisoformat(params["now"])} if "now" in params else params
