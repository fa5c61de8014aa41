"""What the checks look through: one source at one moment, with the reads that they share."""

from __future__ import annotations

import functools
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from importlib.resources import files
from typing import Any

import pandas as pd

from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.doctor.census import MOST, Census, Ended, Handler, Retrier, Singles, Wanted, retrier, wanted
from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.questions.catalog import Variant, parse_variant
from restate_lab.analysis.records import none_if_missing, records
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.analysis.waits import KnownInvocations, Waits, find_waits
from restate_lab.client.schema import checked, tables_of
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import NotOnThisServer, RestateLabError

__all__ = ["IDS", "MOST", "Blocked", "Check", "Deployment", "Finding", "Look", "Row", "Severity", "moment", "ranked"]

IDS = 1_000  # ids that a finding holds; its count has all
CHUNK = 5_000  # ids in one statement
DAY = timedelta(days=1)
NOTHING = Singles(pd.DataFrame({"id": []}), Wanted(suspended=False, paused=False, failed=False, slow=(), limit=0))
Row = dict[Any, Any]


class Severity(StrEnum):
    """How much a finding matters: from work that is blocked now and does not recover, to what is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Blocked:
    """The invocations that a cause blocks, directly or through others; ``count`` may exceed the ids that were read."""

    ids: tuple[str, ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


NONE_BLOCKED = Blocked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause. ``ids`` are the invocations that are wrong (deployments for some checks), ``IDS`` at most.

    ``count`` is their number, ``since`` (UTC) the earliest trace of it, None where none is known. ``evidence`` is the
    call that shows the rows behind it, ``suggested`` the next step: one call or several, one after another.
    """

    severity: Severity
    summary: str
    where: str
    count: int
    ids: tuple[str, ...]
    evidence: SuggestedCall
    suggested: tuple[SuggestedCall, ...]
    since: datetime | None = None
    blocked: Blocked = NONE_BLOCKED
    check: str = ""

    @property
    def affected(self) -> int:
        """Return how many invocations are affected: those that are stuck, and those that they block."""
        return self.count + self.blocked.count


@dataclass(frozen=True, slots=True)
class Check:
    """One question that the doctor asks, the cheap ones first.

    ``cost`` orders them: about so many counts over the status table, where nothing is found. ``is_for_vqueues`` tells
    that it makes no sense on other servers.
    """

    name: str
    description: str
    cost: float
    look: Callable[[Look], Sequence[Finding]]
    is_for_vqueues: bool = False


