"""Watching a source: rates between two polls, the effect of a limit, gaps, and every way to end."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from restate_lab.errors import AccessDenied, ArgumentError, NotOnThisServer, Truncated, Unreachable
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import open_evidence
from restate_lab.evidence.watch import watch
from restate_lab.evidence.watch.sampler import COLUMNS
from support.mutable_source import START, MutableSource, id_of, invocation

MINUTE = timedelta(minutes=1)
Step = Callable[[MutableSource], object]


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Remove all pauses; the list has the length that each would have had."""
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    return waited


def looks(source: MutableSource, *steps: Step, **options: Any) -> pd.DataFrame:
    """Watch with a minute and a step between two polls."""
    left = list(steps)

    def until(frame: pd.DataFrame) -> bool:
        assert list(frame.columns) == list(COLUMNS)
        if left:
            source.now += MINUTE
            left.pop(0)(source)
            return False
        return True

    return watch(source, every="1m", until=until, progress=False, **options)


def of(frame: pd.DataFrame, what: str, name: str, column: str) -> list[Any]:
    """Return a column of one thing, nulls as None."""
    rows = frame[(frame["what"] == what) & (frame["name"] == name)]
    return [None if pd.isna(cell) else cell for cell in rows[column]]


def trying(*attempts: tuple[int, int], handler: str = "do") -> dict[str, list[dict[str, Any]]]:
    """Return the rows of retrying invocations, by number and attempt."""
    return {
        "sys_invocation_status": [invocation(n, "invoked", target_handler_name=handler) for n, _ in attempts],
        "sys_invocation_state": [{"id": id_of(n), "in_flight": False, "retry_count": count} for n, count in attempts],
    }


def queue(**keys: int) -> list[dict[str, Any]]:
    return [
        {"id": id_of(n), "service_name": "Cart", "service_key": key}
        for key, count in keys.items()
        for n in range(count)
    ]


def pinned(count: int, deployment: str = "dp_1") -> list[dict[str, Any]]:
    return [invocation(number, pinned_deployment_id=deployment) for number in range(count)]


def test_statuses_and_how_they_change(pauses: list[float]) -> None:
    """Each poll counts invocations that are not completed, by status; one that is gone is not counted."""
    source = MutableSource(sys_invocation_status=[invocation(1), invocation(2), invocation(3, "succeeded")])
    frame = looks(source, lambda s: s.put(sys_invocation_status=[invocation(1, "paused")]), lambda s: None)
    assert of(frame, "status", "suspended", "n") == [2, 0, 0]
    assert of(frame, "status", "paused", "n") == [0, 1, 1]
    assert of(frame, "status", "suspended", "per_minute") == [None, -2.0, 0.0]
    assert set(frame["name"]) == {"suspended", "paused"}
    assert frame["at"].drop_duplicates().tolist() == [pd.Timestamp(START + n * MINUTE) for n in range(3)]
    assert str(frame["at"].dtype) == "datetime64[ms, UTC]"


def test_retries_per_minute(pauses: list[float]) -> None:
    """Attempts that began between two polls, by handler: of old ones, of new ones, and of reset counters."""
    source = MutableSource(**trying((1, 3), (2, 1)))
    frame = looks(
        source,
        lambda s: s.put(**trying((1, 7), (2, 1), (3, 3))),  # 4 of the first, 2 of the new one
        lambda s: s.put(**trying((1, 2), (3, 3))),  # counted anew: one; the second has ended
    )
    assert of(frame, "retries", "do", "per_minute") == [None, 6.0, 1.0]
    assert of(frame, "retries", "do", "n") == [2, 3, 2]
    assert of(frame, "status", "backing-off", "n") == [2, 3, 2]
    assert frame[frame["what"] == "retries"]["target_service_name"].unique().tolist() == ["Svc"]


def test_a_new_run_of_an_id_is_counted_anew(pauses: list[float]) -> None:
    """An id that is reused between two polls is a new invocation: all its retries began since."""
    source = MutableSource(**trying((1, 5)))
    again = trying((1, 6))
    again["sys_invocation_status"][0]["created_at"] = START + MINUTE / 2
    assert of(looks(source, lambda s: s.put(**again)), "retries", "do", "per_minute") == [None, 5.0]


