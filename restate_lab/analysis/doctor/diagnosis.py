"""The result of ``doctor``: its frames, and the same as a document."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import partial
from typing import Any

import pandas as pd

from restate_lab._cells import is_missing
from restate_lab._public import public
from restate_lab._text import (
    format_age,
    format_duration,
    format_timestamp,
    join,
    plural,
    verb_form,
)
from restate_lab.analysis.doctor.known import NotedFinding, match_notes
from restate_lab.analysis.doctor.model import Finding, Severity, Subject, fingerprint_of
from restate_lab.analysis.suggestions import plan_call
from restate_lab.calls import Step, SuggestedCall, python_code
from restate_lab.document import Block, Document, Fold, Gaps, Item, Items, Line, Text, Word
from restate_lab.document.html import html_of
from restate_lab.frames import BuiltRows, records, with_card
from restate_lab.identity import ClusterIdentity
from restate_lab.notes import NO_NOTES, NoteList, StoredNote
from restate_lab.result import Result
from restate_lab.source import Coverage

_MAX_FINDINGS = 25  # of a list on a page; the frame has all of them
_MAX_SHOWN_IDS = 12
_SHOWN = 5  # causes that a page does not fold
_MAX_HANDLERS = 10
NOTES = "notes"  # the part of ``not_read`` about notes that could not be read
EMPTY = "services"  # the check that finds a cluster without any service and invocation
HAS_OPEN = "this source has the open invocations themselves"  # so that no sample of them is needed
_RESUMED = frozenset({"retry_storm", "unreachable_deployments"})
_NOTICEABLE = 0.01  # seconds


@public
@dataclass(frozen=True, repr=False, eq=False)
class Diagnosis(Result):
    """The problems of a source at one time; ``doctor()`` returns it.

    - ``.findings``: ``severity, check, title`` (the affected invocations and the problem, in one short line),
      ``details`` (more about the cause, such as the error message; may be ""), ``shared`` (what distinguishes 20 or
      more failing invocations from healthy ones, or why they were not compared; otherwise ""), ``since`` (UTC; None if
      unknown), ``draining`` (whether the backlog of a finding about waiting calls drains; otherwise ""),
      ``deleted_at`` (UTC; when the cluster deletes the next one of the ended invocations; otherwise None),
      ``count, affected`` (the stuck invocations, and these plus the invocations that they block),
      ``where, ids`` (at most 1,000 per row; deployment ids for findings about deployments), ``blocks`` (how many
      invocations of which handlers are blocked, for example "3 Orders/place"), ``blocked`` (their ids), ``queued`` (the
      calls in the queue of the key that the finding is about; 0 for other findings), ``suggested_code, evidence_code``
      (Python code for ``lab``: the next step, and the rows behind the finding), ``fingerprint`` (the identity of the
      problem, for ``note``), ``about`` (what a note about the finding is limited to: paths of texts, which begin with
      the service, and can go on with the handler, the code, the step and the kind of error), ``known``
      (whether a note of this user acknowledges it now), ``note`` (until when, the user and the text, or why that has
      ended: "known until 18:00 UTC (mara): INC-42 provider is down"; "" without a note). A note never
      changes the verdict.
    - ``.not_read``: ``part`` (the check), ``reason, description, applies``; ``applies`` is False if the check does not
      apply to this kind of server, and for "notes", the notes that could not be read. In a history with gaps,
      ``coverage`` is one of them, with the handlers whose ended invocations may be missing, or are never kept.
    - ``.checked``: ``check, description, findings, queries, seconds, rows``. Data that several checks share counts for
      the check that read it first.
    - ``.verdict``: "incomplete" if a check that applies did not run or did not read everything, or if the cluster has
      no service and no invocation; otherwise "critical" or "warning", as the worst finding; otherwise "healthy".
    - ``.worst``: the worst severity found, "critical", "warning" or "note"; None without findings.
    - ``.suggested_calls, .evidence_calls``: the same next steps and evidence as data, one for each row of ``findings``.
    - ``.subjects``: what each row of ``findings`` is about, with ``name, services``; two diagnoses can be compared by
      the check and this name, because it does not contain counts, ids of invocations or times.
    - ``.note_ids``: the id of the note that acknowledges each row of ``findings``; "" for others.
    - ``.cluster``: the deployments by which notes recognize the cluster; None if they could not be read.
    - ``.skipped``: the number of checks that were not selected.
    - ``.queries``: the statements that were sent, each as a dict of ``sql, params, times``.
    """

    _json = ("verdict", "worst", "source", "version", "read_at", "seconds", "findings", "not_read", "checked")
    findings: pd.DataFrame
    checked: pd.DataFrame
    verdict: str
    worst: str | None
    seconds: float
    skipped: int
    suggested_calls: tuple[tuple[SuggestedCall, ...], ...] = ()
    evidence_calls: tuple[SuggestedCall, ...] = ()
    subjects: tuple[Subject, ...] = ()
    note_ids: tuple[str, ...] = ()
    cluster: ClusterIdentity | None = None

    @property
    def summary(self) -> str:
        """Return the counts, worst first: "12 critical · 8 notes · 2 known", after "incomplete" or "healthy".

        Known findings are also counted with their severity.
        """
        known, gaps = int(self.findings["known"].sum()), len(_gaps(self))
        parts = [
            headline_of(self),
            count_findings(self.findings["severity"], " · "),
            f"{known:,} known" if known else "",
            f"{gaps:,} not checked" if gaps else "",
        ]
        return " · ".join(part for part in parts if part)

    def by_severity(self, severity: str, /) -> pd.DataFrame:
        """Return the findings of one severity ("critical", "warning", "note")."""
        return self.findings[self.findings["severity"] == severity].reset_index(drop=True)

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the causes, the known findings, the gaps, the notes and the checks as blocks."""
        rows = pd.DataFrame(self.findings).reset_index(names="at")  # without attrs, which pandas copies often
        is_note = rows["severity"].eq(Severity.NOTE)
        causes, notes, known = rows[~rows["known"] & ~is_note], rows[~rows["known"] & is_note], rows[rows["known"]]
        folded = count_findings(causes["severity"].iloc[_SHOWN:])
        more = f"{len(causes) - _SHOWN:,} more: {folded}"
        build = partial(item_of, diagnosis=self, zone=zone)
        is_healthy = self.verdict == "healthy"
        blocks: tuple[Block, ...] = (
            Items(BuiltRows(causes, build), shown=_SHOWN, more=more),
            *_fold("Known", known, Items(BuiltRows(known, build), shown=_MAX_FINDINGS, is_brief=True)),
            Gaps([*gap_reasons(self), *unread_notes(self)], "Not checked"),
            *_fold("Notes", notes, Items(BuiltRows(notes, build), shown=_MAX_FINDINGS)),
            Fold("Checks", tuple(map(_check_text, records(self.checked))), is_aside=not is_healthy, is_open=is_healthy),
        )
        # A critical finding stays red even if the verdict is "incomplete".
        tone = "critical" if self.worst == "critical" else self.verdict
        return replace(super().document(zone), blocks=blocks, tone=tone, foot=(footer_of(self),))


