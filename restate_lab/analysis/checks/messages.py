"""Messages that differ only in ids and numbers are one kind of message."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

from restate_lab._text import one_line, plural

__all__ = ["common", "normalised", "said"]

_LONGEST = 200
_SHOWN = 2  # kinds of messages in a sentence
_CODE = re.compile(r"^\[\d[^\]]*\] ")
# In this order: what is quoted without a space, ids, hexadecimal numbers, names made of digits, addresses, numbers.
_VARYING = re.compile(
    r"""(?P<quoted>(?<!\w)(?P<mark>["'`“‘«])[^\s"'`”’»]{1,80}["'`”’»](?!\w))"""
    r"|\b(?:inv|dp|sign|prom)_1\w{20,}"
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}\b"
    r"|(?=[a-fA-F]{0,64}\d)[0-9a-fA-F]{8,}"
    r"|\b(?=(?:[A-Za-z]*\d){4})[A-Za-z\d]{8,}\b"
    r"|\d+(?:[.,:]\d+)+"
    # Three digits alone are mostly a code that tells kinds apart; behind a name they are a number like any other.
    r"|(?<=\w[-_#/])\d+"
    r"|(?<![A-Za-z\d])(?!\d{3}(?!\d))\d+"
)


def normalised(message: str) -> str:
    """Return the first line of a message with "#" for numbers and ids and "…" for quoted words; cut at 200.

    Numbers of three digits that stand alone stay, and digits that are part of a word, as most are codes (HTTP 503,
    AC04).
    """
    return _VARYING.sub(lambda match: "“…”" if match["quoted"] else "#", _line(message))[:_LONGEST].strip()


def common(messages: Sequence[str]) -> str:
    """Return one text for messages of one kind: as it is where all are the same, else normalised."""
    lines = {_line(message) for message in messages}
    return lines.pop()[:_LONGEST].strip() if len(lines) == 1 else normalised(messages[0])


def said(messages: Iterable[str]) -> str:
    """Return the kinds of messages on a line, most frequent first, with how many there are of each."""
    found: dict[str, list[str]] = defaultdict(list)
    for message in messages:
        found[normalised(message)].append(message)
    kinds = [(len(members), one_line(common(members))) for members in found.values()]
    kinds.sort(key=lambda pair: (-pair[0], pair[1]))
    if len(kinds) == 1:
        return kinds[0][1]
    more = f"; and {plural(len(kinds) - _SHOWN, 'other message')}" if len(kinds) > _SHOWN else ""
    return "; ".join(f"{n:,} × {kind}" for n, kind in kinds[:_SHOWN]) + more


def _line(message: str) -> str:
    return _CODE.sub("", message.partition("\n")[0])
