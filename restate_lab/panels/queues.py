"""The queues: what their heads wait for, how full the limits are, and the calls that would change a rule."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.analysis.ask import run_any_question
from restate_lab.analysis.draining.model import Group, describe, group_of
from restate_lab.analysis.queues import MOST, QueueReader, Queues, read_queues, why_without_queues
from restate_lab.analysis.queues.result import bar_of_counter, bar_of_queue, largest_queue
from restate_lab.analysis.queues.text import (
    LEGEND,
    describe_load,
    describe_queue,
    describe_usage,
    resume_call,
    upsert_call,
)
from restate_lab.calls import python_code
from restate_lab.frames import records
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.source import LIMIT, PanelSource, why_read_only
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.view import View
from restate_lab.panels._base.worker import BackgroundAction
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.export import offer_export
from restate_lab.reads import begin

MOST_LISTED = 1_000
"""Calls of a queue that a click lists."""
_POINTS = 60  # of the course of a queue since the view is open
_FEW = 3  # queues that are described below the table
_WITHIN = "60s"
_DRAIN = "Will it drain?"
_COLUMNS = ("queue", "waits_for", "waiting", "load", "oldest", "course")
_HEADS = {
    "waits_for": "its head waits for", "load": "use of the limit", "oldest": "oldest wait", "course": "since open",
    "draining": "does it drain?", "counted": "counts", "used": "use", "mark": "full?",
}  # fmt: skip
_RULE_COLUMNS = ("rule", "counted", "used", "mark", "waiting", "description")
_ABOUT_LIMITS = "A click on a rule shows the call that would change it."
_PLACE = ("target_service_name", "scope", "limit_key", "lock_name")


class QueuesView(View):
    """The queues, the oldest wait first, and the limits, the fullest first.

    A click on a queue lists its calls: ``list_ids`` gets their ids and a name. A click on a rule shows the call that
    would change it: ``opened`` gets its pattern. ``frame`` has the queues, ``limits`` the counters of the rules, and
    ``selected`` the ids of the selected queues, which are described below the table. ``draining`` is the last answer to
    "Will it drain?", None before it.
    """

    title = "Queues"
    share = 1_000

    def __init__(
        self,
        host: LivePanel,
        *,
        tz: str,
        list_ids: Callable[[Sequence[str], str], object],
        opened: Callable[[str | None], object],
    ) -> None:
        super().__init__(host)
        self._content: Queues | None = None
        self._rows: Mapping[str, Mapping[Any, Any]] = {}
        self._course: dict[str, deque[int]] = {}
        self._opened: str | None = None
        self._list_ids = list_ids
        self.draining: pd.DataFrame | None = None
        self._background = BackgroundAction()
        self.summary, self.detail, self.rule, self.about = Blocks(), Blocks(), Blocks(), Blocks()
        self.drain = widgets.Button(description=_DRAIN, tooltip="The rates of the last 30 minutes; only reads")
        self.drain.on_click(host.guard(lambda _: self._start_draining()))
        options: dict[str, Any] = {
            "tz": tz, "is_read": False, "heads": _HEADS, "frozen_at": None if self.source.live else self.source.now,
        }  # fmt: skip
        self.grid = Grid(
            noun="queues", height=420, ages=["oldest"], flex="waits_for", bars={"load": "bar"},
            lines={"course": "points"}, widths={"queue": 232, "load": 160, "course": 118},
            empty="No queue has an open call.",
            narrow={"course": "", "draining": "waits_for", "load": "", "waits_for": "queue", "oldest": ""}, **options,
        )  # fmt: skip
        self.limit_grid = Grid(
            noun="counters", height=240, flex="description", bars={"used": "bar"}, compact=True,
            empty="No rule limits the concurrency.",
            narrow={"description": "", "counted": "rule", "mark": "", "waiting": ""}, **options,
        )  # fmt: skip
        self.grid.on_open(host.guard(self._open))
        self.grid.on_select(host.guard(lambda _: self._show_detail(), by_reader=False))
        self.limit_grid.on_open(host.guard(lambda id_: opened(json.loads(id_)[0])))
        offer_export(self.grid, host, "queues", helpers=("id", "bar", "points"), has_ids=False)
        offer_export(self.limit_grid, host, "limits", helpers=("id", "bar"), has_ids=False)
        self.children = (
            self.summary, self.grid, fields_row(self.drain), self.detail, self.about, self.limit_grid, self.rule,
        )  # fmt: skip

    @property
    def opened(self) -> str | None:
        """Return the pattern of the rule whose call is shown; None for the fullest one that is nearly full."""
        return self._opened

    @opened.setter
    def opened(self, pattern: str | None) -> None:
        if pattern != self._opened:
            self._opened = pattern
            self._show_rule()

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per queue, as ``rl.ask(lab, "queues")``, with the text of what its head waits for."""
        return self._content.queues if self._content else pd.DataFrame()

    @property
    def limits(self) -> pd.DataFrame:
        """Return one row per counter of a rule, as ``rl.ask(lab, "limits")``."""
        return self._content.limits if self._content else pd.DataFrame()

    def read(self) -> Queues | str:
        """Read the queues, or return why the source has none."""
        reads = begin(self.reads, "queues", LIMIT, needs_open=True)
        return why_without_queues(reads) or read_queues(reads)

    def show(self, content: Queues | str) -> None:
        """Show both tables and what is described below them, or one line if the source has no queues."""
        for part in self.children[1:]:
            part.layout.display = "none" if isinstance(content, str) else ""
        if isinstance(content, str):
            self.summary.show(Block("", content))
            return
        is_first, self._content = self._content is None, content
        self._rows = {_id_of(row): row for row in records(content.queues)}
        self._note_course()
        self.summary.show(*self._summary(content))
        self.grid.refresh(self._table())
        counters = records(content.limits)
        self.limit_grid.refresh(_limit_table(counters))
        self.about.show(Block("Limits", _ABOUT_LIMITS if counters else ""))
        if is_first:
            self.grid.columns, self.limit_grid.columns = _COLUMNS, _RULE_COLUMNS
        self._show_detail()
        self._show_rule()

    def static(self) -> Iterable[str]:
        """Yield the card of the queues, or why there are none."""
        yield self.summary.static_html() if self._content is None else self._content._repr_html_()

    def wait_for_action(self, within: float, /) -> bool:
        """Wait at most ``within`` seconds for an answer in progress; return whether it has ended."""
        return self._background.wait(within)

    def close_parts(self) -> None:
        """Stop reading."""
        self._background.close()

    def _summary(self, content: Queues) -> Iterable[Block]:
        yield Block("", content.summary)
        if content.not_shown:
            yield Block("", content.not_shown, "warning")
        if len(content.queues):
            yield Block("", f"A click on a queue lists its calls. {LEGEND}")

    def _note_course(self) -> None:
        """Add the present numbers of waiting calls to the courses; a queue that is not shown loses its course."""
        before, self._course = self._course, {}
        for id_, row in self._rows.items():
            self._course[id_] = before.get(id_, deque(maxlen=_POINTS))
            self._course[id_].append(int(row["waiting"]))

    def _table(self) -> pd.DataFrame:
        rows = list(self._rows.values())
        columns: dict[str, Sequence[Any]] = {}
        largest = largest_queue(rows)
        columns["id"] = list(self._rows)
        columns |= {name: [row[name] for row in rows] for name in ("queue", "waits_for", "waiting", "running")}
        columns["load"] = [describe_load(row) for row in rows]
        columns["oldest"] = [row["oldest_runnable_at"] for row in rows]
        columns["course"] = [_course_text(self._course[id_]) for id_ in self._rows]
        columns |= {
            name: [row[name] for row in rows]
            for name in ("rule", "backing_off", "scheduled", "suspended", "paused", "vqueues")
        }
        columns["bar"] = [bar_of_queue(row, largest).lengths for row in rows]
        columns["points"] = [list(self._course[id_]) for id_ in self._rows]
        if self.draining is not None:
            columns["draining"] = _draining_texts(self.draining, rows)
        return _frame(columns)

    def _show_detail(self) -> None:
        """Describe the selected queues, or those that are paused."""
        rows = [self._rows[id_] for id_ in self.grid.selected if id_ in self._rows]
        rows = rows or [row for row in self._rows.values() if row["paused_vqueue_id"] is not None]
        texts = [None] * len(rows) if self.draining is None else _draining_texts(self.draining, rows)
        blocks: list[Block] = []
        for row, text in list(zip(rows, texts, strict=True))[:_FEW]:
            paused = row["paused_vqueue_id"]
            facts = [*describe_queue(row), *([f"{text[0].upper()}{text[1:]}."] if text else [])]
            blocks.append(Block(row["queue"], " ".join(facts), "plain" if paused is None else "warning"))
            if paused is not None:
                blocks += self._code("To resume it", python_code([resume_call(paused)]))
        if len(rows) > _FEW:
            blocks.append(Block("", f"{plural(len(rows) - _FEW, 'more queue')} not described here."))
        self.detail.show(*blocks)

    def _show_rule(self) -> None:
        """Show the call that would change the open rule, or the fullest one that is nearly full."""
        counters = [row for row in records(self.limits) if row["disabled"] is not None] if self._content else []
        if self._opened is None:
            row = next((row for row in counters if row["mark"].startswith("▲")), None)
        else:
            row = next((row for row in counters if row["rule"] == self._opened), None)
        if row is not None:
            self.rule.show(*self._code(f"To change rule {row['rule']}", upsert_call(row)))
        elif self._opened is not None and self._content:
            self.rule.show(Block(self._opened, "There is no such rule.", "warning"))
        else:
            self.rule.show()

    def _code(self, title: str, code: str) -> Iterable[Block]:
        """Yield code to copy, and why this panel's connection cannot run it."""
        why_not = why_read_only(self.source)
        yield Block(f"{title}, as code; the panel does not run it", code, is_code=True)
        if why_not:
            yield Block("", why_not, "warning")

    def _open(self, id_: str) -> None:
        row = self._rows[id_]
        ids = QueueReader(begin(self.reads, "queues", LIMIT)).calls(row, limit=MOST_LISTED)
        name = one_line(str(row["queue"]), MOST // 10)
        if not ids:
            self.host.say(f"Queue {name} has no open call any more.")
            return
        first = f", the first {MOST_LISTED:,}" if len(ids) == MOST_LISTED else ""
        self._list_ids(ids, f"queue {name}{first}")

    def _start_draining(self) -> None:
        def work() -> None:
            try:
                source = PanelSource(self.source, self._background.stop)
                self.draining = run_any_question(source, "draining", timeout=_WITHIN)
                self.grid.refresh(self._table())
                self.grid.columns = [*_COLUMNS, "draining"]
                self._show_detail()
            finally:
                self.drain.description, self.drain.disabled = _DRAIN, False

        self.drain.description, self.drain.disabled = "Reading …", True
        self._background.run(self.host.guard(work, by_reader=False))


def _id_of(row: Mapping[Any, Any]) -> str:
    """Return the id of a queue in the table; it stays the same in every read."""
    return json.dumps([row[name] for name in _PLACE])


def _course_text(course: deque[int]) -> str:
    return f"{change:+,}" if (change := course[-1] - course[0]) else "±0"


def _draining_texts(frame: pd.DataFrame, rows: Sequence[Mapping[Any, Any]]) -> list[str | None]:
    """Return the answer about each queue; that about its whole service is named so."""
    answers = {group_of(row): describe(row) for row in records(frame)}
    texts: list[str | None] = []
    for row in rows:
        service = row["target_service_name"]
        key = None if row["lock_name"] is None else row["lock_name"].removeprefix(f"{service}/")
        own = answers.get(Group(service, key, row["scope"], row["limit_key"]))
        whole = answers.get(Group(service))
        if not row["waiting"]:
            texts.append(None)
        elif own is not None:
            texts.append(own)
        else:
            texts.append(None if whole is None else f"whole service: {whole}")
    return texts


def _limit_table(counters: Sequence[Mapping[Any, Any]]) -> pd.DataFrame:
    columns: dict[str, list[Any]] = {
        "id": [json.dumps([row[name] for name in ("rule", "scope", "l1", "l2")]) for row in counters]
    }
    columns |= {name: [row[name] for row in counters] for name in ("rule", "counted")}
    columns["used"] = [describe_usage(row) for row in counters]
    columns |= {name: [row[name] for row in counters] for name in ("mark", "waiting", "description", "waiting_queues")}
    columns["bar"] = [bar_of_counter(row).lengths for row in counters]
    return _frame(columns)


_KINDS = {
    **dict.fromkeys(
        ("waiting", "running", "backing_off", "scheduled", "suspended", "paused", "vqueues", "waiting_queues"), "int64"
    ),
    **dict.fromkeys(("bar", "points"), "object"),
    "oldest": "datetime64[ms, UTC]",
}


def _frame(columns: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=_KINDS.get(name, "str")) for name, values in columns.items()})
