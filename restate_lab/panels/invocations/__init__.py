"""InvocationsPanel: find invocations on the server, watch them, open one, and act on those selected."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.actions.plan.model import Plan
from restate_lab.analysis.times import TimeInput
from restate_lab.client.schema import check_columns
from restate_lab.durations import DurationInput
from restate_lab.panels._base.panel import Panel
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.filters import MOST, Filters, InvocationQuery
from restate_lab.panels.grid import Grid
from restate_lab.panels.invocation import InvocationPanel
from restate_lab.panels.invocations.filter_bar import FilterBar
from restate_lab.panels.rows import Rows, read_rows
from restate_lab.source import Source

__all__ = ["DrillDown", "InvocationsPanel"]

_COLUMNS = ("status", "target", "failure", "retry_count", "next_retry_at", "created_at", "modified_at", "id")
_SERVICES = "SELECT DISTINCT name FROM sys_service ORDER BY name"


class InvocationsPanel(Panel):
    """Show the invocations that the filters leave, newest first; open one, select some, act on them.

        panel = rl.InvocationsPanel(lab, service="Payments", status=["backing-off", "paused"], since="2h")
        panel                                     # as a cell's last line, where it is to stand

    By default those that have not ended, at most 10,000; the panel says how many there are. The server applies the
    filters: ``status`` (words of Restate's, or "all"), ``service, handler, key``, ``deployment``, ``since, until``
    (created then: an age such as "2h", or a moment with its zone), ``age`` (created at least so long ago),
    ``error_code``, ``retries`` (``retry_count`` is at least this), ``text`` (stands in the failure), ``id``, ``limit``.
    The field in the table's own bar looks through the rows that were read.

    ``refresh`` is how often it reads again while it is in sight: seconds, "10s", or None; never more often than ten
    times what the last read took. ``tz`` is the zone of the times, ``height`` the table's, in pixels. ``wait=False``
    reads in the background.

    ``frame`` has what is shown, ``selected`` the selected ids, ``sql`` and ``params`` the statement, ``opened`` the
    InvocationPanel beside the table, ``plan`` the last plan. Errors stand in the panel, and in ``error``.

    Raises:
        ArgumentError: a filter does not fit.
    """

    def __init__(
        self,
        source: Source,
        /,
        *,
        status: str | Sequence[str] | None = None,
        service: str | None = None,
        handler: str | None = None,
        key: str | None = None,
        deployment: str | None = None,
        since: TimeInput | None = None,
        until: TimeInput | None = None,
        age: DurationInput | None = None,
        error_code: str | None = None,
        retries: int | None = None,
        text: str | None = None,
        id: str | Sequence[str] | None = None,  # noqa: A002 - the column's name
        limit: int = MOST,
        refresh: DurationInput | None = 5.0,
        tz: str = "UTC",
        height: int = 420,
        wait: bool = True,
    ) -> None:
        self._filters = Filters(
            status=status,  # type: ignore[arg-type] # Filters makes tuples of them
            service=service,
            handler=handler,
            key=key,
            deployment=deployment,
            since=since,
            until=until,
            age=age,
            error_code=error_code,
            retries=retries,
            text=text,
            id=id,  # type: ignore[arg-type]
            limit=limit,
        )
        self._start(source, refresh, tz, height, wait=wait)

    def _start(self, source: Source, refresh: DurationInput | None, tz: str, height: int, *, wait: bool) -> None:
        self._rows: Rows | None = None
        self._services: tuple[str, ...] | None = None
        self._tz = tz
        self.opened: InvocationPanel | None = None
        self.grid = Grid(noun="invocations", tz=tz, height=height, is_read=False, run="created_at")
        super().__init__(source, title="invocations", refresh=refresh)
        self._bar = FilterBar(self._filters, self.handled(self._apply))
        self._actions = ActionBar(source, handled=self.handled, say=self.say, acted=self._acted, label=_selected_words)
        self.ends_with(self._actions)
        self._beside = widgets.Box([self.grid])
        self._beside.add_class("rl-beside")
        self.grid.on_select(self.handled(lambda _: self._offer()))
        self.grid.on_open(self.handled(self.open_invocation))
        self.body = (self._bar, self._actions, self._beside)
        if wait:
            self.refresh()
        else:
            self.ask()

    @property
    def filters(self) -> Filters:
        """Return what is filtered; set it to show others."""
        return self._filters

    @filters.setter
    def filters(self, filters: Filters) -> None:
        self._bar.filters = filters
        self._filters = filters
        self.ask()

    def look_for(self, **filters: Any) -> None:
        """Show what these filters leave, in place of those before; they are the panel's own keywords."""
        self.filters = Filters(**filters)

    def open_invocation(self, invocation_id: str, /) -> InvocationPanel:
        """Show one invocation beside the table, and return its panel."""
        rows = self.grid.frame
        created = next(iter(rows.loc[rows["id"] == invocation_id, "created_at"].dropna()), None)
        if self.opened is not None:
            self.opened.show_invocation(invocation_id, created_at=created)
            return self.opened
        panel = InvocationPanel(
            self.source,
            invocation_id,
            created_at=created,
            refresh=self._every,
            tz=self._tz,
            on_close=self._close_opened,
            wait=False,
        )
        panel.on_acted = self.ask
        self.ends_with(panel)
        self.opened = panel
        self._beside.children = (self.grid, panel)
        return panel

    @property
    def frame(self) -> pd.DataFrame:
        """Return what is shown, one row per invocation, newest first.

        Columns: ``id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status``
        (a word of STATUSES), ``created_at, modified_at, scheduled_start_at, completed_at`` (UTC), ``retry_count,
        next_retry_at, error_code, failure`` (its first line), ``deployment_id, invoked_by_id, journal_size``. Failures
        of paused ones and of long back-offs on servers with vqueues are read from the journals' events.
        """
        return self.grid.frame

    @property
    def selected(self) -> list[str]:
        """Return the selected ids, in the order of the frame; set it to select.

        A selected row is deselected when a read brings a new run with the same id, and the table says so.
        """
        return self.grid.selected

    @selected.setter
    def selected(self, ids: Iterable[str]) -> None:
        self.grid.selected = ids

    @property
    def plan(self) -> Plan | None:
        """Return the plan that is shown or was executed last, of the selected ones or of the opened one."""
        return self._actions.plan or (self.opened.plan if self.opened else None)

    @property
    def sql(self) -> str:
        """Return the statement of the last read; failures that stand in events alone are added by another one."""
        return self._statement.sql

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return self._statement.params

    @property
    def code(self) -> str:
        """Return the call that makes this panel."""
        given = "".join(f", {name}={value!r}" for name, value in self._filters.given.items())
        return f"rl.InvocationsPanel(lab{given})"

    @property
    def _statement(self) -> InvocationQuery:
        return self._rows.statement if self._rows else InvocationQuery("", {})

    def _read(self) -> Rows:
        if self._services is None:
            self._services = tuple(check_columns(self.reads.sql(_SERVICES), _SERVICES, self.reads)["name"])
        return read_rows(self.reads, self._filters)

    def _show(self, found: Rows) -> None:
        first = self._rows is None
        self._rows = found
        self._bar.suggest("service", self._services or ())
        self.grid.refresh(found.frame, total=found.total, note=found.note)
        if first:
            self.grid.columns = _COLUMNS
        self._offer()

    def _static(self) -> Iterator[str]:
        yield self.grid._repr_mimebundle_()[0]["text/html"]
        if self.opened is not None:
            yield self.opened._repr_mimebundle_()["text/html"]

    def _apply(self) -> None:
        self._filters = self._bar.filters
        self.ask()

    def _offer(self) -> None:
        if self._rows is not None:
            rows = self.grid.selected_rows
            self._actions.offer(rows[["id", "created_at"]], sorted(set(rows["status"].dropna())))

    def _acted(self) -> None:
        self.ask()
        if self.opened is not None:
            self.opened.ask()

    def _close_opened(self) -> None:
        if self.opened is not None:
            self._beside.children = (self.grid,)
            self.opened.close()
            self.opened = None


def _selected_words(number: int) -> str:
    return f"{number:,} selected:" if number else "Click a row to open it; tick rows to act on them."


class DrillDown:
    """The place for an InvocationsPanel: ``box`` is its widget, ``panel`` what stands there, None while it is empty."""

    def __init__(self, source: Source, *, tz: str) -> None:
        self.box = widgets.VBox([])
        self.panel: InvocationsPanel | None = None
        self._source = source
        self._tz = tz

    def show(self, **filters: Any) -> InvocationsPanel:
        """Show the invocations that these filters of InvocationsPanel leave, in place of what was shown."""
        if self.panel is not None:
            self.panel.look_for(**filters)
            return self.panel
        self.panel = InvocationsPanel(self._source, **filters, tz=self._tz, wait=False)
        self.box.children = (self.panel,)
        return self.panel

    def close(self) -> None:
        """Close the panel that stands there."""
        if self.panel is not None:
            self.panel.close()
        self.box.close()
