"""The parts of the doctor that need no rows: messages, ranks, text, the card."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest
from IPython.lib.pretty import pretty

from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.diagnosis import CheckGap, CheckRun, Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Blocked, Finding, Severity, rank_findings
from restate_lab.analysis.doctor.thresholds import Thresholds, thresholds_of
from restate_lab.analysis.patterns import normalize, summarize_messages
from restate_lab.analysis.questions.catalog import parse_question
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call
from restate_lab.cli.shell_code import SourceOptions, writer
from restate_lab.document.text import TextLayout

NOW = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> & \"quotes\" 'too'"


def finding(severity: Severity = Severity.WARNING, **values: object) -> Finding:
    usual = Finding(
        severity=severity,
        title="something",
        where="Svc/run",
        count=1,
        ids=("inv_1",),
        evidence=ask_call("overview"),
        suggested=(why_call("inv_1"),),
        check="retry_storm",
    )
    return replace(usual, **values)  # type: ignore[arg-type]


def made(*findings: Finding, gaps: tuple[CheckGap, ...] = ()) -> Diagnosis:
    return build_diagnosis(
        source="prod",
        version="1.7.12",
        at=NOW,
        seconds=0.5,
        findings=findings,
        checked=[CheckRun("paused", "paused invocations", 0, 1, 0.1, 0)],
        gaps=gaps,
        skipped=0,
    )


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("[402] card declined (order ord-17, request req_0a1b2c3d)", "card declined (order ord-#, request req_#)"),
        ("HTTP 503 from shard 12 after 10.5 s", "HTTP 503 from shard # after # s"),
        ("bed ward-417 of case_208 is shut", "bed ward-# of case_# is shut"),
        ("no user 'bob' in “crew”", "no user “…” in “…”"),
        ("AC04: account NL91ABNA0417164300 closed", "AC04: account # closed"),
        ("10.0.0.7:8080 refused inv_1aBcDeFgHiJkLmNoPqRsTuVwXyZ012345 ", "# refused #"),
        ("f47ac10b-58cc-4372-a567-0e02b2c3d479 is gone\nsecond line", "# is gone"),
        ("Die Probe 7 für Zimmer 12 fehlt", "Die Probe # für Zimmer # fehlt"),
        ("KeyError('ward')", "KeyError(“…”)"),
        ("it's not the user's fault", "it's not the user's fault"),
        ("", ""),
    ],
)
def test_ids_numbers_and_quoted_text_are_removed_from_messages_and_codes_stay(message: str, kind: str) -> None:
    assert normalize(message) == kind


def test_messages_that_differ_in_one_term_are_counted_separately() -> None:
    assert (
        summarize_messages(["no bed 4 free", "no bed 5 free", "no cot 4 free"])
        == "2 × no bed # free; 1 × no cot 4 free"
    )


def test_a_message_has_placeholders_only_if_the_messages_differ() -> None:
    assert summarize_messages(["KeyError('K99')"] * 3) == "KeyError('K99')"
    assert summarize_messages(["KeyError('K99')", "KeyError('K17')"]) == "KeyError(“…”)"


def test_more_than_a_few_ids_are_taken_from_the_row_of_the_finding() -> None:
    many = tuple(f"inv_{n}" for n in range(4))
    told = made(finding(title="few"), finding(title="many", ids=many, suggested=(plan_call("resume", many),)))
    (row,) = told.findings[told.findings["title"] == "many"].to_dict("records")
    at = list(told.findings["title"]).index("many")
    assert row["suggested_code"] == f'rl.plan(lab, "resume", diagnosis.findings.ids[{at}])'
    assert "diagnosis is this result" in str(told)
    in_a_shell = TextLayout(writer(SourceOptions())).rows(told.document())
    assert not [row.plain for row in in_a_shell if "diagnosis" in row.plain]


def test_findings_are_ranked_by_severity_then_affected_then_age() -> None:
    old, new = NOW - timedelta(hours=1), NOW
    order = (
        finding(Severity.CRITICAL, title="many", count=2, blocked=Blocked(("a",), 7)),
        finding(Severity.CRITICAL, title="few", count=3),
        finding(Severity.WARNING, title="old", since=old),
        finding(Severity.WARNING, title="new", since=new),
        finding(Severity.WARNING, title="unknown age"),
        finding(Severity.NOTE, title="note", count=1000),
    )
    assert rank_findings(reversed(order)) == order


def test_a_title_with_a_very_long_key_is_cut() -> None:
    assert finding(title=" ".join(["word"] * 25)).title == " ".join(["word"] * 25)
    assert finding(title=" ".join(["word"] * 26)).title == " ".join(["word"] * 25) + "…"


def test_a_gap_that_applies_makes_the_verdict_incomplete_and_otherwise_the_worst_finding_decides() -> None:
    gone = CheckGap("paused", "took too long", "paused ones", applies=True)
    alien = replace(gone, applies=False)
    worst, bad, known = finding(Severity.CRITICAL), finding(), finding(Severity.NOTE)
    for findings, gaps, verdict, severity in (
        ((worst, bad), (), "critical", "critical"),
        ((worst, bad), (gone,), "incomplete", "critical"),
        ((worst,), (alien,), "critical", "critical"),
        ((bad, known), (), "warning", "warning"),
        ((bad, known), (gone,), "incomplete", "warning"),
        ((known,), (gone,), "incomplete", "note"),
        ((known,), (alien,), "healthy", "note"),
        ((), (), "healthy", None),
    ):
        told = made(*findings, gaps=gaps)
        assert (told.verdict, told.worst) == (verdict, severity)
        assert told.findings.attrs["verdict"] == verdict


def test_an_incomplete_diagnosis_shows_its_worst_finding_and_its_verdict() -> None:
    gone = CheckGap("paused", "took too long", "paused ones", applies=True)
    told = made(finding(Severity.CRITICAL), finding(Severity.CRITICAL), gaps=(gone,))
    for text in (repr(told), str(told), told._repr_html_()):
        assert "incomplete · 2 critical · 1 not checked" in text


def test_card_and_text_have_all_findings_code_and_gaps_and_escape_texts_of_the_cluster() -> None:
    gone = CheckGap("deadlocks", HOSTILE, "circles", applies=True)
    worst = finding(Severity.CRITICAL, title=HOSTILE, details=HOSTILE, suggested=(why_call(HOSTILE),))
    told = made(worst, gaps=(gone,))
    card = told._repr_html_()
    assert "<script" not in card
    assert card.count("&lt;script&gt;alert(1)") == 4
    assert "critical" in card
    assert "not checked" in card
    text = str(told)
    assert HOSTILE in text
    assert f"next: {told.findings['suggested_code'][0]}\n" in text
    assert 'rows: rl.ask(lab, "overview")' in text
    assert "Not checked: deadlocks" in text


def test_the_card_shows_five_findings_and_folds_the_others_behind_their_number() -> None:
    critical = [finding(Severity.CRITICAL, title=f"critical {number}") for number in range(6)]
    warnings = [finding(Severity.WARNING, title=f"warning {number}") for number in range(2)]
    card = made(*critical, *warnings)._repr_html_()
    shown, folded = card.split("3 more: 1 critical, 2 warnings</summary>")
    assert [number for number in range(6) if f"critical {number}" in shown] == [0, 1, 2, 3, 4]
    assert all(text in folded for text in ("critical 5", "warning 0", "warning 1"))
    assert " more: " not in made(*critical[:5])._repr_html_()


def test_the_repr_of_a_diagnosis_is_one_line_with_cluster_and_findings() -> None:
    assert repr(made(finding())) == ("<Diagnosis of prod, restate 1.7.12, 2026-11-25 03:00:00 UTC: 1 warning>")


def test_ipython_in_a_terminal_prints_the_same_as_print() -> None:
    assert pretty(made(finding())) == str(made(finding()))


def test_an_empty_diagnosis_can_be_filtered_by_its_columns() -> None:
    frame = made().findings
    assert list(frame.columns)[:6] == ["severity", "check", "title", "details", "shared", "since"]
    assert str(frame["since"].dtype) == "datetime64[ms, UTC]"


def test_checks_have_unique_names_a_description_and_are_ordered_by_cost() -> None:
    costs = [check.cost for check in CHECKS.values()]
    assert costs == sorted(costs)
    assert all(check.description and check.description[0].islower() for check in CHECKS.values())


def test_statements_of_checks_have_the_same_head_as_questions() -> None:
    folder = files("restate_lab.analysis").joinpath("doctor", "sql")
    statements = [parse_question(each.name, each.read_text("utf-8")) for each in folder.iterdir()]
    assert len(statements) > 10
    for each in statements:
        assert each.cost in {"point", "scan"}, each.name
        assert each.needs
        assert all(f":{parameter.name}" in each.sql for parameter in each.parameters), each.name


def test_each_threshold_accepts_a_value_of_its_type() -> None:
    for each in fields(Thresholds):
        usual = getattr(Thresholds(), each.name)
        value = "5m" if isinstance(usual, timedelta) else type(usual)(7)
        assert getattr(thresholds_of({each.name: value}), each.name) in {timedelta(minutes=5), 7}
