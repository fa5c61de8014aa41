"""The counts of all invocations from one scan, and the single invocations from a second scan."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.frames import handler_of, records

_SLOWEST = 5  # slow handlers to examine

Row = Mapping[Any, Any]
Handler = tuple[str, str]
MAX_ROWS = 10_000  # of one kind
MAX_FAILED = 50_000
MAX_PAUSED = 1_000  # if there are more, the question ``paused`` reads them
NO_HANDLER = "/"  # for an empty list: IN () is not valid SQL
_UNKNOWN: Handler = ("unknown", "unknown")
DETAILS = [  # the columns of ``doctor/sql/invocations.sql``
    *("id", "target", "target_service_name", "target_handler_name"),
    *("status", "pinned_deployment_id", "created_at", "modified_at"),
]
SUSPENDED = ["id", "target", "modified_at", "created_at", "invoked_by_id", "completions", "signals"]
FAILURE = ["id", "target_service_name", "target_handler_name", "completed_at", "invoked_by_id", "failure"]
_SURPLUS = 1_000  # rows that may be new since the census


@dataclass(frozen=True, slots=True)
class HandlerOutcomes:
    """How the retained invocations of a handler ended, in total and recently; excludes cancelled and killed ones.

    ``median_ms`` is the median duration of the succeeded ones in milliseconds, from their first attempt.
    """

    succeeded: int = 0
    failed: int = 0
    recently_succeeded: int = 0
    recently_failed: int = 0
    median_ms: float | None = None

    @property
    def failure_rate(self) -> float:
        """Return the share of failures in total or recently, the higher of both."""
        return max(
            _share(self.failed, self.succeeded + self.failed),
            _share(self.recently_failed, self.recently_succeeded + self.recently_failed),
        )


@dataclass(frozen=True, slots=True)
class Census:
    """The rows of ``doctor/sql/census.sql``, and how long their read took."""

    rows: tuple[Row, ...]
    seconds: float = 0.0

    def count_open(self, *statuses: str) -> int:
        """Return how many invocations have one of these statuses of the server."""
        return sum(row["invocations"] for row in self.rows if row["status"] in statuses)

    def pinned_rows(self) -> Iterator[Row]:
        """Return the rows of open invocations that are pinned to a deployment."""
        return (row for row in self.rows if row["deployment_id"] is not None)

    def total(self, column: str, *, ending: str | None = None) -> int:
        """Return the sum of a column over all invocations or over those with this ending."""
        return sum(n for _, n in self.totals_by_handler(column, ending=ending))

    def totals_by_handler(self, column: str, *, ending: str | None = None) -> list[tuple[Handler, int]]:
        """Return the handlers for which the sum of a column is above zero, largest first."""
        sums: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            if ending is None or row["ending"] == ending:
                sums[handler_of(row)] += int(row[column] or 0)
        return sorted(((each, n) for each, n in sums.items() if n), key=lambda pair: (-pair[1], pair[0]))

    def count_slow(self, handler: Handler) -> int:
        """Return how many invocations of a handler were slow."""
        return sum(int(row["slow"]) for row in self.rows if handler_of(row) == handler)

    def longest_journals(self) -> list[tuple[Handler, int]]:
        """Return the longest journal of each handler in entries, longest first."""
        longest: dict[Handler, int] = defaultdict(int)
        for row in self.rows:
            longest[handler_of(row)] = max(longest[handler_of(row)], int(row["longest_journal"] or 0))
        return sorted(longest.items(), key=lambda pair: (-pair[1], pair[0]))

    def samples_by_handler(self) -> dict[Handler, list[str]]:
        """Return a few invocations of each handler that are in flight or ended recently and have a step."""
        samples: dict[Handler, list[str]] = defaultdict(list)
        for row in self.rows:
            ids = (row[column] for column in ("one_id", "other_id"))
            samples[handler_of(row)] += [id_ for id_ in ids if id_ is not None]
        return {handler: list(dict.fromkeys(ids)) for handler, ids in sorted(samples.items()) if ids}

    def outcomes(self) -> Mapping[Handler, HandlerOutcomes]:
        """Return how the invocations of each handler ended."""
        rows: dict[Handler, dict[str, Row]] = defaultdict(dict)
        for row in self.rows:
            if row["ending"] in {"succeeded", "failed"}:
                rows[handler_of(row)][row["ending"]] = row
        return {handler: _outcomes_of(by_ending) for handler, by_ending in rows.items()}

    def fails_often(self, limits: Thresholds) -> bool:
        """Return whether a handler fails permanently more often than the thresholds allow."""
        outcomes = self.outcomes().values()
        return any(each.failed >= limits.failures and each.failure_rate >= limits.failure_rate for each in outcomes)

    def slow_handlers(self, limits: Thresholds) -> dict[Handler, float]:
        """Return the handlers that are much slower than the others, with the median of the others in milliseconds."""
        medians = {handler: each for handler, each in self.outcomes().items() if each.median_ms is not None}
        slow = {}
        for handler, outcomes in sorted(medians.items(), key=lambda pair: -(pair[1].median_ms or 0.0))[:_SLOWEST]:
            others = [each.median_ms or 0.0 for other, each in medians.items() if other != handler]
            usual = statistics.median(others) if others else math.inf
            least = max(limits.slow_ms, limits.slower_than_others * usual)
            if outcomes.succeeded >= limits.slow_samples and (outcomes.median_ms or 0.0) >= least:
                slow[handler] = usual
        return slow


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """The kinds of invocations to read, and their number; kinds with too many invocations are excluded."""

    statuses: tuple[str, ...]
    failed: bool
    slow: tuple[str, ...]
    rows: int

    @property
    def limit(self) -> int:
        """Return how many rows to read: there can be new ones since the census."""
        return self.rows + _SURPLUS


@dataclass(frozen=True, slots=True)
class Samples:
    """The invocations that were read."""

    table: pa.Table
    request: SampleRequest

    @property
    def suspended(self) -> pa.Table | None:
        """Return the rows of suspended ones as ``waits/sql/suspended.sql`` does, longest first; None if not read."""
        if "suspended" not in self.request.statuses:
            return None
        rows = self.table.select(SUSPENDED).filter(self._is("status", "suspended"))
        return rows.take(pc.sort_indices(rows["modified_at"]))

    @property
    def paused(self) -> list[str] | None:
        """Return the ids of the paused ones; None if not read."""
        if "paused" not in self.request.statuses:
            return None
        return [str(id_) for id_ in self.table["id"].filter(self._is("status", "paused")).to_pylist()]

    @property
    def failed(self) -> list[dict[Any, Any]] | None:
        """Return the failed ones; None if not read."""
        return records(self._with_result("failure", FAILURE)) if self.request.failed else None

    def slow_invocations(self, handler: Handler) -> pd.DataFrame | None:
        """Return the slow invocations of a handler, most recent first; None if not read."""
        service, name = handler
        if f"{service}/{name}" not in self.request.slow:
            return None
        rows = self._with_result("success", [*FAILURE, "running_at"])
        return rows[(rows["target_service_name"] == service) & (rows["target_handler_name"] == name)].iloc[::-1]

    def details_of(self, ids: Sequence[str]) -> pd.DataFrame:
        """Return id, handler, status, deployment and last progress of these invocations, as far as they were read."""
        rows = self.table.filter(pc.is_in(self.table["id"].cast(pa.large_string()), pa.array(ids, pa.large_string())))
        return rows.select(DETAILS).to_pandas()

    def _with_result(self, result: str, columns: list[str]) -> pd.DataFrame:
        rows = self.table.select(columns).filter(self._is("completion_result", result))
        return rows.sort_by([("completed_at", "ascending"), ("id", "ascending")]).to_pandas()

    def _is(self, column: str, value: str) -> Any:
        return pc.equal(self.table[column].cast(pa.large_string()), pa.scalar(value, pa.large_string()))


def handler_of_target(target: str | None) -> Handler:
    """Return the service and the handler of a target; these names have no slash, but a key may have several."""
    if not target:
        return _UNKNOWN
    return target.partition("/")[0], target.rpartition("/")[2]


def sample_request(census: Census, slow: Sequence[Handler], *, failed: bool, suspended: int) -> SampleRequest:
    """Return the request for one scan; ``failed`` adds failures, and ``suspended`` limits suspended invocations."""
    most = {"suspended": suspended, "invoked": MAX_ROWS, "paused": MAX_PAUSED}
    counts = {status: census.count_open(status) for status in most}
    statuses = tuple(status for status, count in counts.items() if 0 < count <= most[status])
    few = [each for each in slow if 0 < census.count_slow(each) <= MAX_ROWS]
    failures = sum(row["invocations"] for row in census.rows if row["ending"] == "failed")
    with_failures = failed and 0 < failures <= MAX_FAILED
    rows = sum(counts[status] for status in statuses) + failures * with_failures + sum(map(census.count_slow, few))
    return SampleRequest(statuses, with_failures, tuple(map("/".join, few)), rows)


def _outcomes_of(by_ending: Mapping[str, Row]) -> HandlerOutcomes:
    nothing: Row = {"invocations": 0, "recent": 0, "median_ms": None}
    good, bad = by_ending.get("succeeded", nothing), by_ending.get("failed", nothing)
    return HandlerOutcomes(
        int(good["invocations"]), int(bad["invocations"]), int(good["recent"]), int(bad["recent"]), good["median_ms"]
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
