"""Journals from a made source: bounds, circles, missing tables, and the alignment of two journals."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from restate_lab.analysis.journal import frame as journal_frame, journal, reader as journal_reader
from restate_lab.analysis.journal.awaited import awaited_tree
from restate_lab.analysis.journal.bars import journal_bars
from restate_lab.analysis.journal.diff import _diff_rows, journal_diff, mismatch_of
from restate_lab.analysis.journal.errors import JournalEvent
from restate_lab.errors import ArgumentError, NotFound, Truncated
from support.row_source import RowSource
from support.shaped import reshape

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
COLUMNS = [
    *("sys_journal.raw_length", "sys_journal.entry_json", "sys_journal_events.event_json"),
    "sys_invocation.suspended_waiting_future_json",
]


def id_of(number: int) -> str:
    return f"inv_1{number:033}"


def row(index: int, entry_type: str, lite: Any, **more: Any) -> dict[str, Any]:
    at = NOON + timedelta(seconds=index)
    plain = {"index": index, "entry_type": entry_type, "name": "", "appended_at": at, "completed": None, "size": 10}
    return plain | {"entry_lite_json": json.dumps(lite), "entry_json": "{}"} | more


def command(index: int, type_: str, name: str = "", **body: Any) -> dict[str, Any]:
    return row(index, f"Command: {type_}", {"Command": {type_: body}}, name=name)


def call(index: int, callee: int) -> dict[str, Any]:
    return command(index, "Call", invocation_id=id_of(callee), result_completion_id=index)


class Made(RowSource):
    """A source of given rows: journals by number, events, and the statuses of the invocations."""

    name, version, features, now = "made", "9.9.9", {}, NOON

    def __init__(
        self, journals: dict[int, list[dict[str, Any]]], *, events: Any = (), columns: Any = COLUMNS, **head: Any
    ):
        self.journals = {id_of(number): rows for number, rows in journals.items()}
        self.events, self.columns, self.head = list(events), list(columns), head
        self.asked: list[str] = []

    def tables(self) -> pd.DataFrame:
        names = [column.split(".") for column in self.columns]
        return pd.DataFrame(names, columns=["table", "column"])

    def rows(self, statement: str, params: Any, **_: Any) -> pa.Table:
        self.asked.append(statement)
        return reshape(self._table(statement, **params), statement)

    def _table(self, statement: str, /, **named: Any) -> pa.Table:
        wanted = [id_ for id_ in named.get("ids", [named.get("id")]) if id_ in self.journals]
        if "FROM sys_invocation WHERE" in statement:
            return pa.Table.from_pylist([self._head(id_) for id_ in wanted])
        if "sys_journal_events" in statement:
            return pa.Table.from_pylist([{"id": id_, **event} for id_ in wanted for event in self.events])
        rows = [{"id": id_, **each} for id_ in wanted for each in self.journals[id_]]
        return pa.Table.from_pylist([each for each in rows if each["index"] in named.get("indexes", [each["index"]])])

    def _head(self, id_: str) -> dict[str, Any]:
        plain = {"target": "Svc/do", "ended": False, "status": "suspended", "retry_count": None, "completed_at": None}
        plain |= {"journal_retention": None, "completion_failure": None, "pinned_deployment_id": "dp_1"}
        return plain | {"id": id_, "signals": [], "future": None, "journal_size": len(self.journals[id_])} | self.head


def event(**more: Any) -> dict[str, Any]:
    plain = {"event_type": "TransientError", "appended_at": NOON, "after_journal_entry_index": 1, "message": "boom"}
    return plain | {"code": "RT0007", "command_index": None, "command_type": None, "command_name": None} | more


def test_each_invocation_is_read_once_if_calls_form_a_cycle() -> None:
    source = Made({1: [call(0, 2), call(1, 1)], 2: [call(0, 1), call(1, 3)], 3: [call(0, 2)]})
    frame = journal(source, id_of(1), depth=50)
    assert frame["invocation_id"].tolist() == [id_of(number) for number in (1, 2, 2, 3, 1)]
    assert frame["depth"].tolist() == [1, 2, 2, 3, 1]
    assert sum("FROM sys_journal WHERE" in each for each in source.asked) == 3


def test_callees_with_too_many_entries_are_excluded_with_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.journal._MOST_ENTRIES", 4)
    source = Made(
        {1: [call(0, 2), call(1, 3), call(2, 4)]} | {n: [command(i, "Run") for i in range(3)] for n in (2, 3, 4)}
    )
    with pytest.warns(Truncated, match="2 callees at depth 2"):
        frame = journal(source, id_of(1), depth=2)
    assert frame["depth"].tolist() == [1, 2, 2, 2, 1, 1]
    assert frame.attrs["truncated"]["excluded"] == {"depth 2": 2}


def test_a_purged_callee_has_no_rows_below_its_call() -> None:
    frame = journal(Made({1: [call(0, 7)]}), id_of(1), depth=3)
    assert frame["children"].tolist() == [0]


def test_without_events_retries_are_unknown_and_without_a_length_sizes_are() -> None:
    source = Made({1: [command(0, "Input"), command(1, "Run", completion_id=1)]}, columns=["sys_journal.id"])
    frame = journal(source, id_of(1))
    assert frame["retries"].isna().all()
    assert not any(missing in each for each in source.asked for missing in ("raw_length", "events", "future_json"))


def test_payloads_are_read_only_on_request_and_for_failures_of_journals_that_are_not_large() -> None:
    reply = {"Notification": {"ty": {"Completion": "Run"}, "id": {"CompletionId": 1}, "result": "Failure"}}
    failed = [command(0, "Run", completion_id=1), row(1, "Notification: Run", reply)]
    for rows, reads in (([command(0, "Input")], 0), (failed, 1), ([failed[0] | {"size": 1 << 30}, failed[1]], 0)):
        source = Made({1: rows})
        journal(source, id_of(1))
        assert sum("entry_json" in each for each in source.asked) == reads
        assert not any(" raw" in each.replace("raw_length", "") for each in source.asked)
    source = Made({1: failed}, columns=["sys_journal.id"])
    assert journal(source, id_of(1))["failure"].isna().all(), "as in evidence that was frozen without payloads"
    assert not any("entry_json" in each for each in source.asked)
    source = Made({1: failed})
    journal(source, id_of(1), payloads=True)
    assert sum("entry_json" in each for each in source.asked) == 1


def test_a_frame_with_its_attrs_can_be_saved_as_parquet(tmp_path: Any) -> None:
    source = Made({1: [command(0, "Input"), command(1, "Run", "a", completion_id=1)], 2: []})
    for frame in (journal(source, id_of(1)), journal(source, id_of(2)), journal_diff(source, id_of(1), id_of(2))):
        json.dumps(frame.attrs)
        frame.to_parquet(tmp_path / "frame.parquet")
    assert "note" in journal(source, id_of(2)).attrs


def test_an_empty_journal_has_the_columns_and_types_of_a_full_one() -> None:
    source = Made({1: [command(0, "Sleep", wake_up_time=1, completion_id=1)], 2: []})
    full, empty = journal(source, id_of(1)), journal(source, id_of(2))
    assert list(full) == list(journal_frame._TYPES)
    assert full.dtypes.equals(empty.dtypes)


def test_wrong_arguments_send_nothing() -> None:
    source = Made({})
    for wrong in ("inv_1short", "dp_1" + "0" * 33, id_of(1).upper(), "inv_1" + "z" * 33, None):
        with pytest.raises(ArgumentError):
            journal(source, wrong)
    for options in ({"depth": 0}, {"limit": 0}):
        with pytest.raises(ArgumentError):
            journal(source, id_of(1), **options)
    assert source.asked == []
    with pytest.raises(NotFound, match="made has no invocation") as caught:
        journal(source, id_of(1))
    assert caught.value.status == 404


@pytest.mark.parametrize(
    ("head", "said"),
    [
        ({"status": "pending"}, "it is pending"),
        ({"ended": True, "status": "succeeded", "journal_retention": timedelta(0)}, "not retained"),
        ({"ended": True, "journal_retention": timedelta(hours=1), "completed_at": NOON - timedelta(days=1)}, "passed"),
        ({"ended": True, "journal_retention": timedelta(days=7), "completed_at": NOON - timedelta(days=1)}, "purged"),
    ],
)
def test_attrs_have_the_reason_why_a_journal_is_empty(head: dict[str, Any], said: str) -> None:
    assert said in journal(Made({1: []}, **head), id_of(1)).attrs["note"]


NAMES = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=30)


@given(NAMES, NAMES)
def test_an_aligned_diff_has_every_entry_of_both_journals_in_order(a: list[str], b: list[str]) -> None:
    rows = list(_diff_rows(records(a), records(b)))
    assert [row["index_a"] for row in rows if row["index_a"] is not None] == list(range(len(a)))
    assert [row["index_b"] for row in rows if row["index_b"] is not None] == list(range(len(b)))
    for each in rows:
        if each["difference"] is None:
            assert a[each["index_a"]] == b[each["index_b"]] == each["name"]
    if a == b:
        assert all(each["difference"] is None for each in rows)


def records(names: list[str]) -> list[dict[str, Any]]:
    plain = dict.fromkeys(journal_frame._TYPES) | {"entry_type": "Run", "status": "done"}
    return [plain | {"name": name, "index": index} for index, name in enumerate(names)]


def test_calls_are_aligned_by_handler_and_compared_only_with_payloads() -> None:
    a, b = records([""]), records([""])
    a[0] |= {"callee_target": "Stock/mug/reserve"}
    b[0] |= {"callee_target": "Stock/a/b/reserve"}
    (row,) = _diff_rows(a, b)
    assert row["difference"] is None
    a[0] |= {"payload": 1}
    b[0] |= {"payload": 2}
    (row,) = _diff_rows(a, b)
    assert row["difference"] == "different payloads"


def test_different_inputs_are_no_divergence() -> None:
    rows = {1: [input_("1"), command(1, "Run", "x")], 2: [input_("2"), command(1, "Sleep")]}
    frame = journal_diff(Made(rows), id_of(1), id_of(2), payloads=True)
    assert frame["difference"].tolist() == ["different payloads", "only in a", "only in b"]
    assert frame["divergence"].tolist() == [False, True, False]


def input_(payload: str) -> dict[str, Any]:
    carried = json.dumps({"Command": {"Input": {"headers": [], "payload": list(payload.encode())}}})
    return command(0, "Input") | {"entry_json": carried}


def test_the_summary_names_the_largest_noticeable_difference_in_time() -> None:
    quick = {"Notification": {"ty": {"Completion": "Run"}, "id": {"CompletionId": 1}, "result": "Success"}}
    rows = {n: [command(0, "Run", "x", completion_id=1), row(n, "Notification: Run", quick)] for n in (1, 9)}
    summary = journal_diff(Made(rows), id_of(1), id_of(9)).attrs["summary"]
    assert "The largest difference in duration is at Run 'x': 1s in a, 9s in b." in summary


def test_journal_diff_of_one_invocation_needs_a_mismatch() -> None:
    with pytest.raises(ArgumentError, match="pass a second invocation"):
        journal_diff(Made({1: [command(0, "Input")]}), id_of(1))


def mismatch(message: str, **more: Any) -> Any:
    what = JournalEvent("TransientError", NOON, after_index=3, message=message, code="RT0016", **more)
    found = mismatch_of(journal_reader.Invocation(id_of(1), {}, [], {}, [what], None))
    assert found is not None
    return found


def test_a_mismatch_is_read_from_the_fields_of_its_event_or_else_from_its_message() -> None:
    words = (
        "recorded the following: 'run' (index '2')\n - The execution attempts to perform the following: 'one way call'"
    )
    found = mismatch(words)
    assert (found.command_index, found.recorded, found.entry_type) == (2, "Run", "OneWayCall")
    found = mismatch(words, command_index=4, command_type="Sleep", command_name="nap")
    assert (found.command_index, found.entry_type, found.name) == (4, "Sleep", "nap")
    found = mismatch("while executing 'run' (index '2')\n- Difference:\n   name: old != new\n   key: 1 != 2")
    assert (found.name, found.differs) == ("new", ("name: old != new", "key: 1 != 2"))


@given(st.text() | st.lists(st.sampled_from([*"'\n(): !=", "recorded", "attempts to perform", "index"])).map("".join))
def test_a_mismatch_with_an_unknown_text_is_still_explained(message: str) -> None:
    source = Made({1: [command(0, "Input")]}, events=[event(message=message or "?", code="RT0016")])
    assert "RT0016" in journal_diff(source, id_of(1)).attrs["summary"]


# As 1.7.12 wrote it for the SDKs for TypeScript (1.17) and Python (1.3); the last combination does not exist.
FUTURES = {
    '{"FirstCompleted":[{"Single":{"CompletionId":2}},{"Single":{"SignalIndex":1}}]}': "the step “charge”",
    '{"Unknown":[{"Single":{"CompletionId":2}},{"Single":{"SignalIndex":1}}]}': "the step “charge”",
    '{"FirstCompleted":[{"Single":{"SignalIndex":1}},{"FirstSucceededOrAllFailed":[{"Single":{"CompletionId":2}},'
    '{"Single":{"SignalName":"go"}}]}]}': "the first success of: the step “charge”, the signal “go”",
    '{"FirstCompleted":[{"Single":{"SignalIndex":1}},{"FirstCompleted":[{"Single":{"CompletionId":2}},'
    '{"AllSucceededOrFirstFailed":[{"Single":{"SignalName":"a"}},{"Unknown":[{"Single":{"CompletionId":9}},'
    '{"Single":{"SignalName":"b"}}]}]}]}]}': "the first of: the step “charge”, (all of, or the first failure of: "
    "the signal “a”, (one or all of: CompletionId 9, which is not in the journal, the signal “b”))",
    '{"AllCompleted":[{"Single":{"CompletionId":2}},{"Single":{"SignalIndex":3}}]}':
    "all of: the step “charge”, signal 3",
    '{"MostOf":[{"Single":{"CompletionId":2}},{"Single":{"Ticket":5}}]}': "MostOf of: the step “charge”, Ticket 5, "
    "which is not in the journal",
    json.dumps({"AllCompleted": [{"Single": {"SignalName": "x"}}] * 9}): "all of: "
    + ", ".join(["the signal “x”"] * 5 + ["4 more"]),
}  # fmt: skip


@pytest.mark.parametrize("future", FUTURES)
def test_awaited_results_are_named_by_their_entries_in_a_tree_of_combinations(future: str) -> None:
    source = Made({1: [command(0, "Input"), command(1, "Run", "charge", completion_id=2)]}, future=future)
    (suspension,) = journal(source, id_of(1)).attrs["suspensions"]
    assert suspension["waits_for"] == FUTURES[future]
    assert suspension["since"] is None, "no event has the time"


FUTURE_KEYS = st.sampled_from(["Single", "AllCompleted", "CompletionId", "SignalIndex", "x"])
LEAVES = st.none() | st.integers() | st.text()


@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(FUTURE_KEYS, inner)))
def test_any_json_of_a_future_gives_one_line_or_no_tree(future: Any) -> None:
    rows = pa.Table.from_pylist([command(1, "Run", "charge", completion_id=2) | {"id": id_of(1)}])
    tree = awaited_tree(json.dumps(future), rows, id_of(1))
    assert tree is None or (str(tree) and json.dumps(tree.json()))


def test_a_future_with_5000_levels_is_cut_with_a_note() -> None:
    deep = '{"AllCompleted":[{"Single":{"SignalName":"a"}},' * 5000 + '{"Single":{"SignalName":"b"}}' + "]}" * 5000
    tree = awaited_tree(deep, pa.table({"entry_lite_json": pa.array([], pa.string())}), id_of(1))
    assert tree is None or "nested too deeply" in str(tree)


def test_events_of_unknown_types_keep_their_names_and_times_and_count_as_no_attempt() -> None:
    events = [event(), event(event_type="Killed", code=None), event(event_type=None, message=None, appended_at=None)]
    source = Made({1: [command(0, "Input"), command(1, "Run", "a", completion_id=1)]}, events=events)
    frame = journal(source, id_of(1))
    assert [(each["event"], each["at"]) for each in frame.attrs["events"]] == [
        ("?", None),
        ("Killed", NOON.isoformat()),
    ]
    assert frame["retries"].tolist() == [0, 1]
    assert journal_bars(frame).lines == (f"other events: ?, Killed {NOON:%H:%M:%S} UTC",)
    assert "Killed" in frame._repr_html_()
