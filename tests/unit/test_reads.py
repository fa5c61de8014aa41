"""The reads of one call: its limit, its clock, its memory, its record, and reads at the same time."""

from __future__ import annotations

import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.client.arguments import seconds_left, time_limit
from restate_lab.errors import ArgumentError, NotOnThisServer, QueryRefused, TimedOut
from restate_lab.reads import Reads, Stopped, UntilStopped, _without_views, begin
from restate_lab.source import Source
from support.row_source import RowSource
from support.sample_rows import NOW, SampleRows, invocation, sample_id


class Counting(RowSource):
    """A source that records the seconds that a request without a timeout may take, and counts requests."""

    name = "counting"

    def __init__(self) -> None:
        self.asked = 0
        self.allowed: list[float] = []

    def _ask(self) -> None:
        self.asked += 1
        self.allowed.append(seconds_left(120.0))

    @property
    def now(self) -> datetime:
        self._ask()
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.asked)

    @property
    def version(self) -> str:
        self._ask()
        return "1.7.12"

    @property
    def features(self) -> dict[str, bool]:
        self._ask()
        return {}

    def tables(self) -> pd.DataFrame:
        self._ask()
        return pd.DataFrame({"asked": [self.asked]})

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame:
        self._ask()
        return pd.DataFrame({"asked": [self.asked], "timeout": [timeout]})


class TooSlow(Counting):
    """A source that answers no statement in time."""

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> pd.DataFrame:
        super().rows(statement, params, timeout=timeout)
        raise TimedOut("too slow")


def test_what_takes_no_timeout_is_limited_all_the_same() -> None:
    """The clock, the version, the features and the list of tables may take the rest of the time, and not longer."""
    source = Counting()
    limited = Reads(source, "10s", verb="waits")
    _ = (limited.now, limited.version, limited.features, limited.tables())
    assert len(source.allowed) == 4
    assert all(0 < each <= 10 for each in source.allowed)
    _ = source.now
    assert source.allowed[-1] == 120


def test_only_reads_that_remember_answer_from_memory() -> None:
    """A verb that polls gets fresh rows; the doctor, whose checks share statements, gets them from memory."""
    source = Counting()
    for remembers, statements in ((True, 1), (False, 2)):
        reads = Reads(source, 10, remembers=remembers)
        _ = reads.now  # a frame has the time of a source that is not live
        before = source.asked
        reads.sql("SELECT 1"), reads.sql("SELECT 1")
        assert source.asked - before == statements


def test_the_clock_is_read_once_unless_it_is_asked_for_again() -> None:
    """All parts of a result have one time; a call that takes long can read the clock again, within its timeout."""
    source = Counting()
    reads = Reads(source, 10)
    assert reads.now == reads.now
    assert reads.read_clock() > reads.now
    assert Reads(source, now=source.now - timedelta(1)).now < reads.now


def test_a_failure_for_lack_of_time_is_remembered_where_there_was_no_more() -> None:
    """A read that failed with less than the whole time is sent again for the next caller; otherwise it is not."""
    source = TooSlow()
    limited = Reads(source, 10, remembers=True)
    for timeout, asked in ((1, 1), (1, 2), (None, 3), (None, 3), (1, 3)):
        with pytest.raises(TimedOut, match="too slow"):
            limited.sql("SELECT 1", timeout=timeout)
        assert source.asked == asked


def test_without_a_timeout_each_statement_has_the_limit_of_the_source() -> None:
    """Nothing is limited, and no loop is ended."""
    source = Counting()
    reads = Reads(source)
    assert reads.sql("SELECT 1")["timeout"].tolist() == [None]
    _ = reads.now
    assert source.allowed[-1] == 120
    reads.check()


@pytest.mark.parametrize("wrong", ["soon", -1, float("nan"), float("inf"), True])
def test_a_value_that_is_no_time_limit_is_refused_before_a_request(wrong: Any) -> None:
    source = Counting()
    with pytest.raises(ArgumentError, match="timeout"):
        Reads(source, wrong, verb="waits")
    assert source.asked == 0


def test_the_error_says_which_verb_and_what_to_do() -> None:
    """Once the time is over nothing is sent, and the message has the verb, its timeout and the parameter."""
    source = Counting()
    with pytest.raises(TimedOut, match=r"waits did not finish within its timeout of 0s; pass a longer timeout="):
        Reads(source, 0, verb="waits").sql("SELECT 1")
    assert source.asked == 0


@pytest.mark.parametrize(
    "verb", ["journal", "journal_diff", "waits", "agent_runs", "before_after", "contrast", "find", "story"]
)
def test_a_timeout_names_the_verb_that_was_called(verb: str) -> None:
    source, id_ = Counting(), sample_id(1)
    arguments = {"journal": (id_,), "story": (id_,), "journal_diff": (id_, sample_id(2))}
    ids = {**arguments, "before_after": ("dp_1",), "contrast": ("failed",), "find": ("a text",)}.get(verb, ())
    with pytest.raises(TimedOut, match=f"^{verb} did not finish within its timeout of 0s; pass a longer timeout="):
        getattr(rl, verb)(source, *ids, timeout=0)
    assert not source.asked or not max(source.allowed)


