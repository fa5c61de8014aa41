"""The context of the checks: one source at one time, with the reads that the checks share."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import plural
from restate_lab.analysis.doctor.census import (
    DETAILS,
    MAX_FAILED,
    MAX_ROWS,
    NO_HANDLER,
    Census,
    Handler,
    HandlerOutcomes,
    SampleRequest,
    Samples,
    handler_of_target,
    sample_request,
)
from restate_lab.analysis.doctor.model import (
    MAX_IDS,
    NONE_BLOCKED,
    Blocked,
    DeploymentInfo,
    Finding,
    RetryingInvocation,
    retrying_invocation,
)
from restate_lab.analysis.doctor.reader import DoctorReader, Row, timestamp_of
from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.analysis.questions import NO_INVOCATION
from restate_lab.analysis.waits import KnownInvocations, WaitAnalysis, analyze_waits
from restate_lab.analysis.waits.model import table_of_edges
from restate_lab.audit import audit_log
from restate_lab.errors import RestateLabError, Truncated
from restate_lab.frames import records
from restate_lab.reads import CHUNK, Reads
from restate_lab.source import read_once

_DAY = timedelta(days=1)
_HANDLERS = 3  # handlers of blocked invocations to name
T = TypeVar("T")
_NO_SAMPLES = Samples(
    pa.table({name: pa.nulls(0, pa.large_string()) for name in DETAILS}),
    SampleRequest(statuses=(), failed=False, slow=(), rows=0),
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of ``doctor``.

    ``cost`` orders the checks, cheapest first: if nothing is wrong, the check takes about as long as this many counts
    over the status table. ``is_for_vqueues`` is set if the check applies only to servers with vqueues, and
    ``needs_payloads`` if it applies only to sources with the payloads of journals. ``needs_open`` is set if it examines
    open invocations, or what the cluster does now; a history cannot answer it. ``needs_samples`` is set if it examines
    the samples of a history; they replace open invocations. ``compares_times`` is set if it reads twice to see what
    stays the same, which only a live source can show. ``needs_period`` is the time before now whose ended invocations
    it needs: a live cluster removes them after their retention, and a history has them since ``coverage.since``.
    ``needs_present`` is set if it examines attempts, or which deployments were removed: neither is recorded for an
    earlier time. ``until`` is the version from which it does not apply. ``is_compared`` is set if its findings are
    about failing or waiting invocations that healthy ones of the same handler can be compared with, and
    ``is_about_ended`` if they are about invocations that have ended. ``is_for_every_version`` is set if it also applies
    to servers that are not supported.
    """

    name: str
    description: str
    cost: float
    run: Callable[[CheckContext], Sequence[Finding]]
    is_for_vqueues: bool = False
    needs_payloads: bool = False
    needs_open: bool = False
    needs_samples: bool = False
    compares_times: bool = False
    needs_present: bool = False
    needs_period: timedelta | None = None
    until: str | None = None
    is_compared: bool = False
    is_about_ended: bool = False
    is_for_every_version: bool = False


