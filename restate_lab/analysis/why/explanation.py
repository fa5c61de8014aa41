"""The explanation of one invocation: a text with frames, calls and a card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class ExplanationParts:
    """The data of an explanation, from which its text, its frames and its card are built."""

    id: str
    target: str | None
    status: str | None
    summary: str
    facts: tuple[tuple[str, str], ...]
    chain: pd.DataFrame
    choices: tuple[Option, ...]
    excluded: tuple[str, ...]
    source: str
    version: str
    at: datetime
    queries: tuple[Mapping[str, Any], ...] = ()
    waiters: tuple[tuple[str, str], ...] = ()


@public
class Explanation(str):
    """Why an invocation does not continue, as text; ``why()`` returns it, and its docstring describes the frames."""

    __slots__ = ("_parts",)
    _parts: ExplanationParts

    def __new__(cls, text: str, parts: ExplanationParts) -> Self:
        """Return an explanation with this text, built from these parts."""
        explanation = super().__new__(cls, escape_invisible(text))
        explanation._parts = parts
        return explanation

    def __reduce__(self) -> tuple[type[Explanation], tuple[str, ExplanationParts]]:
        return Explanation, (str(self), self._parts)

    @property
    def id(self) -> str:
        """Return the id of the invocation."""
        return self._parts.id

    @property
    def target(self) -> str | None:
        """Return its target; None if the invocation does not exist."""
        return self._parts.target

    @property
    def status(self) -> str | None:
        """Return its status; None if the invocation does not exist."""
        return self._parts.status

    @property
    def summary(self) -> str:
        """Return only the paragraph."""
        return self._parts.summary

    @property
    def facts(self) -> tuple[tuple[str, str], ...]:
        """Return the facts of the paragraph as (label, value): state, failing step, error, caller, what it blocks."""
        return self._parts.facts

    @property
    def chain(self) -> pd.DataFrame:
        """Return a copy of the links from it to its root blocker, and the waits of the root blocker."""
        return self._parts.chain.copy()

    @property
    def options(self) -> pd.DataFrame:
        """Return the possible actions, the most helpful first."""
        return option_frame(self._parts.choices)

    @property
    def suggested_calls(self) -> tuple[tuple[SuggestedCall, ...], ...]:
        """Return the calls of each option as data, in the order of ``options``; ``code`` is the same as Python."""
        return tuple(option.calls for option in self._parts.choices)

    @property
    def waiters(self) -> tuple[tuple[str, str], ...]:
        """Return id and target of the invocations that wait for it directly; a long queue has only its first ones."""
        return self._parts.waiters

    @property
    def excluded(self) -> tuple[str, ...]:
        """Return messages about data that could not be read."""
        return self._parts.excluded

    @property
    def where(self) -> str:
        """Return the source, its version, and when it was read."""
        return f"{self._parts.source}, restate {self._parts.version}, {format_timestamp(self._parts.at)}"

    @property
    def queries(self) -> tuple[Mapping[str, Any], ...]:
        """Return each statement that was sent: ``sql``, ``params`` as JSON values, ``times``."""
        return self._parts.queries

    @property
    def at(self) -> datetime:
        """Return the time of the explanation, UTC."""
        return self._parts.at

    def __repr__(self) -> str:
        state = escape_invisible(f"{self.target} is {self.status}") if self.target else "not found"
        return f"<Explanation of {self.id}: {state}; print() shows it>"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return card_of(self)


def text_of(parts: ExplanationParts, codes: Sequence[str], head: str) -> str:
    """Return the summary, the chain, and the options under the heading ``head``, with their code ``codes``."""
    lines = [parts.summary]
    if len(parts.chain) > 1:
        lines += ["", "From this invocation to the root blocker:", *map(_chain_line, parts.chain.to_dict("records"))]
    if parts.choices:
        lines += ["", head]
    for option, code in zip(parts.choices, codes, strict=True):
        about = "" if option.id == parts.id else f" {option.target}"
        lines.append(f"- {option.action}{about}: {option.what}")
        lines += [f"      {line}" for line in code.splitlines()]
    lines += ["", *(f"Incomplete: {each}." for each in parts.excluded)] if parts.excluded else []
    return "\n".join(lines)


def _chain_line(row: Mapping[Any, Any]) -> str:
    waits = " ".join(each for each in (row["waits_for"], row["what"]) if each)
    return f"{row['step']:>3}. {row['id']} {row['target']} is {row['status']}{f': {waits}' if waits else ''}"


def card_of(explanation: Explanation) -> str:
    """Return the card as HTML; all text from the cluster is escaped."""
    status = STATUSES.get(explanation.status or "")
    title = explanation.target or "Invocation not found"
    chain = explanation.chain
    return render(
        "analysis/why/card.html.j2",
        title=title,
        place=explanation.id,
        lines=[*(f"Incomplete: {each}." for each in explanation.excluded), explanation.where],
        accent=status.colour if status else _GREY,
        badges=[(explanation.status, "status", status.colour if status else _GREY)] if explanation.status else [],
        facts=explanation.facts,
        summary=explanation.summary,
        chain=[_chain_row(row, explanation) for row in _rows(chain)] if len(chain) > 1 else [],
        options=[_option_row(row, explanation) for row in _rows(explanation.options)],
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


def _option_row(row: dict[Any, Any], explanation: Explanation) -> dict[str, str]:
    about = "" if row["id"] == explanation.id else f"{row['target']}: "
    return {"action": row["action"], "description": f"{about}{row['what']}", "code": row["code"] or ""}


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")
