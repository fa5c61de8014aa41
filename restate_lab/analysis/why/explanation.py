"""The explanation of one invocation: a document with frames and calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_age
from restate_lab.analysis.why.options import Option, option_frame
from restate_lab.calls import Step, SuggestedCall
from restate_lab.document import Calls, Document, Facts, Fold, Gaps, Item, Items, Text, Word
from restate_lab.frames import records
from restate_lab.result import Result

_OPTIONS = "What you can do (a plan sends nothing before it is executed with a reason)"


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Explanation(Result):
    """Why an invocation does not continue, as text; ``why()`` returns it.

    - ``facts``: the paragraph as (label, value) pairs: "now" (the state, its start, failed attempts, the next attempt),
      "failing step", "error", "waits for", "agent" (the tool that an agent executes, and the model that called it; its
      arguments are not shown), "root blocker", "called by", "blocks", "changes of state" (that wait for its key),
      "created" and more.
    - ``chain``: one row per link from this invocation to the root blocker; the last rows show what the root blocker
      waits for. ``step`` (1, 2, …; the same for all waits of the root blocker), ``id, target, status, waits_for`` (as
      ``kind`` in ``waits``: call, attach, key, awakeable, promise, sleep, …; for a root blocker also "step" for a step
      that runs or is retried, "resume", "start", "slot", "turn"; None if it has ended), ``detail`` (key, promise, id of
      the awakeable, name of the step), ``blocker`` (the id of the next link; None at the end), ``since`` (UTC). In a
      deadlock the last ``blocker`` is an earlier link.
    - ``options``: one row per possible action, the most helpful first, and a resume that will fail again last:
      ``action, id, target, effect, code`` (Python code; a plan sends nothing before its ``execute(reason=…)``; "" if no
      call is needed). Options for the root blocker come first, then options for this invocation alone.
      ``suggested_calls`` has the calls as data.
    - ``not_read``: ``part, reason`` for data that could not be read; ``queries``: the statements that were sent.
    """

    _json = ("id", "target", "status", "summary", "callers", "has_story", "chain", "options", "not_read", "read_at")
    id: str
    target: str | None
    """None if the invocation does not exist."""
    status: str | None
    """None if the invocation does not exist."""
    facts: tuple[tuple[str, str], ...]
    chain: pd.DataFrame
    waiters: tuple[tuple[str, str], ...] = ()
    """Id and target of the invocations that wait for it directly; a long queue has only its first ones."""
    callers: tuple[tuple[str, str], ...] = ()
    """Id and target of its caller, of the caller's caller, and so on up to the root, at most 20."""
    story_call: SuggestedCall | None = None
    """The call that shows its story, as data; None if it has no caller, no known callee and no restart."""
    _paragraph: str
    _choices: tuple[Option, ...]

    @property
    def summary(self) -> str:
        """Return the explanation as one paragraph."""
        return self._paragraph

    @property
    def options(self) -> pd.DataFrame:
        """Return the possible actions, the most helpful first."""
        return self._of_source(option_frame(self._choices))

    @property
    def suggested_calls(self) -> tuple[tuple[SuggestedCall, ...], ...]:
        """Return the calls of each option as data, in the order of ``options``; ``code`` is the same as Python."""
        return tuple(option.calls for option in self._choices)

    @property
    def has_story(self) -> bool:
        """Return whether other invocations belong to it."""
        return self.story_call is not None

    def to_json(self) -> dict[str, Any]:
        """Return the explanation for programs, with its callers as objects."""
        return super().to_json() | {"callers": [{"id": id_, "target": target} for id_, target in self.callers]}

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the explanation as blocks."""
        story = self.story_call
        blocks = (
            Facts(self.facts) if self.facts else Text(self.summary),
            Items(_chain_items(self.chain, self.read_at), "From this invocation to the root blocker"),
            *((Calls(Step((story,), "All invocations that belong to it")),) if story else ()),
            Items(tuple(_option_item(each, self.id) for each in self._choices), _OPTIONS),
            Gaps(self.reasons),
            *((Fold("As text", (Text(self.summary),), is_aside=True),) if self.facts else ()),
        )
        where = super().document(zone).place
        if self.target is None or self.status is None:
            return Document("Invocation not found", self.id, blocks, foot=(where,), page=self.link)
        title = (Word(self.target), " is ", Word(self.status, self.status))
        return Document(title, self.id, blocks, self.status, (where,), self.link)

    def _brief(self) -> str:
        state = f"{self.target} is {self.status}" if self.target else "not found"
        return f"{self.id}: {state}; print() shows it"


def _chain_items(chain: pd.DataFrame, now: datetime) -> tuple[Item, ...]:
    """Return the links to the root blocker; () for an invocation that is its own."""
    return tuple(_chain_item(row, now) for row in records(chain)) if len(chain) > 1 else ()


def _chain_item(row: Mapping[Any, Any], now: datetime) -> Item:
    waits = " ".join(filter(None, (row["waits_for"], row["detail"])))
    status = Word(row["status"], row["status"])
    title = (f"{row['target']} {row['id']} is ", status, f": {waits}" if waits else "")
    return Item(title, Word(f"{row['step']}.", "quiet"), age=format_age(row["since"], now))


def _option_item(option: Option, id_: str) -> Item:
    action = option.action.replace("_", " ")
    title = Word(action if option.id == id_ else f"{action} {option.target}")
    return Item((title, f": {option.effect}"), steps=(Step(option.calls, ""),))
