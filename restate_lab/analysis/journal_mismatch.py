"""RT0016: the code of a handler does something else than what the journal of a running invocation says.

What the journal has is read from the journal. What the code did instead comes from the event's own fields, and where
those are empty from the words of its message, which differ between SDKs and are taken as they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from restate_lab.analysis.journal_errors import Event
from restate_lab.analysis.journal_reading import Invocation

__all__ = ["Mismatch", "mismatch_of"]

_CODE = "RT0016"
# Messages come from handlers: each pattern reads a line once, however long it is.
_RECORDED = re.compile(r"recorded(?:(?!recorded)[^\n'])*+'(?P<what>[^'\n]+)'")
_ATTEMPTED = re.compile(r"attempts to perform(?:(?!attempts to perform)[^\n'])*+'(?P<what>[^'\n]+)'")
_INDEX = re.compile(r"\(index '?(?P<index>\d{1,9})'?\)")
_DIFFERS = re.compile(r"^[^\S\n]*+(?P<field>[\w .]++): (?P<was>.*) != (?P<now>.*)$", re.MULTILINE)
# what messages call commands, where that is not their type in small letters
_WORDS = {"handler return": "Output", "one way call": "OneWayCall", "send": "OneWayCall", "awakeable": "Signal"}


@dataclass(frozen=True, slots=True)
class Mismatch:
    """Where code and journal part: ``command_index`` counts commands only and is None where nobody says it."""

    command_index: int | None
    recorded: str | None
    entry_type: str | None
    name: str | None
    differs: tuple[str, ...]
    message: str


def mismatch_of(invocation: Invocation) -> Mismatch | None:
    """Return the last journal mismatch that an invocation ran into; None where it has not."""
    events = [event for event in invocation.events or () if event.code == _CODE]
    return _read(events[-1]) if events else None


def _read(event: Event) -> Mismatch:
    message = event.message or ""
    index = _INDEX.search(message)
    said = int(index["index"]) if index else None
    recorded, attempted = _RECORDED.search(message), _ATTEMPTED.search(message)
    differences = list(_DIFFERS.finditer(message))
    names = [match["now"] for match in differences if match["field"].strip() == "name"]
    return Mismatch(
        command_index=said if event.command_index is None else event.command_index,
        recorded=_type(recorded["what"]) if recorded else None,
        entry_type=event.command_type or (_type(attempted["what"]) if attempted else None),
        name=event.command_name or (names[0] if names else None),
        differs=tuple(f"{each['field'].strip()}: {each['was']} != {each['now']}" for each in differences),
        message=message,
    )


def _type(words: str) -> str:
    known = _WORDS.get(words.lower())
    return known or "".join(word[:1].upper() + word[1:] for word in re.split(r"[ _-]+", words))
