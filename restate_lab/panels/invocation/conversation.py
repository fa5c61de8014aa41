"""The conversation of an agent's invocation in a panel.

Prompts, answers and arguments are payloads: nothing of them is read before the user opens the section. Until then, the
server only searches the journal for names that responses of models have.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any, TypeAlias

import ipywidgets as widgets

from restate_lab._cells import is_missing
from restate_lab._text import one_line
from restate_lab.analysis.agents import read_conversation
from restate_lab.analysis.agents.builder import SearchedJournal
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.agents.result import Conversation
from restate_lab.document import Text
from restate_lab.document.html import blocks_html, panel_html
from restate_lab.errors import RestateLabError
from restate_lab.panels.invocation.reader import AgentContent, InvocationContent
from restate_lab.reads import Reads, Stopped
from restate_lab.source import Source, decoding_of

_WITHIN = "15s"
_LONGEST = 400  # characters of an error
_READING = "Reading the conversation…"
_STATE = ("status", "created_at", "modified_at", "completed_at", "retry_count", "journal_size")

Run: TypeAlias = tuple[str, str]
"""An id, and the time when this run of it was created."""


class ConversationSection(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """Show the conversation of one invocation: ``read`` reads it without touching widgets, ``show`` shows it.

    A request is for one run of one invocation, so another one is not read until it is requested too. ``shown`` is the
    conversation on the page, or None.
    """

    def __init__(self) -> None:
        self.shown: Conversation | None = None
        self._requested: Run | None = None
        self._run: Run | None = None
        self._searched = SearchedJournal("")
        self._known: tuple[object, Conversation] | None = None
        self._drawing = threading.RLock()  # a click can come during a read
        self._html = widgets.HTML()
        super().__init__([self._html])
        self.add_class("rl-conversation")

    def request(self, run: Run | None) -> None:
        """Request the conversation of a run with the next read; None ends the request and removes it from the page."""
        with self._drawing:
            self._requested, self._known = run, None
            self._draw(AgentContent(is_agent=True, problem=_READING if run else ""))

    def is_requested(self, row: Mapping[str, Any]) -> bool:
        """Return whether the conversation of this run was requested."""
        return self._requested == run_of(row)

    def read(self, reads: Source, content: InvocationContent, *, is_open: bool) -> AgentContent:
        """Read whether the invocation is an agent's, and its conversation if it was requested and has changed.

        An error is shown in the section, because the rest of the invocation was read.
        """
        is_wanted = is_open and self.is_requested(content.row)
        try:
            is_agent = self._search_journal(reads, content.row)
            return AgentContent(is_agent, self._read_conversation(reads, content) if is_agent and is_wanted else None)
        except Stopped:
            raise
        except RestateLabError as error:
            problem = f"The conversation was not read: {one_line(str(error), _LONGEST)}"
            return AgentContent(bool(self._searched.indexes), problem=problem if is_wanted else "")

    def show(self, content: InvocationContent, *, is_open: bool) -> None:
        """Show the result of ``read`` if it is still requested, and nothing otherwise."""
        with self._drawing:
            self._draw(content.agent if is_open and self.is_requested(content.row) else AgentContent())

    def _search_journal(self, reads: Source, row: Mapping[str, Any]) -> bool:
        """Return whether the journal has a response of a model; entries that were searched are not searched again."""
        id_, size = str(row["id"]), 0 if is_missing(row["journal_size"]) else int(row["journal_size"])
        if run_of(row) != self._run:
            self._run, self._searched, self._known = run_of(row), SearchedJournal(id_), None
        if decoding_of(reads) is not None:  # only reading the payloads would show whether one is a response
            return True
        if not self._searched.indexes and size > self._searched.size:
            found = AgentReader(Reads(reads)).agents([id_], first=self._searched.size)
            self._searched = SearchedJournal(id_, size, found.get(id_, ()))
        return bool(self._searched.indexes)

    def _read_conversation(self, reads: Source, content: InvocationContent) -> Conversation:
        state = _state_of(content)
        known = self._known
        if known is not None and known[0] == state:
            return known[1]
        found = read_conversation(reads, str(content.row["id"]), timeout=_WITHIN, searched=self._searched)
        self._known = state, found
        return found

    def _draw(self, content: AgentContent) -> None:
        found, problem = content.conversation, content.problem
        if found is not None and not found.turns:
            problem = (
                f"There is no conversation to show: {found.reasons[-1] if found.reasons else 'the journal is empty'}."
            )
        self.shown = found
        if problem:
            self._html.value = blocks_html(Text(problem))
        else:
            self._html.value = panel_html(found.document()) if found is not None else ""


def run_of(row: Mapping[str, Any]) -> Run:
    """Return what identifies a run of an invocation."""
    return str(row["id"]), str(row["created_at"])


def _state_of(content: InvocationContent) -> object:
    """Return a value that changes with every progress of the invocation, and with every recorded error."""
    errors = content.errors.frame
    last = str(errors["at"].iloc[0]) if len(errors) else ""
    return tuple(str(content.row[name]) for name in _STATE), len(errors), last
