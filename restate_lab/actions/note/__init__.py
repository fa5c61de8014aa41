"""Note what you did or know about a cluster, and acknowledge a finding of the doctor for a time."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import join
from restate_lab.actions.note.model import Note
from restate_lab.analysis.doctor import diagnose
from restate_lab.analysis.doctor.diagnosis import Diagnosis, unread_checks
from restate_lab.analysis.doctor.known import NotedFinding, notes_about, sum_covered, why_ended
from restate_lab.analysis.doctor.model import SEVERITY_RANKS, fingerprint_of
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import check_seconds, format_value
from restate_lab.client.lab import Lab, require_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.identity import ClusterIdentity, why_not_same
from restate_lab.notes import StoredNote, as_details, check_note, short_time
from restate_lab.reads import read_identity
from restate_lab.records import process_info
from restate_lab.redaction import mask_user_info
from restate_lab.source import Source

__all__ = ["Note", "note"]

FindingInput: TypeAlias = "str | Mapping[str, Any] | pd.Series[Any] | pd.DataFrame"
"""A finding as users pass it: a row of ``diagnosis.findings``, or its fingerprint."""
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_LONGEST = timedelta(days=31)  # of an acknowledgement
_LATER = timedelta(minutes=1)  # a later end than this extends an acknowledgement; a cell that runs twice does not
_CHECKS: tuple[str | None, ...] = (None, "upgrade")


@translate_errors
def note(
    source: Source,
    text: str,
    /,
    *,
    finding: FindingInput | None = None,
    until: TimeInput | None = None,
    timeout: DurationInput = "30s",
) -> Note:
    """Note what you did or know about a cluster; with ``finding`` and ``until``, acknowledge a finding until then.

        rl.note(lab, "INC-42: called the provider, ticket 8812")
        rl.note(lab, "INC-42: provider is down", finding=diagnosis.findings.loc[0], until="2h")

    The note is written to a file of the audit log, which only you can read: ``audit_log(notes=True)``. Nothing is sent
    to the cluster, so a read-only connection can note. Reports show notes in their timeline, between the actions.

    ``finding`` is a row of ``diagnosis.findings``, or a fingerprint: that of findings or of their alert, which is about
    all findings that have it now. ``until`` is a duration from now such as "2h", or a time with its zone, at most 31
    days ahead. The doctor and the panel of this user on this machine show an acknowledged finding as known, and
    ``restate-lab watch`` of this user sends no alert about it. The verdict and the exit code of the doctor do not
    change. Without ``until``, the note acknowledges nothing.

    The acknowledgement is limited to the column ``about`` of the finding: another handler, code, step or kind of error
    is not known. It ends at its time, when the severity increases, or when ``count`` or ``affected`` of all findings
    that it covers, summed, is twice as large.
    It holds only while one of the deployments that the cluster had at the diagnosis is there, because another cluster
    can get the same address.

    A second call with the same text and finding writes nothing, so that a notebook can be run again; the result has
    the first note. If ``until`` is more than a minute later, it extends the acknowledgement until then: the limits
    above stay those of the first note. ``timeout`` limits the search for the finding of a fingerprint, and the read of
    the deployments that is needed to acknowledge a finding without its frame.

    Raises:
        ArgumentError: the text is empty or longer than 2,000 characters, ``until`` was passed without ``finding`` or is
            not ahead, there is no finding with this fingerprint now, the source is not a live cluster, or the cluster
            has no deployments by which an acknowledgement could recognize it.
        AuditFailed: the note cannot be written.
        TimedOut: the finding of a fingerprint, or the deployments, were not read within ``timeout``.
    """
    lab, clean = require_lab(source, "note"), check_note(text)
    seconds, now = check_seconds("timeout", timeout), datetime.now(UTC)
    ends = _check_until(until, finding, now)
    about = {} if finding is None else _facts_of(lab, finding, seconds)
    if ends is not None:
        about["cluster"] = _check_identity(about["cluster"] or read_identity(lab, seconds), lab)
    new = StoredNote(
        id=uuid.uuid4().hex,
        time=now,
        text=clean,
        address=lab.address,
        environment=lab.name,
        until=ends,
        **about,
        **process_info(),
    )
    before = _equal_note(lab, new)
    ended = "" if before is None else _why_worse(before, new)
    if before is not None and not ended and _is_later(new.until, before.until):
        own = {name: getattr(new, name) for name in ("id", "time", "until", "environment", "cluster", *process_info())}
        new, before = replace(before, **own), None
    if before is None:
        lab.transport.audit.note(**as_details(new))
        return _result(lab, new, now)
    return _result(lab, before, now, is_new=False, ended=ended or _why_over(before, now))


def _check_until(until: TimeInput | None, finding: object, now: datetime) -> datetime | None:
    if until is None:
        return None
    if finding is None:
        raise ArgumentError(
            "until is the end of an acknowledgement, which needs a finding: pass finding=diagnosis.findings.loc[0], or "
            "its fingerprint, or omit until."
        )
    ends = to_datetime(until, now=now, ahead=True, name="until")
    if not now < ends <= now + _LONGEST:
        raise ArgumentError(f"until is {short_time(ends, now)}; it must be ahead, and at most 31 days from now.")
    return ends


def _check_identity(cluster: ClusterIdentity, lab: Lab) -> ClusterIdentity:
    if reason := why_not_same(cluster, cluster):
        raise ArgumentError(
            f"an acknowledgement would not hold for {lab.name}, so nothing was noted: {reason}. Omit until."
        )
    return cluster


def _is_later(until: datetime | None, before: datetime | None) -> bool:
    return until is not None and before is not None and until - before > _LATER


def _facts_of(lab: Lab, finding: FindingInput, seconds: float) -> dict[str, Any]:
    """Return what to store of a finding; ``cluster`` has None without the identity in its frame."""
    row = _row_of(lab, finding) if not isinstance(finding, str) else _row_with(lab, finding.strip(), seconds)
    try:
        facts = {name: row[name] for name in ("check", "where", "title", "severity")}
        facts |= {"finding": row["fingerprint"], **{name: int(row[name]) for name in ("count", "affected")}}
        facts |= {"about": tuple(tuple(map(str, path)) for path in row["about"]), "cluster": row.get("cluster")}
        alike = [NotedFinding(**each) for each in row.get("alike", ()) if each["fingerprint"] == facts["finding"]]
        if alike:  # two severities can have one cause
            facts["count"], facts["affected"] = sum_covered(facts["about"], alike)
    except (KeyError, TypeError, ValueError) as error:
        raise _not_a_finding(finding) from error
    if not _FINGERPRINT.fullmatch(str(facts["finding"])) or facts["severity"] not in SEVERITY_RANKS:
        raise _not_a_finding(finding)
    return {**facts, "title": mask_user_info(facts["title"])}


def _row_of(lab: Lab, finding: object) -> Mapping[Any, Any]:
    of = finding.attrs.get("source", lab.name) if isinstance(finding, pd.DataFrame | pd.Series) else lab.name
    if of != lab.name:
        raise ArgumentError(f"the finding is of {of}, but this is {lab.name}: note it there.")
    if isinstance(finding, pd.DataFrame):
        if len(finding) != 1:
            raise ArgumentError(f"finding has {len(finding):,} rows; pass one row, such as diagnosis.findings.loc[0].")
        return records(finding)[0] | _attributes_of(finding)
    if isinstance(finding, pd.Series):
        return finding.to_dict() | _attributes_of(finding)
    if isinstance(finding, Mapping):
        return finding
    raise _not_a_finding(finding)


def _attributes_of(finding: pd.DataFrame | pd.Series[Any]) -> dict[str, Any]:
    """Return the cluster of the diagnosis of a row, whose address can be another one since, and similar rows."""
    cluster = ClusterIdentity.from_json(json.loads(finding.attrs.get("cluster", "null")))
    return {"cluster": cluster, "alike": json.loads(finding.attrs.get("alike", "[]"))}


def _row_with(lab: Lab, fingerprint: str, seconds: float) -> Mapping[Any, Any]:
    """Return one row for all findings that the cluster has now with a fingerprint, their own or that of their alert."""
    if not _FINGERPRINT.fullmatch(fingerprint):
        raise ArgumentError(f"{fingerprint[:40]!r} is not a fingerprint: 16 digits or letters a to f, from the doctor.")
    gaps: list[str] = []
    for checks in _CHECKS:
        diagnosis = diagnose(lab, checks=checks, timeout=seconds)
        alike = [
            row
            for row, subject in zip(records(diagnosis.findings), diagnosis.subjects, strict=True)
            if fingerprint in {row["fingerprint"], fingerprint_of(row["check"], subject.name, cluster=lab.name)}
        ]
        if alike:
            return _merge(alike, diagnosis)
        gaps += unread_checks(diagnosis)
    unread = f" Not checked: {join(gaps)}." if gaps else ""
    raise ArgumentError(f"{lab.name} has no finding {fingerprint} now, so nothing was noted.{unread}")


def _merge(alike: Sequence[Mapping[Any, Any]], diagnosis: Diagnosis) -> Mapping[Any, Any]:
    """Return the first of some findings, which is the worst, with the sums of all of them."""
    sums = {name: sum(row[name] for row in alike) for name in ("count", "affected")}
    return {
        **alike[0],
        **sums,
        "title": join(row["title"] for row in alike),
        "about": [path for row in alike for path in row["about"]],
        "cluster": diagnosis.cluster,
    }


def _not_a_finding(value: object) -> ArgumentError:
    return ArgumentError(
        f"finding must be a row of diagnosis.findings, such as diagnosis.findings.loc[0], or its fingerprint; got "
        f"{format_value(value)}."
    )


def _equal_note(lab: Lab, new: StoredNote) -> StoredNote | None:
    """Return the note of this user with the same text about the same finding, if there is one.

    For an acknowledgement, it is one of the same cluster.
    """
    same = (new.user, new.finding, new.text)
    notes = [each for each in notes_about(lab).notes if (each.user, each.finding, each.text) == same]
    if new.acknowledges:
        notes = [each for each in notes if each.acknowledges and not why_not_same(each.cluster, new.cluster)]
    return notes[-1] if notes else None


def _why_worse(before: StoredNote, new: StoredNote) -> str:
    """Return why an acknowledgement does not hold for the finding as it is now; "" if it does."""
    if not (before.acknowledges and new.acknowledges):
        return ""
    finding = NotedFinding(new.finding or "", new.severity or "", new.count or 0, new.affected or 0, new.about)
    return why_ended(before, finding, [finding], new.cluster)


def _why_over(before: StoredNote, now: datetime) -> str:
    """Return that the time of an acknowledgement is over; "" if it is not, or if the note acknowledges nothing."""
    return f"it ended at {short_time(before.until, now)}" if before.until and before.is_over(now) else ""


def _result(lab: Lab, stored: StoredNote, now: datetime, *, is_new: bool = True, ended: str = "") -> Note:
    return Note(source=lab.name, version="", read_at=now, note=stored, is_new=is_new, ended=ended)