@dataclass(frozen=True, slots=True)
class CheckRun:
    """One check that ran: the number of its findings, and the queries, seconds and rows that it needed."""

    check: str
    description: str
    findings: int
    queries: int
    seconds: float
    rows: int


@dataclass(frozen=True, slots=True)
class CheckGap:
    """One check that did not run or did not read everything; ``applies`` is whether the server needs this check."""

    part: str
    reason: str
    description: str
    applies: bool = True


def missing_runs(coverage: Coverage) -> list[CheckGap]:
    """Return the handlers of which a history may lack ended invocations, and those that the cluster never keeps."""
    lost: dict[str, timedelta] = defaultdict(timedelta)
    never: dict[str, None] = {}
    for gap in coverage.gaps:
        handler = f"{gap.service}/{gap.handler}"
        if gap.retention == timedelta(0):
            never[handler] = None
        else:
            lost[handler] += gap.until - gap.since
    reasons = []
    if lost:
        longest = sorted(lost.items(), key=lambda each: -each[1])
        names = join([f"{handler} ({format_duration(time)})" for handler, time in longest], _MAX_HANDLERS)
        reasons.append(f"ended invocations may be missing of {names}; ask(history, 'coverage') has the times")
    if never:
        reasons.append(f"the cluster does not keep ended invocations of {join(never, _MAX_HANDLERS)}")
    if coverage.is_past:
        reasons += coverage.unknown
    return [CheckGap("coverage", each, "the times in which no invocation is missing") for each in reasons]


