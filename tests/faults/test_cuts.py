"""Responses that are cut: at every boundary of one of them, and every response of a verb in turn."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.client import _recovery
from support.fault_verbs import SQL, Call, FaultBench, describe_response, outcome
from support.faults import END_OF_ANSWER, PASSES, boundaries
from support.tcp_relay import Fault, tcp_relay

pytestmark = pytest.mark.server

AT_ONCE = 6
LONG = {"arrow", "stream", "freeze", "doctor"}
"""sql reads through the first two, freeze through stream, and test_matrix.py cuts responses of the doctor by day."""
OF_ONE_ANSWER = [
    pytest.param(verb, marks=[pytest.mark.long] if verb in LONG else [])
    for verb in ("sql", "arrow", "stream", "to_parquet")
]
ALLOWED = {
    "ask": {"QueryInterrupted"},
    "journal": {"QueryInterrupted"},
    "waits": {"QueryInterrupted", "incomplete"},
    "why": {"QueryInterrupted", "incomplete"},
    "doctor": {"QueryInterrupted", "incomplete"},
    "plan": {"QueryInterrupted"},
    "freeze": {"QueryInterrupted"},
    "execute": {"done"},
    "set_state": {"QueryInterrupted", "OutcomeUnknown"},
}
"""The allowed outcomes of a verb when one of its responses lacks its end: never an incomplete result in silence."""


@pytest.fixture(autouse=True)
def _nobody_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust responses soon after a broken connection: the tests break hundreds of them, and the server stays up."""
    monkeypatch.setattr(_recovery, "_SETTLES_WITHIN", 0.1)


@contextmanager
def cut_line(bench: FaultBench) -> Iterator[tuple[Fault, str, bytes]]:
    """Give a fault that can be set, the address of its connection, and a whole response over this connection."""
    fault = Fault(where=b"/query", armed=False)
    with tcp_relay(bench.lab.settings.admin_url, fault=fault) as line:
        with rl.connect(line.url, check=False) as lab:
            lab.arrow(SQL, progress=False)
        yield fault, line.url, bytes(line.answers[-1])


@pytest.mark.parametrize("verb", OF_ONE_ANSWER)
def test_an_answer_cut_at_every_boundary(bench: FaultBench, tmp_path: Path, verb: str) -> None:
    """A cut before Arrow's end is an error, a cut after it loses nothing, and a response without a head is repeated."""
    with cut_line(bench) as (fault, url, answer):
        body, end = answer.index(b"\r\n\r\n") + 4, len(answer) - len(END_OF_ANSWER) + 8
        fault.armed = True
        for number, place in enumerate(boundaries(answer)):
            fault.passes, fault.times = place, fault.seen + 1
            folder = tmp_path / str(number)
            folder.mkdir()
            word = describe_response(Call(bench, url, PASSES, folder), verb)
            assert word == ("QueryInterrupted" if body <= place < end else "right"), f"cut at {place} of {len(answer)}"
        assert fault.happened == number + 1 > 50


@pytest.mark.parametrize("verb", ["arrow", pytest.param("to_parquet", marks=pytest.mark.long)])
def test_a_line_reset_at_every_boundary(bench: FaultBench, tmp_path: Path, verb: str) -> None:
    """A reset may lose bytes that had arrived; the rest is read again, is an error, or is the whole result."""
    with cut_line(bench) as (fault, url, answer):
        fault.armed, fault.end = True, "reset"
        for number, place in enumerate(boundaries(answer)):
            fault.passes, fault.times = place, fault.seen + 1
            folder = tmp_path / str(number)
            folder.mkdir()
            assert describe_response(Call(bench, url, PASSES, folder), verb) in {"right", "QueryInterrupted"}, place


@pytest.mark.parametrize(
    "verb", [pytest.param(verb, marks=[pytest.mark.long] if verb in LONG else []) for verb in ALLOWED]
)
def test_a_verb_reports_whichever_response_breaks_off(bench: FaultBench, verb: str) -> None:
    count = Fault(where=b"/query", number=1 << 30)
    assert outcome(bench, verb, count, PASSES) in {"right", "done"}

    def lose(number: int) -> tuple[str, int]:
        fault = Fault(where=b"/query", number=number, loses=END_OF_ANSWER)
        return outcome(bench, verb, fault, PASSES), fault.happened

    with ThreadPoolExecutor(1 if verb in {"execute", "set_state"} else AT_ONCE) as pool:
        words = list(pool.map(lose, range(count.seen)))
    # Waiting until a change is visible takes more or fewer reads, so that the last ones may not happen.
    assert {word for word, happened in words if happened} <= ALLOWED[verb], words
    assert {word for word, happened in words if not happened} <= {"right", "done"}, words
    assert all(happened == 1 for _, happened in itertools.islice(words, 3))
