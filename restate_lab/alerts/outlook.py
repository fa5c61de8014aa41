"""The checks of ``watch`` about the near future: backlogs that will not drain, and evidence that is deleted soon.

Each of them runs only if a rule names it. Near their limits they open no alert and resolve none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from restate_lab._text import format_timestamp, plural
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.doctor.model import Subject
from restate_lab.analysis.doctor.reader import timestamp_of
from restate_lab.analysis.draining.model import DRAINING, GROWING, group_of, sentence_about
from restate_lab.analysis.suggestions import ask_call
from restate_lab.calls import SuggestedCall

WILL_NOT_DRAIN, EVIDENCE_DELETED = "will_not_drain", "evidence_deleted"
_SOON, _NEAR = timedelta(hours=2), timedelta(hours=3)
_PART = 0.5  # of the backlog of a service: its growing keys and queues are the cause then
_FREEZE = SuggestedCall("freeze", ("before-it-is-deleted.evidence",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prospect:
    """A result of these checks about one subject; ``is_near`` if it is only near the limit."""

    check: str
    subject: Subject
    title: str
    cause: str = ""
    ids: tuple[str, ...] = ()
    calls: Sequence[SuggestedCall] = ()
    is_near: bool = False


def growing_backlogs(rows: Sequence[Mapping[Any, Any]]) -> Iterator[Prospect]:
    """Yield the backlogs that grow, and as near ones those that are standing still or unknown.

    A service is near the limit, too, if it grows because of its keys or scopes, which are reported themselves.
    """
    parts: Counter[str] = Counter()
    for row in rows:
        if row["answer"] == GROWING and row["level"] != "service":
            parts[row["service"]] += row["waiting"]
    for row in rows:
        if row["answer"] == DRAINING:
            continue
        by_parts = row["level"] == "service" and parts[row["service"]] >= _PART * row["waiting"]
        name = str(group_of(row))
        yield Prospect(
            check=WILL_NOT_DRAIN,
            subject=Subject(name, (str(row["service"]),)),
            title=f"the backlog of {name} grows: {plural(row['waiting'], 'call')} waiting",
            cause=sentence_about(row),
            calls=(ask_call("draining", service=row["service"]),),
            is_near=row["answer"] != GROWING or by_parts,
        )


def deleted_evidence(diagnosis: Diagnosis, at: datetime, is_open: Iterable[bool]) -> Iterator[Prospect]:
    """Yield the open findings whose evidence is deleted within two hours, and as near ones, within three hours.

    An open finding whose deletion could not be read is near, too; ``is_open`` has one value for each finding.
    """
    rows = diagnosis.findings.to_dict("records")
    for row, subject, opened in zip(rows, diagnosis.subjects, is_open, strict=True):
        deleted_at = timestamp_of(row["deleted_at"])
        if not opened or (deleted_at is not None and deleted_at - at >= _NEAR):
            continue
        is_near = deleted_at is None or deleted_at - at >= _SOON
        yield Prospect(
            check=EVIDENCE_DELETED,
            subject=Subject(f"{row['check']} {subject.name}".strip(), subject.services),
            title=f"the evidence of {row['check']} is deleted from {format_timestamp(deleted_at)} on",
            cause=row["title"],
            ids=tuple(row["ids"][:3]),
            calls=(_FREEZE,),
            is_near=is_near,
        )
