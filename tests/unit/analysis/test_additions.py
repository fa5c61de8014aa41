"""What the doctor adds to a finding: what its invocations share, its backlog and its deletion; none is a check."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor import Diagnosis, additions, diagnose as run_doctor, doctor
from restate_lab.analysis.doctor.additions import add_to_findings
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.doctor.thresholds import Thresholds
from restate_lab.analysis.draining.model import Group
from restate_lab.analysis.suggestions import ask_call
from restate_lab.cli._exit_codes import doctor_exit_code
from restate_lab.errors import QueryRefused
from restate_lab.reads import Reads
from restate_lab.source import SourceWrapper
from support.backlog_rows import backlog
from support.compared_rows import CALLER, charge, charges
from support.sample_rows import NOW, LiveRows, SampleRows, sample_id


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow more time than a busy machine needs."""
    monkeypatch.setattr(additions, "_FLOOR", 600.0)


def source_of(failing: int, *, caller: str | None = CALLER) -> SampleRows:
    return SampleRows(sys_invocation_status=charges(failing, caller=caller))


def finding_of(diagnosis: Diagnosis) -> dict[Any, Any]:
    (row,) = diagnosis.findings[diagnosis.findings["check"] == "terminal_failures"].to_dict("records")
    return dict(row)


class Refusing(SourceWrapper):
    """Refuses all statements that compare invocations."""

    def stream(self, statement: str, /, **options: Any) -> AbstractContextManager[pa.RecordBatchReader]:
        if "md5(id)" in statement:
            raise QueryRefused("refused on purpose", status=400)
        return super().stream(statement, **options)


def test_a_finding_ends_with_what_distinguishes_its_invocations() -> None:
    diagnosis = doctor(source_of(25))
    row = finding_of(diagnosis)
    assert row["shared"].startswith("All 25 failing")
    assert CALLER in row["shared"]
    assert row["shared"] in str(diagnosis).replace("\n", " ")
    assert "All 25 failing" in diagnosis._repr_html_()


def test_a_difference_from_few_healthy_ones_is_added_as_a_clue() -> None:
    rows = charges(25, caller=CALLER)
    failing = [row for row in rows if row.get("completion_failure")]
    healthy = [row for row in rows if not row.get("completion_failure")][:20]
    shared = finding_of(doctor(SampleRows(sys_invocation_status=[*failing, *healthy])))["shared"]
    assert shared.startswith("Too few healthy ones (20) for a conclusion. All 25 failing were called by")


def test_nothing_is_added_if_nothing_distinguishes_them() -> None:
    assert finding_of(doctor(source_of(25, caller=None)))["shared"] == ""


def test_a_small_finding_is_not_compared() -> None:
    source = source_of(additions.LEAST - 1)
    assert finding_of(doctor(source))["shared"] == ""
    assert [each for each in source.asked if "md5" in each] == []


