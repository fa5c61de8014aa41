"""``doctor()``: find what is wrong with a cluster, most important first, with the next step for each finding."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_duration
from restate_lab.analysis.doctor.additions import Wanted, add_to_findings
from restate_lab.analysis.doctor.checks import CHECKS, UPGRADE_GROUP
from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.diagnosis import (
    EMPTY,
    HAS_OPEN,
    CheckGap,
    CheckRun,
    Diagnosis,
    build_diagnosis,
    missing_runs,
)
from restate_lab.analysis.doctor.known import notes_about
from restate_lab.analysis.doctor.model import Finding
from restate_lab.analysis.doctor.thresholds import thresholds_of
from restate_lab.analysis.doctor.upgrade import UPGRADE
from restate_lab.analysis.journal.encoding import content_column
from restate_lab.analysis.times import to_datetime
from restate_lab.choices import CheckName
from restate_lab.client.arguments import check_count, check_seconds, time_limit
from restate_lab.client.lab import is_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput, to_timedelta
from restate_lab.errors import ArgumentError, RestateLabError, TimedOut
from restate_lab.links import page_link
from restate_lab.reads import Reads
from restate_lab.server import has_vqueues, is_older
from restate_lab.source import Source, check_supported

__all__ = ["Diagnosis", "doctor"]

_CLOCK_WITHIN = 2.0  # seconds to read the time even if ``timeout`` is shorter: a diagnosis needs a time


@translate_errors
def doctor(
    source: Source,
    /,
    *,
    timeout: DurationInput = "2m",
    checks: CheckName | Iterable[CheckName] | None = None,
    now: str | datetime | timedelta | None = None,
    thresholds: Mapping[str, Any] | None = None,
    partitions: int | None = None,
) -> Diagnosis:
    """Check a cluster for all known problems and return the findings, worst first.

    Each finding is one cause; the invocations that it blocks are listed with it. The severity is "critical" (work is
    affected now and does not recover by itself), "warning" (a person must decide) or "note" (useful to know, but not a
    problem).

    ``timeout`` is for all checks together. The cheapest check runs first. When the timeout is over, ``.not_read``
    lists the checks that did not run, and the result is marked incomplete. ``checks`` names the checks to run; None
    runs all. ``now`` is the time from which ages are counted. The default is the clock of the source; a later time
    looks ahead (``now=lab.now + timedelta(hours=2)`` shows the findings in two hours if nothing changes).
    ``checks="upgrade"`` runs a group of other checks instead: what must be done before this cluster is upgraded to
    Restate 1.8 ("critical"), what the upgrade changes, and what SQL does not show ("note"). ``partitions``, the number
    of partitions of the cluster, is for this group: it then also reports the largest one. ``thresholds`` sets what is
    normal on this cluster, for example ``{"awakeable": "10m", "failure_rate": 0.3}``; ``Thresholds`` lists all of them.

    A finding with 20 or more failing invocations ends with what distinguishes them from healthy ones of their handler,
    if something does (``contrast`` compares more). A finding about calls that wait has a sentence about their backlog
    (the question ``draining`` has all backlogs), and one about invocations that have ended has the time at which the
    cluster deletes them. These additions read no payloads, in the time that the checks leave.

    ``help(rl.Diagnosis)`` describes the frames of the result.

    Raises:
        ArgumentError: a check or threshold is unknown, or a value is invalid.
        RestateLabError: the time of the source could not be read. Errors of single checks are in ``.not_read``.
    """
    return diagnose(source, timeout=timeout, checks=checks, now=now, thresholds=thresholds, partitions=partitions)


def diagnose(
    source: Source,
    *,
    timeout: DurationInput,
    checks: str | Iterable[str] | None = None,
    now: str | datetime | timedelta | None = None,
    thresholds: Mapping[str, Any] | None = None,
    partitions: int | None = None,
    is_wanted: Wanted = lambda _, __: True,
) -> Diagnosis:
    """Return the result of ``doctor``; a finding gets an addition only if ``is_wanted`` returns True for it."""
    limits, chosen = thresholds_of(thresholds), _choose_checks(checks)
    if partitions is not None and check_count("partitions", partitions, least=1) and chosen[0].name not in UPGRADE:
        raise ArgumentError('partitions is only for the checks of an upgrade: pass checks="upgrade", or omit it.')
    seconds = check_seconds("timeout", timeout)
    started = time.monotonic()
    with time_limit(max(seconds, _CLOCK_WITHIN)):
        clock = source.now
    at = clock if now is None else to_datetime(now, now=clock, name="now")
    # Servers report nanoseconds, and pandas warns when it drops them.
    clock, at = (pd.Timestamp(each).to_pydatetime(warn=False) for each in (clock, at))
    reads = Reads(
        source,
        timeout,
        over=f"the timeout of {format_duration(to_timedelta(timeout), exact=True)} is over",
        spent=time.monotonic() - started,
        now=at,
        remembers=True,
    )
    audit_folder = source.transport.audit.folder if is_lab(source) else None
    context = CheckContext(reads, limits, clock=clock, partitions=partitions, audit_folder=audit_folder)
    outcomes = _run_checks(chosen, context)
    findings = add_to_findings((each for outcome in outcomes for each in outcome.findings), context, is_wanted)
    findings = [_without_changes(each) for each in findings] if source.coverage.is_past else findings
    return build_diagnosis(
        source=source.name,
        version=source.version,
        at=at,
        findings=findings,
        notes=notes_about(source),
        cluster=context.cluster,
        seconds=round(time.monotonic() - started, 3),
        checked=[outcome.run for outcome in outcomes if outcome.run is not None],
        gaps=[*(outcome.gap for outcome in outcomes if outcome.gap is not None), *missing_runs(source.coverage)],
        skipped=len(CHECKS) - sum(check.name in CHECKS for check in chosen),
        queries=reads.queries,
        link=page_link(source),
    )


def _without_changes(finding: Finding) -> Finding:
    """Return a finding about an earlier time with the calls that only read: its invocations can have changed since."""
    reads = tuple(each for each in finding.suggested if not each.is_for_present)
    return replace(finding, suggested=reads or (finding.evidence,))


@dataclass(frozen=True, slots=True)
class _CheckOutcome:
    findings: Sequence[Finding] = ()
    run: CheckRun | None = None
    gap: CheckGap | None = None


def _run_checks(chosen: Sequence[Check], context: CheckContext) -> list[_CheckOutcome]:
    """Run the checks; that an empty cluster is probably the wrong one is reported even if other checks are chosen."""
    _ = context.cluster  # before the checks, which may need the whole timeout
    outcomes = [_run_check(check, context) for check in chosen]
    if CHECKS[EMPTY] not in chosen:
        outcome = _run_check(CHECKS[EMPTY], context)
        outcomes += [replace(outcome, run=None)] if outcome.findings else []
    return outcomes


def _run_check(check: Check, context: CheckContext) -> _CheckOutcome:
    context.excluded.clear()
    before, started = len(context.source.statements), time.monotonic()
    try:
        if reason := _reason_not_to_apply(check, context):
            return _not_run(check, reason, applies=False)
        check_supported(
            context.source, "this check", needs_open=check.needs_open, any_version=check.is_for_every_version
        )
        if check.needs_payloads and not context.source.has("sys_journal"):
            return _not_run(check, "this source has no sys_journal")
        if check.needs_payloads and content_column(context.source, context.source.has) is None:
            return _not_run(check, "this source has no payloads of journals", applies=False)
        findings = [replace(finding, check=check.name) for finding in check.run(context)]
    except RestateLabError as error:
        is_over = isinstance(error, TimedOut) and not context.source.seconds_left
        reason = context.source.over if is_over else " ".join(str(error).split()) or type(error).__name__
        return _not_run(check, reason)
    sent = context.source.statements[before:]
    run = CheckRun(
        check.name,
        check.description,
        len(findings),
        len(sent),
        time.monotonic() - started,
        sum(each.rows for each in sent),
    )
    if not context.excluded:
        return _CheckOutcome(findings, run)
    reason = f"incomplete: {'; '.join(dict.fromkeys(context.excluded))}"
    return _CheckOutcome(findings, run, CheckGap(check.name, reason, check.description))


def _not_run(check: Check, reason: str, *, applies: bool = True) -> _CheckOutcome:
    return _CheckOutcome(gap=CheckGap(check.name, reason, check.description, applies))


def _reason_not_to_apply(check: Check, context: CheckContext) -> str:
    """Return why a check does not apply to a source, as far as its version and its features tell; "" if it applies."""
    source, coverage, period = context.source, context.source.coverage, check.needs_period
    reasons = (
        (
            coverage.is_past and (check.needs_present or check.is_for_vqueues),
            "attempts, vqueues and removed deployments are not recorded for an earlier time",
        ),
        (check.is_for_vqueues and not has_vqueues(source), "this server has no vqueues"),
        (check.needs_samples and coverage.open_invocations, HAS_OPEN),
        (
            check.until is not None and not is_older(source.version, check.until),
            f"this server is not older than {check.until}",
        ),
        (check.compares_times and not source.live, "this source has one time, and the check compares two"),
        (
            period is not None and not context.covers(period),
            (
                "this check needs the invocations that ended in the last "
                f"{format_duration(period or timedelta())}, from an archive of that time"
            ),
        ),
    )
    return next((reason for is_reason, reason in reasons if is_reason), "")


def _choose_checks(checks: str | Iterable[str] | None) -> list[Check]:
    if checks is None:
        return list(CHECKS.values())
    known = [*CHECKS, UPGRADE_GROUP, *UPGRADE]
    names = [checks] if isinstance(checks, str) else list(checks)
    if not names:
        raise ArgumentError(f"checks is empty; choose from {', '.join(known)}, or use None to run all.")
    for name in names:
        if name not in known:
            hint = did_you_mean(nearest_names(str(name), known)) or f"Choose from {', '.join(known)}."
            raise ArgumentError(f"unknown check {name!r}. {hint}")
    wanted = {*names, *(UPGRADE if UPGRADE_GROUP in names else ())}
    return [check for name, check in (UPGRADE | CHECKS).items() if name in wanted]
