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
from restate_lab.analysis.questions.catalog import parse_variant
from restate_lab.analysis.suggestions import ask_call, plan_call, why_call

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


def made(*findings: Finding, not_checked: tuple[CheckGap, ...] = ()) -> Diagnosis:
    return build_diagnosis(
        source="prod",
        version="1.7.12",
        at=NOW,
        seconds=0.5,
        findings=findings,
        checked=[CheckRun("paused", "paused invocations", 0, 1, 0.1, 0)],
        not_checked=not_checked,
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
def test_messages_of_one_kind_become_equal(message: str, kind: str) -> None:
    """Ids, numbers and quoted text are removed, codes and other text stay."""
    assert normalize(message) == kind


def test_one_word_more_is_another_kind() -> None:
    """Messages that differ in one term stay apart, and are counted."""
    assert (
        summarize_messages(["no bed 4 free", "no bed 5 free", "no cot 4 free"])
        == "2 × no bed # free; 1 × no cot 4 free"
    )


def test_what_all_of_them_say_is_shown_as_it_is() -> None:
    """Only if messages differ do "#" and "…" replace the different parts."""
    assert summarize_messages(["KeyError('K99')"] * 3) == "KeyError('K99')"
    assert summarize_messages(["KeyError('K99')", "KeyError('K17')"]) == "KeyError(“…”)"


def test_long_lists_of_ids_are_those_of_the_finding() -> None:
    """A few ids are in the suggested code; more are taken from the finding's row."""
    many = tuple(f"inv_{n}" for n in range(4))
    told = made(finding(title="few"), finding(title="many", ids=many, suggested=(plan_call("resume", many),)))
    (row,) = told.findings[told.findings["title"] == "many"].to_dict("records")
    at = list(told.findings["title"]).index("many")
    assert row["suggested_code"] == f'rl.plan(lab, "resume", diagnosis.findings.ids[{at}])'
    assert "diagnosis is this result" in str(told)


def test_rank_is_severity_then_who_suffers_then_age() -> None:
    """The worst is first."""
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


def test_a_long_title_is_cut() -> None:
    """A key that is a sentence does not make the title long."""
    assert finding(title=" ".join(["word"] * 25)).title == " ".join(["word"] * 25)
    assert finding(title=" ".join(["word"] * 26)).title == " ".join(["word"] * 25) + "…"


def test_verdict() -> None:
    """A gap in the checks decides, unless it does not apply; otherwise the worst finding, which is always shown too."""
    gone = CheckGap("paused", "paused ones", "took too long", applies=True)
    alien = replace(gone, applies=False)
    worst, bad, known = finding(Severity.CRITICAL), finding(), finding(Severity.NOTE)
    for findings, not_checked, verdict, severity in (
        ((worst, bad), (), "critical", "critical"),
        ((worst, bad), (gone,), "incomplete", "critical"),
        ((worst,), (alien,), "critical", "critical"),
        ((bad, known), (), "warning", "warning"),
        ((bad, known), (gone,), "incomplete", "warning"),
        ((known,), (gone,), "incomplete", "note"),
        ((known,), (alien,), "healthy", "note"),
        ((), (), "healthy", None),
    ):
        told = made(*findings, not_checked=not_checked)
        assert (told.verdict, told.worst) == (verdict, severity)
        assert told.findings.attrs["verdict"] == verdict


def test_headline_says_both() -> None:
    """An incomplete diagnosis has its worst finding beside the verdict, in repr, text and card."""
    gone = CheckGap("paused", "paused ones", "took too long", applies=True)
    told = made(finding(Severity.CRITICAL), finding(Severity.CRITICAL), not_checked=(gone,))
    for text in (repr(told), str(told), told._repr_html_()):
        assert "incomplete · 2 critical · 1 not checked" in text


def test_card_and_text_hold_everything_and_escape_it() -> None:
    """Text from the cluster is escaped; the code to paste is there; checks that did not run are listed, too."""
    gone = CheckGap("deadlocks", "circles", HOSTILE, applies=True)
    worst = finding(Severity.CRITICAL, title=HOSTILE, details=HOSTILE, suggested=(why_call(HOSTILE),))
    told = made(worst, not_checked=(gone,))
    card = told._repr_html_()
    assert "<script" not in card
    assert card.count("&lt;script&gt;alert(1)") == 4
    assert "critical" in card
    assert "not checked" in card
    text = str(told)
    assert HOSTILE in text
    assert f"next: {told.findings['suggested_code'][0]}\n" in text
    assert 'rows: rl.ask(lab, "overview")' in text
    assert "NOT CHECKED" in text


def test_repr_is_one_line() -> None:
    """A repr names the cluster and the findings."""
    assert repr(made(finding())) == ("<Diagnosis of prod, restate 1.7.12, 2026-11-25 03:00:00 UTC: 1 warning>")


def test_a_terminal_shows_the_findings() -> None:
    """IPython, and a notebook that is executed in a terminal, print the same as print()."""
    assert pretty(made(finding())) == str(made(finding()))


def test_frames_keep_their_columns_without_rows() -> None:
    """Filtering an empty diagnosis raises no KeyError."""
    frame = made().findings
    assert list(frame.columns)[:5] == ["severity", "check", "title", "details", "since"]
    assert str(frame["since"].dtype) == "datetime64[ms, UTC]"


def test_every_check_says_what_it_looks_at() -> None:
    """Names are unique, costs order them, and each has a sentence."""
    costs = [check.cost for check in CHECKS.values()]
    assert costs == sorted(costs)
    assert all(check.description and check.description[0].islower() for check in CHECKS.values())


def test_every_statement_of_a_check_says_what_it_needs() -> None:
    """The files of the checks have the same heads as the named questions."""
    folder = files("restate_lab.analysis").joinpath("doctor", "sql")
    variants = [parse_variant(each.name, each.read_text("utf-8")) for each in folder.iterdir()]
    assert len(variants) > 10
    for variant in variants:
        assert variant.cost in {"point", "scan"}, variant.file
        assert variant.needs
        assert all(f":{each.name}" in variant.sql for each in variant.parameters), variant.file


def test_every_threshold_can_be_given() -> None:
    """Each threshold takes a value of its type."""
    for each in fields(Thresholds):
        usual = getattr(Thresholds(), each.name)
        value = "5m" if isinstance(usual, timedelta) else type(usual)(7)
        assert getattr(thresholds_of({each.name: value}), each.name) in {timedelta(minutes=5), 7}
