"""The implementation of the command ``doctor``, and an explanation as a page of text, for ``why``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from restate_lab._text import format_age
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import footer_of, gap_reasons, lines_of, title_of
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, write_frame
from restate_lab.cli._page import SEVERITY_STYLES, STATUS_STYLES, Part, TextPage
from restate_lab.cli._sources import open_source
from restate_lab.cli.shell_code import SourceOptions, code_for
from restate_lab.export.results import diagnosis_json

CRITICAL, INCOMPLETE = 3, 4


def run_doctor(
    checks: Iterable[str] | None,
    *,
    partitions: int | None,
    timeout: float,
    strict: bool,
    quiet: bool,
    cluster: str | None,
    evidence: Path | None,
    form: OutputFormat,
) -> int:
    """Print the findings of the doctor and return the exit code."""
    with open_source(cluster, evidence) as source:
        diagnosis = doctor(source, timeout=timeout, checks=checks, partitions=partitions)
    code = exit_code(diagnosis, strict=strict)
    if quiet and not code:
        return code
    if form.is_table:
        print_diagnosis(diagnosis, SourceOptions(cluster, evidence), TextPage())
    elif form.kind == "json":
        print_json(diagnosis_json(diagnosis))
    else:
        write_frame(diagnosis.findings, form)
    return code


def exit_code(diagnosis: Diagnosis, *, strict: bool) -> int:
    """Return 3 for a critical finding, 4 if some checks could not run, and otherwise 0."""
    bad = {"critical", "warning"} if strict else {"critical"}
    if set(diagnosis.findings["severity"]) & bad:
        return CRITICAL
    return INCOMPLETE if diagnosis.not_checked["applies"].any() else 0


def print_diagnosis(diagnosis: Diagnosis, target: SourceOptions, page: TextPage) -> None:
    """Print a diagnosis, worst finding first, with the totals before and after the findings."""
    page.paragraph(_totals(diagnosis))
    page.paragraph((f"{diagnosis.where}; {footer_of(diagnosis, ['-'])}", "dim"))
    for at, row in enumerate(diagnosis.findings.to_dict("records")):
        _print_finding(row, at, diagnosis, target, page)
    if reasons := gap_reasons(diagnosis):
        page.blank()
        page.paragraph(("NOT CHECKED", SEVERITY_STYLES["incomplete"]))
        for reason in reasons:
            page.paragraph(reason, first="  ")
    if diagnosis.verdict == "healthy":
        page.blank()
        page.paragraph(("CHECKED", SEVERITY_STYLES["healthy"]))
        for row in diagnosis.checked.to_dict("records"):
            page.paragraph(row["description"], first="  ")
    page.blank()
    page.paragraph(_totals(diagnosis))


def _totals(diagnosis: Diagnosis) -> Part:
    """Return the line with the totals, in the style of the worst finding."""
    return title_of(diagnosis), f"bold {SEVERITY_STYLES[diagnosis.worst or diagnosis.verdict]}"


def _print_finding(
    row: Mapping[Any, Any], at: int, diagnosis: Diagnosis, target: SourceOptions, page: TextPage
) -> None:
    severity, age = row["severity"], format_age(row["since"], diagnosis.at)
    page.blank()
    page.paragraph(
        (severity.upper(), SEVERITY_STYLES[severity]), (f" {row['check']}{f', for {age}' if age else ''}", "bold")
    )
    for line in lines_of(row):
        page.paragraph(line, first="  ")
    suggested, evidence = diagnosis.suggested_calls[at], diagnosis.evidence_calls[at]
    page.commands(code_for(suggested, row["suggested_code"], target), first="  next: ")
    page.commands(code_for([evidence], row["evidence_code"], target), first="  rows: ")


def print_explanation(explanation: Explanation, target: SourceOptions, page: TextPage) -> None:
    """Print an explanation: its facts, the chain to the root blocker, and the possible actions."""
    status = str(explanation.status)
    page.paragraph((str(explanation.target), "bold"), " is ", (status, f"bold {STATUS_STYLES.get(status, '')}"))
    page.paragraph((f"{explanation.id}; {explanation.where}", "dim"))
    page.blank()
    width = max((len(label) for label, _ in explanation.facts), default=0)
    for label, value in explanation.facts:
        page.paragraph(value, first=f"{label:<{width}}  ")
    chain = explanation.chain
    if len(chain) > 1:
        page.blank()
        page.paragraph(("From this invocation to the root blocker:", "bold"))
        for row in chain.to_dict("records"):
            _print_link(row, page)
    if explanation.suggested_calls:
        page.blank()
        page.paragraph(("Possible actions (the restate CLI asks before each change):", "bold"))
        for row, calls in zip(explanation.options.to_dict("records"), explanation.suggested_calls, strict=True):
            _print_option(row, calls, explanation, target, page)
    for each in explanation.excluded:
        page.paragraph((f"Incomplete: {each}.", "yellow"))


def _print_link(row: Mapping[Any, Any], page: TextPage) -> None:
    waits = " ".join(str(each) for each in (row["waits_for"], row["what"]) if each)
    status = str(row["status"])
    page.paragraph(
        f"{row['id']} {row['target']} is ",
        (status, STATUS_STYLES.get(status, "")),
        f": {waits}" if waits else "",
        first=f"{row['step']:>3}. ",
    )


def _print_option(
    row: Mapping[Any, Any],
    calls: Sequence[SuggestedCall],
    explanation: Explanation,
    target: SourceOptions,
    page: TextPage,
) -> None:
    about = "" if row["id"] == explanation.id else f" {row['target']}"
    page.paragraph((f"{row['action']}{about}", "bold"), f": {row['what']}", first="  ")
    if calls:
        page.commands(code_for(calls, row["code"], target), first="    ")
