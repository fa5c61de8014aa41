"""The detail of one invocation in a panel: failure, actions, the live journal, links, and collapsed sections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import ipywidgets as widgets
import pandas as pd

from restate_lab._cells import MISSING, cell, is_missing
from restate_lab._html import render
from restate_lab._text import format_ago, format_timestamp, one_line, plural
from restate_lab.analysis.ids import describe_new_run
from restate_lab.analysis.invocations.reader import without_prefix
from restate_lab.analysis.journal.bars import journal_bars
from restate_lab.analysis.journal.drawing import payload_blocks, rows_of
from restate_lab.analysis.journal.errors import MISMATCH, REMOVED, describe_code
from restate_lab.analysis.journal.payloads import mask_payloads
from restate_lab.document import Block, Facts, Fold, Text, Word
from restate_lab.document.html import blocks_html, html_of
from restate_lab.errors import NotOnThisServer
from restate_lab.panels._base.files import ExportedRows, ExportForm
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.controller import cut_off
from restate_lab.panels.invocation.conversation import ConversationSection, run_of
from restate_lab.panels.invocation.reader import InvocationContent, is_same_run, read_invocation, text_or_none
from restate_lab.panels.invocation.view import DeadlockLine, FoldMemory, Folds, Guard, JournalView
from restate_lab.panels.story import STORY, StoryForm
from restate_lab.source import Source
from restate_lab.status import COLOURS, ENDED

_ROWS = 500  # journal rows shown first, and added with each click
_LONGEST = 60_000  # characters of a failure
_LINE = 400  # characters of its first line
_TITLE = "panels/invocation/title.html.j2"
_EXPLAINED = frozenset({"RT0010", REMOVED, MISMATCH})  # codes whose meaning says more than the text of the error
_WAITING = frozenset({"pending", "suspended"})
_SEEN = frozenset({"now", "failing step", "error"})  # facts of a failing invocation that are above the others
_CONVERSATION, _STORY = "conversation", "story"
_TITLES = {
    _CONVERSATION: "Conversation",
    _STORY: STORY,
    "why": "Explanation",
    "facts": "All facts",
    "payloads": "Payloads (masked)",
    "errors": "Errors over time",
    "children": "Children",
}
_FACTS = {
    "created_at": "created",
    "scheduled_start_at": "starts",
    "running_at": "first attempt",
    "last_start_at": "last attempt",
    "next_retry_at": "next attempt",
    "modified_at": "last change",
    "completed_at": "completed",
    "retry_count": "retry count",
    "failed_step": "failing step",
    "target_service_ty": "service type",
    "invoked_by": "invoked by",
    "idempotency_key": "idempotency key",
    "deployment_id": "deployment",
    "pinned_deployment_id": "pinned to",
    "protocol": "protocol",
    "last_attempt_server": "SDK",
    "journal_size": "journal entries",
    "completion_retention": "retention",
}
_INGRESS = "ingress"  # the caller of most invocations, which says nothing
_CHIPS = {"pinned to": "deployment"}
_CHILD_COLUMNS = ("index", "entry_type", "callee_target", "status", "started", "duration", "callee")


class InvocationDetail(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Show one invocation: ``read`` reads it without touching widgets, ``show`` updates the widgets.

    ``guard`` wraps the handlers, ``open_invocation`` is called with the id of a link, ``show_waits`` with the ids of a
    deadlock, ``list_invocations`` with the ids of equal members of a story and a name, ``write`` with rows to export,
    and ``ask`` requests another read. ``actions`` appears above the failure. ``content`` is the shown data, or None
    before the first ``show``. The explanation is open if it says more than the error, until the user opens or closes
    it.
    """

    def __init__(
        self,
        source: Source,
        *,
        guard: Guard,
        open_invocation: Callable[[str], object],
        show_waits: Callable[[Sequence[str]], object],
        list_invocations: Callable[[Sequence[str], str], object],
        write: Callable[[ExportedRows, ExportForm], object],
        ask: Callable[[], object],
        actions: Any = None,
        tz: str = "UTC",
    ) -> None:
        self.content: InvocationContent | None = None
        self._source, self._zone, self._ask, self._open = source, ZoneInfo(tz), ask, open_invocation
        self._list_invocations = list_invocations
        self._id = ""
        self._limit = _ROWS
        self._wants_payloads = False
        self._expanded: dict[str, None] = {}
        self._was_conversation_requested = False
        self._explained, self._has_chosen = "", False
        self.title, self._failure, self._facts = (widgets.HTML() for _ in range(3))
        self._failure.add_class("rl-failure")
        self.deadlock = DeadlockLine(
            open_invocation=open_invocation, show_picture=lambda: show_waits(self._deadlock_ids), guard=guard
        )
        self.journal = JournalView()
        self.journal.on_open = guard(open_invocation)
        self.journal.on_expand = guard(self._expand)
        self.journal.on_more = guard(self._show_more)
        self.journal.on_export = guard(lambda form: write(self._exported(), form))
        self._make_sections(guard, tz)
        self.folds = Folds(_TITLES, guard(self._toggle))
        self.folds.offer(_CONVERSATION, on=False)
        self._memory = FoldMemory()
        above = (*filter(None, (actions,)), self._failure, self.deadlock)
        super().__init__([*above, self.journal, self._facts, self.folds, *self._sections.values(), self._memory])
        self.add_class("rl-onedetail")

    def _make_sections(self, guard: Guard, tz: str) -> None:
        self._why, self._all_facts, self._payloads = (widgets.HTML() for _ in range(3))
        self._payloads.add_class("rl-payloads")
        self._facts.add_class("rl-chipfacts")
        self._all_facts.add_class("rl-facts")
        self._errors = Grid(key="number", noun="errors", height=260, tz=tz, is_read=False)
        self.conversation = ConversationSection()
        nouns: Any = {"noun": "called invocations", "one": "called invocation"}
        self._children = Grid(key="entry", **nouns, height=260, tz=tz, is_read=False)
        self._children.on_open(guard(self._open_child))
        self.story = StoryForm(
            self._source, guard=guard, open_item=self._open_member, list_items=self._list_invocations, tz=tz
        )
        widgets_by_key = (
            self.conversation,
            self.story,
            self._why,
            self._all_facts,
            self._payloads,
            self._errors,
            self._children,
        )
        self._sections: dict[str, Any] = dict(zip(_TITLES, widgets_by_key, strict=True))
        for section in self._sections.values():
            section.layout.display = "none"

    # Reading and showing

    def read(self, reads: Source, id_: str) -> InvocationContent:
        """Read an invocation with the requested payloads, conversation and journals of callees.

        Only the conversation is new if it was just requested: the user does not wait for a long journal again.

        Raises:
            NotFound: the invocation does not exist (any more).
        """
        shown, was_requested = self.content, self._was_conversation_requested
        self._was_conversation_requested = False
        if shown is not None and was_requested and shown.row["id"] == id_ and is_same_run(reads, shown):
            content = replace(shown, has_new_conversation_only=True)
        else:
            content = self._read_all(reads, id_)
        return replace(content, agent=self.conversation.read(reads, content, is_open=self._shows_conversation))

    def _read_all(self, reads: Source, id_: str) -> InvocationContent:
        if id_ != self._id:
            self._id, self._limit, self._wants_payloads = id_, _ROWS, "payloads" in self.folds.opened
            self._expanded = {}
        try:
            return read_invocation(reads, id_, payloads=self._wants_payloads, expand=tuple(self._expanded))
        except NotOnThisServer:
            self._wants_payloads = False  # evidence may have no payloads; the next read gets the other data
            raise

    def begin(self, row: Mapping[Any, Any]) -> None:
        """Show the known data of another invocation until it is read: its ``id`` and perhaps its target and status."""
        self.content = None
        self.title.value = self._title_html(row)
        self._failure.layout.display = "none"
        self._facts.value = ""
        self.deadlock.show_deadlock(None)
        self.journal.begin()
        self._display_sections(on=False)

    def show(self, content: InvocationContent, *, reviewed: datetime | None) -> None:
        """Show the data; ``reviewed`` is the creation time of the run that was opened."""
        self.content = content
        if content.has_new_conversation_only:
            self._show_conversation(content)
            return
        self._memory.about = self._id
        bars = journal_bars(content.journal, self._limit)
        self.title.value = self._title_html(content.row)
        failure = (*_new_run(content.row["created_at"], reviewed), *_failure_blocks(content))
        self._failure.value = blocks_html(*failure)
        self._failure.layout.display = "" if failure else "none"
        self.deadlock.show_deadlock(content.deadlock)
        self._facts.value = blocks_html(_main_facts(content, self._zone))
        self.journal.show(self._id, bars, content.related, zone=self._zone, is_live=self._source.live)
        self._show_sections(content)
        self._display_sections(on=True)

    def _title_html(self, row: Mapping[Any, Any]) -> str:
        """Return the known ones of target, status and id, and a link to the web UI if its address is known."""
        status, id_ = str(row.get("status") or ""), str(row["id"])
        colour = COLOURS.get(status, COLOURS["quiet"])
        count: Any = row.get("retry_count")
        attempt = "" if status in ENDED or is_missing(count) or count < 2 else _ordinal(int(count))
        target, page = str(row.get("target") or ""), self._page_of(id_)
        return render(_TITLE, target=target, status=status, colour=colour, attempt=attempt, id=id_, page=page)

    def _page_of(self, id_: str) -> str:
        """Return the address of an invocation in the web UI; "" if that is not known."""
        address = self._source.address.rstrip("/") if self._source.live and self._source.address else ""
        return f"{address}/ui/invocations/{id_}" if address.startswith(("http://", "https://")) else ""

    def _display_sections(self, *, on: bool) -> None:
        """Display the buttons of the sections, and the open sections."""
        self.folds.layout.display = "" if on else "none"
        for key, section in self._sections.items():
            section.layout.display = "" if on and key in self.folds.opened else "none"

    def _exported(self) -> ExportedRows:
        """Return the entries of the journal; payloads are masked, and in it only if the user has read them."""
        journal = mask_payloads(self.content.journal) if self.content else pd.DataFrame()
        return ExportedRows(journal, f"journal-{self._id}", missing=cut_off(journal))

    @property
    def _deadlock_ids(self) -> list[str]:
        deadlock = self.content.deadlock if self.content else None
        return [self._id, *(id_ for id_, _ in deadlock.others)] if deadlock else []

    def _show_sections(self, content: InvocationContent) -> None:
        facts, calls, errors = _all_facts(content, self._zone), _calls(content.journal), content.errors.frame
        self._close_other_story()
        self._show_conversation(content)
        self._open_explanation(content)
        self._why.value = blocks_html(*content.why.document(self._zone).blocks)
        self._all_facts.value = blocks_html(facts)
        own = content.journal[content.journal["depth"] == 1]
        self._payloads.value = blocks_html(*payload_blocks(own, is_open=True)) if content.has_payloads else ""
        self._errors.refresh(errors.assign(number=range(len(errors), 0, -1)))
        self._children.refresh(calls)
        self._children.columns = [name for name in _CHILD_COLUMNS if name in calls]
        self.folds.name(
            facts=f"All facts ({len(facts.rows)})",
            errors=f"Errors over time ({len(errors):,})",
            children=f"Children ({len(calls):,})",
        )
        self.folds.offer("errors", on=len(errors) > 0)
        self.folds.offer("children", on=len(calls) > 0)

    def _open_explanation(self, content: InvocationContent) -> None:
        """Open or close the explanation of an invocation that is new here, unless the user has chosen that."""
        if self._has_chosen or self._explained == self._id:
            return
        self._explained = self._id
        if _says_more(content) != ("why" in self.folds.opened):
            self.folds.toggle("why")
        self._has_chosen = False

    def _show_conversation(self, content: InvocationContent) -> None:
        """Show the conversation if it was requested; its section closes when another invocation is opened."""
        self.folds.offer(_CONVERSATION, on=content.agent.is_agent)
        if self._shows_conversation and not self.conversation.is_requested(content.row):
            self.folds.toggle(_CONVERSATION)
        self.conversation.show(content, is_open=self._shows_conversation)

    @property
    def _shows_conversation(self) -> bool:
        return _CONVERSATION in self.folds.opened

    def static_html(self) -> Iterator[str]:
        """Yield the content as HTML for pages without widgets."""
        content = self.content
        if content is None:
            return
        explanation = content.why.document(self._zone)
        blocks = (
            *_failure_blocks(content),
            *explanation.blocks,
            rows_of(journal_bars(content.journal, _ROWS), zone=self._zone),
            Fold(_TITLES["facts"], (_all_facts(content, self._zone),), is_open=True),
        )
        yield html_of(replace(explanation, blocks=blocks, page=self._page_of(self._id)))
        if self.story.result is not None and _STORY in self.folds.opened:
            yield self.story.result._repr_html_()

    # Actions of the user

    def _toggle(self, key: str, is_open: bool) -> None:
        self._sections[key].layout.display = "" if is_open else "none"
        self._has_chosen |= key == "why"
        if key == _CONVERSATION:
            self._request_conversation(on=is_open)
        if key == _STORY and is_open and self._id:
            self.story.ask([self._id])
        if key != "payloads":
            return
        self._wants_payloads = is_open
        if is_open:
            self._payloads.value = "Reading the payloads…" if not self._payloads.value else self._payloads.value
            self._ask()

    def _request_conversation(self, *, on: bool) -> None:
        row = self.content.row if self.content else None
        self.conversation.request(run_of(row) if on and row else None)
        self._was_conversation_requested = on
        if on:
            self._ask()

    def _close_other_story(self) -> None:
        """Close the section of a story that was requested for another invocation."""
        if self.story.ids in {(), (self._id,)}:
            return
        self.story.forget()
        if _STORY in self.folds.opened:
            self.folds.toggle(_STORY)

    def _open_member(self, id_: str) -> None:
        if id_ != self._id:
            self._open(id_)

    def _expand(self, callee: str) -> None:
        self._expanded[callee] = None
        self._ask()

    def _show_more(self) -> None:
        self._limit += _ROWS
        self._ask()

    def _open_child(self, entry: int) -> None:
        if self.content is not None:
            self._open(str(self.content.journal["callee"].iloc[entry]))


