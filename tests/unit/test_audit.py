"""The audit log: append-only, private, one file per process, and never lossy."""

from __future__ import annotations

import json
import multiprocessing
import os
import stat
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from restate_lab.actions.execution.outcomes import ActionOutcome
from restate_lab.audit import AuditLog, audit_log, default_folder, summarize
from restate_lab.errors import ArgumentError, AuditFailed, AuditIncomplete, Truncated


def lines(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for file in sorted(folder.glob("*.jsonl")) for line in file.read_text().splitlines()]


def test_intent_and_result_carry_one_id(tmp_path: Path) -> None:
    """A result names the intent that it belongs to; both have a UTC time, the intent has the user."""
    log = AuditLog(tmp_path)
    change = log.intent("kill", ["inv_1"], reason="INC-1")
    log.result(change, "done", status=200)
    intent, result = lines(tmp_path)
    assert intent["change"] == result["change"] == change
    assert intent["time"].endswith("+00:00")
    assert {"user", "host", "pid"} <= intent.keys()


def test_only_its_owner_can_read_the_file(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "new" / "folder")
    assert log.path is None
    log.intent("kill", [])
    assert log.path is not None
    assert stat.S_IMODE(log.path.stat().st_mode) == 0o600


def test_records_of_several_threads_are_whole(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    threads = [threading.Thread(target=lambda: [log.intent("a", ["x" * 5000]) for _ in range(20)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines(tmp_path)) == 160


def test_a_forked_process_writes_a_file_of_its_own(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.intent("parent", [])
    child = multiprocessing.get_context("fork").Process(target=log.intent, args=("child", []))
    child.start()
    child.join()
    assert len(list(tmp_path.glob("*.jsonl"))) == 2
    assert sorted(line["action"] for line in lines(tmp_path)) == ["child", "parent"]


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AuditFailed, match="RESTATE_LAB_AUDIT"):
        AuditLog(tmp_path / "file" / "below").intent("kill", [])


def test_a_result_that_cannot_be_written_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change has happened, so its outcome is still reported; the next record starts a new file."""
    log = AuditLog(tmp_path)
    change = log.intent("kill", ["inv_1"])

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.warns(AuditIncomplete, match="done, but .*No space left"):
            log.result(change, "done")
    log.intent("pause", ["inv_2"])
    assert len(list(tmp_path.glob("*.jsonl"))) == 2


def test_a_record_that_fails_is_not_read_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The change was not sent and the note is not known, also if their lines reached the file."""
    log = AuditLog(tmp_path)
    log.note(text="first")
    for failing in ("os.fsync", "restate_lab.records._write_all"):
        with monkeypatch.context() as patch:
            patch.setattr(failing, _written_then_full)
            with pytest.raises(AuditFailed, match="No space left"):
                log.intent("kill", ["inv_1"])
            with pytest.raises(AuditFailed, match="No space left"):
                log.note(text="second")
    assert [file.read_text().count("\n") for file in sorted(tmp_path.rglob("*.jsonl"))].count(1) == 1
    assert sum(file.stat().st_size > 0 for file in tmp_path.rglob("*.jsonl")) == 1


def _written_then_full(descriptor: int, data: bytes = b"") -> None:
    os.write(descriptor, data[:9])
    raise OSError(28, "No space left on device")


def test_the_folder_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """RESTATE_LAB_AUDIT names the folder; the default is the user's state folder."""
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("RESTATE_LAB_AUDIT")
    assert default_folder().parts[-2:] == ("restate_lab", "audit")


def test_the_log_is_a_frame_of_changes(tmp_path: Path) -> None:
    """One row per change joins intent and result; a change whose process ended before its result has no outcome."""
    one, two = AuditLog(tmp_path), AuditLog(tmp_path)
    change = one.intent("kill", ["inv_1", "inv_2"], reason="INC-1")
    two.intent("pause", ["inv_3"])
    one.result(change, "refused", status=409, error="409 no")
    frame = audit_log(tmp_path)
    assert list(frame["action"]) == ["kill", "pause"]
    assert frame["targets"][0] == ["inv_1", "inv_2"]
    assert list(frame["outcome"].isna()) == [False, True]
    assert frame["status"][0] == 409
    assert str(frame["time"].dt.tz) == str(frame["ended"].dt.tz) == "UTC"
    assert frame["ended"].isna()[1]


def test_an_empty_log_is_an_empty_frame(tmp_path: Path) -> None:
    frame = audit_log(tmp_path / "nothing")
    assert len(frame) == 0
    assert "targets" in frame


@pytest.mark.parametrize("torn", [b'{"kind": "intent", "chan', b"[1, 2]\n", b"\xff\xfe\n", b'{"kind": "intent"}\n'])
def test_a_torn_line_is_left_out_and_said(tmp_path: Path, torn: bytes) -> None:
    log = AuditLog(tmp_path)
    log.intent("kill", ["inv_1"])
    assert log.path is not None
    with log.path.open("ab") as file:
        file.write(torn)
    with pytest.warns(Truncated, match=r"jsonl:2"):
        frame = audit_log(tmp_path)
    assert list(frame["action"]) == ["kill"]
    assert "jsonl:2" in frame.attrs["truncated"]


def test_a_change_of_many_keeps_what_came_of_each(tmp_path: Path) -> None:
    """One result has every target's outcome, error and new id, in a size that does not grow with equal neighbours."""
    log = AuditLog(tmp_path)
    ids = [f"inv_{number}" for number in range(100_000)]
    fates = [ActionOutcome("id", "done", new_id=f"new_{number}" if number < 2 else None) for number in range(99_990)]
    fates += [ActionOutcome("id", "skipped", "it is gone")] * 8
    fates += [
        ActionOutcome("id", "done", new_id="new", other_new_ids="more, another"),
        ActionOutcome("id", "refused", "409 no"),
    ]
    change = log.intent("restart_as_new", ids)
    assert log.path is not None
    before = log.path.stat().st_size
    log.result(change, **summarize(fates))
    assert log.path.stat().st_size - before < 1000
    (row,) = audit_log(tmp_path).to_dict("records")
    assert (row["outcome"], row["counts"]) == ("mixed", "99,991 done, 8 skipped, 1 refused")
    each = audit_log(tmp_path, change=change)
    assert each["id"].tolist() == ids
    assert each["outcome"].tolist() == [fate.outcome for fate in fates]
    assert each["error"].tolist() == [fate.error for fate in fates]
    assert each["new_id"].tolist() == [fate.new_id for fate in fates]
    assert each["other_new_ids"].tolist() == [fate.other_new_ids for fate in fates]


def test_one_change_by_its_id(tmp_path: Path) -> None:
    """A change of one target has its outcome; without a result there is none; another id is an error."""
    log = AuditLog(tmp_path)
    done, open_ = log.intent("kill", ["inv_1"]), log.intent("kill", ["inv_2"])
    log.result(done, "refused", error="409 no")
    assert audit_log(tmp_path, change=done).values.tolist() == [["inv_1", "refused", "409 no", None, None, None]]
    assert audit_log(tmp_path, change=open_)["outcome"].tolist() == [None]
    with pytest.raises(ArgumentError, match="column change"):
        audit_log(tmp_path, change="nope")


def test_half_a_character_does_not_end_the_log(tmp_path: Path) -> None:
    """A reason with a lone surrogate, as odd file names have it, is shown as its code; the other records are there."""
    log = AuditLog(tmp_path)
    for reason in ("INC-42 \ud800", "INC-43 🦀"):
        log.result(log.intent("kill", ["inv_1\udfff"], reason=reason), "done", error="\udc00")
    frame = audit_log(tmp_path)
    assert frame["reason"].tolist() == ["INC-42 \\ud800", "INC-43 🦀"]
    assert frame["error"].tolist() == ["\\udc00"] * 2
    assert audit_log(tmp_path, change=frame["change"][0])["id"].tolist() == ["inv_1\\udfff"]
    assert "truncated" not in frame.attrs


def test_a_process_forked_while_the_log_is_written_writes_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The child must not wait for a lock that a thread of its parent held at the fork: it is never released there."""
    log = AuditLog(tmp_path)
    writing, go_on = threading.Event(), threading.Event()
    fsync = os.fsync

    def slow(descriptor: int) -> None:
        if threading.current_thread() is writer:
            writing.set()
            go_on.wait(60)
        fsync(descriptor)

    monkeypatch.setattr("os.fsync", slow)
    writer = threading.Thread(target=log.intent, args=("parent", []))
    writer.start()
    writing.wait(60)
    child = multiprocessing.get_context("fork").Process(target=log.intent, args=("child", []), daemon=True)
    child.start()
    child.join(20)
    is_stuck = child.is_alive()
    child.kill()
    child.join()
    go_on.set()
    writer.join()
    assert not is_stuck
    assert sorted(line["action"] for line in lines(tmp_path)) == ["child", "parent"]


WHEN = "2026-11-26T10:00:00+00:00"
INTENT = {"kind": "intent", "change": "c", "time": WHEN, "action": "kill", "targets": ["inv_1", "inv_2"]}
RESULT = {"kind": "result", "change": "c", "time": WHEN, "outcome": "done"}
ODD_INTENTS: list[dict[str, Any]] = [
    {"time": 5}, {"time": "yesterday"}, {"time": "2026-11-26T10:00:00"}, {"time": "9999-01-01T00:00:00+00:00"},
    {"action": None}, {"action": ["kill"]}, {"targets": "inv_1"}, {"targets": 7}, {"targets": [7]}, {"targets": None},
    {"change": ["c"]}, {"change": {}}, {"pid": "x"}, {"pid": 10**30}, {"reason": {"a": 1}}, {"kind": "other"},
    {"kind": []},
]  # fmt: skip
ODD_RESULTS: list[dict[str, Any]] = [
    {"time": 5}, {"time": None}, {"outcome": 5}, {"outcome": None}, {"status": "x"}, {"status": 1.5}, {"status": True},
    {"status": 10**400}, {"status": float("nan")}, {"error": ["x"]}, {"outcomes": 7}, {"outcomes": {"done": 7}},
    {"outcomes": {"done": [[0]]}}, {"outcomes": {"done": [["a", "b"]]}}, {"outcomes": {"done": [[0, 10**12]]}},
    {"outcomes": {"done": [[1, 0]]}}, {"outcomes": {"done": [[-1, 0]]}},
    {"outcomes": {"done": [[0, 1]], "x": [[1, 1]]}},
    {"errors": [1]}, {"errors": {"x": [[0, 5]]}}, {"new_ids": 5}, {"new_ids": {"0": 5}},
]  # fmt: skip


def written(folder: Path, *records: dict[str, Any] | bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    encoded = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in records]
    (folder / "x.jsonl").write_bytes(b"\n".join(encoded) + b"\n")
    return folder


@pytest.mark.parametrize("odd", ODD_INTENTS, ids=str)
def test_an_intent_of_another_shape_is_left_out(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A field of another type or out of range loses only its own line, which the warning names."""
    folder = written(tmp_path, {**INTENT, **odd}, {**INTENT, "change": "d"}, {**RESULT, "change": "d"})
    with pytest.warns(Truncated, match=r"1 unreadable .*x\.jsonl:1"):
        frame = audit_log(folder)
    assert frame[["change", "outcome"]].values.tolist() == [["d", "done"]]
    assert "x.jsonl:1" in frame.attrs["truncated"]


@pytest.mark.parametrize("odd", ODD_RESULTS, ids=lambda odd: str(odd)[:40])
def test_a_result_of_another_shape_is_left_out(tmp_path: Path, odd: dict[str, Any]) -> None:
    """The change then has no outcome, in both forms of the frame; places that the intent does not have count as odd."""
    folder = written(tmp_path, INTENT, {**RESULT, **odd})
    with pytest.warns(Truncated, match=r"x\.jsonl:2"):
        assert audit_log(folder)["outcome"].isna().tolist() == [True]
    with pytest.warns(Truncated):
        assert audit_log(folder, change="c")["outcome"].tolist() == [None, None]


def test_what_is_no_file_of_records_is_left_out(tmp_path: Path) -> None:
    """A folder, a pipe and a broken link with such a name, deep nesting, and bytes that are not text."""
    written(tmp_path, INTENT, b"[" * 100_000, b'{"kind": ' * 50_000, b"\xff\xfe", b"9" * 10_000)
    (tmp_path / "folder.jsonl").mkdir()
    os.mkfifo(tmp_path / "pipe.jsonl")
    (tmp_path / "link.jsonl").symlink_to(tmp_path / "nothing")
    with pytest.warns(Truncated, match=r"7 unreadable .*folder\.jsonl, link\.jsonl, pipe\.jsonl, x\.jsonl:2"):
        assert len(audit_log(tmp_path)) == 1


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from([WHEN, "c", "done"]),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3) | st.just("done"), each, max_size=3),
    max_leaves=8,
)
CHANGED = st.tuples(
    st.sampled_from([INTENT, RESULT]),
    st.dictionaries(
        st.sampled_from([*INTENT, *RESULT, "outcomes", "errors", "new_ids", "status", "error", "pid", "reason"]), JSON
    ),
).map(lambda pair: {**pair[0], **pair[1]})


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=30) | CHANGED, max_size=5))
def test_any_bytes_give_a_frame(tmp_path: Path, records: list[dict[str, Any] | bytes]) -> None:
    """Whatever is in the files, the log is read: the only error is an unknown change, with a single warning."""
    folder = written(tmp_path, *records)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)
        frame = audit_log(folder)
        assert str(frame["time"].dt.tz) == str(frame["ended"].dt.tz) == "UTC"
        for change in frame["change"]:
            audit_log(folder, change=change)


