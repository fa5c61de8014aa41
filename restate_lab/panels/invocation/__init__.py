"""InvocationPanel: one invocation, with its failure, what it waits for, its journal, and what can be done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import truncate
from restate_lab.actions.plan.model import Plan
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.durations import DurationInput
from restate_lab.errors import NotFound, NotOnThisServer
from restate_lab.panels._base.panel import Panel
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.grid import Grid
from restate_lab.panels.invocation import html
from restate_lab.panels.invocation.html import journal_picture
from restate_lab.panels.invocation.reader import FACTS, InvocationContent, Related, read_invocation
from restate_lab.source import Source

__all__ = ["InvocationPanel"]

_TABS = ("Journal", "Timeline", "Errors", "Payloads")
_JOURNAL, _TIMELINE, _ERRORS, _PAYLOADS = range(4)
_MOST_RELATED = 12
_COLUMNS = (
    "index", "entry_type", "name", "status", "duration", "retries", "callee_target", "wakes_at", "result", "failure",
    "last_error", "started", "size", "promise", "awakeable_id", "state_key", "entry",
)  # fmt: skip


class InvocationPanel(Panel):
    """Show one invocation: its failure, why it does not go on, its facts, its journal; act on it.

    The journal is a table and a timeline; payloads are read when they are asked for, with secret fields masked.
    Callers, callees and what it waits for open in the same panel. ``refresh`` and ``tz`` are as in InvocationsPanel.

    ``frame`` is its journal, ``why`` the explanation, ``plan`` the last plan, ``sql`` and ``params`` what gave the
    facts. ``on_close`` puts a button there that calls it; ``wait=False`` reads in the background. ``created_at`` is the
    run that is meant; None means the one that exists. A workflow, or a call with an idempotency key, that was purged
    and called again has a new run with the same id: the panel shows it, and says that it is not the one before.

    Raises:
        ArgumentError: this is no invocation id.
    """

    def __init__(
        self,
        source: Source,
        invocation_id: str,
        /,
        *,
        created_at: datetime | None = None,
        refresh: DurationInput | None = 5.0,
        tz: str = "UTC",
        on_close: Callable[[], object] | None = None,
        wait: bool = True,
    ) -> None:
        self.id = check_invocation_id(invocation_id)
        self.on_acted: Callable[[], object] = _nothing
        self._zone, self._tz = ZoneInfo(tz), tz
        self._found: InvocationContent | None = None
        self._created = created_at
        self._before: list[tuple[str, datetime | None]] = []
        self._wants_payloads = False
        self._linked: list[str] | None = None
        super().__init__(source, title="invocation", refresh=refresh)
        self._make(tz)
        self._actions = ActionBar(
            source, handled=self.handled, say=self.say, acted=self._acted, label=lambda _: "This invocation:"
        )
        self.ends_with(self._actions)
        self._fill(on_close)
        if wait:
            self.refresh()
        else:
            self.ask()

    def show_invocation(self, invocation_id: str, /, *, created_at: datetime | None = None) -> None:
        """Show another invocation in this panel; ``created_at`` is the run that is meant."""
        if check_invocation_id(invocation_id) != self.id:
            self._before.append((self.id, self._created))
            self._turn_to(invocation_id, created_at)
        elif created_at is not None and created_at != self._created:
            self._turn_to(invocation_id, created_at)

    @property
    def frame(self) -> pd.DataFrame:
        """Return its journal, as ``rl.journal`` gives it; empty before it was read."""
        return self._found.journal if self._found else pd.DataFrame()

    @property
    def why(self) -> Any:
        """Return the Explanation that is shown; None before it was read."""
        return self._found.why if self._found else None

    @property
    def status(self) -> str | None:
        """Return the word for its status; None before it was read."""
        return str(self._found.row["status"]) if self._found else None

    @property
    def related(self) -> Sequence[Related]:
        """Return who called it, whom it calls and what it waits for."""
        return self._found.related if self._found else ()

    @property
    def selected(self) -> list[str]:
        """Return its id, as a list: it is what the buttons act on."""
        return [self.id]

    @property
    def plan(self) -> Plan | None:
        """Return the plan that is shown or was executed last."""
        return self._actions.plan

    @property
    def sql(self) -> str:
        """Return the statement that gave the facts."""
        return FACTS

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of its parameters."""
        return {"id": self.id}

    @property
    def code(self) -> str:
        """Return the call that makes this panel."""
        return f"rl.InvocationPanel(lab, {self.id!r})"

    # Its widgets

    def _make(self, tz: str) -> None:
        self._title, self._run, self._failure, self._why, self._facts = (widgets.HTML() for _ in range(5))
        self._links = widgets.Box()
        self._links.add_class("rl-fields")
        self._journal = Grid(key="entry", noun="journal entries", one="journal entry", height=260, tz=tz, is_read=False)
        self._errors = Grid(key="number", noun="errors", height=260, tz=tz, is_read=False)
        self._picture, self._payloads = widgets.HTML(), widgets.HTML()
        self._payloads.add_class("rl-payloads")
        self._read_payloads = widgets.Button(description="Read payloads", tooltip="Reads what the entries carry")
        self._read_payloads.on_click(self.handled(lambda _: self._ask_payloads()))
        payloads = widgets.VBox([self._read_payloads, self._payloads])
        self._tab = widgets.Tab([self._journal, self._picture, self._errors, payloads], titles=_TABS)
        self._tab.selected_index = _JOURNAL
        self._tab.observe(self.handled(lambda _: self._look_at_tab()), "selected_index")
        self._journal.on_open(self.handled(self._open_entry))

    def _fill(self, on_close: Callable[[], object] | None) -> None:
        self._back = widgets.Button(description="← Back", tooltip="The invocation that was here before")
        self._back.on_click(self.handled(lambda _: self._go_back()))
        self._back.layout.display = "none"
        tools = [self._back]
        if on_close is not None:
            close = widgets.Button(description="Close", tooltip="Close this invocation's panel")
            close.on_click(self.handled(lambda _: on_close()))
            tools.append(close)
        top = widgets.Box([self._title, widgets.Box(tools)])
        top.add_class("rl-top")
        self.add_class("rl-invocation")
        self.body = (top, self._run, self._failure, self._why, self._links, self._actions, self._facts, self._tab)

    # Reading and showing

    def _read(self) -> InvocationContent:
        try:
            found = read_invocation(self.reads, self.id, payloads=self._wants_payloads)
        except NotFound:
            self._actions.offer([], [])  # of one that is gone, nothing can be done any more
            raise
        except NotOnThisServer:
            self._wants_payloads = False  # evidence may lack them; all else is read the next time
            raise
        if self._tab.selected_index == _TIMELINE:
            self._picture.value = html.picture_html(journal_picture(found.journal, tz=self._tz), "Timeline")
        return found

    def _show(self, found: InvocationContent) -> None:
        self._found = found
        self._title.value = html.title_html(found, self.source.address if self.source.live else None)
        created = found.row["created_at"]
        self._created = self._created or created
        self._run.value = html.run_html(created, self._created)
        self._failure.value = html.failure_html(found)
        self._why.value = html.why_html(found)
        self._facts.value = html.facts_html(found, self._zone)
        self._payloads.value = html.payloads_html(found)
        self._show_journal(found)
        self._errors.refresh(found.errors.frame.assign(number=range(len(found.errors.frame), 0, -1)))
        self._actions.offer(pd.DataFrame({"id": [self.id], "created_at": [created]}), [str(found.row["status"])])
        self._back.layout.display = "" if self._before else "none"
        if [each.id for each in found.related] != self._linked:
            self._link(found.related)

    def _show_journal(self, found: InvocationContent) -> None:
        journal = found.journal.reset_index(drop=True).drop(columns=["payload", "argument", "headers"], errors="ignore")
        note = str(found.journal.attrs.get("note", ""))
        self._journal.refresh(journal.assign(entry=journal.index), note=note)
        used = [name for name in _COLUMNS if name in journal and not journal[name].isna().all()]
        self._journal.columns = used or ["entry_type"]

    def _link(self, related: Sequence[Related]) -> None:
        for each in self._links.children:
            each.close()
        self._linked = [each.id for each in related]
        buttons = [self._link_to(each) for each in related[:_MOST_RELATED]]
        more = len(related) - _MOST_RELATED
        rest = [widgets.Label(f"and {more:,} more, in the journal")] if more > 0 else []
        self._links.children = (*buttons, *rest)

    def _link_to(self, related: Related) -> Any:
        button = widgets.Button(
            description=f"{related.how} {truncate(related.target, 60)}", tooltip=f"Open {related.id}"
        )
        button.add_class("rl-link")
        button.on_click(self.handled(lambda _: self.show_invocation(related.id)))
        return button

    def _static(self) -> Iterator[str]:
        yield html.static_html(
            *(part.value for part in (self._title, self._run, self._failure, self._why, self._facts))
        )
        yield self._journal._repr_mimebundle_()[0]["text/html"]

    # What a reader does

    def _look_at_tab(self) -> None:
        if self._tab.selected_index == _TIMELINE:
            self.ask()

    def _ask_payloads(self) -> None:
        self._wants_payloads = True
        self._read_payloads.description = "Read payloads again"
        self.ask()

    def _open_entry(self, entry: int) -> None:
        callee = self.frame["callee"].iloc[entry]
        if isinstance(callee, str):
            self.show_invocation(callee)

    def _go_back(self) -> None:
        if self._before:
            self._turn_to(*self._before.pop())

    def _turn_to(self, invocation_id: str, created_at: datetime | None) -> None:
        self.id, self._created = invocation_id, created_at
        self._wants_payloads = False
        self._picture.value = ""
        self.ask()

    def _acted(self) -> None:
        self.ask()
        self.on_acted()


def _nothing() -> None:
    return
