"""Waiting for invocations: when the wait ends, what it returns, and what its messages name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, TimedOut
from support.sample_rows import LiveRows, invocation, sample_id

ONE, TWO = sample_id(1), sample_id(2)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], object]]:
    left: list[Callable[[], object]] = []

    def sleep(_: float) -> None:
        if left:
            left.pop(0)()

    monkeypatch.setattr(time, "sleep", sleep)
    return left


def test_it_ends_when_all_have_ended(changes: list[Callable[[], object]]) -> None:
    """Rows come in the order of the targets, and a status that all have already ends the wait at once."""
    source = LiveRows(sys_invocation_status=[invocation(1), invocation(2)])
    changes.append(lambda: source.put(sys_invocation_status=[invocation(1), invocation(2, "failed")]))
    changes.append(lambda: source.put(sys_invocation_status=[invocation(1, "succeeded"), invocation(2, "failed")]))
    rows = rl.wait_for(source, [TWO, ONE], progress=False)
    assert rows["id"].tolist() == [TWO, ONE]
    assert rows["status"].tolist() == ["failed", "succeeded"]
    assert not changes
    assert len(rl.wait_for(source, rows, until=("failed", "succeeded"), progress=False)) == 2


def test_the_until_function_gets_the_frame_of_each_poll(changes: list[Callable[[], object]]) -> None:
    source = LiveRows(sys_invocation_status=[invocation(1, journal_size=3)])
    sizes: list[int] = []
    changes.append(lambda: source.put(sys_invocation_status=[invocation(1, journal_size=9)]))

    def until(rows: pd.DataFrame) -> bool:
        sizes.append(int(rows["journal_size"][0]))
        return sizes[-1] > 3

    rl.wait_for(source, ONE, until=until, progress=False)
    assert sizes == [3, 9]


def test_a_removed_invocation_has_ended(changes: list[Callable[[], object]]) -> None:
    """An invocation without a row counts as ended if it had one before; for another status it is missing."""
    source = LiveRows(sys_invocation_status=[invocation(1), invocation(2, "succeeded")])
    changes.append(lambda: source.put(sys_invocation_status=[invocation(2, "succeeded")]))
    rows = rl.wait_for(source, [ONE, TWO], progress=False)
    assert rows["id"].tolist() == [TWO]
    with pytest.raises(TimedOut, match=f"1 invocation of 1 .*: {ONE} is not on the cluster"):
        rl.wait_for(source, ONE, until="ended", timeout="100ms", progress=False)


def test_retrying_includes_an_attempt_that_runs_after_the_first() -> None:
    source = LiveRows(
        sys_invocation_status=[invocation(1, "invoked"), invocation(2, "invoked")],
        sys_invocation_state=[
            {"id": ONE, "in_flight": True, "retry_count": 2},
            {"id": TWO, "in_flight": True, "retry_count": 1},
        ],
    )
    assert rl.wait_for(source, ONE, until="retrying", progress=False)["status"].tolist() == ["running"]
    with pytest.raises(TimedOut, match=f"{TWO} is running"):
        rl.wait_for(source, TWO, until="retrying", timeout="100ms", progress=False)


def test_the_message_names_what_is_missing() -> None:
    source = LiveRows(sys_invocation_status=[invocation(number) for number in range(6)])
    with pytest.raises(TimedOut, match=r"6 invocations of 6 .* within 200ms: inv_\w+ is suspended, .* 3 more\. Allow"):
        rl.wait_for(source, [sample_id(number) for number in range(6)], timeout="200ms", progress=False)
    with pytest.raises(TimedOut, match=r"until= was not true within 200ms"):
        rl.wait_for(source, ONE, until=lambda _: False, timeout="200ms", progress=False)


def test_an_error_of_the_function_is_one_of_the_argument() -> None:
    source = LiveRows(sys_invocation_status=[invocation(1)])
    with pytest.raises(ArgumentError, match=r"^the function until= failed: KeyError: 'stauts'\.$") as caught:
        rl.wait_for(source, ONE, until=lambda rows: rows["stauts"].eq("paused").all(), progress=False)
    assert isinstance(caught.value.__cause__, KeyError)
    with pytest.raises(TimedOut, match="of the function"):
        rl.wait_for(source, ONE, until=lambda _: _raise(TimedOut("of the function")), progress=False)


def _raise(error: Exception) -> None:
    raise error


def test_arguments(tmp_path: Path) -> None:
    """A wrong argument is an error before anything is read, and frozen evidence cannot be waited for."""
    source = LiveRows(sys_invocation_status=[invocation(1)])
    with pytest.raises(ArgumentError, match="'finished'"):
        rl.wait_for(source, ONE, until="finished")
    with pytest.raises(ArgumentError, match="timeout"):
        rl.wait_for(source, ONE, timeout="soon")
    with pytest.raises(ArgumentError, match="10,001 targets are too many"):
        rl.wait_for(source, [sample_id(number) for number in range(10_001)])
    with pytest.raises(ArgumentError, match="id"):
        rl.wait_for(source, "Svc/do")
    assert source.asked == []
    assert rl.wait_for(source, []).empty
    with (
        rl.open_evidence(rl.freeze(source, tmp_path / "x.evidence", progress=False)) as evidence,
        pytest.raises(ArgumentError, match="frozen evidence"),
    ):
        rl.wait_for(evidence, ONE)
