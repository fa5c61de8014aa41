"""Decoding and pairing: every record of a server becomes a row, and nothing is lost or invented."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.ids import awakeable_id, check_invocation_id, ids_in, invocation_of_awakeable
from restate_lab.analysis.journal.awaited import open_signals
from restate_lab.analysis.journal.entries import (
    ROW_TYPES,
    Entry,
    entries_of,
    pair_entries,
    table_of,
)
from restate_lab.analysis.journal.errors import JournalEvent, attempt_errors
from restate_lab.errors import ArgumentError

ID = "inv_1lIyp2ByO1ey35cGbU0hywb06imDxMEZvH"
OTHER = "inv_10VxIBLqnLEz12xdlk263JMVdBOdv5dZJ2"
AWAKEABLE = "sign_1elooVbpk-PwBohBfBWyCN9tmCAW_JVRlAAAAEQ"
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)

WORDS = """Command Notification Run Call id ty result key name target signal_id Index CompletionId SignalIndex
SignalName completion_id result_completion_id invocation_id invocation_target wake_up_time invoke_time"""
FIELDS = st.sampled_from(WORDS.split())
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text() | FIELDS, inner, max_size=6),
    max_leaves=20,
)
TYPES = st.sampled_from(
    ["Command: Run", "Command: New", "Notification: Run", "Notification: Signal", "Input", "Event", ""]
)


def row(index: int, entry_type: str | None, lite: Any, **more: Any) -> dict[str, Any]:
    kind, _, type_ = (entry_type or "").partition(": ")
    inner = {type_: lite} if kind == "Command" else lite
    written = lite if isinstance(lite, str | None) else json.dumps({kind: inner})
    plain = {"name": "", "appended_at": NOON + timedelta(seconds=index), "completed": None, "size": 10}
    return plain | {"index": index, "entry_type": entry_type, "entry_lite_json": written} | more


def command(index: int, type_: str, **body: Any) -> dict[str, Any]:
    return row(index, f"Command: {type_}", body)


def completion(index: int, type_: str, id_: int, result: str = "Success") -> dict[str, Any]:
    body = {"ty": {"Completion": type_}, "id": {"CompletionId": id_}, "result": result}
    return row(index, f"Notification: {type_}", body)


def paired(rows: Iterable[dict[str, Any]], *, ended: bool) -> list[Entry]:
    table = pa.Table.from_pylist([{"id": ID} | each for each in rows], ROW_TYPES)
    tables = pair_entries(table, ended={ID} if ended else set()).by_id()
    return entries_of(tables[ID]) if tables else []


def told(entries: list[Entry], *fields: str) -> list[tuple[object, ...]]:
    return [tuple(getattr(entry, field) for field in fields) for entry in entries]


def test_parallel_steps_are_paired_by_completion_id_in_any_order() -> None:
    rows = [command(0, "Input"), command(1, "Run", completion_id=1), command(2, "Run", completion_id=2)]
    rows += [completion(3, "Run", 2, "Failure"), completion(4, "Run", 1)]
    entries = paired(reversed(rows), ended=False)
    assert told(entries, "index", "completion_index", "status") == [(0, None, "done"), (1, 4, "done"), (2, 3, "failed")]
    assert entries[1].completed == NOON + timedelta(seconds=4)


def test_the_id_of_the_callee_completes_a_send_but_not_a_call() -> None:
    call = {"invocation_id": ID, "invocation_id_completion_id": 1, "result_completion_id": 2}
    send = {"invocation_id": ID, "invocation_id_completion_id": 3, "invoke_time": 0}
    rows = [command(0, "Call", **call), completion(1, "CallInvocationId", 1, "InvocationId")]
    rows += [command(2, "OneWayCall", **send), completion(3, "CallInvocationId", 3, "InvocationId")]
    assert told(paired(rows, ended=False), "status", "size") == [("open", 20), ("done", 20)]
    assert told(paired(rows, ended=True), "status") == [("abandoned",), ("done",)]


def test_journals_that_are_read_together_stay_apart() -> None:
    other = "inv_11kyK9VJZLMt2xVIaCc5l5NRH7F85bEmL7"
    run, reply = command(1, "Run", completion_id=1), completion(2, "Run", 1)
    rows = [{"id": other} | run, {"id": ID} | command(0, "Input"), {"id": ID} | run, {"id": ID} | reply]
    tables = pair_entries(pa.Table.from_pylist(rows, ROW_TYPES), ended={other}).by_id()
    of_id, of_other = (entries_of(tables[each]) for each in (ID, other))
    assert told(of_id, "command_index", "status", "size") == [(0, "done", 10), (1, "done", 20)]
    assert told(of_other, "command_index", "status", "size") == [(0, "abandoned", 10)]


@pytest.mark.parametrize("seed", range(10))
def test_each_command_has_the_notifications_with_its_ids(seed: int) -> None:
    """In any number of journals, with notifications that came twice, are missing, or belong to no command."""
    chance = Random(seed)  # noqa: S311 - for a test
    rows: list[dict[str, Any]] = []
    expected: list[tuple[object, ...]] = []
    for journal in ("inv_0", "inv_1", "inv_2", "inv_3"):
        ids = list(range(1, 9))
        kinds = [("Run", ["completion_id"]), ("Call", ["invocation_id_completion_id", "result_completion_id"])]
        chosen = [(type_, {name: ids.pop(0) for name in names}) for type_, names in chance.choices(kinds, k=4)]
        replies = [completion(4 + place, "Run", chance.randrange(1, 9)) | {"size": 1 << place} for place in range(8)]
        signal = row(12, "Notification: Signal", {"id": {"SignalIndex": 17}}, size=5)
        rows += [{"id": journal, **command(at, type_, **fields)} for at, (type_, fields) in enumerate(chosen)]
        rows += [{"id": journal, **each} for each in (*replies, signal)]
        left = {each["index"]: each["size"] for each in (*replies, signal)}
        for at, (_, fields) in enumerate(chosen):
            own = [each for each in replies if _id_of(each) in fields.values()]
            last = [each["index"] for each in own if _id_of(each) == list(fields.values())[-1]]
            expected.append((journal, at, min(last, default=None), 10 + sum(left.pop(each["index"]) for each in own)))
        expected += [(journal, index, index, size) for index, size in left.items()]
    chance.shuffle(rows)
    tables = pair_entries(pa.Table.from_pylist(rows, ROW_TYPES), ended=set()).by_id()
    found = [
        (id_, each.index, each.completion_index, each.size)
        for id_, table in sorted(tables.items())
        for each in entries_of(table)
    ]
    assert found == expected


def _id_of(row: dict[str, Any]) -> int:
    id_: int = json.loads(row["entry_lite_json"])["Notification"]["id"]["CompletionId"]
    return id_


def test_an_entry_that_sends_a_failure_is_done_and_an_output_that_fails_has_failed() -> None:
    rows = [command(0, "SendSignal", signal_id={"Name": "bell"}, target_invocation_id=ID, result="Failure")]
    rows += [command(1, "CompleteAwakeable", id=AWAKEABLE, result="Failure"), command(2, "Output", result="Failure")]
    entries = paired(rows, ended=True)
    assert told(entries, "status", "result") == [("done", "failure"), ("done", "failure"), ("failed", "failure")]
    assert entries[1].callee == ID


def test_an_unknown_command_keeps_its_name_and_its_completion() -> None:
    rows = [command(0, "Teleport", completion_id=7, key="mars"), completion(1, "Teleport", 7)]
    rows += [row(2, "Notification: Dream", {"id": {"DreamId": 1}, "result": "Vague"}), row(3, "Comet: Halley", {})]
    entries = paired(rows, ended=False)
    assert told(entries, "entry_type", "status", "result") == [
        ("Teleport", "done", "success"),
        ("Dream", "done", "Vague"),
        ("Halley", "done", None),
    ]


def test_a_step_whose_json_is_missing_or_broken_has_no_status() -> None:
    rows = [row(0, "Command: Run", None), row(1, "Command: Run", "{"), row(2, "Notification: Run", None)]
    rows += [row(3, "Input", None, appended_at=None), row(4, "Sleep", None, completed=False)]
    assert told(paired(rows, ended=False), "entry_type", "status", "started") == [
        ("Run", None, NOON),
        ("Run", None, NOON + timedelta(seconds=1)),
        ("Run", "done", None),
        ("Input", "done", None),
        ("Sleep", "open", NOON + timedelta(seconds=4)),
    ]


def test_a_number_out_of_range_is_missing_and_half_a_surrogate_pair_is_replaced() -> None:
    rows = [command(0, "Sleep", wake_up_time=2**62, completion_id=2**70), command(1, "SetState", key="\ud800")]
    assert told(paired(rows, ended=False), "wakes_at", "state_key", "status") == [
        (None, None, "done"),
        (None, "?", "done"),
    ]


def test_a_request_for_all_keys_is_not_one_for_a_nameless_key() -> None:
    """1.6 writes GetLazyStateKeys as GetLazyState of the key ""."""
    rows = [command(0, "GetLazyState", key="", completion_id=1), command(1, "GetLazyState", key="k", completion_id=2)]
    assert told(paired(rows, ended=False), "entry_type") == [("GetLazyStateKeys",), ("GetLazyState",)]


@given(st.lists(st.tuples(TYPES, JSON | st.text(), st.booleans()), max_size=8), st.booleans())
def test_any_json_in_a_row_gives_an_entry_for_each_command(written: list[tuple[str, Any, bool]], ended: bool) -> None:
    rows = []
    for index, (entry_type, value, is_wrapped) in enumerate(written):
        kind, _, type_ = entry_type.partition(": ")
        whole = {kind: {type_: value} if kind == "Command" else value} if is_wrapped else value
        rows.append(row(index, entry_type, json.dumps(whole)))
    entries = paired(rows, ended=ended)
    seen = {entry.index for entry in entries} | {entry.completion_index for entry in entries}
    assert {each["index"] for each in rows if not each["entry_type"].startswith("Notification")} <= seen
    for entry in entries:
        for field in Entry.__dataclass_fields__:
            assert not isinstance(getattr(entry, field), dict | list | float | bool)
            pa.array([getattr(entry, field)])


@given(JSON, st.lists(st.integers() | st.none() | st.text()))
def test_any_json_of_a_future_gives_open_entries_and_no_error(future: Any, signals: list[Any]) -> None:
    assert all(entry.status == "open" for entry in open_signals(ID, signals, json.dumps(future), []))


def test_waits_are_awakeables_that_have_not_come_and_names() -> None:
    """Signals below 17 are Restate's own; a received name may be awaited again; nested futures are included."""
    future = json.dumps({"All": [{"Single": {"SignalIndex": 18}}, {"First": [{"Single": {"SignalName": "bell"}}]}]})
    assert told(open_signals(ID, [17, 1, 18], future, {AWAKEABLE, None}), "awakeable_id", "name") == [
        (awakeable_id(ID, 18), None),
        (None, "bell"),
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f" {ID}\n", (ID,)),
        (f"2026-11-25T03:00:00Z WARN restate{{invocation.id={ID}}} retry; target=a/b {ID}", (ID,)),
        (f"{OTHER}, {ID};{OTHER}", (OTHER, ID)),
        (f"http://127.0.0.1:9070/ui/invocations/{ID}?column=id&filter_id=%22{OTHER}%22", (ID, OTHER)),
        (f'{{"message": "failed\\n{ID}\\t"}} \x1b[31m{OTHER}\x1b[0m', (ID, OTHER)),
        (
            f"{ID}@2026-11-25T03:00:00.000Z and dp_17sztQp4gnEC1L0OCFM9aEh",
            (f"{ID}@2026-11-25T03:00:00.000Z", "dp_17sztQp4gnEC1L0OCFM9aEh"),
        ),
        (f"http://127.0.0.1:8080/restate/awakeables/{AWAKEABLE}/resolve", (AWAKEABLE,)),
        (f"{ID}x {ID[:-1]} inv_1{'z' * 33} dp_1short {AWAKEABLE}A Payments/charge inv_…k8Ep", ()),
        ("", ()),
    ],
)
def test_ids_are_found_in_any_text(text: str, expected: tuple[str, ...]) -> None:
    assert ids_in(text) == expected


