"""How findings put things: counts, lists, cut texts, and lines of Python to paste."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

__all__ = [
    "asking",
    "call",
    "clock",
    "counted",
    "cut",
    "first_of",
    "ids_code",
    "inline",
    "listed",
    "one_or_more",
    "placed",
    "quoted",
]

_FEW = 3  # ids that still read well in a line
THESE = "\0ids"
"""Stands for a finding's ids until its row is known; no text that is quoted has it."""


def counted(number: int, word: str, plural: str | None = None) -> str:
    """Return "1 call", "1,200 calls"."""
    return f"{number:,} {word if number == 1 else plural or f'{word}s'}"


def one_or_more(number: int, one: str, more: str) -> str:
    """Return the form of a verb that goes with a number."""
    return one if number == 1 else more


def listed(things: Iterable[str], most: int = 3) -> str:
    """Return "a, b, c and 4 more"."""
    known = list(dict.fromkeys(things))
    shown = known if len(known) <= most + 1 else known[:most]
    more = len(known) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "")


def cut(text: str, most: int = 120) -> str:
    """Return a text on one line, cut where it is long."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def clock(moment: datetime, now: datetime) -> str:
    """Return a time of today as "14:05 UTC", of another day with its date."""
    return f"{moment:%H:%M} UTC" if moment.date() == now.date() else f"{moment:%Y-%m-%d %H:%M} UTC"


def quoted(text: str | None) -> str:
    """Return a text in quotation marks, as Python reads it again."""
    return json.dumps(text, ensure_ascii=False)


def asking(name: str, **params: Any) -> str:
    """Return the line that asks a named question; what is None is left out."""
    return call("rl.ask", "lab", quoted(name), **params)


def call(function: str, /, *arguments: str, **params: Any) -> str:
    """Return a call as a line of Python: arguments are code already, parameters are values."""
    named = [f"{name}={_literal(value)}" for name, value in params.items() if value is not None]
    return f"{function}({', '.join([*arguments, *named])})"


def ids_code(ids: Sequence[str]) -> str:
    """Return code that stands for the ids of a finding: a list, or for more than three where the diagnosis has them."""
    return THESE if len(ids) > _FEW else inline(ids)


def inline(ids: Sequence[str]) -> str:
    """Return code for a list of these ids."""
    return f"[{', '.join(quoted(id_) for id_ in ids)}]"


def first_of(count: int, most: int) -> str:
    """Return a comment where the ids of a finding are not all; "" where they are."""
    return f"  # the first {most:,} of {count:,}: look again afterwards" if count > most else ""


def placed(line: str, at: int) -> str:
    """Return a line of code about the finding in that row of a diagnosis."""
    return line.replace(THESE, f"diagnosis.findings.ids[{at}]")


def _literal(value: Any) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)
