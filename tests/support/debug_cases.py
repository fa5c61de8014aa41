"""Random programs with a planted failure, their fixed versions, and what a replay in this process must report."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.replay_cases import AWAKEABLE, OPEN, SIGNALLED, Operation, Operations

BUGS: dict[str, tuple[str, int]] = {
    "missing key": ("KeyError", 500),
    "missing index": ("IndexError", 500),
    "wrong type": ("TypeError", 500),
    "division": ("ZeroDivisionError", 500),
    "missing attribute": ("AttributeError", 500),
    "number": ("ValueError", 500),
    "assertion": ("AssertionError", 500),
    "unpack": ("ValueError", 500),
    "json": ("JSONDecodeError", 500),
    "own error": ("OutOfStock", 500),
    "chained": ("RuntimeError", 500),
    "in finally": ("ZeroDivisionError", 500),
    "deep": ("IndexError", 500),
    "several lines": ("ValueError", 500),
    "retryable": ("RetryableError", 500),
    "refused": ("Refused", 403),
    "from terminal": ("ValueError", 409),
}
"""The bugs of ``debug_services`` outside of steps: the class that the handler raises, and the code of the failure."""
KINDS = (*BUGS, "gather", "step", "die", "clock", "unserializable", "cancelled", "killed", "waiting", "input")
"""The kinds of planted failures."""
ANYWHERE: tuple[Operation, ...] = (
    ["run", "a"],
    ["run", "item"],
    ["run_terminal", "c"],
    ["two_runs", "a", "b"],
    ["sleep", "s"],
    ["call", "answer", "x"],
    ["call", "refuse", "y"],
    ["call_with", "a", "$new", {"x-tenant": "acme"}],
    ["race", "r"],
    ["send", "x"],
    ["send_later", "x", 1],
    ["send_with", "x", "$new", {"x-tenant": "acme"}],
    ["awakeable"],
    ["resolve", AWAKEABLE, "ünïcode ☕"],
    ["reject", AWAKEABLE, "no"],
    ["signal", SIGNALLED, "n", 1],
    ["cancel", SIGNALLED],
    ["listen", "bell"],
    ["attach", "$ended"],
    ["swallow", "call", "refuse", "z"],
)
KEYED: tuple[Operation, ...] = (
    ["set", "k", 1],
    ["set", "k", {"ü": [1, None, "☕"]}],
    ["get", "k"],
    ["get", "l"],
    ["clear", "k"],
    ["clear_all"],
    ["keys"],
    ["uuid", "u"],
)
PROMISES: tuple[Operation, ...] = (["peek", "p"], ["complete", "$new", "1"], ["fulfill", "$new", "$new"])
_NEXT = {
    "run": "Run",
    "run_terminal": "Run",
    "two_runs": "Run",
    "run_failing": "Run",
    "die": "Run",
    "sleep": "Sleep",
    "nap": "Sleep",
    "compensate": "Sleep",
    "call": "Call",
    "call_with": "Call",
    "race": "Call",
    "send": "OneWayCall",
    "send_later": "OneWayCall",
    "send_with": "OneWayCall",
    "awakeable": "OneWayCall",
    "resolve": "CompleteAwakeable",
    "reject": "CompleteAwakeable",
    "signal": "SendSignal",
    "cancel": "SendSignal",
    "listen": "SendSignal",
    "attach": "AttachInvocation",
    "set": "SetState",
    "uuid": "SetState",
    "get": "Get",
    "keys": "Get",
    "clear": "ClearState",
    "clear_all": "ClearAllState",
    "peek": "PeekPromise",
    "complete": "CompletePromise",
    "fulfill": "CompletePromise",
    "clock": "Run",
}
_AWAITED = frozenset(
    [
        *("run", "run_terminal", "two_runs", "sleep", "call", "call_with", "race", "listen", "attach", "get", "keys"),
        *("peek", "complete", "fulfill", "compensate", "swallow", "die"),
    ]
)


@dataclass(frozen=True)
class Expected:
    """What a replay reports: the outcome, and the class of the exception, the next command, or the value."""

    outcome: str
    detail: Any = None


@dataclass(frozen=True)
class Case:
    """One invocation: its planted failure, where it runs, both programs, and what a replay of each reports."""

    kind: str
    service: str
    handler: str
    old: Operations
    new: Operations
    failing: Expected
    fixed: Expected
    has_line: bool = True  # whether production reports a line of the user's code

    def __str__(self) -> str:
        return f"{self.kind} in {self.service}: {self.old} -> {self.new}"


def random_cases(seed: int, number: int) -> Iterator[Case]:
    """Yield cases; each kind of failure occurs about equally often."""
    chance = random.Random(seed)  # noqa: S311 - it only chooses programs
    for at in range(number):
        yield _case(chance, KINDS[at % len(KINDS)], f"u{seed}x{at}")


def _case(chance: random.Random, kind: str, unique: str) -> Case:
    service = chance.choice(("Programs", "Programs", "LazyPrograms", "Flows"))
    if kind in {"unserializable", "input"}:
        service = "Programs"
    choice = [*ANYWHERE, *KEYED, *KEYED, *(PROMISES * 3 if service == "Flows" else ())]

    def some(least: int, most: int, part: str) -> Operations:
        chosen = [chance.choice(choice) for _ in range(chance.randint(least, most))]
        return [[_fill(each, f"{unique}{part}{at}") for each in operation] for at, operation in enumerate(chosen)]

    before, after = some(0, 8, "b"), some(0, 3, "a")
    make = _SPECIAL.get(kind, _bug)
    return make(kind, service, before, after)


def _fill(part: Any, unique: str) -> Any:
    return unique if part == "$new" else part


def _bug(kind: str, service: str, before: Operations, after: Operations) -> Case:
    name, code = BUGS[kind]
    old = [*before, ["bug", kind], *after]
    return Case(
        kind, service, "run", old, before + after, Expected("fails", name), _goes_on(before, after), code == 500
    )


def _gather(kind: str, service: str, before: Operations, after: Operations) -> Case:
    old = [*before, ["gather"], *after]
    return Case(kind, service, "run", old, before + after, Expected("fails", "LookupError"), _goes_on(before, after))


def _step(kind: str, service: str, before: Operations, after: Operations) -> Case:
    stops = Expected("step without result", ("seal",))
    old, new = [*before, ["run_failing", "seal"], *after], [*before, ["run", "seal"], *after]
    return Case(kind, service, "run", old, new, stops, stops, has_line=False)


def _die(kind: str, service: str, before: Operations, after: Operations) -> Case:
    caught = [*before, ["run_terminal", "x"]]
    old, fixed = [*before, ["die", "x"], *after], _goes_on(caught, after)
    return Case(kind, service, "run", old, caught + after, Expected("fails", "TerminalError"), fixed, has_line=False)


def _clock(kind: str, service: str, before: Operations, after: Operations) -> Case:
    old, new = [*before, ["clock"], *after], [*before, ["run", "fixed"], *after]
    return Case(kind, service, "run", old, new, Expected("diverges"), Expected("diverges"), has_line=False)


def _unserializable(kind: str, service: str, before: Operations, after: Operations) -> Case:
    old = [*before, ["unserializable"]]
    failing = Expected("fails", "TypeError")
    return Case(kind, service, "unserializable", old, before, failing, _goes_on(before, []), has_line=False)


def _cancelled(kind: str, service: str, before: Operations, after: Operations) -> Case:
    caught = [*before, ["compensate"]]
    old, fixed = [*before, OPEN], _goes_on(caught, after)
    return Case(kind, service, "run", old, caught + after, Expected("fails", "TerminalError"), fixed, has_line=False)


def _killed(kind: str, service: str, before: Operations, after: Operations) -> Case:
    waits = Expected("waits", "Sleep 'the end'")
    return Case(kind, service, "run", [*before, OPEN], [*before, OPEN, *after], waits, waits, has_line=False)


def _waiting(kind: str, service: str, before: Operations, after: Operations) -> Case:
    waits = Expected("waits", "Awakeable sign_1")
    program = [*before, ["await_awakeable"], *after]
    return Case(kind, service, "run", program, program, waits, waits, has_line=False)


def _input(kind: str, service: str, before: Operations, after: Operations) -> Case:
    fails = Expected("fails", "TerminalError")
    return Case(kind, service, "run", [], [], fails, fails, has_line=False)


_SPECIAL = {
    "gather": _gather,
    "step": _step,
    "die": _die,
    "clock": _clock,
    "unserializable": _unserializable,
    "cancelled": _cancelled,
    "killed": _killed,
    "waiting": _waiting,
    "input": _input,
}


def _goes_on(before: Operations, after: Operations) -> Expected:
    """Return what code does after the operations of a record: its next command, or its value at the end."""
    if after:
        operation = after[0][1:] if after[0][0] == "swallow" else after[0]
        return Expected("continues", _NEXT[operation[0]])
    values = sum(operation[0] in _AWAITED for operation in before)
    return Expected("returns", str(values) if values else [])


ANSWERS: dict[str, Any] = {
    **{f"Run {name}": name for name in ("a", "b", "c", "item", "x")},
    **dict.fromkeys(("Sleep s", "Sleep", "GetLazyState k", "GetLazyState l", "PeekPromise p")),
    **{f"Helper/{name}": "x" for name in ("answer", "refuse", "never")},
    "GetLazyStateKeys": [],
    "AttachInvocation": "x",
    "signal bell": "ding",
}
"""Results for everything that a program can do after its record, but the promises with names of their own."""


def answers_for(case: Case) -> dict[str, Any]:
    """Return results for all that the fixed program does after its record."""
    promises = [operation[2] for operation in case.new if operation[0] == "fulfill"]
    return {**ANSWERS, **{f"GetPromise {name}": "yes" for name in promises}}


def value_of(case: Case) -> Any:
    """Return what the fixed program returns if everything in it gets a result."""
    values = sum(operation[0] in _AWAITED for operation in case.new)
    return str(values) if values else []
