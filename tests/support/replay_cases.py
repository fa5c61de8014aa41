"""Changes to programs, by hand and at random, for a comparison of a replay's verdict with what the server does."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any, NamedTuple

Operation = list[Any]
Operations = list[Operation]

OPEN: Operation = ["nap", "the end"]
AWAKEABLE = "prom_1JfhyZrNWHlwBjH0sW8NOsx0tKFJTnkCbAAAAAQ"  # an id of the old form, which the server accepts
OTHER_AWAKEABLE = "prom_1JfhyZrNWHlwBjH0sW8NOsx0tKFJTnkCbAAAAAg"
SIGNALLED = "inv_18sjaM5vFyRN6c3D5GtD3ul3bdmHqXYPFf"


class Change(NamedTuple):
    """One operation before and after a change; ``diverges`` is False if SDKs do not compare the difference."""

    before: Operation
    after: Operation
    diverges: bool = True
    service: str = "Programs"


VALUES: dict[str, Change] = {
    "the name of a step": Change(["run", "a"], ["run", "b"]),
    "the name of a step that failed": Change(["run_terminal", "a"], ["run_terminal", "b"]),
    "the name of a sleep": Change(["sleep", "a"], ["sleep", "b"]),
    "the argument of a call": Change(["call", "answer", "a"], ["call", "answer", "b"]),
    "the handler of a call": Change(["call", "answer", "a"], ["call", "refuse", "a"]),
    "the key of a call": Change(["call_with", "a", "k1", {}], ["call_with", "a", "k2", {}]),
    "the headers of a call": Change(["call_with", "a", "k3", {"x": "1"}], ["call_with", "a", "k3", {"x": "2"}]),
    "the argument of a send": Change(["send", "a"], ["send", "b"]),
    "the delay of a send": Change(["send_later", "a", 1], ["send_later", "a", 2], diverges=False),
    "the key of a send": Change(["send_with", "a", "k4", {}], ["send_with", "a", "k5", {}]),
    "the headers of a send": Change(["send_with", "a", "k6", {"x": "1"}], ["send_with", "a", "k6", {"x": "2"}]),
    "the key of a state": Change(["set", "a", 1], ["set", "b", 1]),
    "the value of a state": Change(["set", "a", 1], ["set", "a", 2]),
    "the state that is read": Change(["get", "a"], ["get", "b"]),
    "the state that is read lazily": Change(["get", "a"], ["get", "b"], service="LazyPrograms"),
    "the keys instead of all state": Change(["keys"], ["clear_all"]),
    "the keys, lazily, instead of one": Change(["keys"], ["get", "a"], service="LazyPrograms"),
    "the state that is cleared": Change(["clear", "a"], ["clear", "b"]),
    "one state instead of all": Change(["clear_all"], ["clear", "a"]),
    "a set state instead of a random one": Change(["uuid", "a"], ["set", "a", "1"]),
    "the same random value": Change(["uuid", "a"], ["uuid", "a"], diverges=False),
    "the same id of an awakeable": Change(["awakeable"], ["awakeable"], diverges=False),
    "the value of an awakeable": Change(["resolve", AWAKEABLE, "a"], ["resolve", AWAKEABLE, "b"]),
    "the id of an awakeable": Change(["resolve", AWAKEABLE, "a"], ["resolve", OTHER_AWAKEABLE, "a"]),
    "the failure of an awakeable": Change(["reject", AWAKEABLE, "a"], ["reject", AWAKEABLE, "b"]),
    "the name of a signal": Change(["signal", SIGNALLED, "a", 1], ["signal", SIGNALLED, "b", 1]),
    "a signal instead of a cancellation": Change(["cancel", SIGNALLED], ["signal", SIGNALLED, "b", 1]),
    "two steps at once": Change(["two_runs", "a", "b"], ["two_runs", "b", "a"]),
    "the argument of a race": Change(["race", "a"], ["race", "b"]),
    "the promise that is completed": Change(["complete", "a", "1"], ["complete", "b", "1"], service="Flows"),
    "the value of a promise": Change(["complete", "a", "1"], ["complete", "a", "2"], service="Flows"),
    "the promise that is awaited": Change(["fulfill", "a", "a"], ["fulfill", "a", "b"], service="Flows"),
    "the name of an awaited signal": Change(["listen", "a"], ["listen", "b"]),
    "the invocation to attach to": Change(["attach", "$ended"], ["attach", "$other"]),
    "the promise that is read": Change(["peek", "a"], ["peek", "b"], service="Flows"),
}
"""One change per kind of entry and compared field."""


def programs_of(change: Change) -> Iterator[tuple[str, Operations, Operations]]:
    """Yield programs around a change: (what is new, the old one, the new one)."""
    before, after, *_ = change
    yield "changed", [["run", "first"], before, OPEN], [["run", "first"], after, OPEN]
    yield "unchanged", [before, OPEN], [before, OPEN]
    yield "removed", [before, OPEN], [OPEN]
    yield "later", [before, OPEN], [before, ["run", "new"], OPEN]


STRUCTURES: dict[str, tuple[Operations, Operations, str]] = {
    "it waits for a step": ([["run_failing", "a"]], [["run_failing", "a"]], "fits"),
    "the step that failed is repaired": ([["run_failing", "a"]], [["run", "a"], ["run", "b"]], "fits"),
    "the step that failed has another name": ([["run_failing", "a"]], [["run", "b"]], "diverges"),
    "it waits for a call": ([["call", "never", 1]], [["call", "never", 1]], "fits"),
    "it waits for an awakeable": ([["run", "a"], ["await_awakeable"]], [["run", "a"], ["await_awakeable"]], "fits"),
    "it waits for a new awakeable": ([["run", "a"], OPEN], [["await_awakeable"], ["run", "a"], OPEN], "diverges"),
    "it waits for an awakeable at the start": ([["await_awakeable"]], [["await_awakeable"]], "fits"),
    "a step in place of a wait at the start": ([["await_awakeable"]], [["run", "a"], OPEN], "fits"),
    "an error at the start": ([["run", "a"], OPEN], [["raise", "an error"]], "fails"),
    "an error after a step": ([["run", "a"], OPEN], [["run", "a"], ["raise", "an error"]], "fails"),
    "an early end": ([["run", "a"], OPEN], [["run", "a"], ["return", 1]], "diverges"),
    "an early failure": ([["run", "a"], OPEN], [["run", "a"], ["terminal", "no"]], "diverges"),
    "errors that are swallowed": (
        [["run", "a"], OPEN],
        [["swallow", "run", "b"], ["swallow", "run", "c"], ["swallow", "call", "answer", 1], OPEN],
        "diverges",
    ),
    "swapped steps": ([["run", "a"], ["run", "b"], OPEN], [["run", "b"], ["run", "a"], OPEN], "diverges"),
    "nothing": ([["run", "a"], ["call", "answer", 1], OPEN], [["run", "a"], ["call", "answer", 1], OPEN], "fits"),
}
"""Changes that are more than another value, each with the verdict."""

ENDED: dict[str, tuple[Operations, Operations, str, str]] = {
    "nothing": ([["run", "a"], ["return", 1]], [["run", "a"], ["return", 1]], "fits", "fits"),
    "another result": ([["run", "a"], ["return", 1]], [["run", "a"], ["return", 2]], "other result", "fits"),
    "a failure": ([["run", "a"], ["return", 1]], [["run", "a"], ["terminal", "no"]], "other result", "fits"),
    "the same failure": ([["run", "a"], ["terminal", "no"]], [["run", "a"], ["terminal", "no"]], "fits", "fits"),
    "another step": ([["run", "a"], ["return", 1]], [["run", "b"], ["return", 1]], "diverges", "diverges"),
    "a step at the end": ([["run", "a"], ["return", 1]], [["run", "a"], ["run", "b"]], "diverges", "fits"),
    "a wait at the end": ([["run", "a"], ["return", 1]], [["run", "a"], ["await_awakeable"]], "diverges", "fits"),
    "an error": ([["run", "a"], ["return", 1]], [["run", "a"], ["raise", "an error"]], "fails", "fails"),
    "an awakeable's id": ([["awakeable"], ["return", 1]], [["awakeable"], ["return", 1]], "fits", "diverges"),
    "a random value": ([["uuid", "a"], ["return", 1]], [["uuid", "a"], ["return", 1]], "fits", "diverges"),
    "a call": ([["call", "answer", 1], ["return", 1]], [["call", "answer", 1], ["return", 1]], "fits", "fits"),
}
"""Changes of code whose recorded invocation has ended: the verdict, and that of a restart before the end."""

_OPERATIONS: tuple[Operation, ...] = (
    *(
        ["run", "a"],
        ["run", "b"],
        ["run_terminal", "c"],
        ["sleep", "s"],
        ["call", "answer", "x"],
        ["call", "refuse", "y"],
    ),
    *(
        ["send", "x"],
        ["send_later", "x", 1],
        ["set", "k", 1],
        ["set", "k", 2],
        ["get", "k"],
        ["get", "l"],
        ["clear", "k"],
    ),
    *(["clear_all"], ["keys"], ["uuid", "u"], ["awakeable"], ["resolve", AWAKEABLE, 1], ["signal", SIGNALLED, "n", 1]),
    *(["two_runs", "a", "b"], ["race", "r"]),
)
_ENDS: tuple[Operation, ...] = (OPEN, ["await_awakeable"], ["run_failing", "f"], ["call", "never", 1])


def random_change(chance: random.Random) -> tuple[Operations, Operations]:
    """Return a program and a changed copy of it."""
    program = [chance.choice(_OPERATIONS) for _ in range(chance.randint(0, 6))] + [chance.choice(_ENDS)]
    changed = list(program)
    for _ in range(chance.randint(0, 2)):
        at = chance.randrange(len(changed) + 1)
        kind = chance.choice(("insert", "remove", "replace", "swap", "raise", "end"))
        if kind == "insert":
            changed.insert(at, chance.choice(_OPERATIONS))
        elif kind == "remove":
            del changed[at : at + 1]
        elif kind == "replace":
            changed[at : at + 1] = [chance.choice(_OPERATIONS)]
        elif kind == "swap":
            changed[at : at + 2] = changed[at : at + 2][::-1]
        else:
            changed.insert(at, ["raise", "an error"] if kind == "raise" else chance.choice(_ENDS))
    return program, changed
