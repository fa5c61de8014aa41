"""Notes: what is written, when an acknowledgement ends, and that an acknowledged finding never vanishes."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, strategies as st

import restate_lab as rl
from restate_lab.analysis.doctor.diagnosis import Diagnosis, build_diagnosis, with_notes
from restate_lab.analysis.doctor.known import FindingNote, NotedFinding, note_about
from restate_lab.analysis.doctor.model import Finding, Severity, Subject, fingerprint_of
from restate_lab.analysis.patterns import cause_paths
from restate_lab.analysis.suggestions import ask_call, why_call
from restate_lab.errors import ArgumentError
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.notes import LONGEST, StoredNote, read_notes
from support.faults import reads_give_up_after
from support.sample_rows import SampleRows

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TITLES = (
    "15 Payments/charge retry",
    "2 Orders/place wait",
    "3 Returns/take_back differ",
    "1 Account/audit holds a key",
)
HERE = ClusterIdentity(frozenset({("dp_1", "2026-11-01T00:00:00.000+00:00")}))
ELSEWHERE = ClusterIdentity(frozenset({("dp_2", "2026-11-01T00:00:00.000+00:00")}))
EMPTY = ClusterIdentity(frozenset())
DOWN = ("Payments", "charge", "RT0007", "call provider", "provider is down")
NOTED = StoredNote(
    id="1",
    time=NOW - timedelta(minutes=40),
    text="INC-42: provider is down",
    address="http://127.0.0.1:9070",
    user="mara",
    finding="06f07fc5ff48e7e7",
    severity="warning",
    title=TITLES[0],
    count=15,
    affected=40,
    about=(DOWN,),
    cluster=HERE,
    until=NOW + timedelta(minutes=20),
)


def finding(title: str, severity: str = "warning", count: int = 15) -> Finding:
    calls = {"evidence": ask_call("overview"), "suggested": (why_call("inv_1"),)}
    where = title.split()[1]
    kind = Severity(severity)
    return Finding(severity=kind, title=title, where=where, count=count, ids=(), check="retry_storm", **calls)


def noted(severity: str = "warning", count: int = 15, affected: int = 40, *about: tuple[str, ...]) -> NotedFinding:
    return NotedFinding("06f07fc5ff48e7e7", severity, count, affected, about or (DOWN,))


def shown(
    finding: NotedFinding, *notes: StoredNote, others: tuple[NotedFinding, ...] = (), cluster: Any = HERE
) -> FindingNote:
    return note_about(finding, [finding, *others], notes, cluster, NOW)


def diagnosed(findings: list[Finding], notes: list[StoredNote]) -> Diagnosis:
    plain = build_diagnosis(
        source="prod",
        version="1.7.12",
        at=NOW,
        seconds=0.5,
        findings=findings,
        checked=[],
        gaps=[],
        skipped=0,
        cluster=HERE,
    )
    return with_notes(plain, notes, NOW)


def row_of(title: str = TITLES[0], **values: Any) -> pd.DataFrame:
    """Return a row of a diagnosis, which has the cluster in its attributes."""
    row = diagnosed([finding(title)], []).findings
    row.attrs["source"] = "127.0.0.1:9"
    for name, value in values.items():
        row[name] = [value]
    return row


@pytest.fixture
def lab(tmp_path: Path) -> rl.Lab:
    """Return a connection to a cluster that does not respond."""
    return rl.connect("127.0.0.1:9", check=False, audit=tmp_path / "audit")


@pytest.mark.parametrize(
    ("change", "severity", "count", "text", "is_known"),
    [
        ({}, "warning", 29, "known until 03:20 UTC (mara): INC-42: provider is down", True),
        ({}, "note", 1, "known until 03:20 UTC (mara): INC-42: provider is down", True),
        ({}, "warning", 30, "was known until 03:20 UTC (mara): …; 30 now, 15 when it was noted", False),
        ({}, "critical", 15, "was known until 03:20 UTC (mara): …; critical now, warning when it was noted", False),
        ({"count": 0}, "warning", 1, "known until 03:20 UTC (mara): …", True),
        ({"count": 0}, "warning", 2, "was known until 03:20 UTC (mara): …; 2 now, 0 when it was noted", False),
        ({"until": NOW}, "warning", 15, "was known until 03:00 UTC (mara): …", False),
        ({"until": NOW + timedelta(days=1)}, "warning", 15, "known until 2026-11-26 03:00 UTC (mara): …", True),
        ({"until": NOW - timedelta(days=2), "time": NOW - timedelta(days=3)}, "warning", 15, "", False),
        ({"until": None}, "warning", 15, "noted at 02:20 UTC (mara): …", False),
    ],
)
def test_an_acknowledgement_ends_at_its_time_or_when_the_problem_is_worse(
    change: dict[str, Any], severity: str, count: int, text: str, is_known: bool
) -> None:
    found = shown(noted(severity, count), replace(NOTED, **change))
    assert (found.text, found.is_known) == (text.replace("…", NOTED.text), is_known)


@pytest.mark.parametrize(
    ("about", "is_known"),
    [
        ([DOWN], True),
        ([(*DOWN[:4], "duplicate key")], False),
        ([DOWN, (*DOWN[:4], "duplicate key")], False),
        ([(*DOWN[:3], "write ledger", DOWN[4])], False),
        ([(*DOWN[:2], "RT0001", *DOWN[3:])], False),
        ([DOWN[:3]], False),
        ([("Payments", "payout", *DOWN[2:])], False),
        ([("Orders",)], False),
    ],
)
def test_an_acknowledgement_holds_only_for_the_cause_that_was_noted(
    about: list[tuple[str, ...]], is_known: bool
) -> None:
    """Another message, step, code, handler or service is not known, and neither is a finding that also has one."""
    found = shown(noted("warning", 1, 1, *about), NOTED)
    assert found.is_known == is_known
    assert is_known or found.text.endswith(f"; the note is about another cause: {NOTED.title}")


@pytest.mark.parametrize(
    ("start", "path", "is_known"),
    [
        (("Payments", "charge", "RT0007"), DOWN, True),
        (("Payments",), ("Payments", "payout"), True),
        (("Payments", "charge", "", "get … of # cities", "no"), ("Payments", "charge", "", "get 1", "no"), False),
        (("Payments", "charge", "", "get …", "no"), ("Payments", "charge", "", "get Oslo", "no"), True),
        (("Payments", "charge", "", "get …", "no"), ("Payments", "charge", "", "set Oslo", "no"), False),
        (("Payments", "charge", "", "get", "…"), ("Payments", "charge", "", "get", "no"), False),
        ((), ("Payments",), False),
    ],
)
def test_a_note_about_many_steps_covers_each_of_them(
    start: tuple[str, ...], path: tuple[str, ...], is_known: bool
) -> None:
    note = replace(NOTED, about=(start,) if start else ())
    assert shown(noted("warning", 1, 1, path), note).is_known == is_known


def test_the_numbers_of_all_findings_of_the_noted_cause_count() -> None:
    """A queue behind one key grows, and a problem splits; the finding of another cause is not part of the sum."""
    assert shown(noted("warning", 1, 79), replace(NOTED, count=1)).is_known
    grown = shown(noted("warning", 1, 80), replace(NOTED, count=1))
    assert grown.text.endswith("; 80 affected now, 40 when it was noted")
    wide = replace(NOTED, about=(DOWN[:3],))
    half = noted("warning", 15, 15, (*DOWN[:3], "write ledger", ""))
    assert shown(noted("warning", 15, 15), wide, others=(half,)).text.endswith("; 30 now, 15 when it was noted")
    other = noted("critical", 999, 999, ("Payments", "charge", "RT0001"))
    assert shown(noted("warning", 15, 40), wide, others=(other,)).is_known


def test_a_note_about_a_row_has_the_numbers_of_all_findings_that_it_covers(lab: rl.Lab) -> None:
    """Two findings can have one cause, such as one pinned invocation that fails and five that will fail later."""
    few, many = finding(TITLES[0], "critical", 1), finding(TITLES[0], "warning", 5)
    rows = diagnosed([few, many], []).findings
    rows.attrs["source"] = "127.0.0.1:9"
    for text, row in (("a row", rows.loc[0]), ("a frame", rows.loc[[0]])):
        assert rl.note(lab, text, finding=row, until="2h").count == 6
        *_, note = read_notes(lab.transport.audit.folder).notes
        assert note.affected == 6
        for more, is_known in ((5, True), (10, True), (11, False)):
            result = diagnosed([few, finding(TITLES[0], "warning", more)], [note])
            assert result.findings["known"].tolist() == [is_known, is_known]
    assert "12 now, 6 when it was noted" in result.findings["note"][0]


@pytest.mark.parametrize(
    ("then", "now", "reason"),
    [
        (HERE, HERE, ""),
        (HERE, ClusterIdentity(HERE.deployments | ELSEWHERE.deployments), ""),
        (HERE, ELSEWHERE, "it is another cluster, or all were replaced"),
        (HERE, ClusterIdentity(frozenset({("dp_1", "2026-11-02T00:00:00.000+00:00")})), "it is another cluster"),
        (HERE, EMPTY, "the cluster has no deployments now"),
        (HERE, None, "the deployments of the cluster cannot be read now"),
        (EMPTY, HERE, "its cluster had no deployments"),
        (EMPTY, EMPTY, "its cluster had no deployments"),
        (None, HERE, "an earlier version of restate_lab wrote it"),
    ],
)
def test_a_note_of_a_cluster_that_is_not_proven_the_same_acknowledges_nothing(then: Any, now: Any, reason: str) -> None:
    found = shown(noted(), replace(NOTED, cluster=then), cluster=now)
    assert found.is_known == (not reason)
    assert reason in found.text


def test_a_note_about_another_cluster_at_the_address_hides_no_note_about_this_one() -> None:
    later = replace(NOTED, id="2", time=NOW, cluster=ELSEWHERE)
    assert shown(noted(), NOTED, later).id == "1"
    assert shown(noted(), NOTED, later, cluster=ELSEWHERE).id == "2"
    other = replace(NOTED, id="3", about=(("Payments", "payout"),))
    assert shown(noted(), NOTED, other).id == "1"


def test_the_last_acknowledgement_decides_and_a_later_note_does_not_end_it() -> None:
    later = replace(NOTED, id="2", time=NOW, text="second", until=None)
    assert shown(noted(), NOTED, later).is_known
    over = replace(NOTED, id="3", time=NOW, text="third", count=2)
    assert not shown(noted(), NOTED, over).is_known


@given(
    st.lists(st.sampled_from(TITLES), min_size=1, unique=True),
    st.lists(st.tuples(st.sampled_from(TITLES), st.sampled_from([*Severity]), st.integers(0, 40), st.integers(-5, 5))),
)
def test_an_acknowledged_finding_is_always_in_the_result(
    titles: list[str], written: list[tuple[str, Any, int, int]]
) -> None:
    """Each view has each finding and the number of known ones; verdict and rows are those without notes."""
    findings = [finding(title) for title in titles]
    notes = [
        replace(NOTED, finding=fingerprint_of("retry_storm", title.split()[1]), about=finding(title).about, **values)
        for title, severity, count, hours in written
        for values in [{"severity": severity.value, "count": count, "until": NOW + timedelta(hours=hours)}]
    ]
    plain, result = diagnosed(findings, []), diagnosed(findings, notes)
    known = int(result.findings["known"].sum())
    assert list(result.findings["title"]) == titles
    assert (result.verdict, result.worst) == (plain.verdict, plain.worst)
    assert (f"{known} known" in result.summary) == bool(known)
    for text in (str(result), result._repr_html_()):
        assert all(title in text for title in titles)
        assert text.count("known until 03:20 UTC (mara)") <= len(titles)
        assert all(row["note"] in text for row in result.findings.to_dict("records") if row["known"])


def test_a_note_is_written_to_a_file_of_its_owner_also_if_the_cluster_does_not_respond(lab: rl.Lab) -> None:
    written = rl.note(lab, "  INC-42: called the provider ")
    frame = rl.audit_log(lab.transport.audit.folder, notes=True)
    (row,) = frame.to_dict("records")
    assert (row["text"], row["address"]) == ("INC-42: called the provider", lab.address)
    assert pd.isna(row["until"])
    assert row["finding"] is None
    assert row["time"] == written.time
    (file,) = (lab.transport.audit.folder / "notes").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert rl.audit_log(lab.transport.audit.folder).empty
    assert "Notes are those of this user on this machine" in str(written)


def test_run_all_writes_no_second_note_and_says_when_a_new_text_is_needed(lab: rl.Lab) -> None:
    row = row_of()
    first = rl.note(lab, "INC-42", finding=row, until="2h")
    again = rl.note(lab, "INC-42", finding=row, until="2h")
    assert (first.is_new, again.is_new, again.ended) == (True, False, "")
    assert again.until == first.until
    assert "was not written again" in str(again)
    worse = rl.note(lab, "INC-42", finding=row_of(count=30), until="2h")
    assert worse.ended == "30 now, 15 when it was noted"
    assert "use another text" in worse._repr_html_()
    grown = rl.note(lab, "INC-42", finding=row_of(affected=30), until="2h")
    assert grown.ended == "30 affected now, 15 when it was noted"
    for text, found in (("INC-42, again", row), ("INC-42", row_of(TITLES[1])), ("INC-42", None)):
        assert rl.note(lab, text, finding=found).is_new
    assert len(read_notes(lab.transport.audit.folder).notes) == 4


def test_a_later_end_extends_an_acknowledgement_and_keeps_its_limits(lab: rl.Lab) -> None:
    """The count of the first note stays the limit, so that no series of extensions silences a growing problem."""
    first = rl.note(lab, "INC-42", finding=row_of(), until="1h")
    later = rl.note(lab, "INC-42", finding=row_of(count=29), until="3h")
    assert (later.is_new, later.count, later.ended) == (True, 15, "")
    assert later.until is not None
    assert first.until is not None
    assert later.until - first.until > timedelta(hours=1)
    shorter = rl.note(lab, "INC-42", finding=row_of(), until="2h")
    assert (shorter.is_new, shorter.until) == (False, later.until)
    worse = rl.note(lab, "INC-42", finding=row_of(count=30), until="4h")
    assert (worse.is_new, worse.ended) == (False, "30 now, 15 when it was noted")
    elsewhere = row_of(count=30)
    elsewhere.attrs["cluster"] = json.dumps(ELSEWHERE.to_json())
    assert rl.note(lab, "INC-42", finding=elsewhere, until="4h").is_new
    assert [each.cluster for each in read_notes(lab.transport.audit.folder).notes] == [HERE, HERE, ELSEWHERE]


def test_an_acknowledgement_that_could_not_recognize_its_cluster_is_refused(
    lab: rl.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads_give_up_after(0, monkeypatch)
    with pytest.raises(rl.errors.Unreachable):
        rl.note(lab, "x", finding=row_of().iloc[0].to_dict(), until="2h")
    empty = row_of()
    empty.attrs["cluster"] = "[]"
    with pytest.raises(ArgumentError, match=r"would not hold for 127\.0\.0\.1:9, so nothing was noted"):
        rl.note(lab, "x", finding=empty, until="2h")
    assert not lab.transport.audit.folder.exists()
    assert rl.note(lab, "x", finding=empty).is_new


def test_a_row_of_findings_is_accepted_in_each_form(lab: rl.Lab) -> None:
    findings = diagnosed([finding(title) for title in TITLES], []).findings
    findings.attrs["source"] = lab.name
    forms = (findings.loc[0], findings.loc[[0]])
    notes = [rl.note(lab, f"form {at}", finding=form, until="1h") for at, form in enumerate(forms)]
    notes.append(rl.note(lab, "form 2", finding=findings.loc[0].to_dict()))
    assert {(each.finding, each.title, each.severity, each.count) for each in notes} == {
        (findings["fingerprint"][0], TITLES[0], "warning", 15)
    }


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "a note needs a text"),
        ("  ", {}, "a note needs a text"),
        (7, {}, "text must be a text; got an int"),
        ("x" * (LONGEST + 1), {}, "2,001 characters; it can have at most 2,000"),
        ("x", {"until": "2h"}, "needs a finding"),
        ("x", {"finding": row_of(), "until": "0s"}, "it must be ahead"),
        ("x", {"finding": row_of(), "until": "32d"}, "at most 31 days"),
        ("x", {"finding": row_of(), "until": "tomorrow"}, "until is 'tomorrow'"),
        ("x", {"finding": "retry_storm", "until": "2h"}, "'retry_storm' is not a fingerprint"),
        ("x", {"finding": 3}, "finding must be a row of diagnosis.findings"),
        ("x", {"finding": {"title": "t"}}, "finding must be a row of diagnosis.findings"),
        ("x", {"finding": row_of(fingerprint="../../x")}, "finding must be a row of diagnosis.findings"),
        ("x", {"finding": pd.concat([row_of(), row_of()])}, "finding has 2 rows"),
    ],
)
def test_a_wrong_note_is_refused_and_nothing_is_written(
    lab: rl.Lab, text: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArgumentError, match=message):
        rl.note(lab, text, **options)
    assert not lab.transport.audit.folder.exists()


def test_a_source_that_is_not_live_has_no_notes() -> None:
    with pytest.raises(ArgumentError, match=r"note needs a live cluster, from connect\(\)"):
        rl.note(SampleRows(), "x")
    assert rl.doctor(SampleRows()).findings["note"].tolist() == [""] * len(rl.doctor(SampleRows()).findings)


def test_a_finding_of_another_cluster_is_refused(lab: rl.Lab) -> None:
    with pytest.raises(ArgumentError, match="the finding is of prod, but this is"):
        rl.note(lab, "x", finding=diagnosed([finding(TITLES[0])], []).findings)


def test_a_password_in_a_title_is_not_written(lab: rl.Lab) -> None:
    rl.note(lab, "x", finding=row_of(title="https://bob:hunter2@pay.example cannot be reached"))
    (file,) = (lab.transport.audit.folder / "notes").iterdir()
    assert "hunter2" not in file.read_text("utf-8")


def test_files_of_other_users_and_broken_lines_do_not_hide_anything(
    lab: rl.Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A damaged line is reported; a file of another user acknowledges nothing and is not reported."""
    folder = lab.transport.audit.folder
    rl.note(lab, "own")
    (file,) = (folder / "notes").iterdir()
    file.write_bytes(file.read_bytes() + b'{"kind": "note", "te')
    found = read_notes(folder)
    assert ([each.text for each in found.notes], list(found.unreadable)) == (["own"], [f"{file.name}:2"])
    with pytest.warns(rl.errors.Truncated, match="1 unreadable line"):
        rl.audit_log(folder, notes=True)
    monkeypatch.setattr(os, "getuid", lambda: file.stat().st_uid + 1)
    assert read_notes(folder).notes == read_notes(folder).unreadable == []


