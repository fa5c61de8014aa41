"""The chapters of an incident report, one function each; they say what is missing, and raise where all of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import pandas as pd
from markupsafe import Markup

from restate_lab._text import escape_invisible
from restate_lab.analysis.deadline import within
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.analysis.journal import read_journal
from restate_lab.analysis.questions import run_question
from restate_lab.analysis.waits import Waits, find_waits
from restate_lab.analysis.why import why
from restate_lab.client.schema import checked
from restate_lab.errors import RestateLabError
from restate_lab.plots import (
    plot_journal,
    plot_latency,
    plot_retries,
    plot_status,
    plot_throughput,
    plot_waits,
)
from restate_lab.reports import timeline as events
from restate_lab.reports.figures import drawn
from restate_lab.reports.metadata import statements_of
from restate_lab.reports.parts import Card, Heading, Notice, Part, Prose, Section, Table
from restate_lab.reports.report import Report
from restate_lab.reports.sections import section_of
from restate_lab.reports.tables import Maker
from restate_lab.reports.timeline import changes_of
from restate_lab.source import Source

__all__ = ["CHAPTERS", "Looking"]

_WORST = 3
_EVENTS = 120
_JOURNAL = ("index", "entry_type", "name", "status", "started", "duration", "callee_target", "retries", "last_error")
_DEPLOYMENTS = "SELECT id, endpoint, created_at FROM sys_deployment"


@dataclass(frozen=True)
class Looking:
    """Reads each thing once; ``excluded`` collects what could not be read on the way, in words.

    ``reads`` is the source for as long as there is time for the report, ``limit`` the seconds for one reading.
    """

    source: Source
    report: Report
    reads: Source
    limit: float
    maker: Maker = field(init=False)
    excluded: list[str] = field(default_factory=list)
    _read: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "maker", self.report.maker)

    def with_room(self, report: Report) -> Looking:
        """Return the same with the room that is left in the report as it is now; what was read stays read."""
        return replace(self, report=report, _read=self._read, excluded=[])

    def within(self, verb: str) -> Source:
        """Return the source for one reading."""
        return within(self.reads, self.limit, verb=verb)

    @property
    def diagnosis(self) -> Diagnosis:
        """Return what the doctor says."""
        if "doctor" not in self._read:
            self._read["doctor"] = doctor(self.reads, timeout=self.limit)
        found: Diagnosis = self._read["doctor"]
        return found

    @property
    def waits(self) -> Waits:
        """Return who waits for whom."""
        if "waits" not in self._read:
            self._read["waits"] = find_waits(self.within("waits"))
        found: Waits = self._read["waits"]
        return found

    def ask(self, name: str, **params: Any) -> pd.DataFrame:
        """Return the answer to a named question, asked once.

        Raises:
            RestateLabError: it cannot be answered here, or not in the time for one reading.
        """
        key = f"{name} {sorted(params.items(), key=str)}"
        if key not in self._read:
            self._read[key] = run_question(self.reads, name, timeout=self.limit, **params)
        found: pd.DataFrame = self._read[key]
        return found

    def try_to_ask(self, name: str, **params: Any) -> pd.DataFrame | None:
        """Return the answer, or None after noting in ``excluded`` why there is none."""
        try:
            return self.ask(name, **params)
        except RestateLabError as error:
            self.excluded.append(f"{name}: {self.maker.masker.text(' '.join(str(error).split()))}")
            return None

    def section(self, title: str, *parts: Any, of: Sequence[Any] = (), caption: str = "") -> Section:
        """Return a section with these parts (None is left out) and the statements behind it, those of ``of``."""
        kept = tuple(each for each in parts if each is not None)
        embedded = sum(each.download.size for each in kept if isinstance(each, Table) and each.download)
        statements = statements_of((each for each in of if each is not None), self.maker.masker)
        return Section(title, kept, caption, statements, embedded=embedded)


def wrong(looking: Looking) -> Section:
    """Tell what the doctor found."""
    return section_of(looking.diagnosis, looking.maker, title="What is wrong", rows=1)


def timeline(looking: Looking) -> Section:
    """Tell what happened when."""
    since = looking.report.since
    found = list(events.findings_begun(looking.diagnosis))
    asked = {
        "error_onset": events.errors_met,
        "terminal_failures": events.ended,
        "paused": events.paused,
        "restarts": events.restarted,
    }
    frames = []
    for name, told in asked.items():
        params = {"since": since} if name in {"error_onset", "terminal_failures"} else {}
        frame = looking.try_to_ask(name, **params)
        if frame is not None:
            found += told(frame)
            frames.append(frame)
    found += _deployed(looking)
    if looking.report.about and not looking.report.about.is_evidence:
        found += events.done_here(changes_of(looking.source, since=since, folder=looking.report.audit)[0])
    table = looking.maker.table(events.timeline(found, since=since), rows=_EVENTS, file="timeline")
    caption = (
        "Everything that left a dated trace: deployments, errors met for the first time, failures, pauses, restarts, "
        "the beginning of what the doctor found, and what was done from here. Earlier events may have expired."
    )
    return looking.section("Timeline", table, *_gaps(looking), of=tuple(frames), caption=caption)


def worst(looking: Looking) -> Section:
    """Tell of the worst three why they are stuck, and show their journals."""
    chosen = list(_stuck(looking.diagnosis.findings))
    if not chosen:
        return Section("The worst in detail", (Prose(("No critical finding is about an invocation.",)),))
    parts: list[Part] = []
    asked: list[Any] = []
    for what, id_ in chosen:
        parts.append(Heading(looking.maker.masker.text(escape_invisible(what))))
        try:
            parts += _explained(looking, id_, asked)
        except RestateLabError as error:
            parts.append(Notice(f"{id_} could not be explained: {looking.maker.masker.text(str(error))}"))
    caption = (
        f"One invocation of each of the {len(chosen)} findings that affect most: why it does not go on, and its "
        "journal."
    )
    return looking.section("The worst in detail", *parts, of=asked, caption=caption)


def statuses(looking: Looking) -> Section:
    """Tell how many invocations are in which status."""
    frame = looking.ask("overview")
    oldest = looking.try_to_ask("oldest_unmoved")
    table = None
    if oldest is not None:
        columns = ("id", "target", "status", "idle_for", "created_at")
        table = looking.maker.table(oldest, title="Longest unmoved", columns=columns, rows=15, file="oldest_unmoved")
    shown = drawn(plot_status, frame, looking.maker.zone, "Invocations by service and status, completed ones left out")
    return looking.section("Invocations", shown, table, *_gaps(looking), of=(frame, oldest))


def waiting(looking: Looking) -> Section:
    """Tell who waits for whom."""
    found, maker = looking.waits, looking.maker
    picture = drawn(plot_waits, found, maker.zone, f"Who waits for whom: {found.verdict}")
    deadlocks = maker.table(
        found.deadlocks.rename(columns={"waiting": "others_behind"}),
        title="Deadlocks",
        columns=("description", "certain", "others_behind", "since", "cancel"),
        file="deadlocks",
    )
    blockers = maker.table(
        found.blockers,
        title="Root blockers",
        columns=("target", "status", "waits_for", "direct_waiting", "total_waiting", "since", "id"),
        rows=20,
        file="root_blockers",
    )
    gaps = [Notice(f"Not read: {each}.") for each in found.excluded]
    title, caption = "Who waits for whom", f"{found.verdict}."
    return looking.section(title, picture, deadlocks, blockers, *gaps, of=(found,), caption=caption)


def retries(looking: Looking) -> Section:
    """Tell what is tried again, and why."""
    frame = looking.ask("retry_storm")
    shown = drawn(plot_retries, frame, looking.maker.zone, "Invocations that are being tried again, by step and error")
    columns = ("handler", "step", "error_code", "message", "n", "attempts", "worst", "next_retry_at", "example_id")
    table = looking.maker.table(_handlers(frame), columns=columns, rows=25, file="retries") if len(frame) else None
    return looking.section("Retries", shown, table, of=(frame,))


def failures(looking: Looking) -> Section:
    """Tell what failed for good, and what is paused."""
    frame = looking.ask("terminal_failures", since=looking.report.since)
    columns = ("handler", "status", "code", "message", "n", "first_at", "last_at", "example_id")
    ended = looking.maker.table(_handlers(frame), title="Ended in failure", columns=columns, rows=30, file="failures")
    stopped = looking.try_to_ask("paused")
    table = None
    if stopped is not None:
        shown = ("target", "paused_at", "step", "error_code", "message", "id")
        table = looking.maker.table(stopped, title="Paused", columns=shown, rows=30, file="paused")
    return looking.section("Failures and pauses", ended, table, *_gaps(looking), of=(frame, stopped))


def latency(looking: Looking) -> Section:
    """Tell how long invocations took, and how many ended."""
    frame = looking.ask("latency", since=looking.report.since)
    rate = looking.try_to_ask("throughput", since=looking.report.since)
    shown = drawn(plot_latency, frame, looking.maker.zone, "How long invocations took, by handler")
    rates = None
    if rate is not None:
        rates = drawn(plot_throughput, rate, looking.maker.zone, "Invocations that ended, by how they ended")
    caption = "Of completed invocations that are still retained; what has expired is not counted."
    return looking.section("Latency and throughput", shown, rates, *_gaps(looking), of=(frame, rate), caption=caption)


def deployments(looking: Looking) -> Section:
    """Tell which deployments there are, what holds them, and which of them fail."""
    frame = looking.ask("deployment_pins")
    columns = (
        "deployment_id",
        "endpoint",
        "is_known",
        "latest_of",
        "pinned",
        "oldest_age",
        "can_be_removed",
        "created_at",
    )
    pins = looking.maker.table(frame, columns=columns, rows=30, file="deployments")
    failing = looking.try_to_ask("failing_deployments")
    table = None
    if failing is not None:
        shown = ("endpoint", "error_code", "n", "attempts", "services", "example_message", "deployment_id")
        table = looking.maker.table(failing, title="Failing", columns=shown, rows=20, file="failing_deployments")
    return looking.section("Deployments", pins, table, *_gaps(looking), of=(frame, failing))


def how(looking: Looking) -> Section:
    """Tell how this was read, and what soon will not be there any more."""
    checked = looking.maker.table(
        looking.diagnosis.checked.round({"seconds": 3}),
        title="Checks of the doctor",
        columns=("description", "findings", "queries", "seconds"),
        rows=100,
    )
    missing = looking.diagnosis.not_checked
    gone = (
        looking.maker.table(missing, title="Not checked", columns=("description", "reason"), rows=100)
        if len(missing)
        else None
    )
    expiring = looking.try_to_ask("expiring", until="24h")
    soon = None
    if expiring is not None and len(expiring):
        columns = ("target", "status", "completed_at", "expires_at", "id")
        title = "Failures whose record expires within a day"
        soon = looking.maker.table(expiring, title=title, columns=columns, rows=20, file="expiring")
    words = (
        "The tables of a cluster are read one after another, not at one instant; on a busy one a number in one chapter "
        "may differ from that in another. Counts are of what is retained. Identifiers are complete, and can be pasted."
    )
    made = looking.section(
        "Appendix: how this was read", Prose((words,)), checked, gone, soon, *_gaps(looking), of=(expiring,)
    )
    return replace(made, is_appendix=True)


CHAPTERS: Mapping[str, Callable[[Looking], Section]] = MappingProxyType(
    {
        "What is wrong": wrong,
        "Timeline": timeline,
        "The worst in detail": worst,
        "Invocations": statuses,
        "Who waits for whom": waiting,
        "Retries": retries,
        "Failures and pauses": failures,
        "Latency and throughput": latency,
        "Deployments": deployments,
        "Appendix: how this was read": how,
    }
)
"""Title → what makes the chapter, in the order in which they are told."""


def _stuck(findings: pd.DataFrame) -> Iterator[tuple[str, str]]:
    """Give what was found and one id of it: the worst of each check first, and then the others."""
    rows = [row for row in findings.to_dict("records") if row["severity"] == "critical" and _invocations(row)]
    first = {row["check"]: row for row in reversed(rows)}
    ordered = [row for row in rows if first[row["check"]] is row] + [
        row for row in rows if first[row["check"]] is not row
    ]
    for row in ordered[:_WORST]:
        yield row["summary"], _invocations(row)[0]


def _invocations(row: Mapping[Any, Any]) -> list[str]:
    return [each for each in row["ids"] if str(each).startswith("inv_")]


def _explained(looking: Looking, id_: str, asked: list[Any]) -> Iterator[Part]:
    """Give the parts about one invocation, and put what was read for them into ``asked``."""
    maker = looking.maker
    told = why(looking.reads, id_)
    asked.append(told)
    yield Card(Markup(maker.masker.text(told._repr_html_())))  # noqa: S704 - escaped where it was made
    frame, _ = read_journal(looking.within("journal"), id_)
    asked.append(frame)
    if frame.empty:
        yield Prose((f"There is no journal: {frame.attrs.get('note', 'it has no entries')}.",))
        return
    yield drawn(plot_journal, frame, maker.zone, f"Journal of {id_}")
    yield maker.table(frame, columns=_JOURNAL, rows=30, file=f"journal_{id_}", drop_empty=True)


def _deployed(looking: Looking) -> Iterator[events.Event]:
    try:
        rows = looking.within("deployments").sql(_DEPLOYMENTS)
        yield from events.deployed(checked(rows, _DEPLOYMENTS, looking.source))
    except RestateLabError as error:
        looking.excluded.append(f"deployments: {looking.maker.masker.text(str(error))}")


def _handlers(frame: pd.DataFrame) -> pd.DataFrame:
    handlers = frame["target_service_name"].astype(str) + "/" + frame["target_handler_name"].astype(str)
    made = frame.assign(handler=handlers)
    made.attrs = dict(frame.attrs)
    return made


def _gaps(looking: Looking) -> list[Notice]:
    return [Notice(f"This could not be read: {each}") for each in looking.excluded]
