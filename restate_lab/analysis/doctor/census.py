"""How many invocations are where: the rows of one scan, summed up as checks ask for it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import pandas as pd

from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.analysis.records import none_if_missing, records

__all__ = ["Census", "Ended", "Handler", "Reason", "Retrier", "Singles", "Wanted", "reason_of", "retrier", "wanted"]

_SLOWEST = 5  # handlers that are looked at

Row = Mapping[Any, Any]
Handler = tuple[str, str]
MOST = 10_000  # of one kind
PAUSED = 1_000  # more are asked for by their own question
NO_HANDLER = "/"  # IN () is not SQL
_SURPLUS = 1_000  # rows that may have come since the census


@dataclass(frozen=True, slots=True)
class Ended:
    """How a handler's retained invocations ended, and lately; cancelled and killed ones are in neither number."""

    succeeded: int = 0
    failed: int = 0
    recently_succeeded: int = 0
    recently_failed: int = 0
    median_ms: float | None = None
    """Of the succeeded ones, from when they first ran."""

    @property
    def rate(self) -> float:
        """Return the share that failed, of all or lately, whichever is worse."""
        return max(
            _share(self.failed, self.succeeded + self.failed),
            _share(self.recently_failed, self.recently_succeeded + self.recently_failed),
        )


@dataclass(frozen=True, slots=True)
class Census:
    """The rows of ``sql/doctor/census.sql``."""

    rows: tuple[Row, ...]

    def open(self, *statuses: str) -> int:
        """Return how many invocations have one of these raw statuses."""
        return sum(row["n"] for row in self.rows if row["status"] in statuses)

    def ending(self, *endings: str) -> int:
        """Return how many completed invocations ended so ("succeeded", "failed"; "ended" by somebody)."""
        return sum(row["n"] for row in self.rows if row["ending"] in endings)

    def pinned(self) -> Iterator[Row]:
        """Return the rows of what is not completed and pinned to a deployment."""
        return (row for row in self.rows if none_if_missing(row["deployment_id"]) is not None)

    def total(self, column: str, *, ending: str | None = None) -> int:
        """Return the sum of a column, of all or of what ended so."""
        return sum(n for _, n in self.of_handlers(column, ending=ending))

    def of_handlers(self, column: str, *, ending: str | None = None) -> list[tuple[Handler, int]]:
        """Return the handlers with a sum of a column above zero, the largest first."""
        sums: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            if ending is None or row["ending"] == ending:
                sums[_handler(row)] += int(none_if_missing(row[column]) or 0)
        return sorted(((each, n) for each, n in sums.items() if n), key=lambda pair: (-pair[1], pair[0]))

    def slow(self, handler: Handler) -> int:
        """Return how many invocations of a handler took long."""
        return sum(int(row["slow"]) for row in self.rows if _handler(row) == handler)

    def longest_journals(self) -> list[tuple[Handler, int]]:
        """Return each handler's longest journal, the longest first."""
        longest: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            longest[_handler(row)] = max(longest[_handler(row)], int(none_if_missing(row["longest_journal"]) or 0))
        return sorted(longest.items(), key=lambda pair: (-pair[1], pair[0]))

    def ended(self) -> Mapping[Handler, Ended]:
        """Return how the invocations of each handler ended."""
        rows: dict[Handler, dict[str, Row]] = defaultdict(dict)
        for row in self.rows:
            if row["ending"] in {"succeeded", "failed"}:
                rows[_handler(row)][row["ending"]] = row
        return {handler: _ended(found) for handler, found in rows.items()}

    def fails_often(self, limits: Thresholds) -> bool:
        """Tell whether there is a handler that fails for good more often than it should."""
        return any(
            each.failed >= limits.failures and each.rate >= limits.failure_rate for each in self.ended().values()
        )

    def slow_handlers(self, limits: Thresholds) -> dict[Handler, float]:
        """Return the slowest handlers that are far slower than the others, with the others' usual milliseconds."""
        medians = {handler: ended for handler, ended in self.ended().items() if ended.median_ms is not None}
        found = {}
        for handler, ended in sorted(medians.items(), key=lambda pair: -(pair[1].median_ms or 0.0))[:_SLOWEST]:
            others = [each.median_ms or 0.0 for other, each in medians.items() if other != handler]
            if others and _is_slow(limits, ended, usual := statistics.median(others)):
                found[handler] = usual
        return found


def _is_slow(limits: Thresholds, ended: Ended, usual: float) -> bool:
    took = ended.median_ms or 0.0
    is_long = took >= limits.slow.total_seconds() * 1000
    return ended.succeeded >= limits.slow_samples and is_long and took >= limits.slower_than_others * usual


def _ended(found: Mapping[str, Row]) -> Ended:
    nothing: Row = {"n": 0, "recent": 0, "median_ms": None}
    good, bad = found.get("succeeded", nothing), found.get("failed", nothing)
    return Ended(
        int(good["n"]), int(bad["n"]), int(good["recent"]), int(bad["recent"]), none_if_missing(good["median_ms"])
    )


