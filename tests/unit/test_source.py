"""A Source: its base class, the wrappers around one, and the path of changes."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import httpx
import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab._public import missing_members
from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab, is_lab, require_lab
from restate_lab.client.settings import Settings
from restate_lab.errors import ArgumentError, QueryInterrupted
from restate_lab.panels._base.source import PanelSource, why_read_only
from restate_lab.reads import Reads, Stopped
from restate_lab.source import TABLES, Coverage, Source, SourceWrapper
from support.freezable import Freezable, invocation
from support.row_source import RowSource
from support.wrappers import WRAPPERS, check_same_answers

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
ROWS = pa.table({"id": ["a", None], "n": pa.array([2**53 + 1, None], pa.uint64())})
STATEMENT = "SELECT id, n FROM t WHERE id = :id"
READS: dict[str, Callable[..., Any]] = {
    "sql": lambda source, **options: source.sql(STATEMENT, **options),
    "arrow": lambda source, **options: source.arrow(STATEMENT, **options),
    "stream": lambda source, **options: source.stream(STATEMENT, **options).__enter__().read_all(),
}


class Own:
    """A user's own source without a base class; ``seen`` has the options of each ``stream``."""

    name, address, version, features, now = "own", "", "1.7.12", {}, NOW
    live, coverage = False, Coverage(part="a half", masked=frozenset({"t.n"}))

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    def tables(self) -> pd.DataFrame:
        return pd.DataFrame({"table": ["t"], "column": ["id"]})

    def sql(self, statement: str, /, *, dtype_backend: Any = None, **options: Any) -> pd.DataFrame:
        return SourceWrapper(self).sql(statement, dtype_backend=dtype_backend, **options)

    def arrow(self, statement: str, /, **options: Any) -> pa.Table:
        return ROWS

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        self.seen.append(options)
        yield ROWS.to_reader()


class Broken(RowSource):
    """A source whose results break off after two rows."""

    name, version, features, now = "broken", "1.7.12", {}, NOW

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        def batches() -> Iterator[pa.RecordBatch]:
            yield from ROWS.to_batches()
            raise QueryInterrupted("it broke off", rows=2)

        yield pa.RecordBatchReader.from_batches(ROWS.schema, batches())


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Give a connection on which every request fails the test."""

    def handle(request: httpx.Request) -> httpx.Response:
        raise AssertionError(request.url)

    settings = Settings("prod", "http://127.0.0.1:1", None, None, "", "the argument")
    with Lab(settings, audit=AuditLog(tmp_path), network=httpx.MockTransport(handle)) as lab:
        yield lab


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_gives_what_its_source_gives(wrapper: str, tmp_path: Path) -> None:
    """It holds for sql, arrow, stream and tables, around evidence and around a user's own source."""
    rl.freeze(Freezable(sys_invocation_status=[invocation(1), invocation(2)]), tmp_path / "made")
    statement = "SELECT id, status, created_at, waits_for, kept FROM sys_invocation_status WHERE status = :status"
    with rl.open_evidence(tmp_path / "made") as evidence:
        check_same_answers(WRAPPERS[wrapper](evidence), evidence, statement, status="suspended")
    own: Any = Own()
    check_same_answers(WRAPPERS[wrapper](own), own, STATEMENT, id="a")


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_passes_every_option_on(wrapper: str, read: str) -> None:
    """Parameters, limits and progress arrive unchanged, whatever form a timeout has."""
    for timeout in (5, "5s", timedelta(seconds=5)):
        own: Any = Own()
        options = {"params": {"id": "a"}, "max_bytes": 7, "progress": False, "more": [1]}
        READS[read](WRAPPERS[wrapper](own), timeout=timeout, **options)
        (seen,) = own.seen
        expected = timeout if wrapper == "SourceWrapper" else pytest.approx(5)
        assert seen == {**options, "timeout": expected}


@pytest.mark.parametrize(
    ("read", "max_bytes", "progress"), [("sql", None, None), ("arrow", None, None), ("stream", math.inf, False)]
)
def test_the_defaults_of_the_ways_of_reading(read: str, max_bytes: Any, progress: Any) -> None:
    """A whole result has the source's own limits and a line of progress; a stream has neither."""
    seen: list[tuple[Any, ...]] = []

    class Noting(Own, Source):
        sql, arrow = Source.sql, Source.arrow

        @contextmanager
        def stream(
            self, statement: str, /, *, max_bytes: Any = math.inf, progress: Any = False, **_: Any
        ) -> Iterator[pa.RecordBatchReader]:
            seen.append((max_bytes, progress))
            yield ROWS.to_reader()

    READS[read](Noting())
    assert seen == [(max_bytes, progress)]


def test_stream_is_all_that_a_source_needs() -> None:
    """Its rows become an exact frame with its attrs, and its tables come from information_schema."""

    class Least(RowSource):
        name, version, features, now = "least", "1.7.12", {}, NOW

        def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
            return pa.table({"table": ["t"]}) if statement == TABLES else ROWS

    source = Least()
    frame = source.sql(STATEMENT, id="a")
    assert frame["n"].tolist() == [2**53 + 1, pd.NA]
    assert frame.attrs == {"sql": STATEMENT, "params": {"id": "a"}, "read_at": source.now.isoformat()}
    assert source.tables()["table"].tolist() == ["t"]
    assert isinstance(source, Source)
    assert (source.live, source.address, source.coverage) == (False, "", Coverage())


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_an_interrupted_result_keeps_the_rows_that_came(wrapper: str) -> None:
    """Wrappers keep them as well; and a stream yields them before it raises."""
    source = WRAPPERS[wrapper](Broken())
    for read in ("sql", "arrow"):
        with pytest.raises(QueryInterrupted) as caught:
            READS[read](source)
        assert caught.value.partial is not None
        assert caught.value.partial.equals(ROWS)
    with source.stream(STATEMENT) as reader:
        assert reader.read_next_batch().num_rows == 2
        with pytest.raises(QueryInterrupted):
            reader.read_next_batch()


