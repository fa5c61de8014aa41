"""Random programs for the services of ``typescript_app.ts``, each with a planted failure and its fixed version."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from support.replay_cases import AWAKEABLE

Operation = list[Any]

_ANY: tuple[Operation, ...] = (
    ["run", "a", {"amount": 3, "text": "ü\u202e'\""}],
    ["run", "b", "b"],
    ["run_terminal", "c"],
    ["run_binary", "d"],
    ["two_runs", "e", "f"],
    ["sleep", "s"],
    ["call", {"text": "日本"}],
    ["call_key", "value", "$key"],
    ["call_object", "$key", 2],
    ["refused", "no"],
    ["send", [1, 2]],
    ["send_later", "later"],
    ["race", "r"],
    ["attach", "$key"],
    ["cancel", "c"],
    ["signal", "ding"],
    ["awakeable", {"a": 1}],
    ["rejected", "rejected"],
    ["resolve", AWAKEABLE],
    ["reject", AWAKEABLE],
    ["uuid", "u"],
    ["time"],
)
_STATE: tuple[Operation, ...] = (
    ["get", "k"],
    ["get", "other"],
    ["keys"],
    ["set", "k", {"n": 1}],
    ["set_binary", "bytes"],
    ["clear", "k"],
    ["clear_all"],
)
_PROMISES: tuple[Operation, ...] = (
    ["promise", "$promise", {"yes": True}],
    ["promise_rejected", "$promise", "refused"],
    ["peek", "$promise"],
)
OPERATIONS = {
    "Plain": _ANY,
    "Objects": _ANY + _STATE,
    "Lazy": _ANY + _STATE,
    "Flows": _ANY + _STATE + _PROMISES,
}
"""The operations of each service; "$key" and "$promise" become names that are used once."""
FAILURES: tuple[tuple[Operation, str], ...] = (
    (["missing", {}], "fails"),
    (["range", [1]], "fails"),
    (["custom", "a text with 'quotes', \"more\" and ü\u202e"], "fails"),
    (["custom", "price(3) is not a function"], "fails"),
    (["json", "{oops"], "fails"),
    (["later", "failed later"], "fails"),
    (["refusal", "refused by a call"], "fails"),
    (["terminal", "the end"], "fails"),
    (["cancelled"], "fails"),
    (["bad_argument"], "fails"),
    (["failing_step", "seal"], "StepWithoutResult"),
    (["unserializable"], "StepWithoutResult"),
    (["wait"], "waits"),
    (["clock"], "Diverges"),
)
"""Operations that fail, and what becomes of the record with the same code."""
_ENDS: tuple[tuple[Operation, dict[str, Any]], ...] = (
    (["run", "after"], {"outcome": "continues", "next": "Run 'after'"}),
    (["call", "x"], {"outcome": "continues", "next": "Call Helper/answer"}),
    (["send", "x"], {"outcome": "continues", "next": "OneWayCall Helper/answer"}),
    (["sleep", "nap"], {"outcome": "continues", "next": "Sleep 'nap'"}),
    (["return", {"done": "ü"}], {"outcome": "returns", "returned": {"done": "ü"}}),
    (["return", "text"], {"outcome": "returns", "returned": "text"}),
)
_LEAVES_A_COMMAND = {"failing_step", "unserializable", "clock", "refusal", "cancelled"}
"""Failures that are commands in the journal themselves, so that fixed code must issue them, too."""


@dataclass(frozen=True)
class Case:
    """A program with a failure, its fixed version, and what becomes of its record with each of them."""

    name: str
    service: str
    program: list[Operation]
    fixed: list[Operation]
    outcome: str
    fixed_outcome: dict[str, Any]


def cases(count: int, seed: int = 0) -> Iterator[Case]:
    """Yield cases: operations occur about equally often, and each failure in turn."""
    chance = random.Random(seed)  # noqa: S311
    services = list(OPERATIONS)
    used: Counter[str] = Counter()
    for number in range(count):
        service = services[number % len(services)]
        program = [_named(_pick(chance, service, used), number, at) for at in range(chance.randint(3, 7))]
        failure, outcome = FAILURES[number % len(FAILURES)]
        end, fixed_outcome = _ENDS[(number // 2) % len(_ENDS)]
        if failure[0] in _LEAVES_A_COMMAND:
            fixed_outcome = {"outcome": "StepWithoutResult" if outcome == "StepWithoutResult" else "Diverges"}
            fixed = [*program, failure if outcome == "StepWithoutResult" else ["run", "another"], end]
        else:
            fixed = [*program, end]
        yield Case(f"p{number}", service, [*program, failure], fixed, outcome, fixed_outcome)


def _pick(chance: random.Random, service: str, used: Counter[str]) -> Operation:
    """Return one of the operations that occurred the least."""
    operation = min(OPERATIONS[service], key=lambda each: (used[each[0]], chance.random()))
    used[operation[0]] += 1
    return operation


def _named(operation: Operation, number: int, at: int) -> Operation:
    """Return an operation with the names of its own: an invocation with a key, or a promise, is used once."""
    return [f"{part[1:]}-{number}-{at}" if part in ("$key", "$promise") else part for part in operation]
