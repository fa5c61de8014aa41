"""The choice of the index from which a failed invocation restarts, for every kind of failure, without a server."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.actions import redrive as verb
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.plan.preview import repeat_frame
from restate_lab.actions.reader import Destination, Destinations
from restate_lab.actions.redrive import redrive
from restate_lab.actions.redrive.model import FailedJournal, RestartPoint, choose_restart_point
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.journal.entries import ROW_TYPES, entries_of, pair_entries
from restate_lab.analysis.journal.payloads import Payloads, payloads_of
from restate_lab.errors import ArgumentError
from support.sample_rows import SampleRows

INV = "inv_1" + "0" * 32 + "a"
CALLEE = "inv_1" + "0" * 32 + "b"
START = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
DOWN = {"code": 503, "message": "the bank is down"}
OTHER = {"code": 400, "message": "no such card"}

Row = tuple[str, str | None, dict[str, Any], dict[str, Any] | None]


class Journal:
    """A journal that is built entry by entry, as the server would write it."""

    def __init__(self) -> None:
        self.rows: list[Row] = [("Command: Input", "", {"Command": {"Input": {}}}, None)]
        self.last_id = 0

    def command(self, kind: str, name: str = "", **fields: Any) -> int:
        self.last_id += 1
        field = "result_completion_id" if kind == "Call" else "completion_id"
        body = {field: self.last_id, "name": name, **fields}
        self.rows.append((f"Command: {kind}", name, {"Command": {kind: body}}, None))
        return self.last_id

    def end(self, kind: str, completion: int, failure: dict[str, Any] | None = None) -> None:
        lite = {"ty": {"Completion": kind}, "id": {"CompletionId": completion}, "result": _result(failure)}
        full = {"Completion": {kind: {"completion_id": completion, "result": {"Failure": failure}}}}
        self.rows.append((f"Notification: {kind}", None, {"Notification": lite}, {"Notification": full}))

    def step(self, name: str, failure: dict[str, Any] | None = None, kind: str = "Run", **fields: Any) -> Journal:
        self.end(kind, self.command(kind, name, **fields), failure)
        return self

    def signal(self, failure: dict[str, Any] | None, index: int = 17) -> Journal:
        """Add a signal: an awakeable that was resolved or rejected."""
        lite = {"ty": "Signal", "id": {"SignalIndex": index}, "result": _result(failure)}
        full = {"Signal": {"id": {"Index": index}, "result": {"Failure": failure}}}
        self.rows.append(("Notification: Signal", None, {"Notification": lite}, {"Notification": full}))
        return self

    def plain(self, kind: str, **fields: Any) -> Journal:
        self.rows.append((f"Command: {kind}", "", {"Command": {kind: fields}}, None))
        return self

    def read(
        self, failure: dict[str, Any] = DOWN, *, has_output: bool = True, protocol: int | None = 6, **options: Any
    ) -> FailedJournal:
        if has_output:
            self.plain("Output", result="Failure")
        rows = [
            {
                "id": INV,
                "index": index,
                "entry_type": kind,
                "name": name,
                "appended_at": START + timedelta(seconds=index),
                "entry_lite_json": json.dumps(lite),
            }
            for index, (kind, name, lite, _) in enumerate(self.rows)
        ]
        failed = {index: json.dumps(full) for index, (_, _, lite, full) in enumerate(self.rows) if _has_failed(lite)}
        return FailedJournal(
            entries=entries_of(pair_entries(pa.Table.from_pylist(rows, ROW_TYPES), ended={INV}).by_id()[INV]),
            length=len(rows),
            failure=Payloads(failure=failure["message"], failure_code=failure["code"]),
            failures={index: payloads_of(text) for index, text in failed.items()},
            protocol=protocol,
            **options,
        )


def _result(failure: dict[str, Any] | None) -> str:
    return "Failure" if failure else "Success"


def _has_failed(lite: Mapping[str, Any]) -> bool:
    return lite.get("Notification", {}).get("result") == "Failure"


def summary(point: RestartPoint) -> tuple[Any, ...]:
    return (point.from_index, point.failed_type, point.failed_name, len(point.kept), len(point.repeated))


def test_the_failed_step_runs_again() -> None:
    """The kept part ends before the failed step, although that has a result; its time is that of its two entries."""
    point = choose_restart_point(Journal().step("reserve").step("charge", DOWN).read())
    assert summary(point) == (2, "Run", "charge", 1, 1)
    assert point.excluded is None
    assert point.repeated_for == timedelta(seconds=1)


@pytest.mark.parametrize("protocol", [4, 5, 6, 7])
def test_if_the_first_step_failed_only_the_input_is_kept(protocol: int) -> None:
    point = choose_restart_point(Journal().step("charge", DOWN).read(protocol=protocol))
    assert summary(point) == (0, "Run", "charge", 0, 1)


@pytest.mark.parametrize(
    ("kind", "fields", "name"),
    [
        ("Call", {"invocation_id": CALLEE, "invocation_target": {"Service": {"name": "Bank", "handler": "pay"}}}, None),
        ("GetPromise", {"key": "decision"}, "decision"),
        ("Sleep", {}, None),
    ],
)
def test_a_failed_call_or_promise_is_repeated_too(kind: str, fields: dict[str, Any], name: str | None) -> None:
    point = choose_restart_point(Journal().step("reserve").step("", DOWN, kind, **fields).read())
    assert summary(point) == (2, kind, "Bank/pay" if kind == "Call" else name, 1, 1)
    assert point.failed_callee == (CALLEE if kind == "Call" else None)


def test_of_two_failed_steps_the_handled_failure_is_kept() -> None:
    point = choose_restart_point(Journal().step("check", OTHER).step("charge", DOWN).read())
    assert summary(point) == (2, "Run", "charge", 1, 1)


@pytest.mark.parametrize("failure", [{**DOWN, "code": 500}, {**DOWN, "message": "the bank is closed"}])
def test_code_and_message_must_both_match(failure: dict[str, Any]) -> None:
    """A failure that differs in one of them is another one, so the row is excluded and names both."""
    point = choose_restart_point(Journal().step("charge", DOWN).read(failure))
    assert point.from_index is None
    assert point.excluded == (
        f"its failure is not that of a command: [{failure['code']}] {failure['message']}; "
        f"failed commands: Run “charge” ([503] the bank is down)"
    )


def test_a_failure_of_the_code_keeps_everything() -> None:
    """Without a failed command, the code after the last step failed: all entries before the output are kept."""
    point = choose_restart_point(Journal().step("reserve").plain("SetState", key="k").step("quote").read())
    assert summary(point) == (5, None, None, 3, 0)


def test_the_last_attempt_may_leave_no_result() -> None:
    """An invocation that its retry policy ended restarts before the step without a result, or after its last step."""
    journal = Journal().step("reserve")
    journal.command("Run", "charge")
    assert summary(choose_restart_point(journal.read(has_output=False))) == (2, "Run", "charge", 1, 1)
    between = choose_restart_point(Journal().step("reserve").read(has_output=False))
    assert summary(between) == (2, None, None, 1, 0)


def test_a_command_after_the_failed_step_excludes() -> None:
    for failure in (None, DOWN):
        point = choose_restart_point(Journal().step("reserve").step("charge", DOWN).step("refund", failure).read())
        assert point.from_index is None
        assert point.excluded == "1 command follows Run “charge”, which failed: Run “refund”, such as a compensation"
    written = choose_restart_point(Journal().step("charge", DOWN).plain("SetState", key="status").read())
    assert "SetState “status”, such as" in str(written.excluded)


def test_steps_that_ran_at_the_same_time_exclude() -> None:
    """A later step that began before the failure is not a compensation, and would run again."""
    journal = Journal()
    first, second = journal.command("Run", "a"), journal.command("Run", "b")
    journal.end("Run", second)
    journal.end("Run", first, DOWN)
    point = choose_restart_point(journal.read())
    assert point.excluded == "Run “b” ran at the same time as Run “a”, which failed, and would run again"


def test_a_step_without_a_result_cannot_be_kept() -> None:
    journal = Journal()
    journal.command("Run", "slow")
    point = choose_restart_point(journal.step("charge", DOWN).read())
    assert (point.from_index, point.excluded) == (
        None,
        "entry 1 (Run “slow”) has no completion: from_index can be at most 0",
    )


def test_a_completion_after_the_failed_command_counts() -> None:
    """The server also copies a completion that follows the chosen index."""
    journal = Journal()
    slow, charge = journal.command("Run", "slow"), journal.command("Run", "charge")
    journal.end("Run", charge, DOWN)
    journal.end("Run", slow)
    assert summary(choose_restart_point(journal.read())) == (1, "Run", "charge", 1, 1)


def test_a_rejected_awakeable_excludes() -> None:
    """The new invocation waits for another awakeable, whose id was never sent; an earlier resolved one is kept."""
    point = choose_restart_point(Journal().step("ask").signal(DOWN).read())
    assert point.from_index is None
    assert "a rejected awakeable or signal (entry 3) ended it" in str(point.excluded)
    resolved = choose_restart_point(Journal().step("ask").signal(None).step("charge", DOWN).read())
    assert summary(resolved) == (3, "Run", "charge", 1, 1)


def test_a_command_that_returns_its_stored_failure_again_excludes() -> None:
    attached = Journal().step("", DOWN, "AttachInvocation", target={"InvocationId": CALLEE}).read()
    assert f"of {CALLEE} would return the same failure again" in str(choose_restart_point(attached).excluded)
    called = Journal().step("", DOWN, "Call", invocation_id=CALLEE).read(kept_calls=frozenset({CALLEE}))
    assert "has an idempotency key" in str(choose_restart_point(called).excluded)


@pytest.mark.parametrize(
    ("protocol", "why"), [(None, "has no deployment"), (3, "first version"), (5, "protocol 5: a restart that keeps")]
)
def test_old_protocols_exclude(protocol: int | None, why: str) -> None:
    """Journals of the first version cannot be restarted; protocols before 6 cannot keep entries, nor can overrides."""
    journal = Journal().step("reserve").step("charge", DOWN).read(protocol=protocol)
    assert why in str(choose_restart_point(journal).excluded)
    assert why in str(choose_restart_point(journal, 1).excluded)


def test_an_override_replaces_the_choice() -> None:
    """It includes a row with a compensation, and says what runs again; the limits of the server remain."""
    journal = Journal().step("reserve").step("charge", DOWN).step("refund").read()
    assert summary(choose_restart_point(journal, 2)) == (2, "Run", "charge", 1, 2)
    assert summary(choose_restart_point(journal, 0)) == (0, "Run", "charge", 0, 3)
    for index, why in ((7, "entry 7 is the output"), (8, "has no entry 8: the last one is 7")):
        point = choose_restart_point(journal, index)
        assert point.from_index is None
        assert why in str(point.excluded)


def test_the_other_reasons_to_exclude(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [f"inv_1{number:033d}" for number in range(6)]
    plain = Journal().step("reserve").step("charge", DOWN).read()
    caller = Journal().step("reserve").step("", DOWN, "Call", invocation_id=ids[2]).read()
    journals = {ids[0]: plain, ids[1]: caller, ids[2]: plain, ids[3]: plain, ids[4]: replace(plain, protocol=7)}
    destinations = Destinations("latest", {"Bank": Destination("dp_1", 5, 6)})
    monkeypatch.setattr(verb, "read_journals_of_failed", lambda reads, wanted: {id_: journals[id_] for id_ in wanted})
    monkeypatch.setattr(verb, "read_destinations", lambda reads, deployment: destinations)
    rows = pd.DataFrame({"id": ids, "service": "Bank", "status": ["failed"] * 5 + ["killed"]})
    rows["effect"] = rows["excluded"] = pd.Series([None] * 6, dtype="object")
    refine = verb._RestartPoints("latest", {})
    frame = refine(None, rows, {ids[3]: INV}).set_index("id")  # type: ignore[arg-type]
    assert frame["excluded"].to_dict() == {
        ids[0]: None,
        ids[1]: None,
        ids[2]: f"its caller {ids[1]} is a target too, or was restarted, and calls it again",
        ids[3]: f"it was already restarted, as {INV}: redrive that one if it failed too",
        ids[4]: "it needs protocol 7, but dp_1 supports 5 to 6",
        ids[5]: "it is killed, not failed: use restate_lab.plan() to restart it",
    }
    assert frame["effect"].notna().tolist() == frame["from_index"].notna().tolist() == [True, True, *[False] * 4]
    assert "its callee starts from the beginning" in frame["effect"][ids[1]]
    # an override restarts again, and an unknown service is detected
    again = verb._RestartPoints("latest", {ids[3]: 2})(None, rows, {ids[3]: INV})  # type: ignore[arg-type]
    assert again["excluded"][3] is None
    monkeypatch.setattr(verb, "read_destinations", lambda reads, deployment: Destinations("latest", {}))
    assert refine(None, rows, {})["excluded"][0] == "no deployment has the service Bank"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        ([INV], "must be a mapping"),
        ({CALLEE: 1}, "not among"),
        ({INV: -1}, "overrides.*whole number"),
        ({INV: "1"}, "1"),
    ],
)
def test_wrong_overrides_are_refused_before_anything_is_read(overrides: Any, why: str) -> None:
    with pytest.raises(ArgumentError, match=why):
        redrive(SampleRows(), [INV], overrides=overrides)  # type: ignore[arg-type]


def test_each_request_has_its_own_index() -> None:
    """A missing one is an error, and not a restart from the beginning; the description has their range."""
    change = Change(ACTIONS.RESTART_AS_NEW, from_indexes={INV: 4, CALLEE: 0})
    request = ExecutionRequest(change, (INV, CALLEE), "a test")
    assert str(request) == "restart_as_new of 2 invocations, from_index 0 to 4"
    assert [change.index_of(id_) for id_ in request.ids] == [4, 0]
    assert change.only([INV]).options == {"from_index": "4"}
    with pytest.raises(KeyError):
        change.index_of("inv_1" + "c" * 33)
    common = Change(ACTIONS.RESTART_AS_NEW, from_index=3)
    assert (common.index_of(INV), Change(ACTIONS.KILL).index_of(INV)) == (3, None)


def test_the_groups_are_by_failed_command() -> None:
    """Steps whose names differ only in data are one group; the largest group is first, and totals are sums."""
    frame = repeat_frame(_rows([("Run", f"charge {number}") for number in range(6)] + [(None, None)] * 2))
    assert frame[["failed_type", "failed_name", "invocations", "kept_steps", "repeated_steps"]].to_numpy().tolist() == [
        ["Run", "charge #", 6, 12, 6],
        [None, None, 2, 4, 2],
    ]
    assert frame["repeated_for"].tolist() == [timedelta(seconds=18), timedelta(seconds=6)]
    assert frame["repeated_tokens"].tolist() == [600, pd.NA]
    assert repeat_frame(_rows([])).empty


def _rows(commands: Sequence[tuple[str | None, str | None]]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "id": [f"inv_{number}" for number in range(len(commands))],
            "service": "Bank",
            "from_index": pd.array([1] * len(commands), dtype="Int64"),
            "failed_type": pd.Series([kind for kind, _ in commands], dtype="object"),
            "failed_name": pd.Series([name for _, name in commands], dtype="object"),
            "failure": "[503] down",
            "kept_steps": pd.array([2] * len(commands), dtype="Int64"),
            "repeated_steps": pd.array([1] * len(commands), dtype="Int64"),
            "repeated_for": pd.to_timedelta([3] * len(commands), unit="s"),
            "repeated_tokens": pd.array([None if kind is None else 100 for kind, _ in commands], dtype="Int64"),
        }
    )
