"""The first page of several sources: equal findings of all of them as one line, and the state of each source.

A source that hangs, refuses or answers with garbage is shown with its reason, and delays no other: the page does not
wait for it longer than ``WAIT``, or than until the first source has answered.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab._text import join, plural
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.doctor.model import SEVERITY_RANKS
from restate_lab.calls import without_options
from restate_lab.errors import RestateLabError
from restate_lab.result import Result
from restate_lab.serve.page import Missing, PageRequest, WebPage, data_of
from restate_lab.serve.pages.findings import fingerprints, read_diagnosis
from restate_lab.serve.readings import TooManyReadings
from restate_lab.serve.rendering import part_of
from restate_lab.status import COLOURS, SIGNS

WAIT = 5.0
"""Seconds that the page waits for the slowest source, once another has answered."""
_MOST_NAMES = 12
_FIRST = 8  # findings that are not folded


@dataclass(frozen=True, slots=True)
class SharedFinding:
    """One problem: its worst finding, per source its count, and the number of affected invocations of all sources.

    ``has_invocations`` is whether the finding has ids of invocations.
    """

    fingerprint: str
    check: str
    title: str
    severity: str
    details: str
    counts: Mapping[str, int]
    affected: int
    has_invocations: bool

    @property
    def rank(self) -> tuple[int, int, int]:
        """Return its position: the worst severity first, then that of most sources, then of most invocations."""
        return SEVERITY_RANKS[self.severity], -len(self.counts), -self.affected


async def clusters_page(request: PageRequest) -> WebPage:
    """Return the findings of all sources by fingerprint, and the verdict, version and state of each source."""
    requests = {name: request.of_source(readings) for name, readings in request.all_readings.items()}
    results = await _read_all(requests, within=max(0.0, request.ends - time.monotonic()))
    shared = share_findings({name: each for name, each in results.items() if isinstance(each, Diagnosis)})
    parts = [_groups_part(shared, requests, results), _states_part(requests, results)]
    data = {
        "findings": [
            {
                "fingerprint": each.fingerprint,
                "check": each.check,
                "severity": each.severity,
                "title": each.title,
                "sources": dict(each.counts),
                "affected": each.affected,
            }
            for each in shared
        ],
        "sources": {name: data_of(each, Result.to_json) for name, each in results.items()},
    }
    return WebPage("Overview", parts, data)


async def _read_all(requests: Mapping[str, PageRequest], *, within: float) -> dict[str, Diagnosis | Missing]:
    """Return the diagnosis of each source, or why it is missing; a reading that takes longer goes on."""
    began = time.monotonic()
    tasks = {name: asyncio.create_task(_read(each)) for name, each in requests.items()}
    await asyncio.wait(tasks.values(), timeout=min(WAIT, within))
    if not any(_has_answered(each) for each in tasks.values()):
        waiting = [each for each in tasks.values() if not each.done()]
        if waiting:
            await asyncio.wait(waiting, timeout=within - WAIT, return_when=asyncio.FIRST_COMPLETED)
    seconds = time.monotonic() - began
    going = Missing(f"it is still being read after {seconds:.0f} s; load the page again for the result")
    return {name: task.result() if task.done() else going for name, task in tasks.items()}


def _has_answered(task: asyncio.Task[Diagnosis | Missing]) -> bool:
    return task.done() and not isinstance(task.result(), Missing)


async def _read(request: PageRequest) -> Diagnosis | Missing:
    """Return the diagnosis of one source, or why it is missing, whatever the source does."""
    try:
        return await read_diagnosis(request)
    except (RestateLabError, TooManyReadings) as error:
        return Missing(without_options(" ".join(str(error).split())))
    except Exception as error:  # noqa: BLE001 - a fault that one source causes must not hide the others
        return Missing(f"an internal error ({type(error).__name__}); this is a bug in restate_lab")


def share_findings(diagnoses: Mapping[str, Diagnosis]) -> list[SharedFinding]:
    """Return the findings of all sources, one per fingerprint, worst first."""
    groups: dict[str, list[tuple[str, Mapping[Any, Any]]]] = {}
    for name, diagnosis in diagnoses.items():
        rows = diagnosis.findings.to_dict("records")
        for row, fingerprint in zip(rows, fingerprints(diagnosis), strict=True):
            groups.setdefault(fingerprint, []).append((name, row))
    return sorted((_shared(name, rows) for name, rows in groups.items()), key=lambda each: each.rank)


def _shared(fingerprint: str, rows: Sequence[tuple[str, Mapping[Any, Any]]]) -> SharedFinding:
    worst = min((row for _, row in rows), key=lambda row: (SEVERITY_RANKS[row["severity"]], -row["affected"]))
    counts: dict[str, int] = {}
    for name, row in rows:
        counts[name] = counts.get(name, 0) + int(row["count"])
    return SharedFinding(
        fingerprint,
        worst["check"],
        worst["title"],
        worst["severity"],
        worst["details"],
        counts,
        sum(int(row["affected"]) for _, row in rows),
        any(id_.startswith("inv_") for id_ in worst["ids"][:1]),
    )


def _groups_part(
    shared: Iterable[SharedFinding], requests: Mapping[str, PageRequest], results: Mapping[str, Diagnosis | Missing]
) -> Any:
    number = len(requests)
    unread = [name for name, each in results.items() if isinstance(each, Missing)]
    rows = [
        {
            "mark": SIGNS[each.severity],
            "colour": COLOURS[each.severity],
            "severity": each.severity,
            "title": each.title,
            "details": each.details,
            "share": f"in {len(each.counts)} of {number}",
            "sources": [_link_of(requests[name], each, name) for name in each.counts],
        }
        for each in shared
    ]
    causes = [row for row in rows if row["severity"] != "note"]
    return part_of(
        "clusters",
        causes=causes[:_FIRST],
        others=causes[_FIRST:],
        notes=[row for row in rows if row["severity"] == "note"],
        unread=f"Not read: {join(unread, _MOST_NAMES)}. Their findings are unknown, not absent." if unread else "",
        number=plural(number, "source"),
    )


def _link_of(request: PageRequest, finding: SharedFinding, name: str) -> tuple[str, str]:
    """Return the label and the address of a finding in one source: its invocations, or the page of the source."""
    if not finding.has_invocations:
        return name, request.link("/")
    return f"{name} ({finding.counts[name]:,})", request.link("/invocations", finding=finding.fingerprint)


def _states_part(requests: Mapping[str, PageRequest], results: Mapping[str, Diagnosis | Missing]) -> Any:
    rows = []
    for name, each in results.items():
        is_read = isinstance(each, Diagnosis)
        verdict = each.verdict if isinstance(each, Diagnosis) else "not read"
        rows.append(
            {
                "name": name,
                "address": requests[name].link("/"),
                "version": each.version if isinstance(each, Diagnosis) else "",
                "verdict": verdict,
                "colour": COLOURS[verdict if is_read else "incomplete"],
                "text": each.summary if isinstance(each, Diagnosis) else each.reason,
                "is_read": is_read,
            }
        )
    return part_of("states", rows=rows)