def test_rates_are_per_minute_whatever_passed(pauses: list[float]) -> None:
    """Between polls that are further apart the rate is still per minute."""
    source = MutableSource(**trying((1, 1)))

    def later(source: MutableSource) -> None:
        source.now += 3 * MINUTE
        source.put(**trying((1, 9)))

    assert of(looks(source, later), "retries", "do", "per_minute") == [None, 2.0]


def test_backlog_and_when_it_is_gone(pauses: list[float]) -> None:
    """Calls that wait for a key; the time until none waits, at the rate of the last polls; never, if it grows."""
    source = MutableSource(sys_inbox=queue(hot=12, slow=1))
    frame = looks(
        source,
        lambda s: s.put(sys_inbox=queue(hot=9, slow=4)),
        lambda s: s.put(sys_inbox=queue(hot=6, slow=4)),
        lambda s: s.put(sys_inbox=queue(slow=4)),
    )
    assert of(frame, "backlog", "hot", "n") == [12, 9, 6, 0]
    assert of(frame, "backlog", "hot", "eta") == [None, 3 * MINUTE, 2 * MINUTE, timedelta(0)]
    assert of(frame, "backlog", "slow", "eta") == [None] * 4
    assert of(frame, "backlog", "hot", "per_minute") == [None, -3.0, -3.0, -6.0]


def entry_of(number: int) -> dict[str, Any]:
    return {"entry_id": id_of(number), "entry_kind": "invocation"}


def test_backlog_with_vqueues(pauses: list[float]) -> None:
    """With vqueues the waiting calls are in them; a key may have slashes, and a holder does not wait for itself."""
    meta = {"id": "vq_1", "service_name": "Cart", "lock_name": "Cart/a/b", "scope": None, "num_inbox": 3}
    entries = [
        {
            "id": "vq_1",
            "entry_id": id_of(n),
            "entry_kind": "invocation",
            "stage": "inbox",
            "status": status,
            "has_lock": holds,
        }
        for n, (status, holds) in enumerate(
            [("ready", False), ("ready", False), ("backing-off", True), ("scheduled", False)]
        )
    ]
    source = MutableSource(vqueues=True, sys_vqueue_meta=[meta], sys_vqueues=entries)
    assert of(looks(source), "backlog", "a/b", "n") == [2]


def test_long_back_offs_with_vqueues(pauses: list[float]) -> None:
    """With vqueues the attempts of long back-offs are in the vqueues, those of short ones are not."""
    short, long = trying((1, 2)), [invocation(2, "invoked")]

    def entry(attempts: int) -> dict[str, Any]:
        return {
            "entry_id": id_of(2),
            "entry_kind": "invocation",
            "status": "backing-off",
            "stage": "inbox",
            "retry_attempts": attempts,
        }

    tables = {**short, "sys_invocation_status": short["sys_invocation_status"] + long}
    source = MutableSource(vqueues=True, **tables, sys_vqueue_entry_status=[entry(5)])
    frame = looks(source, lambda s: s.put(sys_vqueue_entry_status=[entry(8)]))
    assert of(frame, "retries", "do", "per_minute") == [None, 3.0]
    assert of(frame, "status", "backing-off", "n") == [2, 2]


def test_a_deployment_drains(pauses: list[float]) -> None:
    """Invocations pinned to a deployment and not completed; the rate is that of the last five polls."""
    source = MutableSource(sys_invocation_status=pinned(20))
    left = [20, 20, 19, 18, 17, 16, 15]
    frame = looks(source, *(lambda s, n=n: s.put(sys_invocation_status=pinned(n)) for n in left))
    assert of(frame, "deployment", "dp_1", "n") == [20, *left]
    assert of(frame, "deployment", "dp_1", "eta")[-1] == 15 * MINUTE
    assert of(frame, "deployment", "dp_1", "eta")[:3] == [None] * 3


def test_one_service(pauses: list[float]) -> None:
    """With a service filter no other service is counted."""
    other = {"target_service_name": "Other", "pinned_deployment_id": "dp_2"}
    source = MutableSource(sys_invocation_status=[*pinned(2), invocation(9, "paused", **other)], sys_inbox=queue(hot=2))
    frame = looks(source, service="Other")
    assert frame[["what", "name"]].to_numpy().tolist() == [["status", "paused"], ["deployment", "dp_2"]]


