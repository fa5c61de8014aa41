"""The implementation of the commands ``doctor``, ``why`` and ``agents``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._text import format_age
from restate_lab.analysis.agents import agent_runs, conversation
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import footer_of, gap_reasons, lines_of, title_of
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.analysis.why import why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.cli._errors import ERROR, warn
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, write_frame
from restate_lab.cli._page import STATUS_STYLES, Part, TextPage
from restate_lab.cli._sources import open_source
from restate_lab.cli.shell_code import SourceOptions, code_for
from restate_lab.export.results import conversation_json, diagnosis_json, explanation_json

__all__ = ["run_agents", "run_conversation", "run_doctor", "run_why"]

CRITICAL, INCOMPLETE = 3, 4
SEVERITY_STYLES: Mapping[str, str] = MappingProxyType(
    {"critical": "red", "warning": "yellow", "note": "dim", "incomplete": "yellow", "healthy": "green"}
)


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


def run_why(invocation: str, *, timeout: float, cluster: str | None, evidence: Path | None, as_json: bool) -> int:
    """Print why an invocation does not continue, and return the exit code."""
    with open_source(cluster, evidence) as source:
        explanation = why(source, invocation, timeout=timeout)
    if as_json:
        print_json(explanation_json(explanation))
    elif explanation.status is None:
        warn(str(explanation))
    else:
        print_explanation(explanation, SourceOptions(cluster, evidence), TextPage())
    return 0 if explanation.status is not None else ERROR


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


def run_agents(
    *,
    service: str | None,
    since: str,
    timeout: float | None,
    cluster: str | None,
    evidence: Path | None,
    form: OutputFormat,
) -> None:
    """Print the runs of agents, or write them with all columns in the requested format."""
    with open_source(cluster, evidence) as source:
        runs = agent_runs(source, service=service, since=since, timeout=timeout)
    if runs.attrs["cost_note"]:
        warn(runs.attrs["cost_note"])
    write_frame(_short(runs) if form.is_table else runs, form, about=f"since {since}, {runs.attrs['source']}")


def run_conversation(
    invocation: str, *, timeout: float | None, cluster: str | None, evidence: Path | None, form: OutputFormat
) -> None:
    """Print a conversation, or write its turns in the requested format."""
    with open_source(cluster, evidence) as source:
        result = conversation(source, invocation, timeout=timeout)
    if form.is_table:
        TextPage().lines(str(result))
    elif form.kind == "json":
        print_json(conversation_json(result))
    else:
        write_frame(result.frame(), form)


def _short(runs: pd.DataFrame) -> pd.DataFrame:
    """Return the columns that fit a terminal."""
    columns = ["id", "status", "models", "model_calls", "tool_calls", "retries", "cost"]
    short = runs[columns].copy()
    short.insert(1, "handler", runs["service"] + "/" + runs["handler"])
    short.insert(6, "tokens", runs[["input_tokens", "output_tokens"]].sum(axis="columns", min_count=1))
    return short