def test_an_inner_limit_is_never_longer_than_the_outer_one() -> None:
    with time_limit(5), time_limit(60):
        assert seconds_left(120) <= 5
    with time_limit(60), time_limit(5):
        assert seconds_left(120) <= 5
    assert seconds_left(120) == 120


class Impatient(Counting):
    """A source whose requests report what a transport does that may take no time."""

    @property
    def now(self) -> datetime:
        if not seconds_left(120.0):
            raise TimedOut("no response within the time limit")
        return super().now


def test_time_that_was_spent_on_matching_is_not_blamed_on_the_server() -> None:
    """After the timeout, the clock and the check of a loop report the limit of the verb, and what took the time."""
    source = Impatient()
    over, open_ = (Reads(source, seconds, over="waits did not finish") for seconds in (0, 100))
    with pytest.raises(TimedOut, match=r"^waits did not finish\.$"):
        _ = over.now
    for reads in (over, Reads(over)):
        with pytest.raises(TimedOut, match="had responded, and reading and matching its data took the rest"):
            reads.check()
    Reads(open_).check()


def test_statements_are_recorded_once_with_their_number() -> None:
    """Reads within the reads of another call are recorded in both; statements that were not sent are in neither."""
    outer = Reads(Counting())
    inner = Reads(outer, remembers=True)
    for _ in range(2):
        outer.sql("SELECT :a", a=1, progress=False)
        inner.sql("SELECT :b", b=2)
    assert inner.queries == [{"sql": "SELECT :b", "params": {"b": 2}, "times": 1}]
    assert outer.queries == [{"sql": "SELECT :a", "params": {"a": 1}, "times": 2}, *inner.queries]


def test_ids_are_read_in_parts() -> None:
    ids = [sample_id(number) for number in range(5)]
    source = SampleRows(sys_invocation_status=[invocation(each) for each in ids])
    reads = Reads(source)
    assert [row["id"] for row in reads.rows_of("waits/states", ids, chunk=2)] == ids
    assert [each["times"] for each in reads.queries] == [3]


def test_the_statements_of_a_module_are_read_in_parts_too() -> None:
    """A statement that is not in a file has the same limit of ids, and parameters that it does not have are ignored."""
    ids = [sample_id(number) for number in range(5)]
    reads = Reads(SampleRows(sys_invocation_status=[invocation(each) for each in ids]))
    statement = "SELECT id FROM sys_invocation_status WHERE id IN :ids"
    assert sorted(row["id"] for row in reads.query_of(statement, ids, chunk=2)) == sorted(ids)
    assert reads.query(statement, {"ids": ids, "scope": None}).num_rows == 5
    assert [each["times"] for each in reads.queries] == [4]


def test_a_shown_progress_moves_until_it_is_stopped() -> None:
    """The progress of a check that a user can stop is shown, and raises as soon as it is stopped."""
    stop, shown = threading.Event(), Shown()
    progress = UntilStopped(stop, shown)
    progress.update(1, 2)
    stop.set()
    with pytest.raises(Stopped):
        progress.update(2, 2)
    assert shown.updates == [(1, 2)]


class Shown:
    """A Progress that keeps its updates."""

    def __init__(self) -> None:
        self.updates: list[tuple[int, int]] = []

    def update(self, rows: int, size: int) -> None:
        self.updates.append((rows, size))

    def close(self) -> None:
        return


def test_an_old_source_is_refused_before_a_read() -> None:
    source = Counting()
    kind, kept = type(source), (type(source).version, type(source).live)
    kind.version, kind.live = "1.6.2", True  # type: ignore[assignment]
    try:
        with pytest.raises(NotOnThisServer, match=r"waits\(\) supports restate 1.7 and 1.8; counting has 1.6.2"):
            begin(source, "waits", "10s")
    finally:
        kind.version, kind.live = kept  # type: ignore[assignment]
    assert source.asked == 0


CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")
PATIENCE = 20  # seconds


class Endless(Source):
    """A live source: ``SELECT endless`` runs until its progress ends it, ``SELECT refused`` is refused."""

    name, version, now, live = "prod", "1.7.12", NOW, True
    features: Mapping[str, bool] = {}

    def __init__(self) -> None:
        self.has_begun = threading.Event()
        self.ended: list[str] = []

    @contextmanager
    def stream(self, statement: str, /, *, progress: Any = False, **_: Any) -> Iterator[pa.RecordBatchReader]:
        if "refused" in statement:
            raise QueryRefused("no memory", status=500)
        deadline = time.monotonic() + PATIENCE
        while "endless" in statement and time.monotonic() < deadline:
            self.has_begun.set()
            try:
                progress.update(0, 0)
            except BaseException as error:
                self.ended.append(type(error).__name__)
                raise
            time.sleep(0.01)
        yield pa.table({"n": [1]}).to_reader()


