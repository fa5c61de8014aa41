"""The work of the commands ``doctor`` and ``why``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import text_of
from restate_lab.analysis.why import why
from restate_lab.analysis.why.explanation import Explanation
from restate_lab.cli._errors import ERROR, warn
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, print_text, rows_of, write_frame
from restate_lab.cli._sources import open_source
from restate_lab.cli.shell_code import SourceOptions, code_for

__all__ = ["run_doctor", "run_why"]

CRITICAL, INCOMPLETE = 3, 4


def run_doctor(
    checks: Iterable[str] | None,
    *,
    timeout: float,
    strict: bool,
    quiet: bool,
    cluster: str | None,
    evidence: Path | None,
    form: OutputFormat,
) -> int:
    """Print what the doctor finds, and return the exit code."""
    with open_source(cluster, evidence) as source:
        diagnosis = doctor(source, timeout=timeout, checks=checks)
    code = exit_code(diagnosis, strict=strict)
    if quiet and not code:
        return code
    if form.is_table:
        print_text(diagnosis_text(diagnosis, SourceOptions(cluster, evidence)))
    elif form.kind == "json":
        print_json(_diagnosis_json(diagnosis))
    else:
        write_frame(diagnosis.findings, form)
    return code


def exit_code(diagnosis: Diagnosis, *, strict: bool) -> int:
    """Return 3 for something critical, 4 where not everything was checked, and else 0."""
    bad = {"critical", "warning"} if strict else {"critical"}
    if set(diagnosis.findings["severity"]) & bad:
        return CRITICAL
    return INCOMPLETE if diagnosis.not_checked["applies"].any() else 0


def run_why(invocation: str, *, timeout: float, cluster: str | None, evidence: Path | None, as_json: bool) -> int:
    """Print why an invocation does not go on, and return the exit code."""
    with open_source(cluster, evidence) as source:
        explanation = why(source, invocation, timeout=timeout)
    if as_json:
        print_json(_explanation_json(explanation))
    elif explanation.status is None:
        warn(str(explanation))
    else:
        print_text(explanation_text(explanation, SourceOptions(cluster, evidence)))
    return 0 if explanation.status is not None else ERROR


def diagnosis_text(diagnosis: Diagnosis, target: SourceOptions) -> str:
    """Return the text of a diagnosis, with commands where there are some and else Python."""
    findings = diagnosis.findings
    suggested = zip(diagnosis.suggested_calls, findings["suggested_code"], strict=True)
    evidence = zip(diagnosis.evidence_calls, findings["evidence_code"], strict=True)
    codes = zip(
        (code_for(calls, python, target) for calls, python in suggested),
        (code_for([call], python, target) for call, python in evidence),
        strict=True,
    )
    return text_of(diagnosis, list(codes))


def explanation_text(explanation: Explanation, target: SourceOptions) -> str:
    """Return the text of an explanation, with commands where there are some and else Python."""
    options = zip(explanation.suggested_calls, explanation.options["code"], strict=True)
    return explanation.text_with(
        [code_for(calls, python, target) if calls else "" for calls, python in options],
        "What you can do (restate asks first; in Python, a plan sends nothing before its .execute(reason=…)):",
    )


def _diagnosis_json(diagnosis: Diagnosis) -> dict[str, Any]:
    return {
        "verdict": diagnosis.verdict,
        "worst": diagnosis.worst,
        "source": diagnosis.source,
        "version": diagnosis.version,
        "at": diagnosis.at.isoformat(),
        "seconds": round(diagnosis.seconds, 3),
        "findings": rows_of(diagnosis.findings),
        "not_checked": rows_of(diagnosis.not_checked),
        "checked": rows_of(diagnosis.checked),
    }


def _explanation_json(explanation: Explanation) -> dict[str, Any]:
    return {
        "id": explanation.id,
        "target": explanation.target,
        "status": explanation.status,
        "summary": explanation.summary,
        "chain": rows_of(explanation.chain),
        "options": rows_of(explanation.options),
        "excluded": list(explanation.excluded),
        "at": explanation.at.isoformat(),
    }
