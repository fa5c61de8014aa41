"""What the checks work on: one source at one time, with the reads that they share."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.doctor.census import (
    MAX_ROWS,
    Census,
    Handler,
    HandlerOutcomes,
    SampleRequest,
    Samples,
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
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.waits import KnownInvocations, Waits, find_waits
from restate_lab.errors import RestateLabError

__all__ = ["Check", "CheckContext"]

_DAY = timedelta(days=1)
_NO_SAMPLES = Samples(
    pd.DataFrame({"id": []}), SampleRequest(suspended=False, paused=False, failed=False, slow=(), limit=0)
)


@dataclass(frozen=True, slots=True)
class Check:
    """One check of the doctor.

    ``cost`` orders the checks, cheapest first: it takes about as long as so many counts over the status table, where
    nothing is found. ``is_for_vqueues`` is set where it makes no sense on other servers.
    """

    name: str
    description: str
    cost: float
    run: Callable[[CheckContext], Sequence[Finding]]
    is_for_vqueues: bool = False


class CheckContext(DoctorReader):
    """One source at one time, with the reads that the checks share: each is made by the first check that needs it."""

    def __init__(self, source: Deadline, thresholds: Thresholds, *, clock: datetime) -> None:
        super().__init__(source)
        self.thresholds = thresholds
        self.clock = clock
        """The source's own time, also where ``now`` looks ahead."""

    def age(self, since: datetime | None) -> timedelta:
        """Return how long ago that was; zero where it is not known."""
        return max(self.now - since, timedelta(0)) if since is not None else timedelta(0)

    @functools.cached_property
    def census(self) -> Census:
        """Return the counts of all invocations: the one scan that most checks share."""
        limits = self.thresholds
        rows = self.rows(
            "census",
            recent=self.now - limits.recent,
            overdue=self.clock - limits.waiting,
            expires=self.now + limits.expires_within,
            slow_ms=limits.slow_ms,
        )
        return Census(tuple(rows))

    @functools.cached_property
    def samples(self) -> Samples:
        """Return the invocations that are examined one by one, as far as one scan can read them all."""
        limits, census = self.thresholds, self.census
        request = sample_request(
            census, list(census.slow_handlers(limits)), failed=census.fails_often(limits), suspended=limits.waits
        )
        if not request:
            return _NO_SAMPLES
        rows = self.frame("samples", since=self.now - _DAY, slow_ms=limits.slow_ms, **request.params())
        # There are far more than the census counted: then each kind is read on its own.
        return Samples(rows, request) if len(rows) < request.limit else _NO_SAMPLES

    def failed_invocations(self) -> list[Row]:
        """Return the invocations that failed for good within a day; a limit that cut off rows is noted."""
        rows = self.samples.failed
        if rows is None:
            rows = self.rows("failed", since=self.now - _DAY, limit=MAX_ROWS + 1)
        if len(rows) > MAX_ROWS:
            self.excluded.append(f"of the terminal failures of a day, only {MAX_ROWS:,} were read")
        return rows[:MAX_ROWS]

    def paused_invocations(self) -> list[Row]:
        """Return the rows of the question ``paused``."""
        ids = self.samples.paused
        return self.ask("paused", limit=MAX_ROWS) if ids is None else self.ask("paused", ids=ids, limit=MAX_ROWS)

    def slow_invocations(self, handler: Handler) -> pd.DataFrame:
        """Return ids and times of a handler's invocations that took long, the most recent first."""
        rows = self.samples.slow_invocations(handler)
        if rows is not None:
            return rows
        service, name = handler
        return self.frame("slow_invocations", service=service, handler=name, ms=self.thresholds.slow_ms, limit=MAX_IDS)

    def handlers_of(self, ids: Iterable[str]) -> Mapping[str, Handler]:
        """Return the handlers of these invocations, as far as these exist."""
        wanted = sorted(set(ids))
        known = dict(self.samples.handlers_of(wanted))
        rows = self.rows_by_id("invocations", [id_ for id_ in wanted if id_ not in known])
        return known | {row["id"]: (row["target_service_name"], row["target_handler_name"]) for row in rows}

    @functools.cached_property
    def outcomes(self) -> Mapping[Handler, HandlerOutcomes]:
        """Return how the invocations of each handler ended."""
        return self.census.outcomes()

    @functools.cached_property
    def deployments(self) -> Mapping[str, DeploymentInfo]:
        """Return the registered deployments by id."""
        latest: dict[str, list[str]] = defaultdict(list)
        for row in self.rows("services"):
            latest[row["deployment_id"]].append(row["name"])
        return {
            row["id"]: DeploymentInfo(
                row["id"],
                none_if_missing(row["endpoint"]) or "",
                timestamp_of(row["created_at"]),
                tuple(sorted(latest[row["id"]])),
            )
            for row in self.rows("deployments")
        }

    def latest_deployment(self, service: str) -> DeploymentInfo | None:
        """Return the deployment of a service's latest revision; None where no deployment has the service any more."""
        return next((each for each in self.deployments.values() if service in each.latest_of), None)

    @functools.cached_property
    def retrying_invocations(self) -> tuple[RetryingInvocation, ...]:
        """Return the invocations whose attempts fail, most attempts first."""
        if self.has_vqueues and self._has_no_attempts():
            return ()
        rows = self.ask_first("retry_storm_ids", limit=MAX_ROWS)
        known = self.rows_by_id("invocations", [row["id"] for row in rows])
        moved_at = {row["id"]: timestamp_of(row["modified_at"]) for row in known}
        return tuple(retrying_invocation(row, moved_at.get(row["id"])) for row in rows)

    @functools.cached_property
    def storm_rows(self) -> list[Row]:
        """Return the rows of ``retry_storm``: how many invocations fail, by handler, code and step."""
        return self.ask("retry_storm", limit=None)

    @functools.cached_property
    def waits(self) -> Waits | None:
        """Return which invocations wait for which; None where none is suspended or pending."""
        if not self.census.count_open("suspended", "inboxed"):
            return None
        known = KnownInvocations(self.samples.suspended, has_pending=self.census.count_open("inboxed") > 0)
        return find_waits(self.source, limit=self.thresholds.waits, known=known)

    @functools.cached_property
    def edges(self) -> list[Row]:
        """Return the rows of ``waits.edges``, none where no invocation waits."""
        return records(self.waits.edges) if self.waits is not None else []

    def _has_no_attempts(self) -> bool:
        """Return whether the census has no running invocation; with vqueues, reading the failing ones is a scan."""
        try:
            return not self.census.count_open("invoked")
        except RestateLabError:
            return False

    def blocked_by(self, ids: Iterable[str]) -> Blocked:
        """Return the invocations that wait for these, directly or through others, as far as they were read."""
        try:
            waits = self.waits
        except RestateLabError:
            # The checks of waits report this error; a failure is worth a finding without what it blocks.
            return NONE_BLOCKED
        if waits is None:
            return NONE_BLOCKED
        start = set(ids)
        waiting = self._waiting(start)
        unread = sum(self._unread.get(id_, 0) for id_ in start)
        return Blocked(tuple(sorted(waiting))[:MAX_IDS], len(waiting) + unread)

    def _waiting(self, start: set[str]) -> set[str]:
        seen, queue = set(start), deque(start)
        while queue:
            for waiter in self._waiters.get(queue.popleft(), ()):
                if waiter not in seen:
                    seen.add(waiter)
                    queue.append(waiter)
        return seen - start

    @functools.cached_property
    def _waiters(self) -> Mapping[str, Sequence[str]]:
        return self.waits.waiters() if self.waits is not None else {}

    @functools.cached_property
    def _unread(self) -> Mapping[str, int]:
        """Return, for root blockers, how many wait behind them beyond those that were read."""
        if self.waits is None or not self.waits.excluded:
            return {}
        blockers = self.waits.blockers
        totals = {id_: n for id_, n in zip(blockers["id"], blockers["total_waiting"], strict=True) if pd.notna(n)}
        return {id_: max(0, int(n) - len(self._waiting({id_}))) for id_, n in totals.items()}
