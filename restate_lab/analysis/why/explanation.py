"""The explanation of one invocation: a text with frames, calls and a card."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import format_age
from restate_lab.analysis.why.options import Option, option_frame
from restate_lab.calls import SuggestedCall, python_code
from restate_lab.result import Result
from restate_lab.status import STATUSES

_GREY = STATUSES["suspended"].colour
_STORY = "All invocations that belong to it:"
_HEAD = "What you can do (a plan sends nothing before its .execute(reason=…)):"


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
    def _story_code(self) -> str:
        return "" if self.story_call is None else python_code([self.story_call])

    def _text(self) -> str:
        lines = [self.summary]
        if len(self.chain) > 1:
            lines += ["", "From this invocation to the root blocker:", *map(_chain_line, self.chain.to_dict("records"))]
        if self.story_call is not None:
            lines += ["", f"{_STORY} {self._story_code}"]
        if self._choices:
            lines += ["", _HEAD]
        for option in self._choices:
            about = "" if option.id == self.id else f" {option.target}"
            lines.append(f"- {option.action}{about}: {option.effect}")
            lines += [f"      {line}" for line in option.code.splitlines()]
        return "\n".join([*lines, *([""] if self.reasons else []), *_gap_lines(self)])

    def _brief(self) -> str:
        state = f"{self.target} is {self.status}" if self.target else "not found"
        return f"{self.id}: {state}; print() shows it"

    def _card(self) -> str:
        status, chain = self.status, self.chain
        colour = STATUSES[status].colour if status in STATUSES else _GREY
        abouts = [("" if each.id == self.id else f"{each.target}: ", each) for each in self._choices]
        return render(
            "analysis/why/card.html.j2",
            title=self.target or "Invocation not found",
            place=self.id,
            page=self.link,
            lines=[*_gap_lines(self), self.where],
            accent=colour,
            badges=[(status, "status", colour)] if status else [],
            facts=self.facts,
            summary=self.summary,
            story=self._story_code,
            chain=[_chain_row(row, self) for row in chain.to_dict("records")] if len(chain) > 1 else [],
            options=[
                {"action": each.action, "description": f"{about}{each.effect}", "code": each.code}
                for about, each in abouts
            ],
        )


def _gap_lines(explanation: Explanation) -> list[str]:
    return [f"Incomplete: {reason}." for reason in explanation.reasons]


def _chain_line(row: Mapping[Any, Any]) -> str:
    waits = " ".join(each for each in (row["waits_for"], row["detail"]) if each)
    return f"{row['step']:>3}. {row['id']} {row['target']} is {row['status']}{f': {waits}' if waits else ''}"


def _chain_row(row: dict[Any, Any], explanation: Explanation) -> dict[str, str]:
    return {
        "step": str(row["step"]),
        "target": row["target"],
        "id": row["id"],
        "status": row["status"],
        "colour": STATUSES[row["status"]].colour if row["status"] in STATUSES else _GREY,
        "waits": f"{row['waits_for'] or ''} {row['detail'] or ''}".strip(),
        "since": format_age(row["since"], explanation.read_at) if pd.notna(row["since"]) else "",
    }
