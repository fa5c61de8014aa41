"""The overview: the number of invocations per handler and status, and the keys that block calls."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._html import render
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.analysis.invocations.groups import STUCK, status_rank
from restate_lab.analysis.questions import run_question
from restate_lab.errors import NotOnThisServer
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.content import close_all
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.view import View
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.controller import cut_off
from restate_lab.panels.grid.export import offer_export
from restate_lab.status import status_parts

ROW = "row"
"""The column with the grid's ids: the service, handler, status, key and scope of a row as JSON."""

Columns = Mapping[str, tuple[str, str]]

HANDLERS: Columns = {
    "status": ("status", "str"),
    "target_service_name": ("service", "str"),
    "target_handler_name": ("handler", "str"),
    "invocations": ("invocations", "int64"),
    "oldest_age": ("oldest", "timedelta64[ms]"),
}
"""Column of the question → its name in the table, and its dtype without rows."""

BACKLOG: Columns = {
    "target_service_name": ("service", "str"),
    "target_service_key": ("key", "str"),
    "waiting": ("waiting", "int64"),
    "oldest_wait": ("oldest wait", "timedelta64[ms]"),
    "scope": ("scope", "str"),
}

_ABOUT = ("service", "handler", "status", "key", "scope")
_NOTHING = pd.DataFrame()
_BY_HANDLER, _BY_KEY = "In flight, by handler and status", "Keys that block calls"