def _new_run(created_at: datetime | None, reviewed: datetime | None) -> tuple[Block, ...]:
    """Return a text if this is another run of the id than the one that was opened."""
    if created_at == reviewed:
        return ()
    return (Text(Word(f"This is {describe_new_run(created_at, reviewed)}. That run no longer exists.")),)


def _failure_blocks(content: InvocationContent) -> tuple[Block, ...]:
    """Return the failure with its traceback folded; () without a failure."""
    failure = content.failure
    if failure is None:
        return ()
    first, _, rest = failure.partition("\n")
    if content.row["status"] not in ENDED:
        first = without_prefix(first)
    if len(first) > _LINE:
        first, rest = f"{first[:_LINE]}…", failure
    cut = f"\n… ({len(rest):,} characters in all)" if len(rest) > _LONGEST else ""
    code, lines = describe_code(text_or_none(content.row["error_code"])), plural(rest.count("\n") + 1, "line")
    traceback = Fold(f"Traceback, {lines}", (Text(Word(rest[:_LONGEST] + cut, "value")),))
    texts = [one_line(first, _LINE + 1), code]
    if content.row["error_code"] in _EXPLAINED:
        texts.reverse()
    lead, other = texts
    return (
        Text(Word(f"✖ {lead}")),
        *((Text(Word(other, "quiet")),) if other else ()),
        *((traceback,) if rest.strip() else ()),
    )


