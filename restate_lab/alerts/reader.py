"""One visit of one cluster: the findings of the doctor and the rows of questions become alerts."""

from __future__ import annotations

import json
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, TypeAlias
from urllib.parse import quote

from restate_lab._text import one_line, plural
from restate_lab.alerts.alert import Alert, merge_alerts, without_markup
from restate_lab.alerts.outlook import (
    EVIDENCE_DELETED,
    WILL_NOT_DRAIN,
    Prospect,
    deleted_evidence,
    growing_backlogs,
)
from restate_lab.alerts.rules import Rule, Rules
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.doctor import Diagnosis, diagnose
from restate_lab.analysis.doctor.additions import DELETED
from restate_lab.analysis.doctor.checks import CHECKS
from restate_lab.analysis.doctor.diagnosis import EMPTY, deletion_text, gap_reasons, unread_checks, unread_notes
from restate_lab.analysis.doctor.model import Finding, Severity, Subject
from restate_lab.analysis.doctor.reader import timestamp_of
from restate_lab.analysis.questions.catalog import read_question
from restate_lab.analysis.suggestions import ask_call
from restate_lab.calls import SuggestedCall
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import Lab, connect
from restate_lab.errors import RestateLabError
from restate_lab.frames import records
from restate_lab.identity import ClusterIdentity
from restate_lab.links import build_link
from restate_lab.reads import Reads

Commands: TypeAlias = Callable[[Sequence[SuggestedCall], "str | None"], "list[str] | None"]
"""A function that returns calls as shell commands for a cluster, or None if there are none."""
MOST_KEYS = 10
"""The number of keys whose backlog is a metric."""
_NONE_KNOWN: Mapping[str, KnownAlert] = MappingProxyType({})
_IDS = ("id", "example_id", "oldest_id", "invocation_id", "first_id", "holder")
_INVOCATION = "inv_"
_ITSELF = Subject("")  # a check of ``watch`` that has at most one alert
_LONGEST_REASON = 2000
_TO_FILL_IN = "http://…"


@dataclass(frozen=True, slots=True)
class ClusterLoad:
    """What the metrics show: rows of the questions ``overview``, ``backlog_by_key`` and ``retry_storm``."""

    statuses: Sequence[Mapping[Any, Any]] = ()
    backlog: Sequence[Mapping[Any, Any]] = ()
    retries: Sequence[Mapping[Any, Any]] = ()


