"""``OverviewPanel``: how many invocations stand where, on which keys calls wait, and what the doctor finds."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._html import render
from restate_lab.analysis.doctor import Diagnosis, doctor
from restate_lab.analysis.doctor.diagnosis import card_of
from restate_lab.analysis.questions import run_question
from restate_lab.durations import DurationInput
from restate_lab.errors import NotOnThisServer
from restate_lab.panels._base.panel import Panel
from restate_lab.panels._base.source import params_of, sql_of
from restate_lab.panels._base.worker import Apart
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.controller import cut_off
from restate_lab.panels.invocations import DrillDown
from restate_lab.source import Source
from restate_lab.status import STATUSES

if TYPE_CHECKING:
    from restate_lab.panels.invocations import InvocationsPanel

__all__ = ["OverviewPanel"]

ROW = "row"
"""The column with the grid's ids: what a row is about, as JSON."""

_GREY = STATUSES["suspended"].colour
Columns = Mapping[str, tuple[str, str]]

HANDLERS: Columns = {
    "target_service_name": ("service", "str"),
    "target_handler_name": ("handler", "str"),
    "status": ("status", "str"),
    "n": ("count", "int64"),
    "oldest_age": ("oldest", "timedelta64[ms]"),
    "oldest_created_at": ("oldest since", "datetime64[ms, UTC]"),
    "oldest_id": ("oldest id", "str"),
}
"""Column of the question → its name in the table, and its type where there are no rows."""

BACKLOG: Columns = {
    "target_service_name": ("service", "str"),
    "target_service_key": ("key", "str"),
    "waiting": ("waiting", "int64"),
    "oldest_wait": ("the first for", "timedelta64[ms]"),
    "oldest_id": ("first id", "str"),
    "scope": ("scope", "str"),
}

_ABOUT = ("service", "handler", "status", "key", "scope")
_TIMEOUT = "30s"  # for all checks of the doctor together
_NOTHING = pd.DataFrame()