def test_reads_are_recorded_apart_from_changes(tmp_path: Path) -> None:
    """Reads are in files of their own, which only their owner can read, and the log of changes does not have them."""
    log = AuditLog(tmp_path)
    log.read("why", '{"invocation_id": "inv_1"}', source="prod", rows=3, bytes=120, milliseconds=7, client="x 1")
    log.read("ask", "{}", error="ArgumentError: unknown question")
    change = log.intent("kill", ["inv_1"])
    reads = audit_log(tmp_path, reads=True)
    assert reads["tool"].tolist() == ["why", "ask"]
    assert reads.loc[0, ["arguments", "source", "rows", "bytes", "milliseconds", "client"]].tolist() == [
        *('{"invocation_id": "inv_1"}', "prod", 3, 120, 7, "x 1"),
    ]
    assert reads["error"].tolist()[1] == "ArgumentError: unknown question"
    assert audit_log(tmp_path)["change"].tolist() == [change]
    (file,) = (tmp_path / "reads").glob("*.jsonl")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_reads_are_an_empty_frame(tmp_path: Path) -> None:
    """Without records the frame has the same columns and types, and a change cannot be chosen among reads."""
    AuditLog(tmp_path / "other").read("why", "{}")
    empty, one = audit_log(tmp_path, reads=True), audit_log(tmp_path / "other", reads=True)
    assert empty.empty
    assert empty.columns.tolist() == one.columns.tolist()
    assert empty["rows"].dtype == one["rows"].dtype
    with pytest.raises(ArgumentError, match="cannot be combined"):
        audit_log(tmp_path, change="x", reads=True)


def test_a_damaged_read_is_reported(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    log.read("why", "{}")
    (file,) = (tmp_path / "reads").glob("*.jsonl")
    line = json.loads(file.read_text())
    with file.open("a") as end:
        end.writelines(json.dumps(line | {"rows": rows}) + "\n" for rows in ("many", -1, [1]))
        end.write('{"kind": "read"')
    with pytest.warns(Truncated, match="4 unreadable"):
        reads = audit_log(tmp_path, reads=True)
    assert reads["tool"].tolist() == ["why"]
