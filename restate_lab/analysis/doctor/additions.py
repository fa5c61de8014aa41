"""Additions to findings: what its invocations share, whether its backlog drains, and when its evidence is deleted.

They are not checks: they never change a verdict, a severity or a subject. They run after all checks in the time that is
left, read no journals, and show no payloads. The comparison shows no keys.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from restate_lab._text import one_line, sentences
from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import Finding, rank_findings
from restate_lab.analysis.doctor.reader import Row, first_of, timestamp_of
from restate_lab.analysis.draining import read_draining
from restate_lab.analysis.draining.model import ORDER, group_of, sentence_about
from restate_lab.analysis.questions import run_question
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.frames import records
from restate_lab.reads import Reads

LEAST = 20  # invocations of a finding that is compared
SHARED, DRAINING, DELETED = "shared", "draining", "deleted_at"
_COUNTS = 4  # all additions together may take as long as this many counts of all invocations
_CENSUS = 3  # counts; the census takes about as long
_FLOOR = 3.0  # seconds that they may take in any case: on a small cluster, a request takes longer than the count
_LONGEST = 200  # characters of a reason
_PART = 0.5  # of the time for the backlogs, which the comparisons also need

Wanted = Callable[[Finding, str], bool]
"""Whether an addition, by the name of its field, is added to a finding."""


def is_compared(check: str, count: int, ids: Sequence[str]) -> bool:
    """Return whether the invocations of a finding are compared with healthy ones, from its check, count and ids."""
    return check in CHECKS and CHECKS[check].is_compared and count >= LEAST and bool(ids)


def add_to_findings(findings: Iterable[Finding], context: CheckContext, is_wanted: Wanted) -> list[Finding]:
    """Return the findings, worst first, with their additions: the time of deletion, the backlog, what they share."""
    ranked = list(rank_findings(findings))
    wanted = {
        name: [at for at, each in enumerate(ranked) if _applies(name, each, context) and is_wanted(each, name)]
        for name in (DELETED, DRAINING, SHARED)
    }
    if not any(wanted.values()):
        return ranked
    ends = time.monotonic() + _seconds_for(context)
    source = Reads(context.source, remembers=True)  # the findings share the counts of all handlers
    values: dict[str, Sequence[Any]] = {
        DELETED: _deletions([ranked[at] for at in wanted[DELETED]], context, ends),
        DRAINING: _backlogs([ranked[at] for at in wanted[DRAINING]], source, ends),
        SHARED: [_shared_text(ranked[at], source, ends) for at in wanted[SHARED]],
    }
    for name, places in wanted.items():
        for at, value in zip(places, values[name], strict=True):
            ranked[at] = replace(ranked[at], **{name: value})
    return ranked


def _applies(name: str, finding: Finding, context: CheckContext) -> bool:
    if name == SHARED:
        return is_compared(finding.check, finding.count, finding.ids)
    if name == DRAINING:  # the rates until now say nothing about a time that lies ahead
        return bool(finding.backlogs) and context.source.live and context.now == context.clock
    is_about_ended = finding.check in CHECKS and CHECKS[finding.check].is_about_ended
    return is_about_ended and context.source.live and bool(finding.ids)


def _seconds_for(context: CheckContext) -> float:
    """Return the time for all additions, from the duration of the census."""
    try:
        census = context.census
    except RestateLabError:
        return 0.0
    return max(_FLOOR, _COUNTS / _CENSUS * census.seconds)


def _deletions(findings: Sequence[Finding], context: CheckContext, ends: float) -> list[datetime | None]:
    """Return when the next invocation of each finding is deleted; None if that is unknown.

    The server removes invocations once an hour, so that some are there after their time.
    """
    ids = list(dict.fromkeys(id_ for each in findings for id_ in each.ids))
    times: dict[str, datetime | None] = {}
    if ids and ends > time.monotonic():
        with contextlib.suppress(RestateLabError):
            times = {row["id"]: timestamp_of(row["expires_at"]) for row in context.rows_by_id("expires", ids)}
    later = {id_: at for id_, at in times.items() if at is not None and at > context.now}
    return [first_of(later.get(id_) for id_ in each.ids) for each in findings]


def _backlogs(findings: Sequence[Finding], source: Reads, ends: float) -> list[str]:
    """Return a sentence about the backlog of each finding, from one answer for all of them."""
    left = min(_PART * (ends - time.monotonic()), source.seconds_left)
    if not findings:
        return []
    if left <= 0:
        return [_not_observed("no time was left")] * len(findings)
    try:
        rows = records(run_question(source, "draining", {"draining": read_draining}, timeout=left))
    except TimedOut:
        return [_not_observed("no time was left")] * len(findings)
    except RestateLabError as error:
        return [_not_observed(one_line(str(error), _LONGEST))] * len(findings)
    return [_backlog_text(each, rows) for each in findings]


def _backlog_text(finding: Finding, rows: Sequence[Row]) -> str:
    """Return the sentence about the backlog of a finding; about the worst one if it has several."""
    found = [row for row in rows if group_of(row) in finding.backlogs]
    worst = min(found, key=lambda row: (ORDER.index(row["answer"]), -row["waiting"]), default=None)
    return sentence_about(worst) if worst is not None else ""


def _not_observed(reason: str) -> str:
    return sentences(f"Not known whether the backlog drains: {reason}")


def _shared_text(finding: Finding, source: Reads, ends: float) -> str:
    left = min(ends - time.monotonic(), source.seconds_left)
    if left <= 0:
        return _not_compared("no time was left")
    try:
        result = compare_sides(source, finding.ids, timeout=left, reads_steps=False, shows_keys=False)
    except TimedOut:
        return _not_compared("no time was left")
    except RestateLabError as error:
        return _not_compared(one_line(str(error), _LONGEST))
    return " ".join([each for each in (result.doubt, *result.sentences[:1]) if each])


def _not_compared(reason: str) -> str:
    return sentences(f"Not compared with healthy invocations: {reason}")