def table(answer: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the rows of an answer as a grid shows them, with their ids in front."""
    names = {name: shown for name, (shown, _) in columns.items()}
    if answer.empty:
        empty = {shown: pd.Series([], dtype=kind) for shown, kind in columns.values()}
        return pd.DataFrame({ROW: pd.Series([], dtype="str"), **empty})
    shown = answer[list(columns)].rename(columns=names)
    for name in shown.select_dtypes("timedelta"):
        shown[name] = shown[name].dt.floor("s")
    shown.insert(0, ROW, rows(shown))
    return shown


def rows(shown: pd.DataFrame) -> list[str]:
    """Return the id of each row: the same row has the same one after every read."""
    names = [name for name in _ABOUT if name in shown]
    return [
        json.dumps({name: None if pd.isna(value) else value for name, value in row.items()})
        for row in shown[names].to_dict("records")
    ]


def about(row: str) -> dict[str, str]:
    """Return what a row with this id is about: service, handler and status, or service, key and scope."""
    told: dict[str, str | None] = json.loads(row)
    return {name: value for name, value in told.items() if value is not None}


def sums(answer: pd.DataFrame) -> str:
    """Return a bar of how many stand in each status, in the order of a life, as escaped HTML."""
    if answer.empty:
        return "<div>No invocation is on its way: all that there are have ended.</div>"
    counts: dict[Any, int] = answer.groupby("status", sort=False)["n"].sum().to_dict()
    known = [word for word in STATUSES if word in counts]
    parts = [(word, int(counts[word]), STATUSES[word].colour) for word in known]
    parts += [(str(word), int(n), _GREY) for word, n in counts.items() if word not in STATUSES]
    return render("_html/bar.html.j2", parts=parts)


@dataclass(frozen=True)
class _OverviewData:
    handlers: pd.DataFrame
    backlog: pd.DataFrame
    no_backlog: str = ""


_HANDLERS = ("handlers and statuses", "handler and status")
_WAITING = ("keys on which calls wait", "key on which calls wait")


class OverviewPanel(Panel):
    """Show what has not ended, per handler and status, and the keys on which calls wait; a click shows the invocations.

    ``service`` shows one service only. ``refresh`` is as for every panel, ``tz`` the zone of the times. The doctor
    looks at the whole cluster, and only when asked to: by the button, or by ``examine()``.

    ``frame`` is the answer to ``overview``, ``backlog`` that to ``backlog_by_key``, ``selected`` the selected rows of
    ``frame``; ``diagnosis`` is what the doctor found last, ``invocations`` the InvocationsPanel that a click made; both
    are None before.
    """

    def __init__(
        self, source: Source, /, *, service: str | None = None, refresh: DurationInput | None = "10s", tz: str = "UTC"
    ) -> None:
        self._service = service
        self._found = _OverviewData(_NOTHING, _NOTHING)
        self.diagnosis: Diagnosis | None = None
        self._doctor = Apart()
        self._below = DrillDown(source, tz=tz)
        self._make_parts(tz)
        super().__init__(source, title="overview" if service is None else f"overview of {service}", refresh=refresh)
        self._button.on_click(self.handled(lambda _: self._doctor.run(self.handled(self._examine, by_reader=False))))
        self._handlers.on_open(self.handled(self._open))
        self._backlog.on_open(self.handled(self._open))
        tables = widgets.HBox([self._handlers, self._backlog], layout={"flex_flow": "row wrap", "grid_gap": "8px 14px"})
        buttons = widgets.Box([self._button])
        buttons.add_class("rl-fields")
        self.body = (buttons, self._findings, self._sums, tables, self._below.box)
        for part in (self._doctor, self._below, self._button, self._card, self._handlers, self._backlog):
            self.ends_with(part)
        self.refresh()

    @property
    def code(self) -> str:
        """Return the line that gives ``frame``."""
        return f'rl.ask(lab, "overview"{"" if self._service is None else f", service={self._service!r}"})'

    @property
    def sql(self) -> str:
        """Return the statement of ``frame``, which runs as it stands with ``params``."""
        return sql_of(self.frame)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return params_of(self.frame)

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per handler and status, as ``rl.ask(lab, "overview")`` does."""
        return self._found.handlers

    @property
    def backlog(self) -> pd.DataFrame:
        """Return one row per key on which calls wait, as ``rl.ask(lab, "backlog_by_key")`` does."""
        return self._found.backlog

    @property
    def selected(self) -> pd.DataFrame:
        """Return the rows of ``frame`` that are selected."""
        chosen = set(self._handlers.selected)
        frame = self.frame
        return frame[[row in chosen for row in rows(table(frame, HANDLERS))]].reset_index(drop=True)

    def examine(self) -> Diagnosis | None:
        """Let the doctor look, and return what it found once that is shown; None where it failed, see ``error``."""
        before = self.diagnosis
        self.handled(self._examine)()
        return None if self.diagnosis is before else self.diagnosis

    @property
    def invocations(self) -> InvocationsPanel | None:
        """Return the invocations that a click shows below; None before."""
        return self._below.panel

    def look_at(self, **filters: Any) -> InvocationsPanel:
        """Show invocations below: ``filters`` are those of InvocationsPanel."""
        return self._below.show(**filters)

    def _make_parts(self, tz: str) -> None:
        self._button = widgets.Button(
            description="Look for what is wrong",
            tooltip=f"The doctor looks at the whole cluster, for {_TIMEOUT} at most",
        )
        self._card = widgets.HTML()
        self._findings = widgets.Box(
            [self._card], layout={"max_height": "460px", "overflow": "auto", "display": "none"}
        )
        self._sums = widgets.HTML()
        self._handlers = _grid(HANDLERS, _HANDLERS, tz, flex="3 1 540px")
        self._backlog = _grid(BACKLOG, _WAITING, tz, flex="2 1 360px")

    def _read(self) -> _OverviewData:
        handlers = run_question(self.reads, "overview", service=self._service)
        try:
            return _OverviewData(handlers, run_question(self.reads, "backlog_by_key", service=self._service))
        except NotOnThisServer as error:
            return _OverviewData(handlers, _NOTHING, str(error))

    def _show(self, found: _OverviewData) -> None:
        self._found = found
        self._sums.value = sums(found.handlers)
        self._handlers.refresh(table(found.handlers, HANDLERS), note=cut_off(found.handlers))
        self._backlog.refresh(table(found.backlog, BACKLOG), note=found.no_backlog or cut_off(found.backlog))

    def _examine(self) -> None:
        self._button.disabled, self._button.description = True, "The doctor is looking …"
        try:
            self.diagnosis = doctor(self.reads, timeout=_TIMEOUT)
            self._card.value = card_of(self.diagnosis)
            self._findings.layout.display = ""
        finally:
            self._button.disabled, self._button.description = False, "Look again for what is wrong"

    def _open(self, row: str) -> None:
        filters: dict[str, Any] = about(row)
        filters.pop("scope", None)
        if "key" in filters:
            filters["status"] = "pending"
        self.look_at(**filters)

    def _static(self) -> Iterable[str]:
        if self.diagnosis is not None:
            yield self._card.value
        yield self._sums.value
        yield self._handlers.static_html()
        yield self._backlog.static_html()


def _grid(columns: Any, nouns: tuple[str, str], tz: str, *, flex: str) -> Grid:
    shown = [name for name, _ in columns.values()]
    grid = Grid(
        table(_NOTHING, columns), key=ROW, noun=nouns[0], one=nouns[1], columns=shown, height=340, tz=tz, is_read=False
    )
    grid.layout.flex, grid.layout.min_width = flex, "0"
    return grid