def test_an_entry_that_is_no_file_is_reported_and_hides_no_other(lab: rl.Lab, tmp_path: Path) -> None:
    """An open editor makes a link that leads nowhere; a link is not followed, because a pipe would never end."""
    folder = lab.transport.audit.folder
    rl.note(lab, "own")
    (file,) = (folder / "notes").iterdir()
    (tmp_path / "copy").write_bytes(file.read_bytes())
    makers: dict[str, Callable[[Path], object]] = {
        ".#dangling.jsonl": lambda path: path.symlink_to("nothing"),
        "loop.jsonl": lambda path: path.symlink_to(path.name),
        "linked.jsonl": lambda path: path.symlink_to(tmp_path / "copy"),
        "pipe.jsonl": os.mkfifo,
        "folder.jsonl": Path.mkdir,
    }
    for name, make in makers.items():
        make(folder / "notes" / name)
    (folder / "notes" / "gone.txt").symlink_to("nothing")
    found = read_notes(folder)
    assert [each.text for each in found.notes] == ["own"]
    assert sorted(found.unreadable) == sorted(f"{name} (not a file)" for name in makers)


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a folder")
    assert list(read_notes(tmp_path).unreadable) == ["the folder notes (Not a directory)"]
    assert read_notes(tmp_path / "none").unreadable == []


