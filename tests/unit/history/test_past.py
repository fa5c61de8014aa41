"""The status of a run at an earlier time, from its row, its journal and its events."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from restate_lab.history.past_status import OpenRun, Trace, open_status, trace_of_entry, trace_of_event

BEGIN = datetime(2026, 11, 30, 14, tzinfo=UTC)
PROTOCOL_6, PROTOCOL_7 = 6, 7
EITHER = {"FirstCompleted": [{"Single": {"CompletionId": 1}}, {"Single": {"SignalIndex": 1}}]}
BOTH = {
    "FirstCompleted": [
        {"Single": {"SignalIndex": 1}},
        {"AllCompleted": [{"Single": {"CompletionId": 1}}, {"Single": {"CompletionId": 2}}]},
    ]
}
NEWER = {"NoCombinationOfToday": [{"Single": {"CompletionId": 1}}]}


def at(second: float) -> datetime:
    return BEGIN + timedelta(seconds=second)


def command(second: float, name: str = "Sleep", number: int = 1) -> Trace | None:
    entry = {"Command": {name: {"completion_id": number}}}
    return trace_of_entry(at(second), f"Command: {name}", json.dumps(entry))


def result(second: float, name: str = "Sleep", number: int = 1) -> Trace | None:
    entry = {"Notification": {"ty": {"Completion": name}, "id": {"CompletionId": number}}}
    return trace_of_entry(at(second), f"Notification: {name}", json.dumps(entry))


def cancelled(second: float) -> Trace | None:
    entry = {"Notification": {"ty": "Signal", "id": {"SignalIndex": 1}}}
    return trace_of_entry(at(second), "Notification: Signal", json.dumps(entry))


def event(second: float, kind: str, tree: Any = None) -> Trace | None:
    return trace_of_event(at(second), kind, json.dumps({"ty": kind, "awaiting_on": tree}))


STARTED, WORKS, WORKED = command(1), command(1, "Run"), result(4, "Run")
SUSPENDED, PAUSED, FAILED = event(2, "Suspended", EITHER), event(2, "Paused"), event(4, "TransientError")
WAITS_FOR_BOTH, WAITS_ANEW = event(2, "Suspended", BOTH), event(2, "Suspended", NEWER)
OUTPUT = command(9, "Output")
CASES: dict[str, tuple[int | None, str, list[Trace | None], dict[float, str]]] = {
    "a run that waits and wakes": (
        PROTOCOL_7,
        "completed",
        [STARTED, SUSPENDED, result(8), OUTPUT],
        {1.5: "in-progress", 5: "suspended", 8.5: "in-progress"},
    ),
    "a run that a person can have resumed just before the result": (
        PROTOCOL_7,
        "completed",
        [STARTED, event(3, "Suspended", EITHER), result(8), OUTPUT],
        {4: "suspended", 4.7: "unknown", 7: "unknown", 8.5: "in-progress"},
    ),
    "a run whose first attempt waited for long": (
        PROTOCOL_7,
        "completed",
        [event(8, "Suspended", EITHER), result(15), command(16, "Output")],
        {9: "unknown"},
    ),
    "one of two results does not wake it": (
        PROTOCOL_7,
        "completed",
        [STARTED, WAITS_FOR_BOTH, result(4), result(8, number=2), OUTPUT],
        {5: "suspended", 8.5: "in-progress"},
    ),
    "a combination of a newer SDK": (
        PROTOCOL_7,
        "completed",
        [STARTED, WAITS_ANEW, result(8), OUTPUT],
        {3: "suspended", 8.5: "unknown"},
    ),
    "a cancellation wakes it": (
        PROTOCOL_7,
        "completed",
        [STARTED, SUSPENDED, cancelled(6), OUTPUT],
        {3: "suspended", 7: "in-progress"},
    ),
    "an attempt that no result explains": (
        PROTOCOL_7,
        "completed",
        [STARTED, SUSPENDED, FAILED, result(8), OUTPUT],
        {3: "unknown", 5: "in-progress"},
    ),
    "killed while it was suspended": (PROTOCOL_7, "completed", [STARTED, SUSPENDED], {3: "suspended"}),
    "paused, and still paused": (
        PROTOCOL_7,
        "paused",
        [STARTED, PAUSED, result(6)],
        {1.5: "in-progress", 3: "paused", 7: "paused"},
    ),
    "paused while it was suspended": (
        PROTOCOL_7,
        "paused",
        [STARTED, SUSPENDED, event(6, "Paused"), result(7)],
        {3: "suspended", 6.5: "paused", 8: "paused"},
    ),
    "resumed at a time that is not recorded": (
        PROTOCOL_7,
        "completed",
        [STARTED, PAUSED, command(6, "Run"), OUTPUT],
        {3: "unknown", 7: "in-progress"},
    ),
    "paused and cancelled": (PROTOCOL_7, "paused", [STARTED, PAUSED, cancelled(4)], {3: "unknown"}),
    "without a journal": (PROTOCOL_7, "completed", [], {3: "unknown"}),
    "only results that arrived": (PROTOCOL_7, "completed", [result(2)], {3: "unknown"}),
    "a step without suspensions on record": (
        PROTOCOL_6,
        "completed",
        [WORKS, WORKED, OUTPUT],
        {2: "in-progress", 6: "in-progress"},
    ),
    "a wait without suspensions on record": (
        PROTOCOL_6,
        "completed",
        [STARTED, result(5), OUTPUT],
        {3: "unknown", 6: "in-progress"},
    ),
    "suspended now, without suspensions on record": (PROTOCOL_6, "suspended", [STARTED], {3: "unknown"}),
    "killed, without suspensions on record": (None, "completed", [STARTED], {3: "unknown"}),
    "a failure without suspensions on record": (
        PROTOCOL_6,
        "completed",
        [WORKS, WORKED, event(6, "TransientError"), OUTPUT],
        {5: "in-progress"},
    ),
    "a failure after a wait without suspensions on record": (
        PROTOCOL_6,
        "completed",
        [STARTED, FAILED, OUTPUT],
        {3: "unknown"},
    ),
    "paused by a person after a wait without suspensions on record": (
        PROTOCOL_6,
        "paused",
        [STARTED, event(6, "Paused")],
        {3: "unknown", 7: "paused"},
    ),
    "paused by a person after a step and a wait without suspensions on record": (
        PROTOCOL_6,
        "paused",
        [WORKS, WORKED, command(4.5), event(6, "Paused")],
        {2: "in-progress", 5: "unknown"},
    ),
    "paused by failures of a step without suspensions on record": (
        PROTOCOL_6,
        "paused",
        [WORKS, WORKED, event(6, "Paused")],
        {5: "in-progress"},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_status_follows_from_the_traces(name: str) -> None:
    """A status is only given if the traces prove it."""
    protocol, status, traces, expected = CASES[name]
    run = OpenRun(status, BEGIN, at(20), protocol)
    known = [trace for trace in traces if trace is not None]
    assert {second: open_status(run, known, at(second)) for second in expected} == expected


@pytest.mark.parametrize(
    ("entry_type", "text"),
    [("Command: Input", None), ("Run", "{}"), ("Notification: Sleep", "nonsense"), ("Command: Run", None)],
)
def test_an_entry_of_an_unknown_form_is_no_trace(entry_type: str, text: str | None) -> None:
    assert trace_of_entry(BEGIN, entry_type, text) is None


def test_an_event_of_an_unknown_type_is_no_trace() -> None:
    assert trace_of_event(BEGIN, "Killed", "{}") is None
