"""Read the backlogs of a cluster, and the calls that began and ended in each of the last minutes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np

from restate_lab.analysis.forecast.drain import HORIZON, Minutes
from restate_lab.progress import EVERY, Progress
from restate_lab.reads import Reads, Row

MOST_GROUPS = 50
"""The keys and queues with the most waiting calls that are forecast."""
LEAST_WAITING = 10
"""A key or queue with fewer waiting calls is only part of its service."""
MOST_JOURNALS = 500
"""Suspended calls whose journals are read; only the journal has the time at which a sleep ends."""
_MINUTE = timedelta(minutes=1)


class Group(NamedTuple):
    """A service, a key of it, or a scope of it with a limit key."""

    service: str
    key: str | None = None
    scope: str | None = None
    limit_key: str | None = None

    @property
    def service_only(self) -> Group:
        """Return the service of this group."""
        return Group(self.service)

    @property
    def level(self) -> str:
        """Return "service", "key" or "queue"."""
        return "queue" if self.scope is not None else "key" if self.key is not None else "service"

    def __str__(self) -> str:
        parts = [self.service if self.key is None else f"{self.service}/{self.key}"]
        parts += [] if self.scope is None else [f"in scope {self.scope}"]
        parts += [] if self.limit_key is None else [f"with limit key {self.limit_key}"]
        return " ".join(parts)


class Between(NamedTuple):
    """How many calls came and ended between two readings."""

    arrivals: int
    completions: int
    minutes: float


@dataclass(slots=True)
class Backlog:
    """One group: its open calls now, and its flows by minute, oldest first; ``delayed`` are part of the arrivals.

    ``coming`` are the delayed calls and ``wakes`` the sleeping ones that come in the next minutes. ``usual_wakes`` is
    how many sleep and wake in each minute anyway: its calls go to sleep as often as those that sleep now.
    """

    waiting: int
    minutes: int
    running: int | None = None
    retrying: int | None = None
    scheduled: int | None = None
    kept: timedelta | None = None
    arrivals: Minutes = field(init=False)
    delayed: Minutes = field(init=False)
    completions: Minutes = field(init=False)
    coming: Minutes | None = None
    wakes: Minutes | None = None
    usual_wakes: float = 0.0
    between: Between | None = None

    def __post_init__(self) -> None:
        """Begin without flows."""
        self.arrivals, self.delayed, self.completions = (np.zeros(self.minutes) for _ in range(3))

    def add(self, row: Mapping[str, Any]) -> None:
        """Add the flows of a minute."""
        place = self.minutes - 1 - int(row["minute"])
        if 0 <= place < self.minutes:
            self.arrivals[place] += row["arrivals"]
            self.delayed[place] += row["delayed_arrivals"]
            self.completions[place] += row["ends"]

    def add_wake(self, minute: float, length: float, weight: float) -> None:
        """Add calls that sleep for ``length`` minutes until the end of a minute from now."""
        self.usual_wakes += weight / max(length, 1.0)
        if minute < HORIZON:
            self.wakes = np.zeros(HORIZON) if self.wakes is None else self.wakes
            self.wakes[max(int(minute), 0)] += weight

    @property
    def observed(self) -> int:
        """Return how many of the last minutes are known completely: as many as completed calls are kept for."""
        return self.minutes if self.kept is None else min(self.minutes, int(self.kept / _MINUTE))

    @property
    def waking(self) -> int | None:
        """Return how many calls wake within the horizon; None where nothing waits, and for a key or a queue."""
        if self.running is None or not self.waiting:
            return None
        return 0 if self.wakes is None else round(self.wakes.sum())

    @property
    def wave(self) -> Minutes | None:
        """Return the further arrivals of the next minutes that the usual ones do not contain."""
        parts = [(self.coming, self.delayed[-self.observed :].mean()), (self.wakes, self.usual_wakes)]
        waves = [np.maximum(known - usual, 0) for known, usual in parts if known is not None]
        return sum(waves[1:], waves[0]) if waves else None


@dataclass(frozen=True, slots=True)
class ForecastReader:
    """Reads one source; ``service`` None means all services."""

    reads: Reads
    service: str | None
    since: datetime
    unread_sleeps: list[str] = field(default_factory=list)

    @property
    def minutes(self) -> int:
        """Return the number of whole minutes that are observed."""
        return int((self.reads.now - self.since) / _MINUTE)

    def backlogs(self) -> dict[Group, Backlog]:
        """Return the services with their flows, and the keys and queues with the most waiting calls."""
        found = self._services()
        # A key or queue is at most as long as the backlog of its service.
        is_long = any(backlog.waiting >= LEAST_WAITING for backlog in found.values())
        for group, backlog in self._groups() if is_long else ():
            found[group] = backlog
            backlog.kept = found[group.service_only].kept if group.service_only in found else None
        for row in self._rows("flows", since=self.since, **_names(found)):
            for each in _groups_of(row):
                if each in found:
                    found[each].add(row)
        return found

    def read_twice(self, found: Mapping[Group, Backlog], seconds: float, progress: Progress) -> None:
        """Read the open calls twice, and add the arrivals and completions between the readings to these backlogs."""
        since, began = self.reads.read_clock(), time.monotonic()
        first = self._open_calls(found, since, since)
        left = seconds
        while left > 0:
            progress.update(int(seconds - left), int(seconds))
            time.sleep(min(left, EVERY))
            left = began + seconds - time.monotonic()
        now, ended = self.reads.read_clock(), time.monotonic()
        later = self._open_calls(found, since, now)
        for group, backlog in found.items():
            completions = first[group][0] - later[group][0]
            backlog.between = Between(later[group][1], max(completions, 0), (ended - began) / 60)

    def _open_calls(self, found: Mapping[Group, Backlog], since: datetime, until: datetime) -> dict[Group, Any]:
        """Return how many open calls of each group began before ``since``, and how many after it."""
        counts = {group: np.zeros(2, dtype=int) for group in found}
        names = _names(found)
        for row in self.reads.rows("forecast/between", service=self.service, since=since, until=until, **names):
            for each in _groups_of(row):
                if each in counts:
                    counts[each] += [row["open"], row["arrivals"]]
        return counts

    def _services(self) -> dict[Group, Backlog]:
        is_archived = self.reads.coverage.since is not None  # an archive keeps what the cluster removes
        rows = self._rows("open", since=self.since)
        found = {
            Group(row["service"]): Backlog(
                waiting=row["waiting"],
                minutes=self.minutes,
                running=row["running"],
                retrying=row["retrying"],
                scheduled=row["scheduled"],
                kept=None if is_archived else row["completion_retention"],
            )
            for row in rows
        }
        if any(backlog.scheduled for backlog in found.values()):
            for row in self._rows("coming", until=self.reads.now + HORIZON * _MINUTE):
                if (backlog := found.get(Group(row["service"]))) is None:
                    continue
                backlog.coming = np.zeros(HORIZON) if backlog.coming is None else backlog.coming
                backlog.coming[min(int(row["minute"]), HORIZON - 1)] += row["scheduled"]
        if suspended := {row["service"]: row["suspended"] for row in rows if row["waiting"] and row["suspended"]}:
            self._add_wakes(found, suspended)
        return found

    def _add_wakes(self, found: Mapping[Group, Backlog], counts: Mapping[str, int]) -> None:
        """Add the sleeps that end, from the journals of the suspended calls or of a random part of them.

        ``counts`` are the suspended calls of each service with waiting calls.
        """
        if not self.reads.has("sys_journal.appended_at"):
            self.unread_sleeps.append("sleeps that end, without the journals")
            return
        suspended = sum(counts.values())
        share = -(-suspended // MOST_JOURNALS)
        services = {row["id"]: row["service"] for row in self._rows("suspended", services=sorted(counts), share=share)}
        now = self.reads.now.timestamp() * 1000
        for row in self.reads.rows_of("forecast/wakes", list(services)):
            backlog = found.get(Group(services[row["id"]]))
            if backlog is not None:
                minute, length = ((each / 60_000) for each in (row["wakes_ms"] - now, row["length_ms"]))
                backlog.add_wake(minute, length, suspended / len(services))
        if share > 1:
            self.unread_sleeps.append(
                f"the sleeps of {suspended - len(services):,} of {suspended:,} suspended calls, which are counted like "
                f"those of the others"
            )

    def _groups(self) -> Iterator[tuple[Group, Backlog]]:
        for row in self._rows("longest", least=LEAST_WAITING, limit=MOST_GROUPS):
            yield _group(row), Backlog(waiting=row["waiting"], minutes=self.minutes)

    def _rows(self, name: str, **params: Any) -> list[Row]:
        now = round(self.reads.now.timestamp() * 1000)
        return self.reads.rows(f"forecast/{name}", service=self.service, now_ms=now, **params)


def _group(row: Mapping[str, Any]) -> Group:
    return Group(row["service"], row.get("key"), row.get("scope"), row.get("limit_key"))


def _groups_of(row: Mapping[str, Any]) -> set[Group]:
    """Return the groups that a row is part of: its own, and its service."""
    group = _group(row)
    return {group, group.service_only}


def _names(groups: Iterable[Group]) -> dict[str, list[str]]:
    every_group = list(groups)
    return {"keys": _texts(each.key for each in every_group), "scopes": _texts(each.scope for each in every_group)}


def _texts(values: Iterable[str | None]) -> list[str]:
    return sorted(each for each in values if each is not None) or [""]
