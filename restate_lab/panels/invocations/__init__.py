"""The list of invocations: filters with counts, a table with groups of equal failures, and actions on a selection."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.contrast.model import LEAST
from restate_lab.analysis.find import Matches
from restate_lab.analysis.ids import ids_in, invocation_of_awakeable
from restate_lab.analysis.invocations.filters import ALL, Filters, statuses_of
from restate_lab.analysis.invocations.groups import group_invocations
from restate_lab.analysis.invocations.reader import (
    Histogram,
    InvocationQuery,
    Rows,
    count_by_status,
    read_first_rows,
    read_histogram,
    read_rows,
)
from restate_lab.analysis.suggestions import NameSuggestion, unknown_names
from restate_lab.durations import to_timedelta
from restate_lab.frames import records
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.view import View
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.contrast import ContrastForm
from restate_lab.panels.find import FindForm
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.export import offer_export
from restate_lab.panels.invocations.agents import AGENT_COLUMNS, REASON, AgentColumns, is_narrow
from restate_lab.panels.invocations.strip import WINDOWS, FilterStrip, window_since
from restate_lab.panels.story import StoryForm
from restate_lab.status import ENDED

_COLUMNS = ("status", "target", "retry_count", "step", "failure", "age", "next_retry_at", "id")
_ENDED_COLUMNS = ("status", "target", "failure", "created_at", "completed_at", "id")
_HEADS = {
    "retry_count": "attempts",
    "failure": "error",
    "created_at": "created",
    "modified_at": "last change",
    "next_retry_at": "next try",
    "completed_at": "ended",
    "scheduled_start_at": "starts",
    "error_code": "error code",
    "cost": "cost ($)",
    "agent_note": "agent note",
    "deployment_id": "deployment",
    "invoked_by_id": "called by",
    "journal_size": "journal entries",
    "target_service_name": "service",
    "target_handler_name": "handler",
    "target_service_key": "key",
    "target_service_ty": "service type",
}
_WIDTHS = {
    "turn": 52,
    "tokens": 72,
    "cost": 78,
    "status": 108,
    "retry_count": 84,
    "age": 54,
    "next_retry_at": 72,
    "id": 98,
}
_NARROW = {"id": "", "age": "", "step": "target", "next_retry_at": "", "retry_count": ""}
"""The columns that leave the list on a narrow page, in this order; a step is then shown under its target."""
_ORDERS = {
    "trouble": "As the findings: first what is paused or retried, and of it the largest group of equal failures",
    "newest": "The newest first",
    "oldest": "The oldest first",
}
_COUNTS_EVERY = 15.0  # seconds between two counts, and at least twenty times the duration of a count
_SHARE = 20
_LONGEST_PLACE = 60  # characters


@dataclass(frozen=True)
class _ListContent:
    rows: Rows
    unknown: tuple[NameSuggestion, ...]


class InvocationsView(View):
    """The invocations that match the filters, worst first.

    ``frame`` has the rows shown, ``selected`` the selected ids, ``sql`` and ``params`` the statement, and ``filters``
    the filters. Before the first read, ``counts`` and ``histogram`` have the value None. ``named_ids`` are ids with the
    text of their chip, if they are the filter. ``oldest`` is the start of the oldest finding, if the doctor has run:
    the histograms begin before it, unless the user has chosen their window.
    """

    title = "Invocations"

    def __init__(
        self, host: LivePanel, filters: Filters, *, group: bool, tz: str, open_item: Any, changed: Any, fill: Any
    ) -> None:
        super().__init__(host)
        has_open = self.source.coverage.open_invocations
        self._filters, self._group = filters, group
        self._window, self._chosen_window = WINDOWS[1] if has_open else WINDOWS[-1], "" if has_open else WINDOWS[-1]
        self.oldest: datetime | None = None
        self._changed, self._open_item = changed, open_item
        self.named_ids: tuple[tuple[str, ...], str] = ((), "")
        self._rows: Rows | None = None
        self._shown_filters: Filters | None = None
        self._columns_for: tuple[str, ...] = ()
        self.counts: pd.DataFrame | None = None
        self.histogram: Histogram | None = None
        self._counted_at = self._counting_took = 0.0
        self._counted_for: object = None
        self._agents, self._drawing = AgentColumns(self.reads), threading.RLock()
        self.strip = FilterStrip(
            filters, has_open=has_open, is_live=self.source.live, guard=host.guard, change=self._filter,
            regroup=self._regroup, set_window=self._set_window,
        )  # fmt: skip
        self.grid = Grid(
            noun="invocations", tz=tz, is_read=False, run="created_at", heads=_HEADS, ages=("age",),
            countdowns=("next_retry_at",), ids=("id", "deployment_id", "invoked_by_id"), widths=_WIDTHS, flex="failure",
            narrow=_NARROW, group="group", group_label="group_label", reasons=dict.fromkeys(AGENT_COLUMNS, REASON),
            frozen_at=None if self.source.live else self.source.now,
        )  # fmt: skip
        self.contrast = ContrastForm(self.source, guard=host.guard, ask_about_selected=self._ask_about_selected)
        self.find = FindForm(self.source, guard=host.guard, show=self._show_found)
        self.story = StoryForm(
            self.source, guard=host.guard, open_item=self._open_item, list_items=self._show_named,
            selection=lambda: self.selected, tz=tz,
        )  # fmt: skip
        self.actions = ActionBar(
            self.source, guard=host.guard, say=host.say, acted=self._read_again, label="{:,} selected".format,
            reads=self.reads, open_targets=self.show_ids, more=(self.story.button, self.contrast.button),
        )  # fmt: skip
        self._connect_grid(host, fill)
        self.actions.add_class("rl-selection")
        self.children = (self.strip, self.grid, self.find, self.contrast, self.story, self.actions)
        self._draw()

    def _connect_grid(self, host: LivePanel, fill: Any) -> None:
        offer_export(self.grid, host, "invocations", helpers=("age",))
        self.grid.add_class("rl-list")
        self.grid.on_select(host.guard(lambda _: self._offer()))
        self.grid.on_open(host.guard(self._open_item))
        self.grid.on_search(host.guard(self._search), filtered=host.guard(self._offer_search))
        self.grid.on_page(host.guard(lambda: fill() if is_narrow(self._filters) else None, by_reader=False))

    # Content

    @property
    def filters(self) -> Filters:
        """Return the filters; set them to change the list."""
        return self._filters

    @filters.setter
    def filters(self, filters: Filters) -> None:
        if filters != self._filters:
            self._filters = filters
            self._draw()
            self.host.ask()

    @property
    def is_first_page(self) -> bool:
        """Return whether only the first page is shown and more rows are being read."""
        return self._rows is not None and self._rows.is_first_page

    @property
    def group(self) -> bool:
        """Return whether equal failures are grouped."""
        return self._group

    @group.setter
    def group(self, on: bool) -> None:
        self._group = self.grid.grouped = on
        self._draw()

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows shown, one row per invocation.

        Columns: ``id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status``
        (from STATUSES), ``created_at, modified_at, scheduled_start_at, completed_at`` (UTC), ``retry_count,
        next_retry_at, error_code, failure`` (its first line), ``step`` (the failing one), ``deployment_id,
        invoked_by_id, journal_size, in_vqueue`` (some actions then have another effect), ``group, group_label`` (rows
        in the same group fail in the same way). Failures of paused invocations and of long back-offs in vqueues are
        read from the journal events.

        If the list is limited to a service, a handler or ids, and these are agents, it also has ``turn`` (responses of
        models), ``tokens`` (journaled, input and output), ``cost`` (US dollars) and ``agent_note`` (why a value is
        missing). Only rows that were in view have values.
        """
        frame: pd.DataFrame = self.grid.frame.drop(columns="age", errors="ignore")
        return frame

    @property
    def sql(self) -> str:
        """Return the statement of the last read; another statement adds failures that only events contain."""
        return self._statement.sql

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return self._statement.params

    @property
    def _statement(self) -> InvocationQuery:
        return self._rows.statement if self._rows else InvocationQuery("", {})

    def row_of(self, invocation_id: str) -> dict[Any, Any] | None:
        """Return the row of the invocation, or None if the list does not have it."""
        if self._rows is None:
            return None
        rows = self.grid.frame
        return next(iter(records(rows[rows["id"] == invocation_id])), None)

    def show_ids(self, ids: Sequence[str]) -> None:
        """Show only these invocations, in any status."""
        self._filter(Filters(status=(ALL,), id=tuple(ids)))

    def ask_what_they_share(self, ids: Sequence[str], handler: str) -> None:
        """Ask how to compare these invocations of ``handler`` ("service/handler"), which the list may not have."""
        name = f"the {plural(len(ids), 'invocation')} of {one_line(handler, _LONGEST_PLACE)}"
        self.contrast.ask(ids, self._others_of(ids, [handler]), name)

    def plan(self, action: ACTIONS | str, ids: Sequence[str]) -> None:
        """Select these invocations and create a plan for them."""
        rows = self.grid.frame
        rows = rows[rows["id"].isin(list(ids))]
        self.actions.make_plan(action, rows[["id", "created_at"]] if len(rows) == len(ids) else list(ids))

    # Reading

    def read(self) -> _ListContent:
        """Read the list, first only its first page; if it is empty, check which filter names do not exist."""
        filters = self._filters
        is_known = self._shown_filters == filters
        if is_known and self.is_first_page:
            self.host.let_draw()
        rows = read_rows(self.reads, filters) if is_known else read_first_rows(self.reads, filters)
        unknown: tuple[NameSuggestion, ...] = ()
        if rows.frame.empty and (filters.service or filters.handler or filters.deployment):
            unknown = unknown_names(
                self.source, service=filters.service or None, handler=filters.handler, deployment=filters.deployment
            )
        return _ListContent(rows, unknown)

    def show(self, content: _ListContent) -> None:
        """Show the list."""
        self._show_empty(content.unknown)
        self._show_rows(content.rows)
        if content.rows.is_first_page:
            self.host.ask()

    def _show_rows(self, content: Rows) -> None:
        is_other = self._shown_filters != content.filters
        self._shown_filters = content.filters
        with self._drawing:
            self._rows = content
            self._show_frame(sort=is_other)
        self._offer()
        self._offer_search()
        self._draw()

    def _show_frame(self, *, sort: bool = False) -> None:
        content = self._rows
        if content is None:
            return
        frame = group_invocations(content.frame, is_sorted=self._filters.sort != "trouble")
        frame = self._agents.add_to(frame.assign(age=frame["created_at"]), content.filters)
        self.grid.name_order(_ORDERS[content.filters.sort])
        self.grid.refresh(frame, total=content.total, note=content.note, sort=sort)
        columns = _columns_for(content.filters, with_agents=REASON in frame)
        if columns != self._columns_for:
            self._columns_for = columns
            self.grid.columns = columns

    def _show_empty(self, unknown: Sequence[NameSuggestion]) -> None:
        """Explain an empty table and offer a solution: an existing name, or fewer filters."""
        filters = self._filters
        best = next((each for each in unknown if each.best), None)
        action, wanted = "Clear filters", Filters(sort=filters.sort)
        if best is not None:
            changed: dict[str, Any] = {best.argument: best.best}
            text, action, wanted = best.message, f"Use {best.best}", Filters(**{**filters.changed, **changed})
        elif unknown:
            text = " ".join(each.message for each in unknown)
        elif filters.narrowing:
            names = ", ".join(name.replace("_", " ") for name in filters.narrowing)
            text = f"No invocation matches the filters: {names}."
        elif self.counts is not None and not self.counts["invocations"].sum():
            text, action = f"{self.source.name} has no invocation, in any status.", ""
        else:
            text, action, wanted = "Nothing in flight.", "Show all", replace(filters, status=(ALL,))
        self.grid.set_empty(text, action, self.host.guard(lambda: self._filter(wanted)))

    def read_counts(self) -> bool:
        """Read and show the counts and the histograms if they are due; return whether they were due."""
        filters, chosen = self._filters, self._chosen_window
        wanted = filters.without("status", "service", "text", "sort", "limit"), filters.service, chosen
        started = time.monotonic()
        pause = max(_COUNTS_EVERY, _SHARE * self._counting_took)
        if wanted == self._counted_for and started - self._counted_at < pause:
            return False
        self._counted_for = wanted  # set before the read, because an action can reset it during the read
        try:
            self.counts = count_by_status(self.reads, filters)
            self._draw()
            if not self._filters.narrowing:
                self._show_empty(())
            window = chosen or window_since(self.oldest, self.source.now)
            span: timedelta = to_timedelta(window, name="window")
            self.histogram, self._window = read_histogram(self.reads, filters, window=span), window
            self._draw()
        finally:  # a failed read costs the server as much
            self._counted_at = time.monotonic()
            self._counting_took = self._counted_at - started
        return True

    def read_agents(self) -> bool:
        """Read and show the turn, the tokens and the cost of agent runs in view; return whether there were some."""
        if self._rows is None or not self._agents.read(self.grid.requested, self._rows.filters):
            return False
        with self._drawing:
            self._show_frame()
        return True

    def wait_for_action(self, within: float, /) -> bool:
        """Wait for the plan, the check or the execution in progress."""
        return self.actions.wait(timeout=within) and self.contrast.wait(within) and self._wait_for_reads(within)

    def _wait_for_reads(self, within: float) -> bool:
        return self.find.wait(within) and self.story.wait(within)

    def static(self) -> Iterator[str]:
        """Yield the table."""
        yield self.grid.static_html()

    def close_parts(self) -> None:
        """Close the widgets and stop all operations."""
        for part in (self.find, self.contrast, self.story, self.actions, self.grid, self.strip):
            part.close()

    # Handlers

    def _filter(self, filters: Filters) -> None:
        self.filters = filters
        self._changed()

    def _search(self, text: str) -> None:
        """Open the invocation or deployment that a text names, list several, or search the server for other text."""
        ids = list(dict.fromkeys(invocation_of_awakeable(each) or each for each in ids_in(text)))
        invocations = [each for each in ids if each.startswith("inv_")]
        if len(invocations) > 1:
            self.show_ids(invocations)
        elif ids:
            self._open_item((invocations or ids)[0])
        else:
            self._filter(replace(self._filters, status=(ALL,), text=text.strip()))

    def _offer_search(self) -> None:
        """Offer to search inputs for the text of the filter, if no row has this text."""
        rows = self._rows
        searched = rows.filters.text if rows is not None and rows.frame.empty else None
        self.find.offer(self.grid.unmatched or searched or "")

    def _show_found(self, result: Matches) -> None:
        """Show only the invocations that a search found; neither the filter nor the state has the text."""
        self.grid.clear_filter()
        self._show_named(result.ids, f"found: {len(result.ids):,} with this text")

    def _show_named(self, ids: Sequence[str], name: str) -> None:
        """Show only these invocations; ``name`` names this filter."""
        self.named_ids = tuple(ids), name
        self.show_ids(ids)

    def _regroup(self, on: bool) -> None:
        self.group = on
        self._changed()

    def _set_window(self, name: str) -> None:
        self._window = self._chosen_window = name
        self.host.ask()

    def _draw(self) -> None:
        named, name = self.named_ids
        ids = self._filters.id
        chip = f"{len(ids):,} ids" if len(ids) > 1 else ""
        if ids == named:
            chip = name
        self.strip.draw(
            self._filters, counts=self.counts, histogram=self.histogram, window=self._window, group=self._group,
            id_name=chip,
        )  # fmt: skip
        number = "" if self.counts is None else f"{int(self.counts['invocations'].sum()):,} "
        where = "on the server" if self.source.live else f"of {self.source.name}"
        self.grid.name_search(f"search all {number}{where}")

    def _offer(self) -> None:
        if self._rows is not None:
            rows = self.grid.selected_rows
            self.actions.offer(rows[["id", "created_at", "failure"]], rows[["status", "in_vqueue"]])
            self.actions.layout.display = "" if len(rows) or self.actions.is_open else "none"
            self.contrast.button.layout.display = "" if len(rows) >= LEAST else "none"

    def _ask_about_selected(self) -> None:
        rows = self.grid.selected_rows
        ids = list(rows["id"])
        self.contrast.ask(
            ids, self._others_of(ids, _handlers_of(rows)), f"the {plural(len(ids), 'selected invocation')}"
        )

    def _others_of(self, ids: Sequence[str], handlers: Iterable[str]) -> list[str]:
        """Return the ids of the other rows of these handlers."""
        rows = self.grid.frame
        return list(rows.loc[~rows["id"].isin(ids) & _handlers_of(rows).isin(set(handlers)), "id"])

    def _read_again(self) -> None:
        self._counted_for = None  # the next read also reads the counts
        self.host.ask()


def _handlers_of(rows: pd.DataFrame) -> pd.Series[str]:
    return rows["target_service_name"] + "/" + rows["target_handler_name"]


def _columns_for(filters: Filters, *, with_agents: bool) -> tuple[str, ...]:
    columns = _ENDED_COLUMNS if set(statuses_of(filters.status)) <= set(ENDED) else _COLUMNS
    return (*columns[:2], *AGENT_COLUMNS, *columns[2:]) if with_agents else columns