def build_diagnosis(
    *,
    source: str,
    version: str,
    at: datetime,
    seconds: float,
    findings: Sequence[Finding],
    checked: Sequence[CheckRun],
    gaps: Sequence[CheckGap],
    skipped: int,
    queries: Iterable[Mapping[str, Any]] = (),
    link: str = "",
    notes: NoteList = NO_NOTES,
    cluster: ClusterIdentity | None = None,
) -> Diagnosis:
    """Build the diagnosis and its verdict from the findings, which stay in this order."""
    worst = next((each.value for each in Severity if each in {finding.severity for finding in findings}), None)
    verdict = worst if worst in {Severity.CRITICAL, Severity.WARNING} else "healthy"
    if any(each.applies for each in gaps):
        verdict = "incomplete"
    frames = {
        "findings": _finding_frame(findings),
        "not_read": _frame([*gaps, *_note_gaps(notes.unreadable)], CheckGap),
        "checked": _frame(checked, CheckRun),
    }
    attrs: dict[Hashable, Any] = {"source": source, "version": version, "read_at": at.isoformat()}
    for frame in frames.values():
        frame.attrs = {**attrs, "verdict": verdict, "worst": worst}
    if cluster is not None:  # as text, because pandas copies the attributes often
        frames["findings"].attrs["cluster"] = json.dumps(cluster.to_json())
    frames["findings"].attrs["alike"] = _alike_as_json(frames["findings"])
    diagnosis = Diagnosis(
        **frames,
        verdict=verdict,
        worst=worst,
        source=source,
        version=version,
        read_at=at,
        seconds=seconds,
        skipped=skipped,
        queries=tuple(queries),
        link=link,
        suggested_calls=tuple(each.suggested for each in findings),
        evidence_calls=tuple(each.evidence for each in findings),
        subjects=tuple(each.identity for each in findings),
        note_ids=(),
        cluster=cluster,
    )
    return with_notes(diagnosis, notes.notes)


def _alike_as_json(findings: pd.DataFrame) -> str:
    """Return the findings that share a fingerprint, from which a note about one row has the numbers of all of them."""
    alike = findings.loc[findings["fingerprint"].duplicated(keep=False), [each.name for each in fields(NotedFinding)]]
    return json.dumps(alike.to_dict("records"))


def with_notes(diagnosis: Diagnosis, notes: Sequence[StoredNote], now: datetime | None = None) -> Diagnosis:
    """Return a diagnosis with the notes about its findings; ``now`` is the time of this computer by default."""
    rows = diagnosis.findings[[each.name for each in fields(NotedFinding)]].itertuples(index=False, name=None)
    matched = match_notes((NotedFinding(*row) for row in rows), notes, diagnosis.cluster, now)
    texts = pd.Series([each.text for each in matched], dtype="object")
    findings = diagnosis.findings.assign(known=pd.Series([each.is_known for each in matched], dtype="bool"), note=texts)
    shown = with_card(findings, findings_card)
    return replace(diagnosis, findings=shown, note_ids=tuple(each.id for each in matched))


def _note_gaps(unreadable: Sequence[str]) -> list[CheckGap]:
    if not unreadable:
        return []
    reason = f"{plural(len(unreadable), 'part')} of the notes could not be read: {join(unreadable)}"
    return [CheckGap(NOTES, reason, "what you noted about findings", applies=False)]