class CheckContext(DoctorReader):
    """One source at one time, with the reads that the checks share; the first check that needs a read makes it.

    ``clock`` is the current time of the source, even if ``now`` looks ahead. ``partitions`` is the number of the
    cluster's partitions, None if the caller did not state it. ``audit_folder`` is the folder of this connection's audit
    log, None if the source is not a live cluster.
    """

    def __init__(
        self,
        source: Reads,
        thresholds: Thresholds,
        *,
        clock: datetime,
        partitions: int | None = None,
        audit_folder: Path | None = None,
    ) -> None:
        super().__init__(source)
        self.partitions = partitions
        self._audit_folder = audit_folder
        self.thresholds = thresholds
        self.clock = clock
        self._edges: dict[str, pd.DataFrame] = {}
        self._computed: dict[Any, Any] = {}

    def age(self, since: datetime | None) -> timedelta:
        """Return the age of a timestamp; zero if it is unknown."""
        return max(self.now - since, timedelta(0)) if since is not None else timedelta(0)

    def covers(self, period: timedelta) -> bool:
        """Return whether the source is an archive that has the invocations which ended in this time before now."""
        since = self.source.coverage.since
        return since is not None and since <= self.clock - period

    @read_once
    def census(self) -> Census:
        """Return the counts of all invocations, from the one scan that most checks share."""
        limits, started = self.thresholds, time.monotonic()
        rows = self.rows(
            "census",
            recent=self.now - limits.recent,
            overdue=self.clock - limits.waiting,
            expires=self.now + limits.expires_within,
            outlived=self.clock - limits.cleanup,
            slow_ms=limits.slow_ms,
        )
        return Census(tuple(rows), time.monotonic() - started)

    @read_once
    def samples(self) -> Samples:
        """Return the single invocations to examine, if one scan, or one read by their ids, can read all of them."""
        limits, census = self.thresholds, self.census
        request = sample_request(
            census, list(census.slow_handlers(limits)), failed=census.fails_often(limits), suspended=limits.waits
        )
        if not (request.statuses or request.failed or request.slow):
            return _NO_SAMPLES
        wanted = {
            "since": self.now - _DAY,
            "slow_ms": limits.slow_ms,
            "statuses": list(request.statuses) or [NO_HANDLER],
            "failed": request.failed,
            "slow": bool(request.slow),
            "slow_handlers": list(request.slow) or [NO_HANDLER],
            "limit": request.limit,
        }
        is_by_id = self.source.live and request.rows <= CHUNK
        ids = [str(row["id"]) for row in self.rows("sample_ids", **wanted)] if is_by_id else []
        rows = self.table("samples", every=not is_by_id, ids=ids or [NO_INVOCATION], **wanted)
        # If there are many more than the census counted, each kind is read separately.
        is_complete = max(len(ids), len(rows)) < request.limit
        return Samples(rows, request) if is_complete else _NO_SAMPLES

    def failed_invocations(self) -> list[Row]:
        """Return the invocations that failed permanently in the last day; a limit adds a message to ``excluded``."""
        rows = self.samples.failed
        if rows is None:
            rows = self.rows("failed", since=self.now - _DAY, limit=MAX_FAILED + 1)
        if len(rows) > MAX_FAILED:
            self.excluded.append(f"only {MAX_FAILED:,} of the failed invocations of the last day were read")
        return rows[:MAX_FAILED]

    def paused_invocations(self) -> list[Row]:
        """Return the rows of the question ``paused``."""
        ids = self.samples.paused
        return self.ask("paused", limit=MAX_ROWS) if ids is None else self.ask("paused", ids=ids, limit=MAX_ROWS)

    def slow_invocations(self, handler: Handler) -> pd.DataFrame:
        """Return ids and times of the slow invocations of a handler, most recent first."""
        rows = self.samples.slow_invocations(handler)
        if rows is not None:
            return rows
        service, name = handler
        return self.frame("slow_invocations", service=service, handler=name, ms=self.thresholds.slow_ms, limit=MAX_IDS)

    def details_of(self, ids: Iterable[str]) -> Mapping[str, Row]:
        """Return the rows of ``invocations.sql`` by id; an invocation that no longer exists has no row."""
        wanted = sorted(set(ids))
        known: dict[str, Row] = {}
        with contextlib.suppress(RestateLabError):  # which the checks that need the census report
            known = {row["id"]: row for row in records(self.samples.details_of(wanted))}
        rest = [id_ for id_ in wanted if id_ not in known]
        return known | {row["id"]: row for row in self.rows_by_id("invocations", rest)}

    @read_once
    def outcomes(self) -> Mapping[Handler, HandlerOutcomes]:
        """Return how the invocations of each handler ended."""
        return self.census.outcomes()

    @read_once
    def deployments(self) -> Mapping[str, DeploymentInfo]:
        """Return the registered deployments by id."""
        latest: dict[str, list[str]] = defaultdict(list)
        for row in self.rows("services"):
            latest[row["deployment_id"]].append(row["name"])
        return {
            row["id"]: DeploymentInfo(
                row["id"],
                row["endpoint"] or "",
                timestamp_of(row["created_at"]),
                tuple(sorted(latest[row["id"]])),
            )
            for row in self.rows("deployments")
        }

    def latest_deployment(self, service: str) -> DeploymentInfo | None:
        """Return the deployment of a service's latest revision; None if no deployment has the service now."""
        return next((each for each in self.deployments.values() if service in each.latest_of), None)

    @read_once
    def retrying_invocations(self) -> tuple[RetryingInvocation, ...]:
        """Return the invocations whose attempts fail, most attempts first."""
        with contextlib.suppress(RestateLabError):  # which the checks that need the census report
            if not self.census.count_open("invoked"):
                return ()  # no scan for failing ones, as vqueues require it, is needed
        rows = self.rows("attempts", limit=MAX_ROWS)
        if rows:
            # The waits are needed in any case, and reading them here reads the samples, too.
            with contextlib.suppress(RestateLabError):
                _ = self.waits
        details = self.details_of(row["id"] for row in rows)
        known = ((row, details.get(row["id"])) for row in rows)
        return tuple(retrying_invocation(row, each) for row, each in known if each and each["status"] == "invoked")

    @read_once
    def storm_rows(self) -> list[Row]:
        """Return the rows of ``retry_storm``: the number of failing invocations by handler, code and step."""
        return self.ask("retry_storm", limit=None)

    @read_once
    def audit_records(self) -> list[Row] | None:
        """Return the records of this computer's audit log about this cluster; None if it is not a live cluster."""
        if self._audit_folder is None:
            return None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Truncated)
            frame = audit_log(self._audit_folder)
        if "truncated" in frame.attrs:
            self.excluded.append(f"the audit log is incomplete: {frame.attrs['truncated']}")
        return records(frame[frame["address"] == self.source.address])

    @read_once
    def waits(self) -> WaitAnalysis | None:
        """Return which invocations wait for which; None if no invocation is suspended or pending.

        Raises:
            RestateLabError: a read failed; it is not repeated, because the reads remember failures.
        """
        census = self.census
        known = KnownInvocations(
            census.count_open("suspended"),
            census.count_open("inboxed"),
            census.total("journal_entries"),
            read_suspended=lambda: self.samples.suspended,
        )
        if not known.suspended and not known.pending:
            return None
        return analyze_waits(self.source, limit=self.thresholds.waits, known=known)

    def edges(self, kind: str) -> pd.DataFrame:
        """Return the edges of a kind, oldest first; ``excluded`` gets messages about data that was not read."""
        if self.waits is not None:
            self.excluded += self.waits.snapshot.excluded
        if kind not in self._edges:
            edges = self.waits.snapshot.edges if self.waits is not None else table_of_edges([])
            rows = edges.filter(pc.equal(edges["kind"], pa.scalar(kind, pa.large_string()))).to_pandas()
            for name in ("waiter_target", "detail"):
                rows[name] = rows[name].astype("object").where(rows[name].notna(), None)
            self._edges[kind] = rows.sort_values(["since", "waiter"], kind="stable")
        return self._edges[kind]

    def once(self, compute: Callable[[CheckContext], T]) -> T:
        """Return the result of a function that several checks share; it is called only once."""
        if compute not in self._computed:
            self._computed[compute] = compute(self)
        result: T = self._computed[compute]
        return result

    def blocked_by(self, ids: Iterable[str], *, at_least: int = 0) -> Blocked:
        """Return the invocations that were read and wait for these, directly or through others.

        ``at_least`` is the smallest possible number of them.
        """
        waits = None
        with contextlib.suppress(RestateLabError):  # which the checks of waits report
            waits = self.waits
        if waits is None:
            return NONE_BLOCKED
        start = set(ids)
        waiting = waits.graph.waiters_of(start)
        # The queues of a deadlock or a blocker may have calls that were counted but not read.
        unread = sum(waits.snapshot.unread.get(id_, 0) for id_ in (*start, *waiting))
        blocked, count = tuple(sorted(waiting))[:MAX_IDS], max(len(waiting) + unread, at_least)
        return Blocked(blocked, count, self._label_of(blocked, count) if count else "")

    def most_blocking(self, ids: Sequence[str]) -> str:
        """Return the invocation for which most others wait, as an example; of several, the first one."""
        waiters: Mapping[str, Sequence[str]] = {}
        with contextlib.suppress(RestateLabError):
            waiters = self.waits.graph.predecessors if self.waits is not None else {}
        return max(ids, key=lambda id_: len(waiters.get(id_, ())))

    def _label_of(self, ids: Sequence[str], count: int) -> str:
        """Return "3 Orders/place", or "17: 12 Account/debit, 4 Orders/place and 1 more"."""
        nodes = self.waits.snapshot.nodes.select(ids) if self.waits is not None else {}
        handlers = Counter("/".join(handler_of_target(node.target)) for node in nodes.values())
        if not handlers:
            return plural(count, "invocation")
        if handlers.total() == count and len(handlers) == 1:
            return f"{count:,} {next(iter(handlers))}"
        first = handlers.most_common(_HANDLERS)
        rest = count - sum(n for _, n in first)
        return f"{count:,}: {', '.join(f'{n:,} {name}' for name, n in first)}{f' and {rest:,} more' if rest else ''}"
