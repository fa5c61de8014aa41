"""``doctor()``: what is wrong with a cluster, ranked by how much is affected, with the next step."""

from __future__ import annotations

import difflib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._text import format_duration
from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.diagnosis import CheckGap, CheckRun, Diagnosis, build_diagnosis
from restate_lab.analysis.doctor.model import Finding, rank_findings
from restate_lab.analysis.doctor.thresholds import thresholds_of
from restate_lab.analysis.times import to_datetime
from restate_lab.client.arguments import check_seconds, time_limit
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError, RestateLabError, TimedOut
from restate_lab.recorder import QueryRecorder
from restate_lab.source import Source, check_supported

__all__ = ["Diagnosis", "doctor"]

_CLOCK_WITHIN = 10.0  # seconds, where ``timeout`` is less: a diagnosis without a time is none


@translate_errors
def doctor(
    source: Source,
    /,
    *,
    timeout: DurationInput = "60s",
    checks: str | Iterable[str] | None = None,
    now: str | datetime | timedelta | None = None,
    thresholds: Mapping[str, Any] | None = None,
) -> Diagnosis:
    """Look for everything that is known to go wrong, and return it worst first.

    Each finding is one cause; the invocations that it blocks are listed with it. Its severity is "critical" (work is
    affected now, and does not recover by itself), "warning" (a person has to decide) or "note" (worth knowing, nothing
    wrong).

    ``timeout`` is for all checks together; they run cheapest first. When it is over, the checks that did not run stand
    in ``.not_checked``, and the result is marked incomplete. ``checks`` names the ones to run, None means all. ``now``
    is the moment that ages count from: the source's own clock, or another one to look ahead (what would this say in two
    hours if nothing moved: ``now=lab.now + timedelta(hours=2)``). ``thresholds`` says what is normal here, such as
    ``{"awakeable": "10m", "failure_rate": 0.3}``; ``Thresholds`` has all, with their reasons.

    - ``.findings``: ``severity, check, summary, since`` (UTC; None where there is no trace), ``count, affected`` (those
      that are stuck, and those that they block), ``where, ids`` (lists of 1,000 at most; deployments for what is about
      them), ``blocks`` (how many invocations of which handlers it blocks, "3 Orders/place"), ``blocked`` (their ids),
      ``suggested_code, evidence_code`` (lines of Python for ``lab``: the next step, and the rows behind the finding).
    - ``.not_checked``: ``check, description, reason, applies``; False where a check makes no sense on such a server.
    - ``.checked``: ``check, description, findings, queries, seconds, rows``; what several read counts for the first.
    - ``.verdict``: "incomplete" where something that applies was not checked, or not all of it was read, whatever was
      found; else "critical" or "warning" as the worst finding is, or "healthy".
    - ``.worst``: the worst severity found, "critical", "warning" or "note"; None without findings.
    - ``.suggested_calls, .evidence_calls``: the same next steps and evidence as data, one for each row of ``findings``.
    - ``.queries``: the statements that were sent, each as a dict of ``sql, params, times``.

    Raises:
        ArgumentError: there is no such check or threshold, or a value does not fit.
        RestateLabError: the source does not even tell its time. What a check raises stands in ``.not_checked``.
    """
    limits, chosen = thresholds_of(thresholds), _choose_checks(checks)
    seconds = check_seconds("timeout", timeout)
    started = time.monotonic()
    with time_limit(max(seconds, _CLOCK_WITHIN)):
        clock = _to_microseconds(source.now)
    at = clock if now is None else _to_microseconds(to_datetime(now, now=clock, name="now"))
    used_up = f"the timeout of {format_duration(to_timedelta(timeout), exact=True)} was used up"
    recorder = QueryRecorder(source)
    within = Deadline(recorder, seconds - (time.monotonic() - started), timeout_message=used_up, now=at)
    context = CheckContext(within, limits, clock=clock)
    outcomes = [_run_check(check, context, within) for check in chosen]
    return build_diagnosis(
        source=source.name,
        version=source.version,
        at=at,
        seconds=time.monotonic() - started,
        findings=rank_findings(finding for outcome in outcomes for finding in outcome.findings),
        checked=[outcome.run for outcome in outcomes if outcome.run is not None],
        not_checked=[outcome.gap for outcome in outcomes if outcome.gap is not None],
        skipped=len(CHECKS) - len(chosen),
        queries=recorder.queries,
    )


def _to_microseconds(value: datetime) -> datetime:
    """Return a timestamp without nanoseconds: servers report them, and pandas warns where they get lost."""
    rounded: datetime = pd.Timestamp(value).floor("us").to_pydatetime()
    return rounded


@dataclass(frozen=True, slots=True)
class _CheckOutcome:
    findings: Sequence[Finding] = ()
    run: CheckRun | None = None
    gap: CheckGap | None = None


def _run_check(check: Check, context: CheckContext, within: Deadline) -> _CheckOutcome:
    """Run one check, and return its findings, its figures, and what it did not check."""
    if check.is_for_vqueues and not context.has_vqueues:
        return _CheckOutcome(gap=_gap(check, "there are no vqueues on this server", applies=False))
    context.excluded.clear()
    before, started = len(within.statements), time.monotonic()
    try:
        check_supported(within, "this check")
        findings = [replace(finding, check=check.name) for finding in check.run(context)]
    except RestateLabError as error:
        return _CheckOutcome(gap=_gap(check, _gap_reason(error, within)))
    reads = within.statements[before:]
    run = CheckRun(
        check.name,
        check.description,
        len(findings),
        len(reads),
        time.monotonic() - started,
        sum(read_question.rows for read_question in reads),
    )
    excluded = "; ".join(dict.fromkeys(context.excluded))
    return _CheckOutcome(findings, run, _gap(check, f"in part: {excluded}") if excluded else None)


def _gap(check: Check, reason: str, *, applies: bool = True) -> CheckGap:
    return CheckGap(check.name, check.description, reason, applies)


def _gap_reason(error: RestateLabError, within: Deadline) -> str:
    if isinstance(error, TimedOut) and not within.seconds_left:
        return within.timeout_message
    return " ".join(str(error).split()) or type(error).__name__


def _choose_checks(checks: str | Iterable[str] | None) -> list[Check]:
    if checks is None:
        return list(CHECKS.values())
    names = [checks] if isinstance(checks, str) else list(checks)
    if not names:
        raise ArgumentError(f"checks is empty: name some of {', '.join(CHECKS)}, or give None for all.")
    for name in names:
        if name not in CHECKS:
            nearest = difflib.get_close_matches(str(name), CHECKS, n=3, cutoff=0.4) or list(CHECKS)
            raise ArgumentError(f"there is no check {name!r}; the nearest: {', '.join(nearest)}.")
    return [check for name, check in CHECKS.items() if name in names]