def _finding_frame(findings: Sequence[Finding]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "severity": [each.severity.value for each in findings],
        "check": [each.check for each in findings],
        "title": [each.title for each in findings],
        "details": [each.details for each in findings],
        "shared": [each.shared for each in findings],
        "since": [each.since for each in findings],
        "draining": [each.draining for each in findings],
        "deleted_at": [each.deleted_at for each in findings],
        "count": [each.count for each in findings],
        "affected": [each.affected for each in findings],
        "where": [each.where for each in findings],
        "ids": [list(each.ids) for each in findings],
        "blocks": [each.blocked.label for each in findings],
        "blocked": [list(each.blocked.ids) for each in findings],
        "queued": [each.queued for each in findings],
        "suggested_code": [
            python_code(each.suggested, {each.ids: f"diagnosis.findings.ids[{at}]"}) for at, each in enumerate(findings)
        ],
        "evidence_code": [python_code([each.evidence]) for each in findings],
        "fingerprint": [fingerprint_of(each.check, each.identity.name) for each in findings],
        "about": [[list(path) for path in each.about] for each in findings],
    }
    types = dict.fromkeys(("count", "affected", "queued"), "int64")
    frame = pd.DataFrame({name: pd.Series(each, dtype=types.get(name, "object")) for name, each in columns.items()})
    for name in ("since", "deleted_at"):
        frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("ms")
    return frame


def _frame(rows: Sequence[Any], kind: type[Any]) -> pd.DataFrame:
    return pd.DataFrame([asdict(row) for row in rows], columns=list(kind.__dataclass_fields__))


def is_empty_cluster(diagnosis: Diagnosis) -> bool:
    """Return whether a diagnosis found neither a service nor an invocation, so that it may be of the wrong cluster."""
    return EMPTY in set(diagnosis.findings["check"])


def headline_of(diagnosis: Diagnosis) -> str:
    """Return "healthy", "incomplete" or "nothing is registered here"; "" if the findings are the headline."""
    if is_empty_cluster(diagnosis):
        return "nothing is registered here"
    return diagnosis.verdict if diagnosis.verdict in {"healthy", "incomplete"} else ""


def footer_of(diagnosis: Diagnosis) -> str:
    """Return the number of checks, their duration, and how many do not apply to the source, with the reasons."""
    skipped = f", {plural(diagnosis.skipped, 'other')} not selected" if diagnosis.skipped else ""
    checks = f"{plural(len(diagnosis.checked), 'check')} in {format_duration(diagnosis.seconds)}"
    return f"{checks}{skipped}{_others_text(diagnosis)}"


def count_findings(severities: Iterable[str], separator: str = ", ") -> str:
    """Return the number of findings by severity, such as "3 critical, 6 warnings, 8 notes"; "" if there are none."""
    counts = Counter(severities)
    parts = [
        f"{counts['critical']:,} critical" if counts["critical"] else "",
        plural(counts["warning"], "warning") if counts["warning"] else "",
        plural(counts["note"], "note") if counts["note"] else "",
    ]
    return separator.join(each for each in parts if each)


def _others_text(diagnosis: Diagnosis) -> str:
    """Return "; 5 do not apply: this source has no payloads of journals (4), …"; "" if all of them apply."""
    others = [row for row in records(diagnosis.not_read) if not row["applies"] and row["part"] != NOTES]
    reasons = Counter(row["reason"] for row in others if row["reason"] != HAS_OPEN)
    if not reasons:
        return ""
    count, texts = reasons.total(), [f"{reason} ({n})" for reason, n in reasons.most_common()]
    return f"; {count:,} {verb_form(count, 'does', 'do')} not apply: {join(texts)}"


def gap_reasons(diagnosis: Diagnosis) -> list[str]:
    """Return each reason why checks did not run, with their names: "deadlocks, paused: the timeout of 60s is over"."""
    names: dict[str, list[str]] = defaultdict(list)
    for row in _gaps(diagnosis):
        names[row["reason"]].append(row["part"])
    return [f"{', '.join(each)}: {reason}" for reason, each in names.items()]


def unread_notes(diagnosis: Diagnosis) -> list[str]:
    """Return why notes could not be read, as sentences; their findings are shown as those that are not known."""
    reasons = diagnosis.not_read.loc[diagnosis.not_read["part"] == NOTES, "reason"]
    return [f"{reason}. Findings that you acknowledged may be shown as new ones." for reason in reasons]


def unread_checks(diagnosis: Diagnosis) -> list[str]:
    """Return the checks that apply to this server, and did not run or did not read everything."""
    return [row["part"] for row in _gaps(diagnosis)]