def test_the_id_of_an_awakeable_follows_from_its_invocation_and_leads_back() -> None:
    assert awakeable_id(ID, 17) == AWAKEABLE
    assert invocation_of_awakeable(AWAKEABLE) == ID
    assert awakeable_id(ID, 1) is None
    assert invocation_of_awakeable("prom_1abc") is None


@given(
    st.text(st.sampled_from("0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"), min_size=33, max_size=33)
)
def test_each_invocation_and_signal_has_one_awakeable_id_and_no_other_text_is_one(text: str) -> None:
    made = awakeable_id(f"inv_1{text}", 17)
    if made is None:
        with pytest.raises(ArgumentError):
            check_invocation_id(f"inv_1{text}")
    else:
        assert invocation_of_awakeable(made) == check_invocation_id(f"inv_1{text}")


@given(st.text())
def test_a_text_that_is_not_an_id_is_refused_or_has_no_awakeable(text: str) -> None:
    assert invocation_of_awakeable("sign_1" + text) is None or len(text) == 38
    with pytest.raises(ArgumentError):
        check_invocation_id(text)


def commands_of(*types: str) -> list[Entry]:
    return [Entry(type_, index=2 * number, command_index=number) for number, type_ in enumerate(types)]


def error(after: int, message: str = "boom", **more: Any) -> JournalEvent:
    return JournalEvent("TransientError", NOON, after_index=after, message=message, **more)