_ORDER = tuple(Severity)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first: by severity, then by how many are affected, then the oldest."""
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                _ORDER.index(each.severity),
                -each.affected,
                each.since.timestamp() if each.since else float("inf"),
                each.check,
                each.summary,
            ),
        )
    )


@dataclass(frozen=True, slots=True)
class Deployment:
    """One registered deployment: its address, when it came, and the services whose latest revision it is."""

    id: str
    endpoint: str
    created_at: datetime | None
    latest_of: tuple[str, ...]


class Look:
    """One source at one moment. What one check has read is there for the next."""

    def __init__(self, source: Deadline, thresholds: Thresholds, *, clock: datetime) -> None:
        self.source = source
        self.thresholds = thresholds
        self.now = source.now
        self.clock = clock
        """The source's own time, also where ``now`` looks ahead."""
        self.excluded: list[str] = []
        """What the present check did not read, in words."""

    @property
    def has_vqueues(self) -> bool:
        """Tell whether the source is a server with vqueues."""
        return bool(self.source.features.get("vqueues", False))

    def ask(self, name: str, **params: Any) -> list[Row]:
        """Return the rows of a named question; what its limit cut is noted."""
        frame = run_question(self.source, name, now=self.now, **params)
        if "truncated" in frame.attrs:
            self.excluded.append(str(frame.attrs["truncated"]["message"]))
        return records(frame)

    def ask_quietly(self, name: str, **params: Any) -> list[Row]:
        """Return the first rows of a named question, where more are not wanted."""
        return records(run_question(self.source, name, now=self.now, **params))

    def sql(self, name: str, **params: Any) -> list[Row]:
        """Return the rows of a file of ``sql/doctor``, in its variant for this source.

        Raises:
            NotOnThisServer: the source lacks what it needs.
        """
        return records(self.frame(name, **params))

    def frame(self, name: str, **params: Any) -> pd.DataFrame:
        """Return what ``sql`` returns, as a frame."""
        statement = self._variant(name).sql
        return checked(self.source.sql(statement, params=params), statement, self.source)

    def by_id(self, name: str, ids: Sequence[str]) -> Iterator[Row]:
        """Return the rows of a file of ``sql/doctor`` about these ids."""
        for chunk in chunks(ids, CHUNK):
            yield from self.sql(name, ids=chunk)

    def age(self, since: datetime | None) -> timedelta:
        """Return how long ago that was; nothing where it is not known."""
        return max(self.now - since, timedelta(0)) if since is not None else timedelta(0)

    @functools.cached_property
    def census(self) -> Census:
        """Return how many invocations are where: the one scan that most checks share."""
        limits = self.thresholds
        rows = self.sql(
            "census",
            recent=self.now - limits.recent,
            overdue=self.clock - limits.waiting,
            expires=self.now + limits.expires_within,
            slow_ms=limits.slow_ms,
        )
        return Census(tuple(rows))

    @functools.cached_property
    def singles(self) -> Singles:
        """Return those that have to be looked at one by one, as far as one scan can bring them all."""
        limits, census = self.thresholds, self.census
        wants = wanted(
            census, list(census.slow_handlers(limits)), failed=census.fails_often(limits), suspended=limits.waits
        )
        if not wants:
            return NOTHING
        rows = self.frame("singles", since=self.now - DAY, slow_ms=limits.slow_ms, **wants.params())
        # There are far more than a moment ago: each kind is read on its own, then.
        return Singles(rows, wants) if len(rows) < wants.limit else NOTHING

    def failed(self) -> list[Row]:
        """Return what has failed for good within a day; what the limit cut is noted."""
        rows = self.singles.failed
        if rows is None:
            rows = self.sql("failed", since=self.now - DAY, limit=MOST + 1)
        if len(rows) > MOST:
            self.excluded.append(f"of the terminal failures of a day, only {MOST:,} were read")
        return rows[:MOST]

    def paused(self) -> list[Row]:
        """Return the rows of the question ``paused``."""
        ids = self.singles.paused
        return self.ask("paused", limit=MOST) if ids is None else self.ask("paused", ids=ids, limit=MOST)

    def slow_ones(self, handler: Handler) -> pd.DataFrame:
        """Return ids and times of a handler's invocations that took long, the last ones first."""
        rows = self.singles.slow(handler)
        if rows is not None:
            return rows
        service, name = handler
        return self.frame("slow_ones", service=service, handler=name, ms=self.thresholds.slow_ms, limit=IDS)

    def handlers(self, ids: Iterable[str]) -> Mapping[str, Handler]:
        """Return the handlers of these invocations, as far as these are there."""
        wanted = sorted(set(ids))
        known = dict(self.singles.handlers(wanted))
        rows = self.by_id("invocations", [id_ for id_ in wanted if id_ not in known])
        return known | {row["id"]: (row["target_service_name"], row["target_handler_name"]) for row in rows}

    @functools.cached_property
    def ended(self) -> Mapping[Handler, Ended]:
        """Return how the invocations of each handler ended."""
        return self.census.ended()

    @functools.cached_property
    def deployments(self) -> Mapping[str, Deployment]:
        """Return the registered deployments by id."""
        latest: dict[str, list[str]] = defaultdict(list)
        for row in self.sql("services"):
            latest[row["deployment_id"]].append(row["name"])
        return {
            row["id"]: Deployment(
                row["id"],
                none_if_missing(row["endpoint"]) or "",
                moment(row["created_at"]),
                tuple(sorted(latest[row["id"]])),
            )
            for row in self.sql("deployments")
        }

    def deployment_of(self, service: str) -> Deployment | None:
        """Return the deployment of a service's latest revision; None where nobody serves it any more."""
        return next((each for each in self.deployments.values() if service in each.latest_of), None)

    @functools.cached_property
    def retriers(self) -> tuple[Retrier, ...]:
        """Return what is being tried again, most attempts first."""
        if self.has_vqueues and self._nobody_runs():
            return ()
        rows = self.ask_quietly("retry_storm_ids", limit=MOST)
        moved = {
            row["id"]: moment(row["modified_at"]) for row in self.by_id("invocations", [row["id"] for row in rows])
        }
        return tuple(retrier(row, moved.get(row["id"])) for row in rows)

    @functools.cached_property
    def storm(self) -> list[Row]:
        """Return the rows of ``retry_storm``: how many invocations are tried again, by handler, code and step."""
        return self.ask("retry_storm", limit=None)

    @functools.cached_property
    def waits(self) -> Waits | None:
        """Return who waits for whom; None where nobody is suspended or pending."""
        if not self.census.open("suspended", "inboxed"):
            return None
        known = KnownInvocations(self.singles.suspended, has_pending=self.census.open("inboxed") > 0)
        return find_waits(self.source, limit=self.thresholds.waits, known=known)

    @functools.cached_property
    def edges(self) -> list[Row]:
        """Return the rows of ``waits.edges``, none where nobody waits."""
        return records(self.waits.edges) if self.waits is not None else []

    def _nobody_runs(self) -> bool:
        """Tell whether the census saw nobody that could be tried again; with vqueues, asking for them is a scan."""
        try:
            return not self.census.open("invoked")
        except RestateLabError:
            return False

    def behind(self, ids: Iterable[str]) -> Blocked:
        """Return who waits for these, directly or through others, as far as it was read."""
        try:
            found = self.waits
        except RestateLabError:
            # The checks of waits say that they could not be read; a failure is worth reporting without what it blocks.
            return NONE_BLOCKED
        if found is None:
            return NONE_BLOCKED
        start = set(ids)
        waiting = self._waiting(start)
        unread = sum(self._unread.get(id_, 0) for id_ in start)
        return Blocked(tuple(sorted(waiting))[:IDS], len(waiting) + unread)

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
        counted = {id_: n for id_, n in zip(blockers["id"], blockers["total_waiting"], strict=True) if pd.notna(n)}
        return {id_: max(0, int(n) - len(self._waiting({id_}))) for id_, n in counted.items()}

    def _variant(self, name: str) -> Variant:
        variants = _variants(name)
        lacking: list[str] = []
        for variant in variants:
            lacks = [need for need in variant.needs if not self._has(need)]
            if not lacks:
                return variant
            lacking += lacks
        raise NotOnThisServer(
            f"{self.source.name} (restate {self.source.version}) lacks {', '.join(dict.fromkeys(lacking))}, "
            f"which this is read from."
        )

    def _has(self, need: str) -> bool:
        if need.startswith("feature "):
            return bool(self.source.features.get(need.removeprefix("feature "), False))
        return need in self._names

    @functools.cached_property
    def _names(self) -> set[str]:
        tables = tables_of(self.source)
        return {*tables["table"], *(tables["table"] + "." + tables["column"])}


def moment(value: Any) -> datetime | None:
    """Return a time as a plain datetime, to the microsecond; None where it is missing."""
    known = none_if_missing(value)
    if isinstance(known, pd.Timestamp):
        return known.to_pydatetime(warn=False)
    return None if known is None else pd.Timestamp(known).to_pydatetime(warn=False)


def _variants(name: str) -> list[Variant]:
    folder = files("restate_lab.analysis.doctor").joinpath("sql")
    candidates = [folder.joinpath(f"{name}{tag}.sql") for tag in ("@vqueues", "", "@1.6")]
    return [parse_variant(file.name, file.read_text("utf-8")) for file in candidates if file.is_file()]
