"""``Panel``: browse and change a cluster: findings, invocations, one invocation, state, and deployments."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pandas as pd
import traitlets

from restate_lab._public import public
from restate_lab._text import shorten_id
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.contrast import Contrast
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import planned_call
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.invocations.filters import ALL, MOST
from restate_lab.analysis.story import Story
from restate_lab.analysis.times import TimeInput
from restate_lab.choices import StatusName, ViewName
from restate_lab.client.arguments import check_seconds
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, RestateLabError, TimedOut
from restate_lab.frames import records
from restate_lab.panels._base.head import ReportSteps
from restate_lab.panels._base.panel import LivePanel, why_read_only
from restate_lab.panels._base.refresher import LOST
from restate_lab.panels._base.view import View
from restate_lab.panels._base.worker import BackgroundAction, Busy
from restate_lab.panels.invocation import InvocationView
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.panel.findings import FindingsView, name_of_finding
from restate_lab.panels.panel.state import VIEWS, WITH_DETAIL, PanelState, state_for
from restate_lab.panels.panel.views import DETAIL, ViewActs, build_view, set_state
from restate_lab.reads import Stopped
from restate_lab.source import Source

if TYPE_CHECKING:
    from restate_lab.panels.actions.bar import ActionBar

_DOCTOR_TIMEOUT = "15s"
_DOCTOR_EVERY = 60.0  # seconds between two runs, and at least thirty times the duration of a run
_DOCTOR_SHARE = 30


@public
class Panel(LivePanel):
    """Show a cluster: the findings of the doctor, invocations, one invocation with its journal, state and deployments.

        panel = rl.Panel(lab, service="Payments", status="attention")
        panel                                     # the last line of a cell shows it

    ``view`` is "overview", "invocations", "waits", "queues", "state" or "deployments". ``open`` opens an invocation by
    its id. In "waits", ``id`` selects a part of the wait-for graph. In "state", ``service`` and ``key`` open an object;
    in "deployments", ``open`` is the id of a deployment, in "queues" the pattern of a rule. By default, the list
    has the invocations in flight, worst first, at most 10,000 rows; the first 300 are shown while the others are read.
    On a history, it has those that have ended, and views that need a live cluster are replaced by a line of text.

    The server applies the filters: ``status`` (a status of Restate, "retrying", "attention", "in-flight", "ended" or
    "all"), ``service`` (one or several), ``handler, key``, ``deployment``, ``since, until, ended_since, ended_until``
    (an age such as "2h", or a time with its time zone), ``age`` (minimum age), ``error_code``, ``retries`` (minimum of
    ``retry_count``), ``text`` (contained in the failure or the target), ``id``, ``limit``, and ``sort`` ("trouble",
    "newest" or "oldest"). ``group=False`` shows equal failures one by one.

    ``refresh`` is the time between two reads while the panel is visible: seconds, "10s", or None. The panel never reads
    more often than ten times the duration of the last read. The doctor runs for at most 15 s, first at the start and
    then about once a minute. ``tz`` is the time zone of the timestamps. ``wait=False`` reads in the background.

    You can observe and link three traits: ``state`` (the keyword arguments that show the current content; set it to
    show other content), ``selected`` (ids; set it to select rows) and ``sql`` (the statement, which runs with
    ``params``). ``frame`` has all rows of the list, ``diagnosis`` the findings of the doctor (None before the first
    run), ``plan`` the last plan, ``contrast`` the last answer to "What do they share?", ``story`` the story of the
    open invocation or of the list, ``code`` the code of "Copy as code", ``link`` the address of "Copy link", ``view``
    the current view. Errors appear in the panel and in ``error``.

    Raises:
        ArgumentError: a keyword is unknown or a value is invalid.
    """

    state = traitlets.Dict(help="The keyword arguments of rl.Panel for the current content.")
    selected: traitlets.List[Any] = traitlets.List(help="The ids of the selected rows.")

    def __init__(
        self,
        source: Source,
        /,
        *,
        view: ViewName | None = None,
        open: str | None = None,  # noqa: A002 - describes its effect
        status: StatusName | Sequence[StatusName] | None = None,
        service: str | Sequence[str] | None = None,
        handler: str | None = None,
        key: str | None = None,
        scope: str | None = None,
        deployment: str | None = None,
        since: TimeInput | None = None,
        until: TimeInput | None = None,
        ended_since: TimeInput | None = None,
        ended_until: TimeInput | None = None,
        age: DurationInput | None = None,
        error_code: str | None = None,
        retries: int | None = None,
        text: str | None = None,
        id: str | Sequence[str] | None = None,  # noqa: A002 - the column's name
        limit: int = MOST,
        sort: str | None = None,
        group: bool = True,
        refresh: DurationInput | None = 5.0,
        tz: str = "UTC",
        wait: bool = True,
    ) -> None:
        keywords = {
            "view": view, "open": open, "status": status, "service": service, "handler": handler, "key": key,
            "scope": scope, "deployment": deployment, "since": since, "until": until, "ended_since": ended_since,
            "ended_until": ended_until, "age": age, "error_code": error_code, "retries": retries, "text": text,
            "id": id, "limit": limit, "sort": sort, "group": group,
        }  # fmt: skip
        self._start(source, PanelState.of(keywords), refresh, tz, wait=wait)

    def _start(self, source: Source, state: PanelState, refresh: DurationInput | None, tz: str, *, wait: bool) -> None:
        self._state = state
        self._tz = tz
        self._views: dict[str, View] = {}
        # Held while the state and its view change, so that the reading thread sees both old or both new.
        self._switching = threading.RLock()
        self._applying = False
        self._diagnosed_at = 0.0
        self._doctor, self._counter, self._reporter = BackgroundAction(), BackgroundAction(), BackgroundAction()
        LivePanel.__init__(self, source, refresh=refresh)  # it checks the source
        self._state = state_for(source, state)
        self.findings = FindingsView(source, guard=self.guard, act=self._act_on_finding, run=self.run_doctor)
        self.head.on_go = self.guard(self._go)
        self.head.on_report = self.guard(self.write_report)
        self.head.report = "ready"
        for part in (self._doctor, self._counter, self._reporter, self.findings):
            self.ends_with(part)
        self.state = self._state.keywords
        self.observe(self._set_state, "state")
        self.observe(self._set_selected, "selected")
        self._show_view()
        if wait:
            super().refresh()
        else:
            self.ask()

    # Content

    @property
    def view(self) -> View:
        """Return the current view."""
        return self._view_of(self._shown_name)

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows shown, or the journal of an open invocation; waits until all rows are read."""
        self._wait_for_all()
        return self.view.frame

    def _wait_for_all(self) -> bool:
        """Wait until the rows after the first page are shown; return whether they are."""
        view = self.view
        return not (isinstance(view, InvocationsView) and view.is_first_page) or super().wait()

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the parameters of ``sql``."""
        return self.view.params

    @property
    def code(self) -> str:
        """Return the code that creates this panel with its current content."""
        return self._state.code

    @property
    def plan(self) -> Plan | None:
        """Return the last plan of the list or of the open invocation, or None."""
        actions: ActionBar | None = getattr(self.view, "actions", None)
        return actions.plan if actions else None

    @property
    def contrast(self) -> Contrast | None:
        """Return the last answer to "What do they share?", or None."""
        return self._list.contrast.result

    @property
    def story(self) -> Story | None:
        """Return the story of the open invocation or, in other views, the last one of the list; None without one."""
        view = self.view
        return view.story if isinstance(view, InvocationView) else self._list.story.result

    def show_invocations(self, **filters: Any) -> None:
        """Show the list with these filters, which are keyword arguments of the panel."""
        self._apply(PanelState.of({"group": self._state.group, **filters, "view": "invocations"}))

    def open_invocation(self, invocation_id: str, /) -> None:
        """Show one invocation with its journal."""
        view = self._state.view if self._state.view in WITH_DETAIL else "invocations"
        self._apply(self._state.with_(view=view, open=check_invocation_id(invocation_id)))

    def show_waits(self, ids: Sequence[str] = (), /) -> None:
        """Show the wait-for graph, or only the part with these invocations."""
        self._apply(self._state.with_(view="waits", open=None, part=tuple(ids)))

    def _open_item(self, id_: str) -> None:
        """Show the invocation or the deployment with this id."""
        if id_.startswith("dp_"):
            self._apply(self._state.with_(view="deployments", open=id_))
        else:
            self.open_invocation(id_)

    def back(self) -> None:
        """Close the open item."""
        detail = self._views.get(DETAIL)
        if isinstance(detail, InvocationView) and self._shown_name == DETAIL and detail.back():
            self._apply(self._state.with_(open=detail.id))
        elif self._state.open is not None:
            self._apply(self._state.with_(open=None))

    # The doctor

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Return the findings of the doctor with the present notes; None before the first run."""
        return self.findings.diagnosis

    def run_doctor(self) -> None:
        """Run the doctor in the background and show its findings."""
        try:
            self._doctor.run(self.guard(self._diagnose, by_reader=False))
        except Busy:
            return  # it is running, and its findings will be shown

    def wait(self, *, timeout: DurationInput = "60s", doctor: bool = False, action: bool = False) -> bool:
        """Wait for the requested reads and, with ``doctor``, for the doctor; return whether all are done.

        With ``action``, wait first for a plan, check, change or export that the user started.
        """
        within = check_seconds("timeout", timeout)
        if action and not (self.view.wait_for_action(within) and self.files.wait(within)):
            return False
        ended = super().wait(timeout=timeout) and self._wait_for_all() and self._counter.wait(60.0)
        return self._doctor.wait(60.0) and ended if doctor else ended

    def refresh(self) -> None:
        """Read now and return after the result is shown; an error appears in the panel and in ``error``."""
        super().refresh()
        self.wait()

    def _diagnose(self) -> None:
        self.findings.begin()
        self.let_draw()
        try:
            diagnosis = doctor(self.reads, timeout=_DOCTOR_TIMEOUT)
        except RestateLabError as error:
            self.findings.fail(str(error))
            return
        finally:
            self._diagnosed_at = time.monotonic()
        self.findings.show_diagnosis(diagnosis, can_plan=why_read_only(self.source) is None)

    def _run_doctor_when_due(self) -> None:
        took = self.diagnosis.seconds if self.diagnosis else 0.0
        due = self._diagnosed_at + max(_DOCTOR_EVERY, _DOCTOR_SHARE * took)
        if not self._diagnosed_at or (self.source.live and self.head.live and time.monotonic() > due):
            self.run_doctor()

    def _act_on_finding(self, act: str, at: int) -> None:
        if self.diagnosis is None:
            return
        finding = records(self.diagnosis.findings)[at]
        ids = list(finding["ids"])
        if act == "why" and (finding["queued"] or finding["check"] == "deadlocks"):
            self.show_waits(ids)
        elif act == "why":
            self.open_invocation(ids[0])
        elif ids and ids[0].startswith("dp_"):
            self._open_item(ids[0])
        elif act == "show":
            self._show_selected(ids, name_of_finding(finding))
        elif act == "share":
            self._apply(self._state.with_(view="invocations", open=None))
            self._list.ask_what_they_share(ids, finding["where"])
        elif act == "queue":
            name = name_of_finding(finding, queue=True)
            self._show_selected(list(finding["blocked"]), name, status="pending")
        else:
            self._plan_finding(at)

    def _show_selected(self, ids: Sequence[str], name: str = "", *, status: str = ALL) -> InvocationsView:
        """Show only these invocations and select them after they are read; ``name`` names this filter."""
        self._list.named_ids = (tuple(ids), name)
        self.show_invocations(status=status, id=list(ids))
        super().wait()
        view = self._list
        present = set(view.frame["id"])
        view.selected = [each for each in ids if each in present]
        return view

    def _plan_finding(self, at: int) -> None:
        finding = records(self.diagnosis.findings)[at] if self.diagnosis else {}
        call = planned_call(self.diagnosis.suggested_calls[at], finding) if self.diagnosis else None
        if call is None:
            raise ArgumentError("this finding has no plan.")
        name = name_of_finding(finding)
        action = ACTIONS.MOVE_TO if call.verb == "move_to" else ACTIONS(str(call.arguments[0]))
        self._show_selected(call.ids, name).plan(action, call.ids)

    # The report

    def write_report(self) -> None:
        """Write an incident report of the current cluster to the working folder, in the background."""
        self.head.report = "busy"
        self.say("Writing the incident report …")
        self._reporter.run(self.guard(self._write_report, by_reader=False))

    def _write_report(self) -> None:
        try:
            from restate_lab.reports.incident import incident_report  # noqa: PLC0415 - it loads matplotlib

            name = f"incident-{datetime.now(UTC):%Y%m%d-%H%M%S}.html"
            file = incident_report(self.source, name, progress=ReportSteps(self.say))
            self.say("")
            self.head.show_file(f"Incident report: {file.name}", str(file.absolute()), file.href)
        finally:
            self.head.report = "ready"

    # Changes of the state

    def _apply(self, state: PanelState) -> None:
        state = state_for(self.source, state)
        with self._switching:
            is_other = state != self._state
            if state.view != self._state.view:
                self.say("")  # the message is about the other view, such as a plan there
            self._state = state
            if is_other:
                self._show_view()
        self._applying = True
        try:
            self.state = state.keywords
        finally:
            self._applying = False
        if is_other:
            self.ask()

    def _change(self, **changes: Any) -> None:
        self._apply(self._state.with_(**changes))

    def _set_state(self, change: Any) -> None:
        if not self._applying:
            self._apply(PanelState.of(change["new"]))

    def _set_selected(self, change: Any) -> None:
        if not self._applying and isinstance(self.view, InvocationsView):
            self._wait_for_all()
            self.view.selected = change["new"]

    def _note_selection(self) -> None:
        self._applying = True
        try:
            self.selected = list(self.view.selected)
        finally:
            self._applying = False

    def _take_from_list(self) -> None:
        view = self._list
        self._apply(self._state.with_(filters=view.filters, group=view.group, view="invocations", open=None))

    def _go(self, to: str) -> None:
        if to in VIEWS:
            self._apply(self._state.with_(view=to, open=None))
        elif to != self._state.open:
            self.back()

    @property
    def _shown_name(self) -> str:
        is_detail = self._state.open is not None and self._state.view in WITH_DETAIL
        return DETAIL if is_detail else self._state.view

    @property
    def _list(self) -> InvocationsView:
        view: InvocationsView = self._view_of("invocations")
        return view

    def _view_of(self, name: str) -> View:
        with self._switching:
            if name not in self._views:
                self._views[name] = self._build_view(name)
            return self._views[name]

    def _build_view(self, name: str) -> View:
        acts = ViewActs(
            change=self._change,
            open_item=self._open_item,
            show_waits=self.show_waits,
            show_list=self.show_invocations,
            show_ids=self._show_selected,
            take_from_list=self._take_from_list,
            fill=self._start_count,
            note_selection=self._note_selection,
        )
        return build_view(name, self, self._state, acts, tz=self._tz)

    def _show_view(self) -> None:
        state, view = self._state, self.view
        detail = self._views.get(DETAIL)
        if isinstance(detail, InvocationView) and detail is not view and detail.id:
            detail.leave()
        set_state(view, state, self._row_of)
        self.findings.fold(on=state.view not in {"overview", "invocations"})
        self.body = (self.findings, view) if self._shown_name != DETAIL else (view,)
        self._show_way()
        self.show_code()

    def _show_way(self) -> None:
        names = [(name, label, name == self._state.view) for name, label in VIEWS.items()]
        crumbs = []
        if self._state.open is not None:
            label = self.view.title if self._shown_name == DETAIL else ""
            back = (self._state.view, f"‹ {VIEWS[self._state.view]}", False)
            crumbs = [back, (self._state.open, label or shorten_id(self._state.open), True)]
        self.head.show_way(names, crumbs)

    def _row_of(self, invocation_id: str) -> dict[Any, Any] | None:
        view = self._views.get("invocations")
        return view.row_of(invocation_id) if isinstance(view, InvocationsView) else None

    def _read(self) -> Any:
        with self._switching:
            view = self.view
        return view, view.read()

    @property
    def _share(self) -> int:
        return self.view.share

    def _show(self, content: Any) -> None:
        view, shown = content
        view.show(shown)
        if view is self.view:
            self._show_way()
            self._note_selection()

    def _read_and_show(self, started: float) -> None:
        try:
            super()._read_and_show(started)
        except LOST:
            raise  # the doctor could not reach the server either
        except Exception:
            self._run_doctor_when_due()
            raise
        self._run_doctor_when_due()
        self.findings.show_notes()
        if isinstance(self.view, InvocationsView):
            self._start_count()

    def _start_count(self) -> None:
        with contextlib.suppress(Busy):  # a count in progress picks up changed filters
            self._counter.run(self._count)

    def _count(self) -> None:
        view = self._views["invocations"]
        self.let_draw()
        try:
            while view.read_counts() or view.read_agents():  # repeat if the filters or the rows in view have changed
                pass
            self._tell_error("counts", None)
        except Exception as error:  # noqa: BLE001 - a panel's thread: it is shown in the panel
            # The next read of the rows reports the errors in LOST.
            if isinstance(error, TimedOut) or not isinstance(error, (Stopped, *LOST)):
                self._tell_error("counts", error)

    def show_code(self) -> None:
        """Show the statement, the code and the link of the current content."""
        self.sql = self.view.sql
        self.head.link = self._state.link_for(self.source)
        super().show_code()

    def _static(self) -> Iterator[str]:
        if self.diagnosis is not None and self._shown_name != DETAIL:
            yield self.diagnosis._repr_html_()
        yield from self.view.static()

    def close(self) -> None:
        """End the threads of the panel and close its widgets."""
        views: dict[str, View] = getattr(self, "_views", {})  # ipywidgets also closes incomplete widgets
        for view in views.values():
            view.close_parts()
            view.close()
        super().close()
