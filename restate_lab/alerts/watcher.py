"""The loop of ``watch``: visits of all clusters at intervals, their records, and the delivery of messages.

Each visit runs in a thread of its own, so that a cluster that does not respond, or a long visit of the archive, does
not delay the others. The main thread alone writes the state and delivers.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from restate_lab.alerts.alert import Alert, Event
from restate_lab.alerts.delivery import Receiver
from restate_lab.alerts.metrics import MetricsState
from restate_lab.alerts.reader import ClusterReader, ClusterVisit
from restate_lab.alerts.store import AlertStore
from restate_lab.analysis.doctor.model import Severity
from restate_lab.client.lab import connect
from restate_lab.errors import RestateLabError
from restate_lab.history.archive import archive
from restate_lab.interrupts import Shield

__all__ = ["Archiver", "Watcher"]

_WATCH, _ARCHIVE = "watch", "archive"
_SLICE = 2.0  # seconds between two checks for messages that are due


@dataclass(frozen=True, slots=True)
class Archiver:
    """Makes visits of an archive; an error of such a visit is an alert of its cluster."""

    where: str
    timeout: timedelta = timedelta(minutes=30)

    def visit(self, reader: ClusterReader) -> ClusterVisit:
        """Make one visit, and return whether it failed."""
        reason = ""
        try:
            with connect(reader.option, read_only=True, check=False) as lab:
                archive(lab, self.where, timeout=self.timeout, progress=False)
        except (RestateLabError, OSError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
        title = "ended invocations are not archived; they are lost when their retention ends"
        return reader.own_visit("archive", Severity.CRITICAL, title, reason)


@dataclass(slots=True)
class Watcher:
    """Visits clusters, keeps the state of the alerts, and delivers messages.

    ``report`` gets each change of an alert, ``warn`` each failure as text. ``now`` is the clock, UTC.
    """

    readers: Sequence[ClusterReader]
    store: AlertStore
    receivers: Sequence[Receiver]
    report: Callable[[Event, Alert], None]
    warn: Callable[[str], None]
    metrics: MetricsState = field(default_factory=MetricsState)
    archiver: Archiver | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _results: queue.SimpleQueue[tuple[str, str, ClusterVisit | BaseException]] = field(
        default_factory=queue.SimpleQueue
    )
    _busy: set[tuple[str, str]] = field(default_factory=set)
    _problems: int = 0
    _waits: bool = True
    _shield: Shield = field(default_factory=Shield)

    def start(self) -> None:
        """Tell the store the receivers."""
        removed = self.store.set_receivers([each.id for each in self.receivers], self.now())
        if removed:
            self.warn(f"{removed:,} waiting messages were removed: their receivers are not used any more.")

    def once(self) -> bool:
        """Make one visit of each cluster, and deliver; return whether everything was read and delivered.

        Every message is tried, because the next process may start much later than the wait after a failure.
        """
        self._waits = False
        with self._shield:
            self._begin_all()
            while self._busy:
                self._handle(self._shield.let_through(self._results.get))
        return not self._problems and not self.store.count_messages()

    def repeat(self, interval: float) -> None:
        """Make visits until an interrupt. A visit that takes longer than the interval skips the next ones."""
        with self._shield:
            while True:
                ends = time.monotonic() + interval
                self._begin_all()
                while (left := ends - time.monotonic()) > 0:
                    self._wait(min(left, _SLICE))

    def _wait(self, seconds: float) -> None:
        """Handle the next result, or deliver what is due; only this wait, and that between messages, is interrupted."""
        try:
            result = self._shield.let_through(lambda: self._results.get(timeout=seconds))
        except queue.Empty:
            self._deliver()
        else:
            self._handle(result)

    def _begin_all(self) -> None:
        """Start a visit of each kind of each cluster that has none of this kind."""
        kinds = [_WATCH] if self.archiver is None else [_WATCH, _ARCHIVE]
        for reader, kind in itertools.product(self.readers, kinds):
            if (reader.name, kind) not in self._busy:
                self._busy.add((reader.name, kind))
                threading.Thread(target=self._run, args=(reader, kind), daemon=True).start()

    def _run(self, reader: ClusterReader, kind: str) -> None:
        """Make one visit in this thread, and hand over its result, or its error to be raised in the main thread."""
        try:
            archiver = self.archiver
            visit = archiver.visit(reader) if kind == _ARCHIVE and archiver is not None else reader.visit()
            self._results.put((reader.name, kind, visit))
        except BaseException as error:  # noqa: BLE001 - raised in the main thread
            self._results.put((reader.name, kind, error))

    def _handle(self, result: tuple[str, str, ClusterVisit | BaseException]) -> None:
        name, kind, visit = result
        self._busy.discard((name, kind))
        if isinstance(visit, BaseException):
            raise visit
        if visit.error:
            self._problems += 1
            self.warn(f"{name}: {kind} failed: {visit.error}")
        for event, alert in self.store.record(visit):
            self.report(event, alert)
        if kind == _WATCH:
            self.metrics.add_visit(visit)
        self._deliver(refreshes=kind == _WATCH)

    def _deliver(self, *, refreshes: bool = False) -> None:
        """Deliver the messages that are due; a receiver that fails is tried again later.

        With ``refreshes``, the open alerts are also repeated to the receivers that forget them.
        """
        alerts = self.store.open_alerts()
        for receiver in self.receivers:
            self._deliver_to(receiver)
            if refreshes:  # also if a message was refused: the other alerts must not end there
                self._count(receiver, receiver.refresh(alerts, self.now()))
        open_alerts = Counter((each.alert.cluster, each.alert.severity) for each in alerts)
        waiting, labels = self.store.count_messages(), {each.id: each.label for each in self.receivers}
        self.metrics.set_alerts(open_alerts, {label: waiting.get(id_, 0) for id_, label in labels.items()})

    def _deliver_to(self, receiver: Receiver) -> None:
        """Deliver the messages to one receiver until it refuses one."""
        waits = self._waits
        while message := self.store.next_message(receiver.id, self.now(), waits=waits):
            reason = receiver.send(message)
            self._count(receiver, reason)
            if reason:
                self.store.postpone(message, self.now())
                return
            self.store.remove(message)
            self._shield.let_through(lambda: None)
            waits = False

    def _count(self, receiver: Receiver, reason: str) -> None:
        if reason:
            self._problems += 1
            self.metrics.add_refusal(receiver.label)
            self.warn(f"{receiver.label}: {reason}; it is tried again later")
