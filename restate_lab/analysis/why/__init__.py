"""Explain one invocation: what it waits for, up to the root blocker and down to its open step, and what one can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import pandas as pd

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import escape_invisible, format_age, format_duration, format_timestamp
from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.analysis.why.case import Case, examine, glance
from restate_lab.analysis.why.chain import Chain, follow, link_frame
from restate_lab.analysis.why.options import Option, option_frame, options
from restate_lab.analysis.why.reader import Look, Row, has_ended
from restate_lab.analysis.why.text import alive, ended, waiting
from restate_lab.client.arguments import check_seconds
from restate_lab.client.schema import translated
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError
from restate_lab.recorder import Recorder
from restate_lab.source import Source, check_tried
from restate_lab.status import STATUSES

__all__ = ["Explanation", "why"]

_GREY = STATUSES["suspended"].colour
_NOT_THERE = (
    "{source} has no invocation {id}. It may never have been there, have been purged, have outlived its retention, or "
    "have been cancelled or killed before it began, which leaves no row."
)
_HEAD = "What you can do (a plan sends nothing before its .execute(reason=…)):"
_OVER = "the {limit} for all of it are over; give more with timeout="


def why_card(told: Explanation) -> str:
    """Return the card as HTML; whatever came from the cluster is text."""
    status = STATUSES.get(told.status or "")
    title = f"{told.target} · {told.status}" if told.target else "There is no such invocation"
    chain = told.chain
    return render(
        "analysis/why/card.html.j2",
        title=title,
        place=told.id,
        lines=[*(f"Not looked up: {each}." for each in told.excluded), told.where],
        accent=status.colour if status else _GREY,
        summary=told.summary,
        chain=[_link(row, told) for row in _rows(chain)] if len(chain) > 1 else [],
        options=[_option(row, told) for row in _rows(told.options)],
    )


def _link(row: dict[Any, Any], told: Explanation) -> dict[str, str]:
    return {
        "step": str(row["step"]),
        "target": row["target"],
        "id": row["id"],
        "status": row["status"],
        "waits": f"{row['waits_for'] or ''} {row['what'] or ''}".strip(),
        "since": format_age(row["since"], told.at) if pd.notna(row["since"]) else "",
    }


def _option(row: dict[Any, Any], told: Explanation) -> dict[str, str]:
    about = "" if row["id"] == told.id else f"{row['target']}: "
    return {"action": row["action"], "description": f"{about}{row['what']}", "code": row["code"] or ""}


def _rows(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    return frame.to_dict("records")


@dataclass(frozen=True, slots=True)
class _Parts:
    """What stands behind the text."""

    id: str
    target: str | None
    status: str | None
    summary: str
    chain: pd.DataFrame
    choices: tuple[Option, ...]
    excluded: tuple[str, ...]
    source: str
    version: str
    at: datetime
    queries: tuple[Mapping[str, Any], ...] = ()


@public
class Explanation(str):
    """Why an invocation does not go on, as text; ``why()`` makes it, and says what is in the frames."""

    __slots__ = ("_parts",)
    _parts: _Parts

    def __new__(cls, text: str, parts: _Parts) -> Self:
        """Make one of its text and of what stands behind it."""
        made = super().__new__(cls, escape_invisible(text))
        made._parts = parts
        return made

    def __reduce__(self) -> tuple[type[Explanation], tuple[str, _Parts]]:
        return Explanation, (str(self), self._parts)

    @property
    def id(self) -> str:
        """Return the id of the invocation."""
        return self._parts.id

    @property
    def target(self) -> str | None:
        """Return its target; None where there is no such invocation."""
        return self._parts.target

    @property
    def status(self) -> str | None:
        """Return the word for its status; None where there is no such invocation."""
        return self._parts.status

    @property
    def summary(self) -> str:
        """Return the paragraph alone."""
        return self._parts.summary

    @property
    def chain(self) -> pd.DataFrame:
        """Return a copy of the links from it to its root blocker and what that one waits for."""
        return self._parts.chain.copy()

    @property
    def options(self) -> pd.DataFrame:
        """Return what one can do, what helps most first."""
        return option_frame(self._parts.choices)

    @property
    def suggested_calls(self) -> tuple[tuple[SuggestedCall, ...], ...]:
        """Return the calls of each option as data, in the order of ``options``; ``code`` is the same as Python."""
        return tuple(option.calls for option in self._parts.choices)

    @property
    def excluded(self) -> tuple[str, ...]:
        """Return what could not be looked up, in words."""
        return self._parts.excluded

    @property
    def where(self) -> str:
        """Return on what this was read, and when."""
        return f"{self._parts.source}, restate {self._parts.version}, {format_timestamp(self._parts.at)}"

    @property
    def queries(self) -> tuple[Mapping[str, Any], ...]:
        """Return each statement that was sent: ``sql``, ``params`` as JSON has them, ``times``."""
        return self._parts.queries

    @property
    def at(self) -> datetime:
        """Return when this was read, UTC."""
        return self._parts.at

    def text_with(self, codes: Sequence[str], head: str, /) -> str:
        """Return the text with other code for the options, in the order of ``options``, under another headline."""
        return escape_invisible("\n".join(_lines(self._parts, codes, head)))

    def __repr__(self) -> str:
        what = escape_invisible(f"{self.target} is {self.status}") if self.target else "not there"
        return f"<Explanation of {self.id}: {what}; print() it>"

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return why_card(self)


@translated
def why(source: Source, invocation_id: str, /, *, timeout: DurationInput = "10s") -> Explanation:
    """Explain one invocation: what it is, why it does not go on, who waits for it, and what one can do.

    The answer is a str: ``summary``, a paragraph, and below it the chain and the options. It has

    - ``chain``: one row per link, from this invocation to the root blocker, whose own rows say what it waits for:
      ``step`` (1, 2, …; all that the root waits for has the same), ``id, target, status, waits_for`` (as ``kind`` in
      ``waits``: call, attach, key, awakeable, promise, sleep, …; or of a root "step" where one is tried or at work,
      "resume", "start", "slot", "turn"; None for what has ended), ``what`` (key, promise, awakeable's id, step's name),
      ``blocker`` (the id of the next, None at the end), ``since`` (UTC). In a deadlock the last ``blocker`` is one of
      those before.
    - ``options``: one row per thing to do, what helps most first: ``action, id, target, what`` (what comes of it),
      ``code`` (a line to paste, which sends nothing before its ``execute(reason=…)``; "" where there is nothing to
      do). First about the root blocker, then about this invocation alone. ``suggested_calls`` has the code as data.
    - ``excluded``: what could not be looked up, and why; ``queries``: the statements that were sent.

    Everything is read by ids and keys, hop by hop, within ``timeout`` (when it is over, what was not read stands in
    ``excluded``, and the result is marked incomplete). Of several things awaited the chain follows the worst: a
    deadlock, then who needs help, then who goes on alone. Those who wait are its callers upward and the queues of the
    keys that these hold; who attached to it shows only in ``waits``. An invocation that is not there is said to be so.

    Raises:
        ArgumentError: this is no invocation id, or ``timeout`` is not positive.
        NotOnThisServer: the source is too old.
        TimedOut: the invocation itself was not read within ``timeout``.
        RestateLabError: what ``source.sql`` raises when the invocation itself is read.
    """
    id_ = check_invocation_id(invocation_id)
    seconds = check_seconds("timeout", timeout)
    if not seconds:
        raise ArgumentError(f"timeout is {timeout!r}: give a duration of more than 0, such as '10s'.")
    check_tried(source, "why()")
    recorder = Recorder(source)
    look = Look(
        Deadline(recorder, seconds, timeout_message=_OVER.format(limit=format_duration(seconds))),
        queries=lambda: recorder.queries,
    )
    found = look.rows([id_])
    _ = look.source.now  # read while there is time
    if id_ not in found:
        text = _NOT_THERE.format(source=source.name, id=id_)
        return _made(look, id_, None, text, link_frame((), {}, None), ())
    return _explained(look, found[id_])


def _explained(look: Look, row: Row) -> Explanation:
    if has_ended(row):
        case = examine(look, row, ())
        return _told(look, case, case, Chain((row["id"],)), {row["id"]: row}, ended(case))
    below = look.below(row)
    chain = follow(below, row["id"])
    if chain.edges:
        case = glance(look, row, below.edges)
        root = examine(look, below.rows[chain.root], below.edges) if chain.root in below.rows else None
    else:
        case = root = examine(look, row, below.edges)
    above = look.above(row)
    rows = {**below.rows, row["id"]: case.row}
    text = f"{alive(case, root, chain, rows)} {waiting(above, chain)}"
    return _told(look, case, root, chain, rows, text)


def _told(look: Look, case: Case, root: Case | None, chain: Chain, rows: Mapping[str, Row], text: str) -> Explanation:
    links = link_frame(chain.edges, rows, None if chain.deadlock else root)
    return _made(look, case.row["id"], case, text, links, options(case, root, chain))


def _made(
    look: Look, id_: str, case: Case | None, summary: str, chain: pd.DataFrame, choices: Sequence[Option]
) -> Explanation:
    source = look.source
    parts = _Parts(
        id=id_,
        target=case.row["target"] if case else None,
        status=case.status if case else None,
        summary=summary,
        chain=chain,
        choices=tuple(choices),
        excluded=tuple(dict.fromkeys(look.excluded)),
        source=source.name,
        version=source.version,
        at=source.now,
        queries=tuple(look.queries()),
    )
    return Explanation("\n".join(_lines(parts, [option.code for option in choices], _HEAD)), parts)


def _link_line(row: Mapping[Any, Any]) -> str:
    waits = " ".join(each for each in (row["waits_for"], row["what"]) if each)
    return f"{row['step']:>3}. {row['id']} {row['target']} is {row['status']}{f': {waits}' if waits else ''}"


def _lines(parts: _Parts, codes: Sequence[str], head: str) -> list[str]:
    lines = [parts.summary]
    if len(parts.chain) > 1:
        lines += ["", "From this one to the root blocker:", *map(_link_line, parts.chain.to_dict("records"))]
    if parts.choices:
        lines += ["", head]
    for option, code in zip(parts.choices, codes, strict=True):
        about = "" if option.id == parts.id else f" {option.target}"
        lines.append(f"- {option.action}{about}: {option.what}")
        lines += [f"      {line}" for line in code.splitlines()]
    return lines + ([""] if parts.excluded else []) + [f"Not looked up: {each}." for each in parts.excluded]