def test_what_the_limit_cuts(pauses: list[float]) -> None:
    """Beyond the limit, unread keys are unknown, the count of retries is exact, and rates cover only a part."""
    source = MutableSource(**trying(*((n, 1) for n in range(1, 6))), sys_inbox=queue(a=5, b=2, c=1))
    with pytest.warns(Truncated, match="more than 2 invocations were retried.*more than 2 keys") as warned:
        frame = looks(source, lambda s: s.put(**trying(*((n, 2) for n in range(1, 6))), sys_inbox=queue(a=5, c=3, b=2)),
                      limit=2)  # fmt: skip
    assert warned[0].filename == __file__
    assert of(frame, "retries", "do", "n") == [5, 5]
    assert of(frame, "retries", "do", "per_minute") == [None, 2.0]
    assert of(frame, "backlog", "b", "n") == [2, None]
    assert of(frame, "backlog", "c", "n") == [None, 3]
    assert of(frame, "backlog", "c", "per_minute") == [None, None]
    assert frame.attrs["truncated"]["limit"] == 2


def test_who_comes_into_sight_has_not_been_tried_again_since(pauses: list[float]) -> None:
    """If the earlier poll was cut, an invocation seen first now may have been there: its attempts are not counted."""
    source = MutableSource(**trying((1, 1), (2, 1), (3, 9)))
    with pytest.warns(Truncated):
        frame = looks(source, lambda s: s.put(**trying((2, 2), (3, 9))), limit=2)
    assert of(frame, "retries", "do", "per_minute") == [None, 1.0]


def test_it_ends_when_its_time_is_over(pauses: list[float]) -> None:
    """A duration counts from the first poll; the pauses between two polls have the requested length."""
    frame = watch(MutableSource(), every="20s", until="0s", progress=False)
    assert (frame.empty, frame.attrs["looks"], frame.attrs["ended"]) == (True, 1, "until")
    assert pauses == []


def test_a_function_ends_it(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A function gets the frame after each poll; attrs describes the source and the polls, as JSON."""
    monkeypatch.setattr(time, "monotonic", lambda: 0.0)
    source = MutableSource(sys_invocation_status=[invocation(1)])
    seen: list[int] = []
    frame = watch(source, every="20s", until=lambda f: seen.append(len(f)) or len(seen) > 2, progress=False)
    assert seen == [1, 2, 3]
    assert pauses == [20.0, 20.0]
    assert {name: frame.attrs[name] for name in ("source", "version", "every", "looks", "ended", "failed")} == {
        "source": "made", "version": "1.7.12", "every": "20s", "looks": 3, "ended": "until", "failed": []
    }  # fmt: skip
    assert json.loads(json.dumps(frame.attrs)) == frame.attrs


def test_a_slow_look_makes_the_pause_longer(pauses: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll takes a tenth of the time at most, however short the requested pause is."""
    clock = iter(range(0, 10_000, 4))  # seconds; a poll takes four
    real = time.monotonic  # the engine's threads have a clock of their own
    is_main = lambda: threading.current_thread() is threading.main_thread()  # noqa: E731
    monkeypatch.setattr(time, "monotonic", lambda: float(next(clock)) if is_main() else real())
    source, seen = MutableSource(), [0]

    def until(_: pd.DataFrame) -> bool:
        seen[0] += 1
        source.fails = Unreachable("refused")
        return seen[0] > 2

    with pytest.warns(Truncated):
        frame = watch(source, every="1s", until=until, progress=False)
    # Each call of the clock takes four seconds: a poll lasts that long, and the clock is read three times before the
    # pause.
    assert pauses == [40 - 12, 40 - 8], "what got no answer is not waited for tenfold"
    assert frame.attrs["slowest_look"] == 4


def test_a_look_that_gets_no_answer_is_a_gap(pauses: list[float]) -> None:
    """A server that is away for a while makes a gap: the watch continues, reports it, and rates span the gap."""
    source = MutableSource(**trying((1, 1)))

    def away(source: MutableSource) -> None:
        source.fails = Unreachable("connection refused")

    def back(source: MutableSource) -> None:
        source.fails = None
        source.put(**trying((1, 5)))

    with pytest.warns(Truncated, match="1 failed poll excluded: connection refused"):
        frame = looks(source, away, back)
    assert of(frame, "retries", "do", "per_minute") == [None, 2.0]
    assert [each["error"] for each in frame.attrs["failed"]] == ["connection refused"]


def test_what_cannot_be_repaired_ends_it(pauses: list[float]) -> None:
    """If another poll would fail as well, the rows so far are returned, with a warning; a first poll raises."""
    source = MutableSource(sys_invocation_status=[invocation(1)])

    def refuse(source: MutableSource) -> None:
        source.fails = AccessDenied("the token has expired")

    with pytest.warns(Truncated, match="ended early: the token has expired"):
        frame = looks(source, refuse, lambda s: None)
    assert (len(frame), frame.attrs["ended"]) == (1, "failed")
    with pytest.raises(AccessDenied):
        looks(source)
    with pytest.raises(NotOnThisServer, match="sys_inbox"):
        looks(MutableSource(without=("sys_inbox",)))


@pytest.mark.parametrize("while_looking", [False, True])
def test_the_stop_button_gives_what_was_seen(while_looking: bool) -> None:
    """Ctrl-C in a pause or during a poll: every complete poll is returned, and nothing is raised."""

    class Stopping:
        """Stops the watch shortly after its first poll, which is when ``update`` is first called."""

        timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))

        def update(self, rows: int, size: int) -> None:
            if self.timer.ident is None:
                self.timer.start()

        def close(self) -> None:
            pass

    source = MutableSource(sys_invocation_status=[invocation(1)])
    frame = watch(source, every="1ms" if while_looking else "1h", until=None, progress=Stopping())
    assert frame.attrs["ended"] == "stopped"
    assert len(frame) == frame.attrs["looks"] >= 1
    assert set(frame["n"]) == {1}


