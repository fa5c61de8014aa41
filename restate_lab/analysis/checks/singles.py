"""Invocations that have to be looked at one by one: read in one scan where the census counted few enough of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.analysis.checks.census import Census, Handler
from restate_lab.analysis.records import records

__all__ = ["Singles", "Wanted", "wanted"]

MOST = 10_000  # of one kind
PAUSED = 1_000  # more are asked for by their own question
NO_HANDLER = "/"  # IN () is not SQL
_SURPLUS = 1_000  # rows that may have come since the census


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
