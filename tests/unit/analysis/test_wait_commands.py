"""The waits of suspended invocations: numbers matched with commands, in one scan or by id, whatever texts contain."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from restate_lab.analysis.waits import reader
from restate_lab.analysis.waits.commands import awaited_numbers, edges_of_suspended, match_commands
from restate_lab.analysis.waits.model import Edge, single_edges
from restate_lab.analysis.waits.reader import KnownInvocations, WaitSnapshot, read_waits
from restate_lab.reads import Reads
from support.sample_rows import NOW, SampleRows, command, invocation, sample_id, waiting_columns

A, B, C = sample_id(1), sample_id(2), sample_id(3)
HOSTILE = ("", "a step", '"completion_id":7', '{"Command":{"Sleep":{"completion_id":7}}}', "\\", '"InvocationId":"x"')
STATUS = {"id": pa.string(), "target": pa.string(), "invoked_by_id": pa.string()} | dict.fromkeys(
    ("modified_at", "created_at"), pa.timestamp("ms", "UTC")
)
NUMBERS = dict.fromkeys(("completions", "signals"), pa.list_(pa.uint32()))
COMMANDS = {"id": pa.string(), "entry_index": pa.uint32(), "entry_type": pa.string(), "name": pa.string()}
SCAN = KnownInvocations(10_000, 0, journal_entries=10_000)
LOOK_UP = KnownInvocations(10_000, 0, journal_entries=10**9)


def suspended(*rows: tuple[str, Sequence[int] | None, Sequence[int] | None]) -> pa.Table:
    """Return rows of ``suspended.sql``: ids with the completions and the signals that they wait for."""
    full = [{"id": id_, "target": "Svc/go", "completions": some, "signals": more} for id_, some, more in rows]
    return pa.Table.from_pylist(full, pa.schema({**STATUS, **NUMBERS}))


def commands(*rows: dict[str, Any]) -> pa.Table:
    """Return rows of ``commands.sql`` of rows of sys_journal."""
    full = [{**row, "entry_index": row["index"], "body": row["entry_lite_json"]} for row in rows]
    return pa.Table.from_pylist(full, pa.schema({**COMMANDS, "body": pa.string()}))


def edges_of(rows: pa.Table, *matched: pa.Table) -> list[Edge]:
    numbers = awaited_numbers(rows)
    found = [match_commands(each, numbers) for each in matched]
    return single_edges(edges_of_suspended(rows, numbers, found, np.zeros(len(rows), bool)))


def summary(edges: Sequence[Edge]) -> list[tuple[str, str, str | None, str | None]]:
    return [(edge.waiter, edge.kind, edge.blocker, edge.detail) for edge in edges]


def test_a_number_in_a_name_or_key_is_not_a_completion() -> None:
    fake = '"completion_id":7,"result_completion_id":7,"InvocationId":"inv_1","wake_up_time":7'
    rows = commands(
        {**command(A, 1, "Run", completion_id=6), "name": fake},
        command(A, 2, "GetPromise", key=fake, completion_id=5),
        command(A, 3, "AttachInvocation", target={"Workflow": {"name": "Flow", "key": fake}}, completion_id=4),
        command(A, 4, "Call", headers=[{"name": fake, "value": fake}], invocation_id=B, result_completion_id=3),
        command(A, 5, "Sleep", name=fake, wake_up_time=NOW.timestamp() * 1000 // 1, completion_id=2),
    )
    assert summary(edges_of(suspended((A, [7], [1])), rows)) == [(A, "unknown", None, None)]
    assert summary(edges_of(suspended((A, [2, 3, 4, 5, 6], [1])), rows)) == [
        (A, "run", None, fake),
        (A, "promise", None, fake),
        (A, "attach", None, "a step"),
        (A, "call", B, "a step"),
        (A, "sleep", None, "until 2026-11-25 03:00:00 UTC"),
    ]


def test_the_number_of_a_called_id_is_not_that_of_a_result() -> None:
    """A call has two numbers: a wait for its result is a wait for the callee, a wait for its id is not."""
    row = command(A, 1, "Call", invocation_id=B, invocation_id_completion_id=1, result_completion_id=2)
    assert summary(edges_of(suspended((A, [2], [])), commands(row))) == [(A, "call", B, "a step")]
    assert summary(edges_of(suspended((A, [1], [])), commands(row))) == [(A, "unknown", None, None)]


def test_a_completion_is_matched_only_with_commands_of_its_invocation() -> None:
    rows = commands(
        command(A, 1, "Call", invocation_id=C, result_completion_id=1),
        command(B, 1, "Sleep", completion_id=1),
        command(C, 1, "Run", completion_id=1),
        {**command(A, 2, "Run"), "entry_lite_json": None},
        command(A, 3, "Run"),
    )
    assert summary(edges_of(suspended((A, [1], None), (B, [1, 0], None)), rows)) == [
        (A, "call", C, "a step"),
        (B, "unknown", None, None),
        (B, "sleep", None, "a step"),
    ]


def test_of_several_journals_of_one_id_the_last_counts() -> None:
    first = command(A, 1, "Call", invocation_id=B, result_completion_id=1)
    last = command(A, 1, "Call", invocation_id=C, result_completion_id=1)
    assert summary(edges_of(suspended((A, [1], [])), commands(first, last))) == [(A, "call", C, "a step")]
    assert summary(edges_of(suspended((A, [1], [])), commands(first), commands(last))) == [(A, "call", C, "a step")]


def test_empty_tables_and_columns_of_nulls_give_edges_with_all_columns() -> None:
    assert edges_of(suspended()) == edges_of(suspended(), commands()) == []
    nothing = suspended((A, None, None), (B, [], [1]), (C, [3], [2]))
    assert summary(edges_of(nothing, commands())) == [
        (A, "signal", None, "a signal with a name"),
        (B, "signal", None, "a signal with a name"),
        (C, "unknown", None, None),
        (C, "signal", None, "signal 2"),
    ]
    nulls = pa.table({name: pa.nulls(1) if name != "id" else pa.array([A]) for name in nothing.column_names})
    assert summary(edges_of(nulls, pa.table({name: pa.nulls(1) for name in commands().column_names}))) == [
        (A, "signal", None, "a signal with a name")
    ]


def edges_with(source: SampleRows, known: KnownInvocations) -> WaitSnapshot:
    return read_waits(Reads(source), limit=1_000, known=known)


def random_world(seed: int) -> SampleRows:
    chance = random.Random(seed)  # noqa: S311 - no secrets
    ids = [sample_id(number) for number in range(1, chance.randrange(2, 12))]
    status, journal = [], []
    for id_ in ids:
        count = chance.randrange(6)
        numbers = chance.sample(range(1, 9), count)
        rows = [_random_command(chance, id_, at, number, ids) for at, number in enumerate(numbers, start=1)]
        journal += chance.sample(rows, chance.randrange(count + 1)) if chance.random() < 0.3 else rows
        awaited = waiting_columns(*chance.sample(numbers, chance.randrange(count + 1)), signals=(17, 2)[: count % 3])
        status.append(invocation(id_, chance.choice(["suspended"] * 4 + ["invoked", "completed"]), **awaited))
    chance.shuffle(journal)
    return SampleRows(sys_invocation_status=status, sys_journal=journal)


def _random_command(chance: random.Random, id_: str, at: int, number: int, ids: Sequence[str]) -> dict[str, Any]:
    text, callee = chance.choice(HOSTILE), chance.choice(ids)
    kind, details = chance.choice(
        [
            ("Call", {"headers": [text], "invocation_id": callee, "result_completion_id": number}),
            ("AttachInvocation", {"target": {"InvocationId": callee}, "completion_id": number}),
            ("GetInvocationOutput", {"target": {"Workflow": {"key": text}}, "completion_id": number}),
            ("GetPromise", {"key": text, "completion_id": number}),
            ("Sleep", {"wake_up_time": 1_800_000_000_000 + number, "completion_id": number}),
            ("Run", {"completion_id": number}),
            ("GetLazyState", {"key": text, "completion_id": number}),
        ]
    )
    return {**command(id_, at, kind, **details), "name": text}


def plain_edges(source: SampleRows) -> list[tuple[str, str, str | None, str | None]]:
    rows = source.arrow("SELECT * FROM sys_invocation_status WHERE status = 'suspended' ORDER BY modified_at, id")
    journal = {}
    for row in source.arrow("SELECT * FROM sys_journal").to_pylist():
        ((kind, details),) = json.loads(row["entry_lite_json"])["Command"].items()
        number = details.get("result_completion_id", details.get("completion_id"))
        target = details.get("target")
        callee = details.get("invocation_id") or (target.get("InvocationId") if target else None)
        what = details["key"] if kind == "GetPromise" else row["name"] or None
        journal[row["id"], number] = (row["index"], kind, callee, what)
    edges = []
    for row in rows.to_pylist():
        numbers = row["suspended_waiting_for_completions"]
        known = sorted(
            (journal.get((row["id"], number), (-1, "?", None, None)) for number in numbers), key=lambda e: e[0]
        )
        edges += [(row["id"], kind, callee, what) for _, kind, callee, what in known]
    return edges


KINDS = {
    "call": "Call",
    "promise": "GetPromise",
    "sleep": "Sleep",
    "run": "Run",
    "state": "GetLazyState",
    "unknown": "?",
}


def test_a_scan_and_a_reading_by_id_give_the_same_edges() -> None:
    asked: set[str] = set()
    for seed in range(15):
        source = random_world(seed)
        by_scan, by_id = edges_with(source, SCAN), edges_with(source, LOOK_UP)
        asked |= set(source.asked)
        assert by_scan.edges.equals(by_id.edges), seed
        assert by_scan.excluded == by_id.excluded == ()
        of_commands = [edge for edge in single_edges(by_id.edges) if edge.kind not in {"signal", "awakeable"}]
        expected = plain_edges(source)
        assert [(edge.waiter, edge.blocker) for edge in of_commands] == [(each[0], each[2]) for each in expected], seed
        for edge, (_, kind, _, what) in zip(of_commands, expected, strict=True):
            assert KINDS.get(edge.kind, kind) == kind
            assert edge.kind == "sleep" or edge.detail == what
    assert sum("IN (SELECT id" in each for each in asked) == 1


def test_a_scan_that_has_not_all_is_completed_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan has a limit, and ends before the last invocation is suspended: missing rows are read by id."""
    monkeypatch.setattr(reader, "ROWS", 3)
    monkeypatch.setattr(reader, "CHUNK", 1)
    rows = [command(sample_id(n), 1, "Call", invocation_id=sample_id(n + 1), result_completion_id=1) for n in range(9)]
    status = [invocation(sample_id(number), **waiting_columns(1)) for number in range(9)]
    snapshot = edges_with(SampleRows(sys_invocation_status=status, sys_journal=rows), SCAN)
    assert [edge.blocker for edge in single_edges(snapshot.edges)] == [sample_id(number + 1) for number in range(9)]
    assert snapshot.excluded == ()


def test_few_suspended_invocations_beside_long_journals_are_read_by_id() -> None:
    assert SCAN.is_scan_cheaper
    assert not LOOK_UP.is_scan_cheaper
    assert not KnownInvocations(1_000, 0, journal_entries=1_000).is_scan_cheaper
