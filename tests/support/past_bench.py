"""A server under load with restarts, and a poll of all statuses twice a second: the truth about each time."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from support.bench import wait_for, wait_until_served
from support.demo.nodes import Node
from support.restartable import NO_SETTINGS, restartable

SERVICES = Path(__file__).with_name("past_services.py")
POLL = "SELECT id, created_at, status, target_service_name, target_handler_name FROM sys_invocation"
OF_STATUSES = "SELECT id FROM sys_invocation WHERE status IN :statuses"
EVERY = 0.5
STEP = timedelta(seconds=EVERY)
SLOW = 0.6  # seconds of a poll: a longer one is not used
LEAST = 14  # polls, and calls beyond one of each kind, also on a slow machine
LATE, LEAST_COMPARABLE = 0.3, 2
"""The share of the polls after which a test compares them, and how many it needs: a busy machine has pauses."""
LONGEST = 120.0  # seconds in which a slow machine has them
HANDLERS = (
    *("work", "nap", "nap", "waits", "waits", "calls", "both", "stumbles", "pauses", "refuses", "forgets"),
    *("vanishes", "queues", "hold", "take", "take", "run", "later", "sleeps", "sleeps", "sleeps"),
)
ACTIONS: Mapping[str, tuple[str, ...]] = {
    "kill": ("running", "suspended", "paused", "backing-off", "scheduled", "pending"),
    "cancel": ("running", "suspended", "paused", "scheduled", "pending", "backing-off"),
    "pause": ("running", "suspended", "backing-off"),
    "resume": ("paused",),
    "wake": ("suspended",),
    "restart": ("completed",),
}
"""An action by hand → the statuses of the invocations that get it."""
TURNS = ("kill", "cancel", "pause", "pause", "resume", "resume", "resume", "wake", "wake", "restart")


@dataclass(frozen=True)
class Poll:
    """The status of each run, by id and creation, at one time."""

    at: datetime
    statuses: dict[tuple[str, datetime], str]


@dataclass
class PastBench:
    server: Node
    lab: Lab
    folder: Path
    polls: list[Poll] = field(default_factory=list)
    targets: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The service and the handler of each polled id."""
    sent: int = 0
    acted: dict[str, int] = field(default_factory=dict)
    _stop: threading.Event = field(default_factory=threading.Event)
    _chance: random.Random = field(default_factory=lambda: random.Random(46))  # noqa: S311 - no secret

    @property
    def where(self) -> Path:
        return self.folder / "archive"

    def run(self, seconds: float, *, restarts: int, archive_at: float | None = None) -> None:
        """Play the load and poll for this time, with kills of the server in between, and perhaps one archive."""
        archiver = threading.Timer(archive_at or 0.0, self._archive)
        if archive_at is not None:
            archiver.start()
        threads = [threading.Thread(target=each) for each in (self._poll, self._send, self._act)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(restarts):
                time.sleep(seconds / (restarts + 1))
                self.server.kill()
                self.server.start()
                wait_for(self.server.is_ready, within=LONGEST)
            time.sleep(seconds / (restarts + 1))
            wait_for(self._has_enough, within=LONGEST)
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()
            if archive_at is not None:
                archiver.join()

    def _has_enough(self) -> bool:
        calls, polls = self.sent - len(set(HANDLERS)), list(self.polls)
        return min(len(polls), calls) >= LEAST and len(_comparable(polls, LATE)) >= LEAST_COMPARABLE

    def _archive(self) -> None:
        rl.archive(self.lab, self.where, cluster_name="past", progress=False)

    def _poll(self) -> None:
        while not self._stop.is_set():
            began, asked = time.monotonic(), datetime.now(UTC)
            with contextlib.suppress(errors.RestateLabError):
                rows = self.lab.arrow(POLL, timeout=2, progress=False).to_pylist()
                took = datetime.now(UTC) - asked
                if took.total_seconds() < SLOW:
                    statuses = {(row["id"], row["created_at"]): row["status"] for row in rows}
                    self.polls.append(Poll(asked + took / 2, statuses))
                    places = {row["id"]: (row["target_service_name"], row["target_handler_name"]) for row in rows}
                    self.targets.update(places)
            self._stop.wait(max(0.0, EVERY - (time.monotonic() - began)))

    def _send(self) -> None:
        """Send one of each, and then random ones: so a slow machine has enough of them, too."""
        chance = random.Random(1)  # noqa: S311 - no secret
        first = list(dict.fromkeys(HANDLERS))
        while not self._stop.wait(0 if first else 0.2):
            with contextlib.suppress(errors.RestateLabError):
                handler = first.pop() if first else chance.choice(HANDLERS)
                self._send_one(handler, round(chance.uniform(1, 12), 1))
                self.sent += 1

    def _send_one(self, handler: str, seconds: float) -> None:
        ingress = self.lab.ingress
        if handler in {"hold", "take"}:
            ingress.send("Box", handler, seconds / 3, key=f"box {self.sent % 3}")
        elif handler == "run":
            ingress.send("Flow", "run", seconds, key=f"flow {self.sent}")
        elif handler == "later":
            ingress.send("Past", "nap", seconds, delay=f"{seconds}s")
        elif handler == "sleeps":
            ingress.send("Patient", handler, seconds)
        elif handler == "stumbles":
            ingress.send("Past", handler, int(seconds) % 4 + 1)
        else:
            ingress.send("Past", handler, seconds)

    def _act(self) -> None:
        chance, admin = random.Random(2), self.lab.admin  # noqa: S311 - no secret
        actions: dict[str, Any] = {
            "kill": admin.kill_invocation,
            "cancel": admin.cancel_invocation,
            "pause": admin.pause_invocation,
            "resume": admin.resume_invocation,
            "wake": admin.resume_invocation,
            "restart": admin.restart_as_new_invocation,
        }
        while not self._stop.wait(0.4):
            name = chance.choice(TURNS)
            with contextlib.suppress(errors.RestateLabError):
                ids = self.lab.arrow(OF_STATUSES, statuses=ACTIONS[name])["id"].to_pylist()
                if ids:
                    actions[name](chance.choice(ids), reason="INC-42")
                    self.acted[name] = self.acted.get(name, 0) + 1


@contextlib.contextmanager
def running_past_bench(kind: str, folder: Path, env: Mapping[str, str] = NO_SETTINGS) -> Iterator[PastBench]:
    """Start a server of a kind with the services."""
    with contextlib.ExitStack() as stack:
        process, uri = start_services(folder, str(SERVICES))
        stack.enter_context(process)
        node = stack.enter_context(restartable(kind, folder / "data", env=env))
        lab = stack.enter_context(rl.connect(node.admin_url, ingress_url=node.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        wait_until_served(lab, "Past", "work", 0)
        yield PastBench(node, lab, folder)


WORDS = {
    **dict.fromkeys(("pending", "scheduled"), "not started"),
    **dict.fromkeys(("running", "ready", "backing-off", "in-progress"), "in progress"),
    "completed": "ended",
}
"""One name for the statuses that an earlier time does not distinguish."""
STATUSES = "SELECT id, created_at, status FROM sys_invocation"
CHANGES = "SELECT id, appended_at AS at FROM sys_journal UNION ALL SELECT id, appended_at FROM sys_journal_events"
APART = timedelta(seconds=1)  # between a compared time and a change that a poll shows
CLOSE = timedelta(milliseconds=100)  # between a compared time and a change that only the journal shows


@dataclass
class Comparison:
    """How many statuses of a source at earlier times were right, unknown, wrong, or of a run that left no trace."""

    results: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(the polled status, the result) → how many of the random pairs."""
    open: Counter[str] = field(default_factory=Counter)
    """The result → how many of all pairs whose invocation had not ended."""
    wrong: list[tuple[str, str, datetime, str, str]] = field(default_factory=list)

    def count(self, result: str) -> int:
        """Return how many of the random pairs have a result."""
        return sum(number for (_, each), number in self.results.items() if each == result)

    @property
    def known_share(self) -> float:
        """Return the share of known statuses, of the random pairs whose invocation left a trace."""
        return self.count("right") / (self.count("right") + self.count("unknown"))

    def __str__(self) -> str:
        """Return the figures, for a person."""
        counts = ", ".join(f"{truth} {result}: {count}" for (truth, result), count in sorted(self.results.items()))
        shares = f"known {self.known_share:.1%}; all pairs of open invocations: {dict(self.open)}"
        return "\n".join([counts, shares, *map(str, self.wrong)])


def compare(bench: PastBench, source: Any, *, times: int, pairs: int, after: float = 0) -> Comparison:
    """Compare the statuses at each of ``times`` random polls with those of ``source.at()``; ``pairs`` are random.

    ``after`` is the share of the first polls that are not compared.
    """
    chance, comparison = random.Random(1), Comparison()  # noqa: S311 - no secret
    changes: dict[str, list[datetime]] = {}
    for row in bench.lab.arrow(CHANGES, progress=False).to_pylist():
        changes.setdefault(row["id"], []).append(row["at"])
    numbers = _comparable(bench.polls, after)
    for number in sorted(chance.sample(numbers, min(times, len(numbers)))):
        poll, near = bench.polls[number], _near(bench.polls, number)
        with source.at(poll.at) as past:
            rows = past.arrow(STATUSES, progress=False).to_pylist()
            not_kept = {(each.service, each.handler) for each in past.coverage.gaps}
        # Read afterwards: an invocation without retention can vanish between both reads.
        kept = {(row["id"], row["created_at"]) for row in bench.lab.arrow(STATUSES, progress=False).to_pylist()}
        statuses = {(row["id"], row["created_at"]): word_of(row["status"]) for row in rows}
        keys = [
            key
            for key in {*poll.statuses, *statuses}
            if len({word_of(each.statuses.get(key)) for each in near}) == 1
            and all(abs(at - poll.at) > CLOSE for at in changes.get(key[0], ()))
        ]
        sample = set(chance.sample(sorted(keys), min(pairs, len(keys))))
        for key in keys:
            truth, word, place = word_of(poll.statuses.get(key)) or "absent", statuses.get(key), bench.targets[key[0]]
            # Coverage states that cancellations before a start, and ended invocations without retention, are missing.
            is_stated = word is None and key not in kept and (truth == "not started" or place in not_kept)
            result = {truth: "right", "unknown": "unknown"}.get(str(word), "no trace" if is_stated else "wrong")
            comparison.results[truth, result] += key in sample
            comparison.open[result] += truth != "ended"
            if result == "wrong":
                comparison.wrong.append((key[0], "/".join(place), poll.at, truth, str(word)))
    return comparison


def _comparable(polls: Sequence[Poll], after: float) -> list[int]:
    """Return the numbers of the polls after a share of them that have others on both sides, without a pause."""
    return [number for number in range(int(len(polls) * after), len(polls)) if _near(polls, number)]


def _near(polls: Sequence[Poll], number: int) -> Sequence[Poll]:
    """Return the polls less than a second apart from one, and the next on both sides; none if there was a pause."""
    at = polls[number].at
    near = [each for each in polls if abs(each.at - at) <= APART + 2 * STEP]
    is_between = near[0].at <= at - APART and near[-1].at >= at + APART
    return near if is_between and all(after.at - before.at <= 2 * STEP for before, after in pairwise(near)) else []


def word_of(status: str | None) -> str | None:
    return None if status is None else WORDS.get(status, status)