@pytest.mark.parametrize("seconds", [0.0, None], ids=["no time", "refused"])
def test_a_comparison_that_does_not_run_changes_nothing_but_its_own_line(
    seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = doctor(source_of(25))
    source: Any = source_of(25)
    if seconds is None:
        source = Refusing(source)
    else:
        monkeypatch.setattr(additions, "_FLOOR", 0.0)
        monkeypatch.setattr(additions, "_COUNTS", 0)
    diagnosis = doctor(source)
    reason = "refused on purpose" if seconds is None else "no time was left"
    assert finding_of(diagnosis)["shared"] == f"Not compared with healthy invocations: {reason}."
    assert (diagnosis.verdict, diagnosis.subjects) == (whole.verdict, whole.subjects)
    assert list(diagnosis.not_read["part"]) == list(whole.not_read["part"])
    assert list(diagnosis.checked["check"]) == list(whole.checked["check"])
    codes = {doctor_exit_code(each, strict=True) for each in (whole, diagnosis)}
    assert len(codes) == 1


def test_only_wanted_findings_are_compared() -> None:
    source = source_of(25)
    diagnosis = run_doctor(source, timeout="1m", is_wanted=lambda finding, _: finding.check != "terminal_failures")
    assert finding_of(diagnosis)["shared"] == ""
    assert [each for each in source.asked if "md5" in each] == []


def test_the_comparison_reads_no_journal_and_shows_no_key() -> None:
    key = "canary-4711"
    rows = [{**charge(2 * at, failed=True), "target_service_key": f"{key}-{at}"} for at in range(25)]
    rows += [{**charge(2 * at + 1, failed=False), "target_service_key": f"other-{at}"} for at in range(25)]
    source = SampleRows(sys_invocation_status=rows)
    diagnosis = doctor(source, checks="terminal_failures")
    assert finding_of(diagnosis)["shared"] != ""
    assert key not in str(diagnosis) + diagnosis._repr_html_() + diagnosis.findings.to_csv()
    assert [each for each in source.asked if "sys_journal " in each or "sys_journal\n" in each] == []


def test_a_window_of_more_than_one_finding_has_one_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each comparison gets the time that those before it have left."""
    limits: list[float] = []

    def note(source: Any, failing: Any, /, *, timeout: float, **options: Any) -> Any:
        limits.append(timeout)
        return compare_sides(source, failing, timeout=timeout, **options)

    monkeypatch.setattr(additions, "compare_sides", note)
    rows = charges(25)
    other = [{**row, "target_service_name": "Orders", "id": sample_id(500 + at)} for at, row in enumerate(rows)]
    doctor(SampleRows(sys_invocation_status=[*rows, *other]))
    assert len(limits) == 2
    assert limits == sorted(limits, reverse=True)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (
            backlog(90, ended=10),
            "The backlog of Svc, 90 waiting, is draining: empty in 9m at this rate; 0.0 arrive and 10.0 end a minute.",
        ),
        (
            backlog(200, ended=2, begun=3),
            "The backlog of Svc, 200 waiting, is growing: 3.0 arrive and 2.0 end a minute.",
        ),
        (backlog(200, ended=0), "The backlog of Svc, 200 waiting, is standing still: 0.0 arrive and 0.0 end a minute."),
    ],
    ids=["drains", "grows", "stuck"],
)
def test_a_finding_about_waiting_calls_has_a_sentence_about_their_backlog_wherever_it_is_shown(
    rows: list[dict[str, Any]], sentence: str
) -> None:
    source = LiveRows(sys_invocation_status=rows)
    diagnosis = doctor(source, checks="backlog")
    (row,) = diagnosis.findings.to_dict("records")
    assert row["draining"] == sentence
    assert row["draining"] in " ".join(str(diagnosis).split())
    assert row["draining"].split(":")[0] in diagnosis._repr_html_()
    plain = doctor(SampleRows(sys_invocation_status=rows), checks="backlog")
    assert plain.findings["draining"].tolist() == [""], "a source that is not live has no next minutes"
    assert (plain.verdict, plain.subjects) == (diagnosis.verdict, diagnosis.subjects)
    assert plain.findings["fingerprint"].tolist() == [row["fingerprint"]]
    ahead = doctor(source, checks="backlog", now=NOW + timedelta(hours=1))
    assert ahead.findings["draining"].tolist() == [""]


def test_one_answer_is_read_for_all_findings_and_its_failure_is_only_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = backlog(30, ended=1, service="A") + backlog(30, ended=1, service="B")
    source = LiveRows(sys_invocation_status=rows, sys_service=[{"name": "A"}, {"name": "B"}])
    context = CheckContext(Reads(source), Thresholds(), clock=NOW)
    finding = Finding(
        severity=Severity.NOTE, title="x", where="A", count=1, ids=(), evidence=ask_call("x"), suggested=()
    )
    findings = [replace(finding, backlogs=(Group(name),)) for name in ("A", "B")]
    source.asked.clear()
    added = add_to_findings(findings, context, lambda *_: True)
    assert [each.draining.split(",")[0] for each in added] == ["The backlog of A", "The backlog of B"]
    assert len([each for each in source.asked if "AS stuck_arrivals" in each]) == 1
    monkeypatch.setattr(additions, "_FLOOR", 0.0)
    monkeypatch.setattr(additions, "_COUNTS", 0)
    none = add_to_findings(findings, context, lambda *_: True)
    assert [each.draining for each in none] == ["Not known whether the backlog drains: no time was left."] * 2


def test_a_finding_about_ended_invocations_has_the_time_at_which_the_next_one_is_deleted() -> None:
    rows = charges(25)
    rows[0] |= {"journal_retention": timedelta(minutes=10)}  # over, but the server removes once an hour
    rows[8] |= {"journal_retention": timedelta(hours=2)}
    diagnosis = doctor(LiveRows(sys_invocation_status=rows), checks="terminal_failures")
    row = finding_of(diagnosis)
    assert row["deleted_at"] == rows[8]["completed_at"] + timedelta(hours=2)
    text = f"The cluster deletes this evidence from {row['deleted_at']:%Y-%m-%d %H:%M:%S UTC} on."
    assert text in " ".join(str(diagnosis).split())
    assert text in diagnosis._repr_html_()
    frozen = finding_of(doctor(SampleRows(sys_invocation_status=rows), checks="terminal_failures"))
    assert frozen["deleted_at"] is pd.NaT, "a source that is not live deletes nothing"
    assert frozen["fingerprint"] == row["fingerprint"]