def _main_facts(content: InvocationContent, zone: ZoneInfo) -> Facts:
    """Return the facts of the explanation, without those that the title, the failure and the journal show."""
    created, facts = content.row["created_at"], dict(content.why.facts)
    facts["created"] = f"{format_ago(created, content.why.read_at)}, {format_timestamp(created, zone=zone)}"
    seen = frozenset[str]() if content.failure is None else _SEEN
    return Facts(tuple((_CHIPS.get(name, name), text) for name, text in facts.items() if name not in seen))


def _says_more(content: InvocationContent) -> bool:
    """Return whether the explanation says more than the error: what it waits for, or why a retry does not help."""
    row = content.row
    is_waiting = content.failure is None and row["status"] in _WAITING
    return is_waiting or len(content.why.chain) > 1 or (row["status"] not in ENDED and row["error_code"] in _EXPLAINED)


def _ordinal(number: int) -> str:
    """Return a number as "1st", "2nd", "3rd", "11th" or "1,412th"."""
    ending = "th" if number % 100 in {11, 12, 13} else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def _all_facts(content: InvocationContent, zone: ZoneInfo) -> Facts:
    facts = {**content.facts, **content.row}
    known = {label: facts.get(name) for name, label in _FACTS.items()}
    return Facts(
        tuple(
            (label, _describe(value, content.why.read_at, zone))
            for label, value in known.items()
            if not is_missing(value) and value not in {"", _INGRESS}
        )
    )


def _describe(value: Any, now: datetime, zone: ZoneInfo) -> str:
    """Return a value as text; for a timestamp also its distance from now."""
    shown = cell(value, zone)
    if not isinstance(value, datetime) or value.tzinfo is None:
        return shown.more or shown.text or MISSING
    text = value.astimezone(zone).isoformat(" ", "milliseconds")
    distance = (now - value).total_seconds()
    if abs(distance) < 1:
        return f"{text} (now)"
    length = cell(timedelta(seconds=abs(round(distance))), UTC).text
    return f"{text} ({length} ago)" if distance > 0 else f"{text} (in {length})"


def _calls(journal: pd.DataFrame) -> pd.DataFrame:
    """Return the entries of the invocation itself that call another one; ``entry`` is their position."""
    calls = journal.reset_index(drop=True).drop(columns=["payload", "argument", "headers"], errors="ignore")
    calls = calls.assign(entry=calls.index)
    return calls[(calls["depth"] == 1) & calls["entry_type"].isin(["Call", "OneWayCall"]) & calls["callee"].notna()]