def _handler(row: Row) -> Handler:
    return row["target_service_name"], row["target_handler_name"]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which kinds a scan should bring; what there is too much of, or nothing, is not wanted."""

    suspended: bool
    paused: bool
    failed: bool
    slow: tuple[str, ...]
    limit: int

    def __bool__(self) -> bool:
        return self.suspended or self.paused or self.failed or bool(self.slow)

    def params(self) -> dict[str, Any]:
        """Return the parameters of ``singles.sql`` that say so."""
        return {
            "suspended": self.suspended,
            "paused": self.paused,
            "failed": self.failed,
            "slow_handlers": list(self.slow) or [NO_HANDLER],
            "limit": self.limit,
        }


@dataclass(frozen=True, slots=True)
class Singles:
    """The rows that a scan has brought."""

    rows: pd.DataFrame
    wanted: Wanted

    @property
    def suspended(self) -> pd.DataFrame | None:
        """Return the suspended ones, longest first, with the columns of ``sql/waits/suspended.sql``; None if unread."""
        if not self.wanted.suspended:
            return None
        return self._of(self.rows["status"] == "suspended", "modified_at")

    @property
    def paused(self) -> list[str] | None:
        """Return the ids of the paused ones; None if unread."""
        return list(self.rows.loc[self.rows["status"] == "paused", "id"]) if self.wanted.paused else None

    @property
    def failed(self) -> list[dict[Any, Any]] | None:
        """Return those that have failed; None if unread."""
        if not self.wanted.failed:
            return None
        return records(self._of(self.rows["completion_result"] == "failure", "completed_at"))

    def slow(self, handler: Handler) -> pd.DataFrame | None:
        """Return those of a handler that took long, the last ones first; None if unread."""
        service, name = handler
        if f"{service}/{name}" not in self.wanted.slow:
            return None
        is_of = (self.rows["target_service_name"] == service) & (self.rows["target_handler_name"] == name)
        return self._of(is_of & (self.rows["completion_result"] == "success"), "completed_at").iloc[::-1]

    def handlers(self, ids: Sequence[str]) -> Mapping[str, Handler]:
        """Return the handlers of those of these that were read."""
        if self.rows.empty:
            return {}
        known = self.rows[self.rows["id"].isin(ids)]
        names = ("id", "target_service_name", "target_handler_name")
        return {id_: (service, name) for id_, service, name in zip(*(known[each] for each in names), strict=True)}

    def _of(self, chosen: Any, order: str) -> pd.DataFrame:
        found: pd.DataFrame = self.rows[chosen].sort_values([order, "id"])
        return found


def wanted(census: Census, slow: Sequence[Handler], *, failed: bool, suspended: int) -> Wanted:
    """Return what to read at once: ``slow`` handlers, failures where they matter, up to ``suspended`` of these."""
    asleep, stopped, bad = census.open("suspended"), census.open("paused"), census.ending("failed")
    few = [each for each in slow if 0 < census.slow(each) <= MOST]
    kinds = {
        "suspended": 0 < asleep <= suspended,
        "paused": 0 < stopped <= PAUSED,
        "failed": failed and 0 < bad <= MOST,
    }
    counts = {"suspended": asleep, "paused": stopped, "failed": bad}
    rows = sum(counts[kind] for kind, is_wanted in kinds.items() if is_wanted) + sum(map(census.slow, few))
    return Wanted(**kinds, slow=tuple(map("/".join, few)), limit=rows + _SURPLUS)


class Reason(Enum):
    """Why attempts fail, as far as that decides what to do."""

    REMOVED = "its deployment was removed"
    UNREACHABLE = "its deployment does not answer"
    MISMATCH = "its code does not fit its journal"
    HANDLER = "its handler fails"


# RT0023: the deployment answers 429 or 503, RT0012: with another status, or not as an SDK does.
_REASONS = {
    "RT0010": Reason.UNREACHABLE,
    "RT0012": Reason.UNREACHABLE,
    "RT0016": Reason.MISMATCH,
    "RT0023": Reason.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Retrier:
    """One invocation that is being tried again; ``since`` is when it last went on, ``next_at`` its next attempt."""

    id: str
    service: str
    handler: str
    attempts: int
    code: str | None
    step: str | None
    message: str
    deployment: str | None
    since: datetime | None
    next_at: datetime | None

    @property
    def target(self) -> str:
        """Return the handler as people write it."""
        return f"{self.service}/{self.handler}"


def retrier(row: Mapping[Any, Any], moved_at: datetime | None) -> Retrier:
    """Return the retrier of a row of ``retry_storm_ids``."""
    created, next_at = none_if_missing(row["created_at"]), none_if_missing(row["next_retry_at"])
    return Retrier(
        id=row["id"],
        service=row["target_service_name"],
        handler=row["target_handler_name"],
        attempts=int(none_if_missing(row["retry_count"]) or 0),
        code=none_if_missing(row["error_code"]),
        step=none_if_missing(row["step"]) or None,
        message=none_if_missing(row["message"]) or "",
        deployment=none_if_missing(row["deployment_id"]),
        since=moved_at or (pd.Timestamp(created).to_pydatetime() if created is not None else None),
        next_at=pd.Timestamp(next_at).to_pydatetime(warn=False) if next_at is not None else None,
    )


def reason_of(code: str | None, *, is_deployed: bool) -> Reason:
    """Return why attempts fail: with that code, on a deployment that is registered or not."""
    if not is_deployed:
        return Reason.REMOVED
    return _REASONS.get(code or "", Reason.HANDLER)
