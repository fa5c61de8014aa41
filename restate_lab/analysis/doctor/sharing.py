"""An addition to findings: what distinguishes the invocations of a finding from healthy ones of their handler.

It is not a check: it never changes a verdict, a severity or a subject. It runs after all checks in the time that is
left, reads no journals, and shows no payloads and no keys.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from restate_lab._text import one_line, sentences
from restate_lab.analysis.contrast import compare_sides
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.model import Finding, rank_findings
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.reads import Reads

LEAST = 20  # invocations of a finding that is compared
_COUNTS = 4  # all comparisons together may take as long as this many counts of all invocations
_FLOOR = 3.0  # seconds that they may take in any case: on a small cluster, a request takes longer than the count
_LONGEST = 200  # characters of a reason


def is_compared(check: str, count: int, ids: Sequence[str]) -> bool:
    """Return whether the invocations of a finding are compared with healthy ones, from its check, count and ids."""
    return check in CHECKS and CHECKS[check].is_compared and count >= LEAST and bool(ids)


def add_shared(
    findings: Iterable[Finding], context: CheckContext, is_wanted: Callable[[Finding], bool]
) -> list[Finding]:
    """Return the findings, worst first; those that are compared and wanted have ``shared``, the worst one first."""
    ranked = list(rank_findings(findings))
    compared = {
        at for at, each in enumerate(ranked) if is_compared(each.check, each.count, each.ids) and is_wanted(each)
    }
    if not compared:
        return ranked
    ends = time.monotonic() + _seconds_for(context)
    source = Reads(context.source, remembers=True)  # the findings share the counts of all handlers
    return [
        replace(each, shared=_shared_text(each, source, ends)) if at in compared else each
        for at, each in enumerate(ranked)
    ]


def _seconds_for(context: CheckContext) -> float:
    """Return the time for all comparisons, from the duration of a count, which is a part of it."""
    started = time.monotonic()
    try:
        context.rows("invocation_count")
    except RestateLabError:
        return 0.0
    return max(_FLOOR, (_COUNTS - 1) * (time.monotonic() - started))


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
    return next(iter(result.sentences), "")


def _not_compared(reason: str) -> str:
    return sentences(f"Not compared with healthy invocations: {reason}")