@dataclass(frozen=True, slots=True)
class AcknowledgedAlert:
    """A problem that notes acknowledge; ``note`` has the ids of the notes, separated by commas."""

    note: str
    alert: Alert


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterVisit:
    """The result of one visit. An alert that is missing in ``alerts`` is over, unless its rule is in ``unread``.

    ``weaker`` are the fingerprints of problems that are still there, with a severity below that of an alert: they open
    no alert, and resolve none, so that a problem at the limit does not open and resolve again and again.
    ``acknowledged`` has the problems that the user of this process knows: they also open no alert, and resolve none. A
    problem with another finding that is not known is in ``alerts``, too.
    ``only`` limits the visit to the alerts of one rule; "" is all of them. ``holds`` has how long each problem must
    persist, by fingerprint. ``identity`` is that of the cluster, None if it could not be read. ``at`` is the time of
    this computer, UTC. ``findings`` counts the doctor's findings by
    check and severity. ``error`` is "" if everything could be read.
    """

    cluster: str
    at: datetime
    alerts: Sequence[Alert]
    identity: ClusterIdentity | None = None
    only: str = ""
    unread: frozenset[str] = frozenset()
    weaker: frozenset[str] = frozenset()
    acknowledged: Mapping[str, AcknowledgedAlert] = field(default_factory=dict)
    holds: Mapping[str, timedelta] = field(default_factory=dict)
    seconds: float = 0.0
    statements: int = 0
    findings: Mapping[tuple[str, str], int] = field(default_factory=dict)
    load: ClusterLoad | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class KnownAlert:
    """An alert that earlier visits found: since when, and whether it was reported."""

    first_at: datetime
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterReader:
    """Visits one cluster. ``option`` is the cluster as the user named it, ``name`` its name in alerts.

    ``causes=False`` omits the messages of errors. ``timeout`` is the limit of a visit in seconds. ``measures`` is
    whether the rows for the metrics are read, ``archives`` whether other visits archive the cluster. ``link_base`` is
    the address of ``restate-lab serve`` for links to its pages; "" for none.
    """

    name: str
    option: str | None
    rules: Rules
    commands: Commands
    timeout: float = 60.0
    causes: bool = True
    measures: bool = False
    archives: bool = False
    link_base: str = ""

    def visit(self, known: Mapping[str, KnownAlert] = _NONE_KNOWN) -> ClusterVisit:
        """Read the cluster and return its alerts; an error of the cluster is an alert.

        ``known`` has the alerts of earlier visits by fingerprint. The invocations of a finding are compared with
        healthy ones only at the visit that opens its alert.
        """
        started = time.monotonic()
        try:
            with connect(self.option, read_only=True, check=False) as lab, time_limit(self.timeout):
                return self._read(lab, Reads(lab), started, known)
        except BaseException as error:  # noqa: BLE001 - also a defect, or a panic of a library, must not end the alerts
            reason = reason_of(error)
            title = f"{self.name} cannot be read ({type(error).__name__}); its problems are unknown"
            seconds = time.monotonic() - started
            return self.own_visit("unreachable", Severity.CRITICAL, title, reason, seconds=seconds)

    def _read(self, lab: Lab, source: Reads, started: float, known: Mapping[str, KnownAlert]) -> ClusterVisit:
        now = datetime.now(UTC)
        diagnosis = diagnose(
            source, timeout=self.timeout, is_wanted=lambda finding, name: self._wants(finding, name, known, now)
        )
        for row in diagnosis.findings[diagnosis.findings["check"] == EMPTY].to_dict("records"):
            # Probably another cluster: its alerts are neither open nor over.
            seconds = time.monotonic() - started
            return self.own_visit(EMPTY, Severity.WARNING, row["title"], row["details"], seconds=seconds)
        gaps, unread = [*gap_reasons(diagnosis), *unread_notes(diagnosis)], set(unread_checks(diagnosis))
        weaker: set[str] = set()
        acknowledged: dict[str, AcknowledgedAlert] = {}
        found = [
            *self._findings(diagnosis, lab, weaker, acknowledged),
            *self._questions(source, lab, gaps, unread),
            *self._prospects(self._outlook(diagnosis, source, known, gaps, unread), lab, weaker),
        ]
        load = self._load(source, gaps)
        if gaps:
            title = f"not everything was checked, for {plural(len(gaps), 'reason')}"
            found += self.own_alerts("incomplete", Severity.WARNING, title, "; ".join(gaps))
        return ClusterVisit(
            **self._observation(found),
            identity=diagnosis.cluster,
            acknowledged=acknowledged,
            weaker=frozenset(weaker),
            unread=frozenset(unread | ({"archive"} if self.archives else set())),
            seconds=time.monotonic() - started,
            statements=sum(each["times"] for each in source.queries),
            findings=Counter(zip(diagnosis.findings["check"], diagnosis.findings["severity"], strict=True)),
            load=load,
        )

    def own_visit(
        self, check: str, severity: Severity, title: str, reason: str, *, seconds: float = 0.0
    ) -> ClusterVisit:
        """Return a visit that reports only whether one of the checks of ``watch`` itself failed; "" for no reason."""
        found = self.own_alerts(check, severity, title, reason) if reason else []
        return ClusterVisit(**self._observation(found), only=check, seconds=seconds, error=reason)

    def _observation(self, found: Iterable[tuple[Alert, Rule]]) -> dict[str, Any]:
        pairs = [(alert.clean(), rule) for alert, rule in found]
        holds = {alert.fingerprint: rule.hold for alert, rule in pairs if rule.hold}
        alerts = [alert.clean() for alert in merge_alerts(alert for alert, _ in pairs)]
        return {"cluster": self.name, "at": datetime.now(UTC), "alerts": alerts, "holds": holds}

    def _findings(
        self, diagnosis: Diagnosis, lab: Lab, weaker: set[str], acknowledged: dict[str, AcknowledgedAlert]
    ) -> Iterator[tuple[Alert, Rule]]:
        """Yield the alerts with their rules.

        ``weaker`` gets the fingerprints of findings with a lower severity, ``acknowledged`` those with a note about it.
        """
        rows = diagnosis.findings.to_dict("records")
        parts = (rows, diagnosis.subjects, diagnosis.suggested_calls, diagnosis.note_ids)
        for row, subject, calls, note in zip(*parts, strict=True):
            rule = self.rules.rule_for(row["check"], subject)
            alert = self._alert(row, subject, calls, rule, lab)
            if rule.allows(row["severity"]) and row["known"]:
                known = acknowledged.get(alert.clean().fingerprint, AcknowledgedAlert("", alert.clean()))
                ids = {note, *known.note.split(",")} - {""}
                acknowledged[alert.clean().fingerprint] = replace(known, note=",".join(sorted(ids)))
            elif rule.allows(row["severity"]):
                yield alert, rule
            elif not rule.mute:
                weaker.add(alert.clean().fingerprint)

    def _wants(self, finding: Finding, name: str, known: Mapping[str, KnownAlert], now: datetime) -> bool:
        """Return whether a finding gets an addition: when its alert opens, or for a rule that needs it each time."""
        is_asked = name == DELETED and self.rules.asks(EVIDENCE_DELETED)
        return is_asked or self._opens(finding, known, now)

    def _outlook(
        self,
        diagnosis: Diagnosis,
        source: Reads,
        known: Mapping[str, KnownAlert],
        gaps: list[str],
        unread: set[str],
    ) -> Iterator[Prospect]:
        """Yield what the opt-in checks find, those that a rule names."""
        if self.rules.asks(WILL_NOT_DRAIN):
            try:
                yield from growing_backlogs(records(run_any_question(source, "draining", timeout=self.timeout)))
            except RestateLabError as error:
                gaps.append(f"{WILL_NOT_DRAIN}: {' '.join(str(error).split())}")
                unread.add(WILL_NOT_DRAIN)
        if self.rules.asks(EVIDENCE_DELETED):
            yield from deleted_evidence(diagnosis, diagnosis.read_at, self._are_open(diagnosis, known))

    def _are_open(self, diagnosis: Diagnosis, known: Mapping[str, KnownAlert]) -> Iterator[bool]:
        """Yield for each finding about ended invocations whether it is an alert, or one that is acknowledged."""
        rows = diagnosis.findings.to_dict("records")
        for row, subject in zip(rows, diagnosis.subjects, strict=True):
            alert = Alert(cluster=self.name, rule=row["check"], subject=subject.name, severity="", title="")
            before = known.get(alert.clean().fingerprint)
            is_alert = self.rules.rule_for(row["check"], subject).allows(row["severity"])
            yield CHECKS[row["check"]].is_about_ended and (is_alert or (before is not None and before.is_open))

    def _prospects(self, prospects: Iterable[Prospect], lab: Lab, weaker: set[str]) -> Iterator[tuple[Alert, Rule]]:
        """Yield the alerts of the opt-in checks; ``weaker`` gets those that are only near their limit."""
        for each in prospects:
            for alert, rule in self.own_alerts(
                each.check, Severity.WARNING, each.title, each.cause, subject=each.subject, calls=each.calls
            ):
                if each.is_near:
                    weaker.add(alert.clean().fingerprint)
                else:
                    yield replace(alert, ids=each.ids, link=_link(lab, each.ids)), rule

    def _opens(self, finding: Finding, known: Mapping[str, KnownAlert], now: datetime) -> bool:
        """Return whether this visit opens the alert of a finding."""
        subject = finding.identity
        rule = self.rules.rule_for(finding.check, subject)
        alert = Alert(cluster=self.name, rule=finding.check, subject=subject.name, severity=finding.severity, title="")
        before = known.get(alert.clean().fingerprint, KnownAlert(now, is_open=False))
        return rule.allows(finding.severity) and not before.is_open and now - before.first_at >= rule.hold

    def _alert(
        self, row: Mapping[Any, Any], subject: Subject, calls: Sequence[SuggestedCall], rule: Rule, lab: Lab
    ) -> Alert:
        ids = tuple(row["ids"][:3])
        is_one = len(ids) == 1 and ids[0].startswith(_INVOCATION)
        return Alert(
            cluster=self.name,
            rule=row["check"],
            subject=subject.name,
            severity=rule.severity or row["severity"],
            title=row["title"],
            cause=row["details"] if self.causes else "",
            shared=row["shared"] if self.causes else "",
            draining=row["draining"],
            deletion=deletion_text(timestamp_of(row["deleted_at"])),
            blocks=row["blocks"],
            ids=ids,
            next_step=self._next_step(calls, f"doctor --check {row['check']}"),
            link=_link(lab, ids),
            page=self._page("invocation", *row["ids"]) if is_one else self._page(),
            since=timestamp_of(row["since"]),
            note=row["note"],
        )

    def _questions(self, source: Reads, lab: Lab, gaps: list[str], unread: set[str]) -> Iterator[tuple[Alert, Rule]]:
        for rule in self.rules.questions:
            try:
                rows = records(run_any_question(source, rule.question, **rule.params))
            except RestateLabError as error:
                gaps.append(f"{rule.question}: {' '.join(str(error).split())}")
                unread.add(rule.question)
                continue
            if len(rows) >= rule.min_rows:
                yield self._question_alert(rule, rows, lab), rule

    def _question_alert(self, rule: Rule, rows: Sequence[Mapping[Any, Any]], lab: Lab) -> Alert:
        question = read_question(rule.question)
        about = question.text if question else ""
        column = next((name for name in _IDS if rows and name in rows[0]), None)
        values = [str(row[column]) for row in rows[:3]] if column else []
        ids = tuple(each for each in values if each.startswith(_INVOCATION))
        call = ask_call(rule.question, **rule.params)
        return Alert(
            cluster=self.name,
            rule=rule.question,
            subject=json.dumps(dict(sorted(rule.params.items())), default=str) if rule.params else "",
            severity=rule.severity or Severity.WARNING.value,
            title=f"{rule.question} has {plural(len(rows), 'row')}: {about}",
            ids=ids,
            next_step=self._next_step([call], f"ask {rule.question}"),
            link=_link(lab, ids),
            page=self._page("question", rule.question, rule.params),
        )

    def _load(self, source: Reads, gaps: list[str]) -> ClusterLoad | None:
        if not self.measures:
            return None
        try:
            return ClusterLoad(
                statuses=records(run_any_question(source, "overview", limit=None)),
                backlog=records(run_any_question(source, "backlog_by_key", limit=MOST_KEYS)),
                retries=records(run_any_question(source, "retry_storm", limit=None)),
            )
        except RestateLabError as error:
            gaps.append(f"metrics: {' '.join(str(error).split())}")
            return None

    def _next_step(self, calls: Sequence[SuggestedCall], otherwise: str) -> str:
        is_plain = not any(map(_has_markup, calls))  # a receiver shows a command as it is
        lines = self.commands(calls, self.option) if calls and is_plain else None
        option = "" if self.option is None else f" -e {shlex.quote(self.option)}"
        return "\n".join(lines) if lines else f"restate-lab {otherwise}{option}"

    def own_alerts(
        self,
        check: str,
        severity: Severity,
        title: str,
        cause: str,
        *,
        subject: Subject = _ITSELF,
        calls: Sequence[SuggestedCall] = (),
    ) -> list[tuple[Alert, Rule]]:
        """Return the alert of a check of ``watch`` itself, with its rule; none if the rule excludes it."""
        rule = self.rules.rule_for(check, subject)
        if not rule.allows(severity):
            return []
        alert = Alert(
            cluster=self.name,
            rule=check,
            subject=subject.name,
            severity=rule.severity or severity.value,
            title=title,
            cause=cause,
            next_step=self._next_step(calls, "doctor"),
            page=self._page(),
        )
        return [(alert, rule)]

    def _page(self, page: str = "", argument: str = "", params: Mapping[str, Any] | None = None) -> str:
        """Return the link to a page of ``restate-lab serve`` about the cluster; "" without its address."""
        return build_link(self.link_base, self.name, page, argument, params) if self.link_base else ""


def reason_of(error: BaseException) -> str:
    """Return an error as one line; the class is named if the error is not one that is raised on purpose."""
    text = one_line(str(error), _LONGEST_REASON)
    if isinstance(error, RestateLabError | OSError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _has_markup(call: SuggestedCall) -> bool:
    """Return whether a chat could read a text of a call, such as a key, as a mention, a link or formatting.

    A statement, and an address that the user fills in, are not texts of the cluster.
    """
    arguments = () if call.verb == "lab.sql" else call.arguments
    values = [*arguments, *call.options.values(), call.comment]
    texts = [text for value in values for text in (value if isinstance(value, tuple) else [value])]
    return any(without_markup(text) != text for text in texts if isinstance(text, str) and text != _TO_FILL_IN)


def _link(lab: Lab, ids: Sequence[str]) -> str:
    """Return the address of the web UI, of the first invocation if there is one; "" without an HTTP address."""
    if not lab.address.startswith(("http://", "https://")):
        return ""
    page = f"invocations/{quote(ids[0], safe='')}" if ids and ids[0].startswith(_INVOCATION) else ""
    return f"{lab.address.rstrip('/')}/ui/{page}"