def test_an_error_belongs_to_the_command_it_names_or_to_the_last_one_before() -> None:
    entries = commands_of("Input", "Run", "Run")
    found = attempt_errors(table_of(entries), [error(4, command_index=1), error(3), error(4, command_index=9)], None)
    assert {position: trouble.retries for position, trouble in found.items()} == {1: 2, 2: 1}


def test_the_counter_of_the_server_is_exact_only_with_one_failing_entry_and_no_pause() -> None:
    entries = commands_of("Input", "Run", "Run")
    one, two = [error(2, command_index=1)], [error(2, command_index=1), error(4, command_index=2)]
    paused = [*one, JournalEvent("Paused", NOON, after_index=2, message="boom", command_index=1)]
    assert [(each.retries, each.at_least) for each in attempt_errors(table_of(entries), one, 12).values()] == [
        (12, False)
    ]
    assert [(each.retries, each.at_least) for each in attempt_errors(table_of(entries), one, None).values()] == [
        (1, True)
    ]
    assert [(each.retries, each.at_least) for each in attempt_errors(table_of(entries), two, 12).values()] == [
        (1, True),
        (1, True),
    ]
    assert [(each.retries, each.at_least) for each in attempt_errors(table_of(entries), paused, 3).values()] == [
        (1, True)
    ]


def test_the_last_error_is_chosen_by_time_in_any_order_of_events() -> None:
    late = JournalEvent("TransientError", NOON + timedelta(seconds=1), after_index=0, message="late", code="RT0007")
    (trouble,) = attempt_errors(table_of(commands_of("Input")), [late, error(0, "early")], None).values()
    assert (trouble.message, trouble.code) == ("late", "RT0007")
    assert attempt_errors(table_of([]), [late], None) == {}
