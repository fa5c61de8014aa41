"""The cost of pages: turns of statements, readings that viewers share, and what happens when many wait."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.why import why
from restate_lab.client.arguments import time_limit
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.history.opening import open_history
from restate_lab.reads import Reads
from restate_lab.serve import readings
from restate_lab.serve.readings import AT_ONCE, WAITING, EarlierReadings, LimitedSource, Readings, TooManyReadings
from support.archives import DAY, SampleArchive, run as run_at
from support.bench import wait_for
from support.row_source import RowSource
from support.sample_rows import NOW, SampleRows

SELECT = "SELECT 1 AS n"


class Slow(RowSource):
    """A source whose statements end when the test lets them; ``most`` is how many there were at once."""

    name, version, features, now = "slow", "1.7.12", {}, pd.Timestamp("2026-11-30", tz="UTC")

    def __init__(self) -> None:
        self.open = threading.Event()
        self.count = self.most = self.total = 0
        self._lock = threading.Lock()

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        with self._lock:
            self.count, self.total = self.count + 1, self.total + 1
            self.most = max(self.most, self.count)
        try:
            assert self.open.wait(20)
            yield pa.table({"n": [1]}).to_reader()
        finally:
            with self._lock:
                self.count -= 1


@pytest.fixture
def slow() -> Iterator[Slow]:
    source = Slow()
    yield source
    source.open.set()


def run(test: Callable[[Readings], Awaitable[None]], source: Any, *, longest: float = 20) -> None:
    async def main() -> None:
        with closing(Readings("slow", source, longest=longest)) as made:
            await test(made)

    asyncio.run(main())


def ask(source: Any, number: int = 0) -> int:
    return int(source.sql(f"{SELECT} -- {number}")["n"][0])


def test_many_threads_send_two_statements_at_once(slow: Slow) -> None:
    limited = LimitedSource(slow)
    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(ask, limited, number) for number in range(12)]
        while slow.total < AT_ONCE:
            pass
        slow.open.set()
        assert [each.result(20) for each in results] == [1] * 12
    assert (slow.most, slow.total) == (AT_ONCE, 12)


def test_the_wait_for_a_turn_is_a_part_of_the_time_limit(slow: Slow) -> None:
    """Of a statement, of a call, and of a block; a turn that was not taken is not lost."""
    limited = LimitedSource(slow, at_once=1)
    with ThreadPoolExecutor(1) as pool:
        holding = pool.submit(ask, limited)
        while not slow.total:
            pass
        with pytest.raises(TimedOut, match="other pages were reading slow"):
            limited.sql(SELECT, timeout=0.05)
        for read in (limited.tables, lambda: limited.at("1h")):
            with pytest.raises(TimedOut), time_limit(0.05):
                read()
        with pytest.raises(TimedOut):
            Reads(limited, 0.05, verb="x").read_clock()
        slow.open.set()
        assert holding.result(20) == 1
    assert ask(limited) == 1


def test_a_statement_within_the_rows_of_another_one_is_a_bug() -> None:
    """Two threads could wait for each other; the error appears at the first use, and not only under load."""
    limited = LimitedSource(SampleRows())
    with limited.stream(SELECT) as rows:
        for read in (lambda: limited.sql(SELECT), limited.tables, lambda: limited.now, lambda: limited.at("1h")):
            with pytest.raises(RuntimeError, match="read these rows first"):
                read()
        assert rows.read_all().num_rows == 1
    assert limited.tables().shape[0]


def test_every_reading_of_an_archive_needs_one_turn(tmp_path: Path) -> None:
    """With a single turn, a reading that needed two would fail: none does."""
    archive = SampleArchive(tmp_path / "history")
    runs = [run_at(number, DAY, completion_result="failure" if number % 2 else "success") for number in range(60)]
    archive.visit(DAY, runs)
    with open_history(archive.path) as history:
        source, limits = LimitedSource(history, at_once=1), {"timeout": 20}
        doctor(source, **limits)
        why(source, runs[0]["id"], **limits)
        read_journal(source, runs[0]["id"], **limits)
        compare_sides(source, "failed", service="Orders", payloads=True, **limits)


def test_viewers_of_one_page_share_one_reading(slow: Slow) -> None:
    """While it goes on, and for some seconds afterwards; an error is shared, too."""

    async def test(made: Readings) -> None:
        viewers = [asyncio.create_task(made.read("page", ask, {})) for _ in range(50)]
        await asyncio.sleep(0.05)
        slow.open.set()
        assert await asyncio.gather(*viewers) == [1] * 50
        assert await made.read("page", ask, {}) == 1
        assert slow.total == 1
        with pytest.raises(RestateLabError):
            await made.read("broken", _broken, {"calls": (calls := [])})
        with pytest.raises(RestateLabError):
            await made.read("broken", _broken, {"calls": calls})
        assert calls == [1]

    run(test, slow)


def _broken(_: Any, calls: list[int]) -> None:
    calls.append(1)
    raise RestateLabError("x")


def test_a_reading_is_forgotten_after_some_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """No result stays in memory; too many results are forgotten earlier."""
    monkeypatch.setattr(readings, "KEPT", 0.05)
    monkeypatch.setattr(readings, "_MOST_KEPT", 3)

    async def test(made: Readings) -> None:
        for number in range(9):
            await made.read(number, ask, {"number": number})
        assert len(made._tasks) <= 4
        while made._tasks:
            await asyncio.sleep(0.01)
        await made.read(8, ask, {"number": 8})

    source = SampleRows()
    run(test, source)
    assert len(source.asked) == 10


def test_too_many_readings_are_refused_with_a_time(slow: Slow) -> None:
    """Of fifty different pages at the same time, two are read, twenty wait, and the others must be loaded again."""

    async def test(made: Readings) -> None:
        pages = [asyncio.create_task(made.read(number, ask, {"number": number})) for number in range(50)]
        await asyncio.sleep(0.05)
        slow.open.set()
        results = await asyncio.gather(*pages, return_exceptions=True)
        refused = [each for each in results if isinstance(each, TooManyReadings)]
        assert (results.count(1), len(refused)) == (AT_ONCE + WAITING, 50 - AT_ONCE - WAITING)
        assert all(1 <= each.retry_after <= 60 for each in refused)
        assert await made.read("later", ask, {}) == 1

    run(test, slow)
    assert slow.most == AT_ONCE


def test_a_viewer_waits_until_the_limit_of_the_page(slow: Slow) -> None:
    """The reading goes on for the next viewer, also if this one is gone."""

    async def test(made: Readings) -> None:
        for within in (0.05, 0.0, -1.0):
            with pytest.raises(TimedOut, match="has not answered within 0 s; load the page again"):
                await made.read("page", ask, {}, within=within)
        gone = asyncio.create_task(made.read("page", ask, {}))
        await asyncio.sleep(0.02)
        gone.cancel()
        slow.open.set()
        assert await made.read("page", ask, {}) == 1
        assert await made.read("page", ask, {}, within=0.0) == 1
        assert slow.total == 1

    run(test, slow)


def test_a_source_that_hangs_delays_no_other(slow: Slow) -> None:
    async def main() -> None:
        with ExitStack() as stack:
            hanging = stack.enter_context(closing(Readings("slow", slow, longest=20)))
            other = stack.enter_context(closing(Readings("made", SampleRows(), longest=20)))
            waiting = [asyncio.create_task(hanging.read(number, ask, {"number": number})) for number in range(20)]
            assert await other.read("page", ask, {}) == 1
            assert not any(each.done() for each in waiting)
            slow.open.set()
            await asyncio.gather(*waiting)

    asyncio.run(main())


class Timed(SampleRows):
    """A source with earlier times; ``made`` has one reference for each that was read."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[weakref.ref[SampleRows]] = []

    def at(self, time: Any, /) -> SampleRows:
        past = SampleRows(now=time)
        self.made.append(weakref.ref(past))
        return past


def test_viewers_share_an_earlier_time_and_the_oldest_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the last page that reads it; at the end no thread is left."""
    monkeypatch.setattr(readings, "KEPT", 0.0)
    source, times = Timed(), [NOW - timedelta(hours=hours) for hours in range(1, 7)]
    limits = {"timeout": 20.0, "within": 20.0}

    async def test(made: Readings) -> None:
        earlier = EarlierReadings()
        with closing(earlier):
            for time in times:
                shared = await asyncio.gather(*(earlier.at(made, time, **limits) for _ in range(9)))
                assert len({id(each) for each in shared}) == 1
                assert (await shared[0].read("page", ask, {}), shared[0].time) == (1, time)
            del shared
            assert len(source.made) == len(times)
            while sum(each() is not None for each in source.made) > readings._MOST_EARLIER:
                await asyncio.sleep(0.01)
                gc.collect()
            assert await (await earlier.at(made, times[-1], **limits)).read("page", ask, {}) == 1

    before = threading.active_count()
    run(test, source)
    wait_for(lambda: threading.active_count() <= before, within=20)
