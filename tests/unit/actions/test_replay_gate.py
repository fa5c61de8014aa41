"""The gate of a plan without a server: which verdicts exclude, what is replayed, and what warns."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd
import pytest

from restate_lab import errors
from restate_lab.actions.change import Change
from restate_lab.actions.plan.gate import ReplayGate, check_warnings, open_gate
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.replay.recording import Recording, recording_of
from restate_lab.protocol.wire import number_field
from restate_lab.reads import Reads
from support.fake_endpoint import INVOCATION, OneInvocation, deployment, error_frame, response
from support.raw_server import raw_server

FITS = response(error_frame(570, "mismatch", 2, "b", 0x411))
FITS_ALONE = response(error_frame(570, "mismatch", 1, "b", 0x411))
DIVERGES = response(error_frame(570, "mismatch", 1, "b", 0x411))
FAILS = response(error_frame(500, "ValueError('x')"))
CANNOT_SAY = response(error_frame(571, "violation"))
NOT_CHECKABLE = response(status="401 Unauthorized")
OTHER_ID = "inv_1" + "0" * 32 + "7"


def targets(**columns: Any) -> pd.DataFrame:
    """Return rows of a plan: one target, and one that is already excluded."""
    rows = {"id": [INVOCATION, OTHER_ID], "effect": ["it goes on", None], "excluded": [None, "it has ended"]}
    return pd.DataFrame({**rows, **columns}, dtype="object")


def check(*answers: Any, is_restart: bool = False, from_index: int | None = None, rows: Any = None) -> Any:
    with raw_server(respond=deployment(*answers)) as server:
        change = Change(ACTIONS.RESTART_AS_NEW if is_restart else ACTIONS.MOVE_TO, from_index=from_index)
        gate = ReplayGate(OneInvocation(), Reads(OneInvocation()), change, server.address, {})  # type: ignore[arg-type]
        rows, checked = gate(targets() if rows is None else rows)
        return rows, checked, [each for each in server.requests if each.startswith(b"POST")]


@pytest.mark.parametrize(
    ("answer", "reason", "warning"),
    [
        (FITS, None, None),
        (DIVERGES, "replay diverges: the journal has Run 'a' as command 1, and the code issues Run 'b'", None),
        (FAILS, "replay fails: the code fails with 500: ValueError('x')", None),
        (CANNOT_SAY, None, "no result for 1 target (1 cannot say): plan.replay has the reasons"),
        (NOT_CHECKABLE, None, "no result for 1 target (1 not checkable)"),
    ],
    ids=["fits", "diverges", "fails", "cannot say", "not checkable"],
)
def test_targets_that_diverge_or_fail_are_excluded(answer: bytes, reason: str | None, warning: str | None) -> None:
    rows, checked, sent = check(answer)
    assert rows["excluded"].tolist() == [reason, "it has ended"]
    assert rows["effect"].tolist() == [None if reason else "it goes on", None]
    left = rows[rows["excluded"].isna()]
    warnings = check_warnings(checked, left, keeps_entries=True)
    assert len(warnings) == bool(warning)
    assert (warning or "") in "".join(warnings)
    assert check_warnings(checked, left.iloc[:0], keeps_entries=True) == ()  # also for a smaller plan
    assert len(sent) == 1
    assert INVOCATION.encode() in sent[0]
    assert "Code outside of steps ran" in "".join(checked.limitations)


def test_a_target_that_the_replay_does_not_find_has_a_warning() -> None:
    rows, checked, _ = check(FITS, rows=targets(id=[OTHER_ID, INVOCATION]))
    assert "1 not checked" in check_warnings(checked, rows.iloc[:1], keeps_entries=False)[0]


@pytest.mark.parametrize(
    ("own_id", "is_renamed"),
    [(FITS, True), (DIVERGES, False), (FAILS, False)],
    ids=["fits", "diverges", "fails"],
)
def test_a_restart_names_its_new_id_as_the_cause_if_the_old_id_fits(own_id: bytes, is_renamed: bool) -> None:
    rows, checked, sent = check(DIVERGES, own_id, is_restart=True, from_index=1)
    assert [INVOCATION.encode() in each for each in sent] == [False, True]
    assert ("fits under the old id" in rows["excluded"][0]) == is_renamed
    warnings = check_warnings(checked, rows.iloc[:0], keeps_entries=True)
    assert [text.startswith("1 invocation is excluded") for text in warnings] == [True] * is_renamed


@pytest.mark.parametrize(
    ("columns", "from_index", "has_step"),
    [({}, None, False), ({}, 0, False), ({}, 1, True), ({"from_index": [0, 1]}, None, False)],
)
def test_only_the_kept_entries_are_replayed(columns: Any, from_index: int | None, has_step: bool) -> None:
    answer = FITS if has_step else FITS_ALONE
    _, checked, sent = check(answer, is_restart=True, from_index=from_index, rows=targets(**columns))
    assert checked.replay.verdict == "fits"
    step = b"\x04\x11\0\0\0\0\0\x05"  # the frame of a step
    assert [step in each for each in sent] == [has_step]


def kept(last: int) -> Recording:
    """Return the recording of a restart from a journal with two steps at once, a call, and a signal."""
    rows = [
        ("Command: Input", b""),
        ("Command: Run", number_field(11, 1)),
        ("Command: Call", number_field(10, 2) + number_field(11, 3)),
        ("Notification: Call", number_field(1, 3)),
        ("Command: Run", number_field(11, 4)),
        ("Notification: Run", number_field(1, 4)),
        ("Notification: CallInvocationId", number_field(1, 2)),
        ("Notification: Signal", number_field(1, 1)),
        ("Notification: Run", number_field(1, 1)),
        ("Command: Output", b""),
        ("Notification: Run", b""),  # without the id of a command
    ]
    entries = [
        {"index": index, "entry_type": kind, "name": None, "invoked_target": None, "raw": raw}
        for index, (kind, raw) in enumerate(rows)
    ]
    row = OneInvocation(status="succeeded").row
    return recording_of(row, entries, as_restart=True, has_unique_seeds=False, last_entry=last)


@pytest.mark.parametrize(
    ("last", "commands", "completions"),
    [
        (0, ["Input"], 0),
        (1, ["Input", "Run"], 1),
        (2, ["Input", "Run", "Call"], 3),
        (3, ["Input", "Run", "Call"], 3),
        (4, ["Input", "Run", "Call", "Run"], 4),
        (7, ["Input", "Run", "Call", "Run"], 5),
        (9, ["Input", "Run", "Call", "Run", "Output"], 5),
    ],
)
def test_later_completions_of_kept_commands_are_kept(last: int, commands: list[str], completions: int) -> None:
    recording = kept(last)
    assert [each.type for each in recording.commands] == commands
    assert len(recording.messages) == len(commands) + completions
    assert recording.has_output == (last == 9)


@pytest.mark.parametrize("action", [each for each in ACTIONS if each not in {ACTIONS.MOVE_TO, ACTIONS.RESTART_AS_NEW}])
def test_an_action_that_does_not_continue_on_other_code_refuses_a_check(action: ACTIONS) -> None:
    with pytest.raises(errors.ArgumentError, match=f"{action} has no option check"):
        open_gate(OneInvocation(), Reads(OneInvocation()), Change(action, check="http://127.0.0.1:1"))  # type: ignore[arg-type]


def test_a_confirmation_without_a_check_is_refused() -> None:
    source: Any = OneInvocation()
    assert open_gate(source, Reads(source), Change(ACTIONS.CANCEL)) is None
    with pytest.raises(errors.ArgumentError, match="there is no check"):
        open_gate(source, Reads(source), Change(ACTIONS.MOVE_TO, confirm="http://127.0.0.1:1"))


@pytest.mark.parametrize("confirm", [None, "http://127.0.0.1:2"])
def test_a_check_needs_the_confirmation_of_its_address(confirm: str | None) -> None:
    source: Any = OneInvocation()
    address = "http://127.0.0.1:1"
    with pytest.raises(errors.ArgumentError, match=rf"Nothing was sent\. To confirm, pass confirm='{address}'"):
        open_gate(source, Reads(source), Change(ACTIONS.MOVE_TO, check=address, confirm=confirm))
    gate = open_gate(source, Reads(source), Change(ACTIONS.MOVE_TO, check=address, confirm=address))
    assert gate is not None
    assert gate.address == address


def test_a_check_that_does_not_finish_in_time_makes_no_plan() -> None:

    def wait(_: Any) -> bool:
        time.sleep(1)
        return False

    with raw_server(respond=deployment(wait)) as server:
        source: Any = OneInvocation()
        reads = Reads(source, 0.3, verb="move_to")
        gate = ReplayGate(source, reads, Change(ACTIONS.MOVE_TO), server.address, {})
        with pytest.raises(errors.TimedOut, match="move_to did not finish"):
            gate(targets())


def test_a_restart_that_keeps_more_than_the_input_warns_without_a_check() -> None:
    (text,) = check_warnings(None, targets(), keeps_entries=True)
    assert text.startswith("No replay check was made")
    assert check_warnings(None, targets(), keeps_entries=False) == ()
