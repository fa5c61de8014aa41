"""The explanation of one invocation: a text with frames, calls and a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass
from datetime import datetime
from typing import Any, Self

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import escape_invisible, format_age, format_timestamp
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.analysis.why.options import Option, option_frame
from restate_lab.status import STATUSES

_GREY = STATUSES["suspended"].colour
_HEAD = "What you can do (a plan sends nothing before its .execute(reason=…)):"


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Explanation(str):  # noqa: SLOT000 - its fields are attributes
    """Why an invocation does not continue, as text; ``why()`` returns it, and its docstring describes the frames."""

    text: InitVar[str]
    id: str
    target: str | None
    """The target of the invocation; None if it does not exist, as for ``status``."""
    status: str | None
    summary: str
    """Only the paragraph."""
    facts: tuple[tuple[str, str], ...]
    """The facts of the paragraph as (label, value): state, failing step, error, caller, what it blocks."""
    _chain: pd.DataFrame
    choices: tuple[Option, ...]
    excluded: tuple[str, ...]
    """Messages about data that could not be read."""
    source: str
    version: str
    at: datetime
    """The time of the explanation, UTC."""
    queries: tuple[Mapping[str, Any], ...]
    """Each statement that was sent: ``sql``, ``params`` as JSON values, ``times``."""
    waiters: tuple[tuple[str, str], ...]
    """Id and target of the invocations that wait for it directly; a long queue has only its first ones."""

    def __new__(cls, text: str, **_: Any) -> Self:
        """Return the text; the other arguments are for the fields."""
        return super().__new__(cls, escape_invisible(text))

    @property
    def chain(self) -> pd.DataFrame:
        """Return a copy of the links from it to its root blocker, and the waits of the root blocker."""
        return self._chain.copy()

    @property
    def options(self) -> pd.DataFrame:
        """Return the possible actions, the most helpful first."""
        return option_frame(self.choices)

    @property
    def suggested_calls(self) -> tuple[tuple[SuggestedCall, ...], ...]:
        """Return the calls of each option as data, in the order of ``options``; ``code`` is the same as Python."""
        return tuple(option.calls for option in self.choices)

    @property
    def where(self) -> str:
        """Return the source, its version, and when it was read."""
        return f"{self.source}, restate {self.version}, {format_timestamp(self.at)}"

    def __repr__(self) -> str:
        state = escape_invisible(f"{self.target} is {self.status}") if self.target else "not found"
        return f"<Explanation of {self.id}: {state}; print() shows it>"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return card_of(self)


def card_of(explanation: Explanation) -> str:
    """Return the card as HTML; all text from the cluster is escaped."""
    status, id_ = explanation.status, explanation.id
    colour = STATUSES[status].colour if status in STATUSES else _GREY
    chain = explanation.chain
    abouts = [("" if each.id == id_ else f"{each.target}: ", each) for each in explanation.choices]
    return render(
        "analysis/why/card.html.j2",
        title=explanation.target or "Invocation not found",
        place=id_,
        lines=[*(f"Incomplete: {each}." for each in explanation.excluded), explanation.where],
        accent=colour,
        badges=[(status, "status", colour)] if status else [],
        facts=explanation.facts,
        summary=explanation.summary,
        chain=[_chain_row(row, explanation) for row in chain.to_dict("records")] if len(chain) > 1 else [],
        options=[
            {"action": each.action, "description": f"{about}{each.what}", "code": each.code} for about, each in abouts
        ],
    )


def _chain_row(row: dict[Any, Any], explanation: Explanation) -> dict[str, str]:
    return {
        "step": str(row["step"]),
        "target": row["target"],
        "id": row["id"],
        "status": row["status"],
        "colour": STATUSES[row["status"]].colour if row["status"] in STATUSES else _GREY,
        "waits": f"{row['waits_for'] or ''} {row['what'] or ''}".strip(),
        "since": format_age(row["since"], explanation.at) if pd.notna(row["since"]) else "",
    }


def text_of(id_: str, summary: str, chain: pd.DataFrame, options: Sequence[Option], excluded: Sequence[str]) -> str:
    """Return the text of an explanation: the summary, the chain, and the options with their code."""
    lines = [summary]
    if len(chain) > 1:
        lines += ["", "From this invocation to the root blocker:", *map(_chain_line, chain.to_dict("records"))]
    if options:
        lines += ["", _HEAD]
    for option in options:
        about = "" if option.id == id_ else f" {option.target}"
        lines.append(f"- {option.action}{about}: {option.what}")
        lines += [f"      {line}" for line in option.code.splitlines()]
    lines += ["", *(f"Incomplete: {each}." for each in excluded)] if excluded else []
    return "\n".join(lines)


def _chain_line(row: Mapping[Any, Any]) -> str:
    waits = " ".join(each for each in (row["waits_for"], row["what"]) if each)
    return f"{row['step']:>3}. {row['id']} {row['target']} is {row['status']}{f': {waits}' if waits else ''}"