def _gaps(diagnosis: Diagnosis) -> list[dict[Any, Any]]:
    return [row for row in records(diagnosis.not_read) if row["applies"]]


def planned_call(suggested: Iterable[SuggestedCall], finding: Mapping[Any, Any]) -> SuggestedCall | None:
    """Return the call that creates a plan for a row of ``findings``, or None.

    It is the first such call among the suggested calls. For retrying invocations it is "resume", which retries them
    now.
    """
    call = next((call for call in suggested if call.verb in {"plan", "move_to"}), None)
    if call is None and finding["check"] in _RESUMED:
        return plan_call("resume", finding["ids"])
    return call


def addition_lines(finding: Mapping[Any, Any]) -> list[str]:
    """Return the additions of a row of ``findings`` as sentences: its backlog, what it shares, and its deletion."""
    return [each for each in (finding["draining"], finding["shared"], deletion_text(finding["deleted_at"])) if each]


def deletion_text(at: datetime | None) -> str:
    """Return when the evidence of a finding is deleted as a sentence; "" if that is unknown."""
    return "" if is_missing(at) else f"The cluster deletes this evidence from {format_timestamp(at)} on."


def findings_card(findings: pd.DataFrame) -> str:
    """Return the card of a frame of findings as HTML."""
    now = datetime.fromisoformat(findings.attrs["read_at"])

    def build(row: Mapping[Any, Any]) -> Item:
        steps = (Step((), "next", row["suggested_code"]), Step((), "rows", row["evidence_code"]))
        return _finding_item(row, steps, now)

    columns = f"A DataFrame with the columns {', '.join(findings.columns)}."
    blocks = (Items(BuiltRows(findings, build), shown=_MAX_FINDINGS),)
    return html_of(Document(plural(len(findings), "finding"), findings.attrs["source"], blocks, foot=(columns,)))


def item_of(row: Mapping[Any, Any], diagnosis: Diagnosis, zone: tzinfo = UTC) -> Item:
    """Return a row of ``findings`` as an item of a list; ``at`` in it is its position."""
    suggested, evidence = diagnosis.suggested_calls[row["at"]], diagnosis.evidence_calls[row["at"]]
    code = row["suggested_code"]
    if "diagnosis." in code:
        code += f"{'; ' if '  # ' in code.splitlines()[-1] else '  # '}diagnosis is this result"
    planned = planned_call(suggested, row)
    steps = (
        Step(suggested, "next", code),
        *((Step((planned,), "plan", rows=evidence),) if planned and planned not in suggested else ()),
        Step((evidence,), "rows", row["evidence_code"]),
    )
    return _finding_item(row, steps, diagnosis.read_at, zone)


def _finding_item(row: Mapping[Any, Any], steps: tuple[Step, ...], now: datetime, zone: tzinfo = UTC) -> Item:
    count = len(row["ids"])
    lines: tuple[Line, ...] = (
        row["note"],
        Word(f"Blocks {row['blocks']}.") if row["blocks"] else "",
        row["details"],
        *map(_with_code, addition_lines(row)),
    )
    return Item(
        row["title"],
        Word(row["severity"], row["severity"]),
        tuple(filter(None, lines)),
        age=format_age(row["since"], now),
        since=format_timestamp(row["since"], zone=zone),
        steps=steps,
        more=f"More ({plural(row['count'], 'ID')})" if count else "More",
        about=(("check", row["check"]), ("fingerprint", row["fingerprint"])),
        ids=row["ids"][:_MAX_SHOWN_IDS],
        count=row["count"] if count else 0,
        row=row.get("at"),
    )


def _with_code(text: str) -> Line:
    """Return a text as a line, with the parts between backticks as code."""
    return tuple(Word(part, "code") if at % 2 else part for at, part in enumerate(text.split("`")))


def _fold(name: str, findings: pd.DataFrame, items: Items) -> tuple[Fold, ...]:
    return (Fold(f"{name} ({len(findings):,})", (items,)),) if len(findings) else ()


def _check_text(row: Mapping[Any, Any]) -> Text:
    # Without a time, another check had already read its data.
    time = format_duration(row["seconds"]) if row["seconds"] >= _NOTICEABLE else ""
    return Text((f"{row['description']} ", Word(time, "quiet")))
