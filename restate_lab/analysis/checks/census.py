"""How many invocations are where: the rows of one scan, summed up as checks ask for it."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from restate_lab.analysis.checks.thresholds import Thresholds
from restate_lab.analysis.records import given

__all__ = ["Census", "Ended", "Handler"]

_SLOWEST = 5  # handlers that are looked at

Row = Mapping[Any, Any]
Handler = tuple[str, str]


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
        return (row for row in self.rows if given(row["deployment_id"]) is not None)

    def total(self, column: str, *, ending: str | None = None) -> int:
        """Return the sum of a column, of all or of what ended so."""
        return sum(n for _, n in self.of_handlers(column, ending=ending))

    def of_handlers(self, column: str, *, ending: str | None = None) -> list[tuple[Handler, int]]:
        """Return the handlers with a sum of a column above zero, the largest first."""
        sums: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            if ending is None or row["ending"] == ending:
                sums[_handler(row)] += int(given(row[column]) or 0)
        return sorted(((each, n) for each, n in sums.items() if n), key=lambda pair: (-pair[1], pair[0]))

    def slow(self, handler: Handler) -> int:
        """Return how many invocations of a handler took long."""
        return sum(int(row["slow"]) for row in self.rows if _handler(row) == handler)

    def longest_journals(self) -> list[tuple[Handler, int]]:
        """Return each handler's longest journal, the longest first."""
        longest: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            longest[_handler(row)] = max(longest[_handler(row)], int(given(row["longest_journal"]) or 0))
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
    return Ended(int(good["n"]), int(bad["n"]), int(good["recent"]), int(bad["recent"]), given(good["median_ms"]))


def _handler(row: Row) -> Handler:
    return row["target_service_name"], row["target_handler_name"]


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