def table(answer: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """Return the rows of a result for a grid, with their ids as the first column."""
    names = {name: shown for name, (shown, _) in columns.items()}
    if answer.empty:
        empty = {shown: pd.Series([], dtype=kind) for shown, kind in columns.values()}
        return pd.DataFrame({ROW: pd.Series([], dtype="str"), **empty})
    shown = answer[list(columns)].rename(columns=names)
    for name in shown.select_dtypes("timedelta"):
        shown[name] = shown[name].dt.floor("s")
    shown.insert(0, ROW, rows(shown))
    return shown


def worst_first(answer: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the question ``overview`` in the order of a list, and the largest first in each place."""
    if answer.empty:
        return answer
    ranks = answer["status"].map(status_rank).clip(lower=STUCK)
    order = answer.assign(rank=ranks).sort_values(["rank", "invocations"], ascending=[True, False], kind="stable").index
    return answer.loc[order].reset_index(drop=True)


def rows(shown: pd.DataFrame) -> list[str]:
    """Return the id of each row; it stays the same in every read."""
    names = [name for name in _ABOUT if name in shown]
    return [
        json.dumps({name: None if pd.isna(value) else value for name, value in row.items()})
        for row in shown[names].to_dict("records")
    ]


def about(row: str) -> dict[str, str]:
    """Return the values in a row id: service, handler and status, or service, key and scope."""
    values: dict[str, str | None] = json.loads(row)
    return {name: value for name, value in values.items() if value is not None}


def status_bar(answer: pd.DataFrame) -> str:
    """Return a bar with the number of invocations in each status, as escaped HTML."""
    counts: dict[Any, int] = {} if answer.empty else answer.groupby("status", sort=False)["invocations"].sum().to_dict()
    return render("_html/bar.html.j2", parts=status_parts(counts))


@dataclass(frozen=True)
class _OverviewData:
    handlers: pd.DataFrame
    backlog: pd.DataFrame
    no_backlog: str = ""


class OverviewView(View):
    """The invocations in flight per handler and status, worst first, and the keys that block calls.

    A click shows the invocations: ``open_list`` is called with their filters. ``frame`` is the result of ``overview``,
    and ``backlog`` the result of ``backlog_by_key``. ``changed`` is called with the filters after a chip is removed.
    """

    title = "Overview"

    def __init__(
        self,
        host: LivePanel,
        filters: Filters,
        *,
        tz: str,
        open_list: Callable[..., object],
        changed: Callable[[Filters], object],
    ) -> None:
        super().__init__(host)
        self._open_list, self._changed = open_list, changed
        self.chips = fields_row()
        self._content = _OverviewData(_NOTHING, _NOTHING)
        self.handler_grid = _grid(HANDLERS, tz, "Nothing is in flight.", flex="handler")
        self.key_grid = _grid(BACKLOG, tz, "No call waits for a key.", flex="key")
        for grid in (self.handler_grid, self.key_grid):
            grid.on_open(host.guard(self._open))
        offer_export(self.handler_grid, host, "overview", helpers=(ROW,), has_ids=False)
        offer_export(self.key_grid, host, "blocked-keys", helpers=(ROW,), has_ids=False)
        self.filters = filters
        tables = [_titled(_BY_HANDLER, self.handler_grid, "3 1 540px"), _titled(_BY_KEY, self.key_grid, "2 1 360px")]
        self.children = (
            self.chips,
            widgets.Box(tables, layout={"flex_flow": "row wrap", "grid_gap": "16px"}),
        )

    @property
    def filters(self) -> Filters:
        """Return the filters of the panel; only their services apply here, and each is a chip that removes it."""
        return self._filters

    @filters.setter
    def filters(self, filters: Filters) -> None:
        self._filters = filters
        rest = {f"service {name} ×": [each for each in filters.service if each != name] for name in filters.service}
        for chip in self.chips.children:
            close_all(chip)
        self.chips.children = tuple(self._chip(*each) for each in (rest | ({"Clear all": []} if rest else {})).items())
        self.chips.layout.display = "" if rest else "none"

    def _chip(self, label: str, services: Sequence[str]) -> Any:
        chip = widgets.Button(description=label, tooltip="Show more services in the overview")
        chip.on_click(self.host.guard(lambda _: self._changed(replace(self._filters, service=tuple(services)))))
        return chip

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per handler and status, as ``rl.ask(lab, "overview")`` does."""
        return self._content.handlers

    @property
    def backlog(self) -> pd.DataFrame:
        """Return one row per key that blocks calls, as ``rl.ask(lab, "backlog_by_key")`` does."""
        return self._content.backlog

    def read(self) -> _OverviewData:
        """Read both questions; a source without the tables of the second one has no backlog."""
        services = self._filters.service
        service = services[0] if len(services) == 1 else None
        handlers = run_question(self.reads, "overview", service=service)
        if len(services) > 1:
            handlers = handlers[handlers["target_service_name"].isin(services)].reset_index(drop=True)
        try:
            return _OverviewData(handlers, run_question(self.reads, "backlog_by_key", service=service))
        except NotOnThisServer as error:
            return _OverviewData(handlers, _NOTHING, str(error))

    def show(self, content: _OverviewData) -> None:
        """Show both tables."""
        self._content = content
        handlers = table(worst_first(content.handlers), HANDLERS)
        self.handler_grid.refresh(handlers, note=cut_off(content.handlers))
        note = content.no_backlog or cut_off(content.backlog)
        self.key_grid.refresh(table(content.backlog, BACKLOG), note=note)

    def static(self) -> Iterable[str]:
        """Yield the bar and both tables."""
        yield status_bar(self.frame)
        for title, grid in ((_BY_HANDLER, self.handler_grid), (_BY_KEY, self.key_grid)):
            yield f"<b>{title}</b>{grid.static_html()}"

    def _open(self, row: str) -> None:
        filters: dict[str, Any] = about(row)
        filters.pop("scope", None)
        if "key" in filters:
            filters["status"] = "pending"
        self._open_list(**filters)


def _titled(title: str, grid: Grid, share: str) -> Any:
    box = widgets.VBox([Blocks(Block(title, "")), grid], layout={"flex": share, "min_width": "0"})
    box.add_class("rl-titled")
    return box


def _grid(columns: Columns, tz: str, empty: str, *, flex: str) -> Grid:
    names = [name for name, _ in columns.values() if name != "scope"]
    return Grid(
        table(_NOTHING, columns), key=ROW, columns=names, height=340, tz=tz, is_read=False, flex=flex, compact=True,
        empty=empty, heads={"waiting": "calls waiting", "key": "blocked key"},
        narrow={names[-1]: ""},
    )  # fmt: skip
