"""How findings put things: counts, lists and cut texts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

__all__ = ["clock", "counted", "cut", "listed", "one_or_more"]


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