def test_stopped_before_anything_was_seen() -> None:
    """An interrupt before the end of the first poll is raised: there is nothing to return."""
    source = MutableSource()
    source.fails = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        watch(source, progress=False)


def test_the_first_interrupt_within_a_look_keeps_the_others(pauses: list[float]) -> None:
    """A poll that was interrupted is not in the frame; earlier ones are."""
    source = MutableSource(sys_invocation_status=[invocation(1)])

    def interrupt(source: MutableSource) -> None:
        source.fails = KeyboardInterrupt()

    frame = looks(source, lambda s: None, interrupt)
    assert (frame.attrs["looks"], frame.attrs["ended"]) == (2, "stopped")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": "0s"}, "every is '0s'"),
        ({"every": "soon"}, "every is 'soon'"),
        ({"until": "2026-11-25T02:00:00Z"}, "in the past"),
        ({"until": "whenever"}, "until is 'whenever'"),
        ({"limit": 0}, "limit must be"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], message: str) -> None:
    """A malformed argument, or an end that is already over, is reported before any request."""
    source = MutableSource()
    with pytest.raises(ArgumentError, match=message):
        watch(source, **options)
    assert source.asked == []


def test_frozen_evidence_is_not_watched(tmp_path: Path) -> None:
    """Evidence never changes: the error states that, and the alternative."""
    freeze(MutableSource(), tmp_path / "a", progress=False)
    with open_evidence(tmp_path / "a") as evidence, pytest.raises(ArgumentError, match="never changes"):
        watch(evidence, until="0s")


def test_progress_is_told(pauses: list[float]) -> None:
    """A progress passed by the caller gets the number of polls and their total, and is closed at the end."""

    class Told:
        def __init__(self) -> None:
            self.updates: list[tuple[int, int]] = []
            self.closed = 0

        def update(self, rows: int, size: int) -> None:
            self.updates.append((rows, size))
            if len(self.updates) == 2:
                signal.raise_signal(signal.SIGINT)

        def close(self) -> None:
            self.closed += 1

    told = Told()
    source = MutableSource(sys_invocation_status=[invocation(1)])
    watch(source, every="100s", until="999s", progress=told)
    assert told.updates == [(1, 10), (2, 10)]
    assert told.closed == 1