def read(statement: str) -> Callable[[Source], Any]:
    return lambda source: source.arrow(statement)["n"].to_pylist()


def test_results_come_in_the_order_of_the_reads() -> None:
    gates = [threading.Event() for _ in range(3)]

    def wait_for(at: int) -> Callable[[Source], int]:
        def run(_: Source) -> int:
            # Each one ends only after the next one: they run at the same time.
            assert at + 1 == len(gates) or gates[at + 1].wait(PATIENCE)
            gates[at].set()
            return at

        return run

    assert Reads(Endless()).together([wait_for(at) for at in range(3)]) == [0, 1, 2]
    assert Reads(Endless()).together([read("SELECT one")]) == [[1]]


@pytest.mark.parametrize("first_fails", [True, False])
def test_the_first_error_of_the_sequence_is_raised(first_fails: bool) -> None:
    """It is raised when all have ended, also if a later one failed sooner; errors of stopped reads are not raised."""
    source, has_failed = Endless(), threading.Event()

    def fail_late(_: Source) -> None:
        assert has_failed.wait(PATIENCE)
        raise TimedOut("took too long")

    def fail_soon(inner: Source) -> None:
        try:
            inner.arrow("SELECT refused")
        finally:
            has_failed.set()

    reads = [fail_late, fail_soon, read("SELECT endless")]
    with pytest.raises(TimedOut):
        Reads(source).together(reads if first_fails else [read("SELECT one"), *reads])
    assert source.ended == ["Stopped"]


def test_an_interrupt_ends_the_other_reads() -> None:
    source = Endless()

    def interrupt(_: Source) -> None:
        assert source.has_begun.wait(PATIENCE)
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        Reads(source).together([interrupt, read("SELECT endless"), read("SELECT endless")])
    assert source.ended == ["Stopped", "Stopped"]
    assert time.monotonic() - started < PATIENCE


def test_context_variables_reach_all_reads() -> None:
    """A time limit or a redirected message applies in the other threads too, and their own settings stay there."""
    threads = set()

    def ask(_: Source) -> str:
        threads.add(threading.get_ident())
        return CALLER.get()

    def change(_: Source) -> str:
        CALLER.set("another")
        return CALLER.get()

    token = CALLER.set("me")
    try:
        assert Reads(Endless()).together([ask, change, ask]) == ["me", "another", "me"]
        assert CALLER.get() == "me"
    finally:
        CALLER.reset(token)
    assert threading.get_ident() in threads


def test_texts_can_be_filtered_however_a_server_types_them() -> None:
    """A view of texts becomes plain text; everything else keeps its type."""
    table = pa.table(
        {
            "view": pa.array(["a", None], pa.string_view()),
            "text": pa.array(["a", None], pa.string()),
            "null": pa.nulls(2),
            "list": pa.array([[1], None], pa.list_(pa.uint32())),
        }
    )
    plain = _without_views(table)
    assert plain.to_pylist() == table.to_pylist()
    assert plain.schema.types == [pa.large_string(), pa.string(), pa.null(), pa.list_(pa.uint32())]
    assert plain.filter(pa.array([True, False])).num_rows == 1
    assert _without_views(table.slice(0, 0)).num_rows == 0


class ManyTimes(Counting):
    """A source whose rows have a time in the zone of a server's responses."""

    def rows(self, statement: str, params: Mapping[str, Any], *, timeout: Any = None) -> Any:
        names = ("id", "target_service_name", "target_handler_name", "target_service_key", "idempotency_key")
        texts = {name: pa.array(["x"] * 1000, pa.large_string()) for name in names}
        return pa.table({**texts, "created_at": pa.array([NOW] * 1000, pa.timestamp("ms", "+00:00"))})


@pytest.mark.parametrize(
    "read",
    [
        lambda reads: reads.query(TIMES, {"ids": ["x"]}).to_pylist(),
        lambda reads: list(reads.query_of(TIMES, ["x"])),
        lambda reads: [row for batch in reads.batches(TIMES, {"ids": ["x"]}) for row in batch.to_pylist()],
        lambda reads: reads.table("find/ids", since=NOW, service=None, limit=1000).to_pylist(),
    ],
    ids=["query", "query_of", "batches", "table"],
)
def test_times_leave_no_memory_behind(read: Callable[[Reads], list[dict[str, Any]]]) -> None:
    """A process that reads journals for hours would grow by the object that pyarrow leaks for each time in "+00:00"."""
    reads = Reads(ManyTimes())
    assert read(reads)[0]["created_at"] == NOW
    gc.disable()  # so that all new objects are in the youngest generation, and older ones are not visited
    try:
        gc.collect(0)
        before = sys.getallocatedblocks()
        for _ in range(10):
            assert len(read(reads)) == 1000
        gc.collect(0)
        assert sys.getallocatedblocks() - before < 2000
    finally:
        gc.enable()


TIMES = "SELECT id, created_at FROM sys_invocation WHERE id IN :ids"