def test_a_finding_of_several_services_is_about_each_of_them() -> None:
    """The subject of such a finding is empty, so a note about one service would be one about its neighbors."""
    calls = {"evidence": ask_call("overview"), "suggested": ()}
    subject = Subject("", ("Orders", "Payments"))
    found = Finding(severity=Severity.WARNING, title="late", where="", count=1, ids=(), subject=subject, **calls)
    assert found.about == (("Orders",), ("Payments",))


@pytest.mark.parametrize(
    ("messages", "kinds"),
    [
        (["order 105 failed", "[500] order 106 failed\nat line 3"], ["order # failed"]),
        (["got status 401", "got status 503"], ["got status 401", "got status 503"]),
        (["no “Oslo”", "no “Rome”"], ["no “…”"]),
        (["https://bob:hunter2@pay.example is down"], ["https://•••@pay.example is down"]),
        ([f"no {name}" for name in "abcdef"], [None]),
        ([], []),
    ],
)
def test_a_kind_of_message_does_not_depend_on_other_messages(messages: list[str], kinds: list[str | None]) -> None:
    """With more than five kinds, only the cause is left."""
    expected = tuple(("A", "run") if kind is None else ("A", "run", kind) for kind in kinds)
    assert cause_paths(("A", "run"), messages) == expected


def test_a_cluster_with_a_thousand_deployments_is_recognized_by_a_few() -> None:
    rows = [{"id": f"dp_{number}", "created_at": NOW + timedelta(minutes=number)} for number in range(1_000)]
    stored = ClusterIdentity.of(rows).to_json()
    assert len(stored) == 50
    then = ClusterIdentity.from_json(stored)
    for left, is_same in ((rows, True), (rows[:1], True), (rows[-1:], True), (rows[100:200], False)):
        assert (why_not_same(then, ClusterIdentity.of(left)) == "") == is_same
    for damaged in (7, "x", [["dp_1"]], [[1, 2]], [{}]):
        with pytest.raises(TypeError):
            ClusterIdentity.from_json(damaged)