def test_reads_record_each_statement_once() -> None:
    """They do so for every way of reading, with its parameters and the number of requests; so do nested reads."""
    for read in READS.values():
        outer = Reads(Own())  # type: ignore[arg-type]
        inner = Reads(outer)
        read(inner, params={"id": "a"}, timeout=5, max_bytes=7, progress=False, more=1)
        read(inner, params={"id": "a"}, more=1)
        expected = [{"sql": STATEMENT, "params": {"id": "a", "more": 1}, "times": 2}]
        assert inner.queries == outer.queries == expected


def test_reads_have_one_time() -> None:
    """Their clock is the time of the source at the first use, so that the parts of a result agree."""
    times = iter([NOW, NOW + timedelta(seconds=1)])
    ticking: Any = type("Ticking", (Own,), {"now": property(lambda _: next(times))})()
    reads = Reads(ticking)
    assert [reads.now, reads.now] == [NOW, NOW]


def test_reads_give_what_is_left_and_send_the_same_statement_once() -> None:
    """Each statement gets at most the remaining time; a repeated one comes from memory, also through a wrapper."""
    own: Any = Own()
    reads = Reads(own, 5, over="over", remembers=True)
    for options in ({"id": "a"}, {"params": {"id": "a"}, "progress": False, "timeout": "1h"}, {"id": "b"}):
        reads.sql(STATEMENT, **options)
    reads.sql(STATEMENT, id="a", dtype_backend="pyarrow")
    Reads(reads).sql(STATEMENT, id="a")
    timeouts = [each["timeout"] for each in own.seen]
    assert len(timeouts) == 2
    assert all(4 < each <= 5 for each in timeouts)
    assert timeouts == sorted(timeouts, reverse=True)
    reads.arrow(STATEMENT, id="c", timeout="2s")
    assert own.seen[-1]["timeout"] == 2


def test_reads_remember_failures() -> None:
    broken: Any = Broken()
    reads = Reads(broken, 5, remembers=True)
    for source in (reads, Reads(reads)):
        with pytest.raises(QueryInterrupted):
            source.sql(STATEMENT)
    assert [each.rows for each in reads.statements] == [0]


def test_a_quiet_source_shows_no_progress_and_ends_when_it_is_closed() -> None:
    """Each way of reading a live source stops at the end; the caller's own progress argument is ignored."""
    own: Any = Own()
    own.live = True
    closed = threading.Event()
    for read in READS.values():
        read(PanelSource(own, closed), progress=True)
    assert [each["timeout"] for each in own.seen] == [30, 30, 30]
    closed.set()
    for each in own.seen:
        with pytest.raises(Stopped):
            each["progress"].update(0, 0)


def test_an_object_that_is_not_a_source_is_named_with_what_it_lacks() -> None:
    """Verbs, panels and wrappers refuse it before any request."""

    class Old:
        name, version, features, now, tables, sql, arrow, stream = "old", "1.7.12", {}, NOW, None, None, None, None

    old: Any = Old()
    for take in (rl.waits, rl.Panel, rl.doctor, SourceWrapper):
        with pytest.raises(ArgumentError, match=r"^Old is not a Source: it has no address, live, coverage.*Source"):
            take(old)


def test_no_property_is_read_to_know_a_source(lab: Lab) -> None:
    """A Lab's version and clock are queries; wrapping it sends none."""
    assert missing_members(lab) == []
    assert SourceWrapper(lab).address == "http://127.0.0.1:1"


def test_changes_go_through_the_connection_itself(lab: Lab) -> None:
    """Neither a wrapper nor evidence accepts a change, and a panel on it gives the reason, with the same message."""
    wrapper: Any = SourceWrapper(lab)
    own: Any = Own()
    assert (is_lab(lab), is_lab(wrapper), is_lab(own)) == (True, False, False)
    assert require_lab(lab, "this") is lab
    changes: list[Callable[[Any], object]] = [
        lambda source: rl.plan(source, "kill", []),
        lambda source: rl.move_to(source, [], deployment="latest"),
        lambda source: rl.set_state(source, "S", "k", {"a": 1}, reason="INC-42"),
    ]
    for change in changes:
        for source in (wrapper, own):
            with pytest.raises(ArgumentError, match=r"needs a live cluster, from connect\(\); .* can only be read"):
                change(source)
    assert why_read_only(lab) is None
    assert "pass the Lab of connect() to the panel" in str(why_read_only(wrapper))
    assert "not a live cluster" in str(why_read_only(own))


def test_coverage_is_a_value() -> None:
    assert replace(Coverage(), part="x") == Coverage(part="x") != Coverage()
    with pytest.raises(ArgumentError, match=r"Coverage\(\) has too many arguments"):
        Coverage("x")  # type: ignore[misc]


def test_a_source_that_hangs_stops_no_other_source() -> None:
    """A property that is read once has no lock that all objects share, as in Python 3.11."""
    began, ends = threading.Event(), threading.Event()

    class Hangs(Own):
        def tables(self) -> pd.DataFrame:
            began.set()
            assert ends.wait(20)
            return super().tables()

    hanging = threading.Thread(target=Reads(cast("Source", Hangs())).has, args=("t",))
    hanging.start()
    try:
        assert began.wait(20)
        other = threading.Thread(target=Reads(cast("Source", Own())).has, args=("t",))
        other.start()
        other.join(10)
        assert not other.is_alive()
    finally:
        ends.set()
        hanging.join(20)
