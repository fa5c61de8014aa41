"""The loop of ``watch``: visits of all clusters at intervals, their records, and the delivery of messages.

Each visit runs in a thread of its own, and another process sends the messages. So a cluster or a receiver that does not
respond, or a long visit of the archive, delays nothing else. Only the main thread reads and writes the state, and it
waits for nothing but results.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import queue
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pyarrow as pa

from restate_lab._text import plural
from restate_lab.alerts import THREAD_NAME
from restate_lab.alerts.alert import Alert, Event
from restate_lab.alerts.delivery import DELIVERY_SECONDS, Courier, DeliveryResult, Receiver, Senders
from restate_lab.alerts.metrics import MetricsState
from restate_lab.alerts.reader import ClusterReader, ClusterVisit, KnownAlert, reason_of
from restate_lab.alerts.store import AlertStore
from restate_lab.analysis.doctor.model import Severity
from restate_lab.client.lab import connect
from restate_lab.history.archive import archive
from restate_lab.interrupts import Shield

_WATCH, _ARCHIVE = "watch", "archive"
_SLICE = 0.5  # seconds between two checks for messages that are due, and for deliveries that take too long
_PAUSE = 1.0  # seconds between a failed delivery and the next message to the receiver
_LAST_WAIT = 10.0  # seconds at the end for visits and deliveries that have begun
_ARENAS = 2  # of malloc; each keeps the most memory that its threads have needed
_M_ARENA_MAX = -8  # its number in malloc.h


@dataclass(frozen=True, slots=True)
class Archiver:
    """Makes visits of an archive, or of a shard of it; an error of such a visit is an alert of its cluster."""

    where: str
    shard: str | None = None
    services: tuple[str, ...] = ()
    timeout: timedelta = timedelta(minutes=30)

    def visit(self, reader: ClusterReader) -> ClusterVisit:
        """Make one visit, and return whether it failed."""
        reason = ""
        try:
            with connect(reader.option, read_only=True, check=False) as lab:
                limit = self.timeout
                archive(lab, self.where, service=self.services, shard=self.shard, timeout=limit, progress=False)
        except BaseException as error:  # noqa: BLE001 - also a panic of delta-rs, a BaseException
            reason = reason_of(error)
        title = "ended invocations are not archived; they are lost when their retention ends"
        return reader.own_visit(_ARCHIVE, Severity.CRITICAL, title, reason)


@dataclass(slots=True)
class Watcher:
    """Visits clusters, keeps the state of the alerts, and delivers messages.

    ``report`` gets each change of an alert, ``warn`` each failure as text. ``now`` is the clock, UTC. ``limit`` is the
    time limit of a delivery in seconds.
    """

    readers: Sequence[ClusterReader]
    store: AlertStore
    receivers: Sequence[Receiver]
    senders: Senders
    report: Callable[[Event, Alert], None]
    warn: Callable[[str], None]
    metrics: MetricsState = field(default_factory=MetricsState)
    archiver: Archiver | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    limit: float = DELIVERY_SECONDS
    _results: queue.SimpleQueue[ClusterVisit | DeliveryResult] = field(default_factory=queue.SimpleQueue)
    _couriers: list[Courier] = field(default_factory=list)
    _busy: set[tuple[str, str]] = field(default_factory=set)
    _failed: set[int] = field(default_factory=set)
    _is_once: bool = False
    _problems: int = 0
    _shield: Shield = field(default_factory=Shield)

    def start(self) -> None:
        """Tell the store the receivers and the clusters."""
        if self.store.damaged:
            self.warn(f"{self.store.path}: removed {plural(self.store.damaged, 'row')} that could not be read.")
        for alert in self.store.resolve_unwatched({each.name for each in self.readers}, self.now()):
            self.report(Event.RESOLVED, alert)
        removed = self.store.set_receivers([each.id for each in self.receivers], self.now())
        if removed:
            self.warn(f"removed {plural(removed, 'waiting message')}: their receivers are not used any more.")
        self._couriers = [Courier(each, self.senders, self._results.put, self.limit) for each in self.receivers]
        self._measure()

    def once(self) -> bool:
        """Make one visit of each cluster, and deliver; return whether everything was read and delivered.

        Each message is tried once, because the next process may start much later than the wait after a failure. If a
        receiver exceeds the time limit, its other messages wait for the next process.
        """
        self._is_once = True
        with self._shield:
            try:
                self._begin_all()
                while self._deliver() or self._busy:
                    self._wait(_SLICE)
            except KeyboardInterrupt:
                self._finish()
                raise
        return not self._problems and not self.store.count_messages()

    def repeat(self, interval: float) -> None:
        """Make visits until an interrupt. A visit that takes longer than the interval skips the next ones."""
        _bound_memory()
        with self._shield:
            try:
                while True:
                    self._run_interval(time.monotonic() + interval)
            except KeyboardInterrupt:
                self._finish()

    def _run_interval(self, ends: float) -> None:
        """Start visits, and handle results until a time of ``time.monotonic``; also a time that has passed."""
        self._begin_all()
        while True:
            self._deliver()
            left = max(0.0, ends - time.monotonic())
            self._wait(min(left, _SLICE))
            if not left:
                return

    def _wait(self, seconds: float) -> None:
        """Handle the next result, if there is one in time; only this wait is interrupted."""
        with contextlib.suppress(queue.Empty):
            self._handle(self._shield.let_through(lambda: self._results.get(timeout=seconds)))

    def _finish(self) -> None:
        """Wait for what has begun, and write which messages have arrived; a second interrupt ends the wait."""
        ends = time.monotonic() + _LAST_WAIT
        while (self._busy or any(each.is_busy for each in self._couriers)) and time.monotonic() < ends:
            with contextlib.suppress(queue.Empty):
                result = self._results.get(timeout=0.1)
                if isinstance(result, DeliveryResult):
                    self._conclude(result)
                else:
                    self._busy.discard((result.cluster, _kind_of(result)))
            if self._shield.take():
                return

    def _begin_all(self) -> None:
        kinds = [_WATCH] if self.archiver is None else [_WATCH, _ARCHIVE]
        for reader, kind in itertools.product(self.readers, kinds):
            if (reader.name, kind) not in self._busy:
                self._busy.add((reader.name, kind))
                known = self.store.known_alerts(reader.name, self.now())  # only this thread may read the store
                threading.Thread(target=self._run, args=(reader, kind, known), name=THREAD_NAME, daemon=True).start()

    def _run(self, reader: ClusterReader, kind: str, known: Mapping[str, KnownAlert]) -> None:
        archiver = self.archiver
        visit = archiver.visit(reader) if kind == _ARCHIVE and archiver is not None else reader.visit(known)
        if not self._is_once:
            _return_memory()
        self._results.put(visit)  # at last: the process can end as soon as it has the result

    def _handle(self, result: ClusterVisit | DeliveryResult) -> None:
        if isinstance(result, DeliveryResult):
            self._conclude(result)
            return
        kind = _kind_of(result)
        self._busy.discard((result.cluster, kind))
        if result.error:
            self._problems += 1
            self.warn(f"{result.cluster}: {kind} failed: {result.error}")
        for event, alert in self.store.record(result):
            self.report(event, alert)
        if kind == _WATCH:
            self.metrics.add_visit(result)
            for courier in self._couriers:
                courier.refreshes = True
        self._measure()

    def _deliver(self) -> bool:
        """Begin the deliveries that are due, at most one for each receiver; return whether any is not over.

        A message that was refused is tried again later, and delays only the messages about the same alert.
        """
        for courier in self._couriers:
            if late := courier.late_result():
                self._conclude(late)
            if courier.is_free and not (self._is_once and courier.was_late):
                self._start_next(courier)
        self.senders.end_if_idle()
        return any(courier.is_busy for courier in self._couriers)

    def _start_next(self, courier: Courier) -> None:
        """Begin the next delivery to a receiver: first the open alerts, which must not end while messages fail."""
        receiver, now, skip = courier.receiver, self.now(), self._failed if self._is_once else ()
        repetition = receiver.repetition(self.store.open_alerts(), now) if courier.refreshes else None
        courier.refreshes = False
        if repetition is not None:
            courier.start(None, repetition)
        elif message := self.store.next_message(receiver.id, now, waits=not self._is_once, skip=skip):
            courier.start(message, receiver.content(message))

    def _conclude(self, result: DeliveryResult) -> None:
        courier, message, reason = result.courier, result.message, result.reason
        if not courier.conclude(result, pause=0.0 if self._is_once else _PAUSE):
            return
        if reason:
            self._problems += 1
            self.metrics.add_refusal(courier.receiver.label)
            self.warn(f"{courier.receiver.label}: {reason}; it is tried again later")
        if message is not None and reason:
            self._failed.add(message.number)
            self.store.postpone(message, self.now())
        elif message is not None:
            self.store.remove(message)
        self._measure()

    def _measure(self) -> None:
        waiting = self.store.count_messages()
        messages = {each.receiver.label: waiting.get(each.receiver.id, 0) for each in self._couriers}
        self.metrics.set_alerts(self.store.count_alerts(), messages)


def _kind_of(visit: ClusterVisit) -> str:
    return _ARCHIVE if visit.only == _ARCHIVE else _WATCH


def _bound_memory() -> None:
    """Let all threads share a few pools of memory; otherwise a process with a thread for each visit grows for hours."""
    pa.set_memory_pool(pa.system_memory_pool())
    if bound := getattr(_libc(), "mallopt", None):
        bound(_M_ARENA_MAX, _ARENAS)


def _return_memory() -> None:
    """Return freed memory to the system, which malloc keeps between two visits."""
    if trim := getattr(_libc(), "malloc_trim", None):
        trim(0)


def _libc() -> ctypes.CDLL | None:
    """Return the library of C in which the functions of glibc are looked up, on Linux."""
    return ctypes.CDLL(None) if sys.platform == "linux" else None
