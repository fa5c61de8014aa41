"""Archive a cluster: one visit, or visits at regular intervals until they are stopped."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pandas as pd

from restate_lab.client.arguments import check_flag, check_seconds
from restate_lab.client.lab import Lab, is_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import (
    AccessDenied,
    ArchiveBroken,
    ArgumentError,
    EvidenceWarning,
    QueryInterrupted,
    RateLimited,
    RestateLabError,
    ServerFailed,
    TimedOut,
    Unreachable,
)
from restate_lab.frames import to_frame
from restate_lab.history.cluster import name_of_cluster
from restate_lab.history.commits import Record, VisitOptions, failed_record, table_of_records
from restate_lab.history.shards import parse_shard
from restate_lab.history.store import ArchiveStore, locate_store
from restate_lab.history.visit import WrongClock, visit
from restate_lab.progress import Progress, RowsLine, notify, progress_of
from restate_lab.source import Source

_PASSING = (Unreachable, TimedOut, RateLimited, ServerFailed, QueryInterrupted, AccessDenied, WrongClock)
"""Errors of a visit that are recorded; the visits go on, because the next visit can succeed."""
_MOST_RECORDS = 1_000


@translate_errors
def archive(
    lab: Source,
    where: str | os.PathLike[str],
    /,
    *,
    cluster_name: str | None = None,
    service: str | Iterable[str] | None = None,
    shard: str | None = None,
    every: DurationInput | None = None,
    payloads: bool = False,
    redact: str | Iterable[str] | None = None,
    samples: bool = True,
    same_cluster: bool = False,
    timeout: DurationInput | None = None,
    progress: bool | Progress | None = None,
) -> pd.DataFrame:
    """Copy the ended invocations of a cluster into an archive, which keeps them after the cluster has removed them.

        rl.archive(lab, "history")                             # one visit, for cron
        rl.archive(lab, "s3://bucket/history", every="5m")     # visits until you stop them
        rl.archive(lab, "s3://bucket/history", service=["Orders", "Parcels"], shard="orders", every="5m")

    Visit more often than the shortest retention of the cluster, one day by default: an invocation that is removed
    before a visit is lost. ``help(rl.History)`` describes the archive. Returns one row per record of a visit, the last
    1,000 with ``every``, with the columns of its table ``visits``.

    - ``cluster_name``: its name in the archive, the same at each visit. None takes the name of the CLI's environment.
    - ``service`` and ``shard``: visit only these services, as the shard of this name. Archivers of other shards can
      write the archive at the same time. A shard is active from its first visit until ``History.release`` ends it.
    - ``every``: the time between the starts of two visits, until the stop button (Ctrl-C). None makes one visit.
    - ``payloads=True`` adds the arguments and results of handlers. Secret headers are masked.
    - ``redact``: columns and paths to mask, as in ``freeze``; ``"agent_steps.tool_names"`` is the archive's own.
    - ``samples=False`` reads only the ended invocations, which costs the server about half.
    - ``same_cluster=True``, for one visit: the cluster of this name has a new address and only new deployments.
    - ``timeout``: the time limit for the server's responses in one visit; None ends only a statement of an hour.
    - ``progress``: None or True shows a line once the call takes longer than a second, False shows nothing, and a
      ``Progress`` is updated instead.

    Warns EvidenceWarning if ``redact`` masks failures, so that families of errors cannot be recognized.

    Raises:
        ArgumentError: the source is not live, or an argument is malformed; the name is used by another cluster; an
            active archiver has one of the services, or the shard has others.
        ArchiveBroken: no archive, damaged, of a newer version, in an unsuitable store, or a clock is wrong.
        AccessDenied, Unreachable, NotFound: the store or server refused, did not respond, or has no such bucket; a disk
            is full.
        TimedOut, NotOnThisServer, MissingExtra: over ``timeout`` (commits remain), an old server, no deltalake.
        RestateLabError: any error of the server; it is recorded as a failed visit.
    """
    if not is_lab(lab):
        raise ArgumentError(f"archive() needs a live cluster, from connect(); {lab!r} does not change.")
    interval = None if every is None else to_timedelta(every, name="every").total_seconds()
    if interval is not None and interval <= 0:
        raise ArgumentError(f"every is {every!r}: pass the time between two visits, for example '5m'.")
    store = locate_store(where)
    name, services = parse_shard(shard, service)
    options = VisitOptions(
        cluster=name_of_cluster(lab, cluster_name),
        shard=name,
        services=services,
        payloads=check_flag("payloads", payloads),
        redact=tuple([redact] if isinstance(redact, str) else redact or ()),
        samples=check_flag("samples", samples),
        same_cluster=check_flag("same_cluster", same_cluster),
        timeout=None if timeout is None else check_seconds("timeout", timeout),
    )
    if any(text == "failures" or "failure" in text.partition("$")[0] for text in options.redact):
        message = "redact= masks texts of failures: families of errors cannot be recognized in this archive."
        warnings.warn(message, EvidenceWarning, stacklevel=3)  # point to the caller of the decorated function
    loop = _VisitLoop(lab, store, options, progress_of(progress, lambda: RowsLine("archiving")))
    return loop.once() if interval is None else loop.repeat(interval)


@dataclass(slots=True)
class _VisitLoop:
    """Visits of one archiver; ``unwritten`` has records of failed visits that the store did not accept yet."""

    lab: Lab
    store: ArchiveStore
    options: VisitOptions
    progress: Progress
    records: list[Record] = field(default_factory=list)
    unwritten: list[Record] = field(default_factory=list)

    def once(self) -> pd.DataFrame:
        try:
            self._visit()
        finally:
            self.progress.close()
        return self._frame()

    def repeat(self, interval: float) -> pd.DataFrame:
        """Make visits until an interrupt; only an error of the first visit, or one that remains, is raised.

        After a slow visit, the next one waits as long as it took.
        """
        try:
            while True:
                started = time.monotonic()
                try:
                    self._visit()
                except _PASSING as error:
                    if not self.records:
                        raise
                    notify(f"a visit failed, and the next one is tried: {type(error).__name__}: {error}")
                took = time.monotonic() - started
                time.sleep(max(interval - took, took))
        except KeyboardInterrupt:
            return self._frame()
        finally:
            self.progress.close()

    def _visit(self) -> None:
        started = datetime.now(UTC)
        self._write_failed()  # before a complete visit, after which this program may end
        try:
            self.records += self._visit_store()
        except _PASSING as error:
            self.unwritten.append(failed_record(self.lab, self.options, error, started))
            self._write_failed()
            raise
        del self.records[:-_MOST_RECORDS]

    def _visit_store(self) -> list[Record]:
        """Make one visit; an archive that was there before and is gone now is not created again."""
        try:
            self._check_there()
            return visit(self.lab, self.store, self.options, self.progress, is_first=not self.records)
        except ArchiveBroken:
            self._check_there()  # the folder may have gone during the visit
            raise

    def _check_there(self) -> None:
        if self.records and self.store.was_removed():
            raise Unreachable(
                f"{self.store}: the archive was there at the visit before, and it is gone now. Is its drive mounted? "
                f"To begin a new archive, start again."
            )

    def _write_failed(self) -> None:
        with suppress(RestateLabError):
            while self.unwritten and self.store.exists():
                record, visits = table_of_records(self.unwritten[:1]), self.store.open("visits")
                self.store.append(visits, record, cluster=self.options.cluster)
                if self.records:
                    self.records.append(self.unwritten[0])
                del self.unwritten[0]

    def _frame(self) -> pd.DataFrame:
        return to_frame(table_of_records(self.records))
