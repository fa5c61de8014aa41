"""When a panel reads again, and when its thread ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from restate_lab.errors import QueryRefused, RateLimited, TimedOut, Unreachable
from restate_lab.panels._base.refresher import Pace, Refresher
from restate_lab.panels._base.worker import BackgroundAction, Busy


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("restate-lab")]


@pytest.mark.parametrize(
    ("every", "took", "wait"), [(5.0, 0.1, 5.0), (5.0, 0.9, 9.0), (0.2, 0.1, 1.0), (None, 0.1, None)]
)
def test_a_refresh_costs_a_tenth_at_most(every: float | None, took: float, wait: float | None) -> None:
    """The wait is the reader's setting, or ten times the read's duration, whichever is longer; None never repeats."""
    pace = Pace(every)
    pace.record_success(took)
    assert pace.wait == pytest.approx(wait)


@pytest.mark.parametrize(("took", "wait"), [(0.01, 5.0), (0.1, 20.0), (1.0, 90.0), (17.0, 170.0)])
def test_expensive_rows_are_read_more_rarely_but_every_90_seconds(took: float, wait: float) -> None:
    """Even then, a refresh costs a tenth at most."""
    pace = Pace(5.0, share=200)
    pace.record_success(took)
    assert pace.wait == pytest.approx(wait)


def test_a_server_that_is_lost_is_asked_more_and_more_rarely() -> None:
    """Failures double the wait up to 30 s, and a success resets it, in a live panel or not."""
    pace = Pace(None)
    waits = []
    for _ in range(8):
        pace.record_failure(Unreachable("gone"), 0.1)
        waits.append(pace.wait)
    assert waits == [2, 4, 8, 16, 30, 30, 30, 30]
    pace.record_success(0.1)
    assert (pace.wait, pace.failures) == (None, 0)


def test_429_is_obeyed() -> None:
    """The panel waits as long as the server requests, and without a request longer each time."""
    pace = Pace(5.0)
    pace.record_failure(RateLimited("slow down", retry_after=29.0), 0.1)
    assert pace.wait == 29.0
    for _ in range(9):
        pace.record_failure(RateLimited("slow down"), 0.1)
    assert pace.wait == 300.0


def test_a_refused_statement_is_not_repeated() -> None:
    pace = Pace(5.0)
    pace.record_failure(QueryRefused("no", status=400), 0.1)
    assert pace.wait is None


@pytest.mark.parametrize("is_slow", [True, False])
def test_one_timeout_costs_seconds(*, is_slow: bool) -> None:
    """After a timeout the panel reads again in 2 s, however long that took; a slow query waits longer each time."""
    pace = Pace(5.0)
    waits = []
    for _ in range(10):
        pace.record_failure(TimedOut("slow"), 30.0, is_slow=is_slow)
        waits.append(pace.wait)
    assert waits[:4] == [2, 4, 8, 16]
    assert waits[-1] == (300.0 if is_slow else 30.0)


class Reads:
    """Counts reads, and the largest number at the same time."""

    def __init__(self, every: float | None) -> None:
        self.count = 0
        self.at_once = 0
        self.worst = 0
        self.wanted = True
        self.go_on = threading.Event()
        self.go_on.set()
        self.refresher = Refresher(self.read, pace=Pace(every), is_wanted=lambda: self.wanted)

    def read(self) -> None:
        self.at_once += 1
        self.worst = max(self.worst, self.at_once)
        time.sleep(0.005)
        self.go_on.wait(10)
        self.count += 1
        self.at_once -= 1
        self.refresher.pace.record_success(0.001)
        self.refresher.done()


@pytest.fixture
def reads() -> Iterator[Reads]:
    made = Reads(0.02)
    yield made
    made.refresher.stop()
    assert threads() == []


def until(condition: object, seconds: float = 10.0) -> None:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:  # type: ignore[operator]
        time.sleep(0.005)
    assert condition()  # type: ignore[operator]


def test_it_reads_while_somebody_looks_and_not_after(reads: Reads) -> None:
    """The thread continues by itself while the panel is in sight, ends when it is not, and begins again."""
    reads.refresher.ask()
    until(lambda: reads.count > 3)
    reads.wanted = False
    until(lambda: not reads.refresher.is_running)
    seen = reads.count
    until(lambda: threads() == [])
    time.sleep(0.1)
    assert reads.count == seen
    reads.wanted = True
    reads.refresher.wake()
    until(lambda: reads.count > seen)
    assert reads.worst == 1


def test_all_requests_during_a_read_become_one_more_read(reads: Reads) -> None:
    reads.refresher.set_every(None)
    reads.go_on.clear()
    reads.refresher.ask()
    until(lambda: reads.at_once == 1)
    for _ in range(49):
        reads.refresher.ask()
    reads.go_on.set()
    assert reads.refresher.wait(10)
    assert reads.count == 2
    until(lambda: not reads.refresher.is_running)


def test_one_action_at_a_time_and_none_after_close() -> None:
    """A second action is refused during another one; closing asks the first to stop, and waits for it."""
    background, ended = BackgroundAction(), threading.Event()

    def work() -> None:
        background.stop.wait(10)
        ended.set()

    background.run(work)
    with pytest.raises(Busy):
        background.run(work)
    background.close()
    assert ended.is_set()
    assert threads() == []
    background.run(work)
    assert threads() == []


def test_a_read_is_due_as_soon_as_the_server_is_back() -> None:
    """The wait after a failure ends when another reader gets a response; the wait after a success does not."""
    count, is_back = 0, threading.Event()

    def read() -> None:
        nonlocal count
        count += 1
        if count == 1:
            refresher.pace.record_failure(Unreachable("gone"), 0.1)
            refresher.pace.wait = 600.0
        else:
            refresher.pace.record_success(0.1)
        refresher.done()

    refresher = Refresher(read, pace=Pace(600.0), is_wanted=lambda: True, is_back=is_back.is_set)
    refresher.ask()
    assert refresher.wait(10)
    is_back.set()
    until(lambda: count == 2)
    time.sleep(0.05)
    assert count == 2
    refresher.stop()
    assert threads() == []
