"""Notes: what is written, when an acknowledgement ends, and that an acknowledged finding never vanishes."""

from __future__ import annotations

import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st

import restate_lab as rl
from restate_lab.analysis.doctor.diagnosis import Diagnosis, build_diagnosis, with_notes
from restate_lab.analysis.doctor.known import note_about
from restate_lab.analysis.doctor.model import Finding, Severity, fingerprint_of
from restate_lab.analysis.suggestions import ask_call, why_call
from restate_lab.errors import ArgumentError
from restate_lab.notes import LONGEST, StoredNote, read_notes
from support.sample_rows import SampleRows

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
TITLES = (
    "15 Payments/charge retry",
    "2 Orders/place wait",
    "3 Returns/take_back differ",
    "1 Account/audit holds a key",
)
NOTED = StoredNote(
    id="1",
    time=NOW - timedelta(minutes=40),
    text="INC-42: provider is down",
    address="http://127.0.0.1:9070",
    user="mara",
    finding="06f07fc5ff48e7e7",
    severity="warning",
    count=15,
    until=NOW + timedelta(minutes=20),
)


def finding(title: str, severity: str = "warning", count: int = 15) -> Finding:
    calls = {"evidence": ask_call("overview"), "suggested": (why_call("inv_1"),)}
    where = title.split()[1]
    kind = Severity(severity)
    return Finding(severity=kind, title=title, where=where, count=count, ids=(), check="retry_storm", **calls)


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
    )
    return with_notes(plain, notes, NOW)


def row_of(title: str = TITLES[0], **values: Any) -> dict[str, Any]:
    return {**diagnosed([finding(title)], []).findings.iloc[0].to_dict(), **values}


@pytest.fixture
def lab(tmp_path: Path) -> rl.Lab:
    """Return a connection to a cluster that does not respond."""
    return rl.connect("127.0.0.1:9", check=False, audit=tmp_path / "audit")


@pytest.mark.parametrize(
    ("change", "severity", "count", "shown", "is_known"),
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
    change: dict[str, Any], severity: str, count: int, shown: str, is_known: bool
) -> None:
    found = note_about([replace(NOTED, **change)], severity, count, NOW)
    assert (found.text, found.is_known) == (shown.replace("…", NOTED.text), is_known)


def test_the_last_acknowledgement_decides_and_a_later_note_does_not_end_it() -> None:
    later = replace(NOTED, id="2", time=NOW, text="second", until=None)
    assert note_about([NOTED, later], "warning", 15, NOW).is_known
    over = replace(NOTED, id="3", time=NOW, text="third", count=2)
    assert not note_about([NOTED, over], "warning", 15, NOW).is_known


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(TITLES), min_size=1, unique=True),
    st.lists(st.tuples(st.sampled_from(TITLES), st.sampled_from([*Severity]), st.integers(0, 40), st.integers(-5, 5))),
)
def test_an_acknowledged_finding_is_always_in_the_result(
    titles: list[str], noted: list[tuple[str, Any, int, int]]
) -> None:
    """Each view has each finding and the number of known ones; verdict and rows are those without notes."""
    findings = [finding(title) for title in titles]
    notes = [
        replace(NOTED, finding=fingerprint_of("retry_storm", title.split()[1]), **values)
        for title, severity, count, hours in noted
        for values in [{"severity": severity.value, "count": count, "until": NOW + timedelta(hours=hours)}]
    ]
    plain, result = diagnosed(findings, []), diagnosed(findings, notes)
    known = int(result.findings["known"].sum())
    assert list(result.findings["title"]) == titles
    assert (result.verdict, result.worst) == (plain.verdict, plain.worst)
    assert (f"{known} known" in result.summary) == bool(known)
    for text in (result._text(), result._short_text(), result._repr_html_()):
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
    for text, found in (("INC-42, again", row), ("INC-42", row_of(TITLES[1])), ("INC-42", None)):
        assert rl.note(lab, text, finding=found).is_new
    assert len(read_notes(lab.transport.audit.folder).notes) == 4


def test_a_row_of_findings_is_accepted_in_each_form(lab: rl.Lab) -> None:
    findings = diagnosed([finding(title) for title in TITLES], []).findings
    findings.attrs["source"] = lab.name
    forms = (findings.loc[0], findings.loc[[0]], findings.loc[0].to_dict())
    noted = [rl.note(lab, f"form {at}", finding=form, until="1h") for at, form in enumerate(forms)]
    assert {(each.finding, each.title, each.severity, each.count) for each in noted} == {
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
        ("x", {"finding": pd.DataFrame([row_of(), row_of()])}, "finding has 2 rows"),
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


def test_a_folder_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("not a folder")
    assert list(read_notes(tmp_path).unreadable) == ["the folder notes (Not a directory)"]
    assert read_notes(tmp_path / "none").unreadable == []
