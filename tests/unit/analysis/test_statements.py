"""SQL files that are read together, and the types of texts on a server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.analysis.statements import read_together, without_views
from restate_lab.errors import QueryRefused, TimedOut
from restate_lab.source import BaseSource, Source
from support.sample_rows import NOW

CALLER: ContextVar[str] = ContextVar("CALLER", default="nobody")
PATIENCE = 20  # seconds


class Endless(BaseSource):
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
    """However long each takes, the results have the order of the reads."""
    gates = [threading.Event() for _ in range(3)]

    def wait_for(at: int) -> Callable[[Source], int]:
        def run(_: Source) -> int:
            # Each one ends only after the next one: they run at the same time.
            assert at + 1 == len(gates) or gates[at + 1].wait(PATIENCE)
            gates[at].set()
            return at

        return run

    assert read_together(Endless(), [wait_for(at) for at in range(3)]) == [0, 1, 2]
    assert read_together(Endless(), [read("SELECT one")]) == [[1]]


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
        read_together(source, reads if first_fails else [read("SELECT one"), *reads])
    assert source.ended == ["_Stopped"]


def test_an_interrupt_ends_the_other_reads() -> None:
    """An interrupt reaches the first read, ends the others soon, and is raised."""
    source = Endless()

    def interrupt(_: Source) -> None:
        assert source.has_begun.wait(PATIENCE)
        raise KeyboardInterrupt

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        read_together(source, [interrupt, read("SELECT endless"), read("SELECT endless")])
    assert source.ended == ["_Stopped", "_Stopped"]
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
        assert read_together(Endless(), [ask, change, ask]) == ["me", "another", "me"]
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
    plain = without_views(table)
    assert plain.to_pylist() == table.to_pylist()
    assert plain.schema.types == [pa.large_string(), pa.string(), pa.null(), pa.list_(pa.uint32())]
    assert plain.filter(pa.array([True, False])).num_rows == 1
    assert without_views(table.slice(0, 0)).num_rows == 0
