"""Messages that differ only in ids and numbers are one kind of message."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from restate_lab.analysis.checks.words import counted, cut

__all__ = ["normalised", "said"]

_LONGEST = 200
_SHOWN = 2  # kinds of messages in a sentence
_CODE = re.compile(r"^\[\d+[^\]]*\] ")
# In this order: what is quoted without a space, ids, hexadecimal numbers, names made of digits, addresses, numbers.
_VARYING = re.compile(
    r"""(?P<quoted>(?<!\w)(?P<mark>["'`“‘«])[^\s"'`”’»]{1,80}["'`”’»](?!\w))"""
    r"|\b(?:inv|dp|sign|prom)_1\w{20,}"
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}\b"
    r"|(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8,}"
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
    line = _CODE.sub("", message.partition("\n")[0])
    return _VARYING.sub(lambda match: "“…”" if match["quoted"] else "#", line)[:_LONGEST].strip()


def said(messages: Iterable[str]) -> str:
    """Return the kinds of messages on a line, most frequent first, with how many there are of each."""
    kinds = sorted(Counter(map(normalised, messages)).items(), key=lambda pair: (-pair[1], pair[0]))
    if len(kinds) == 1:
        return cut(kinds[0][0])
    more = f"; and {counted(len(kinds) - _SHOWN, 'other message')}" if len(kinds) > _SHOWN else ""
    return "; ".join(f"{n:,} × {cut(kind)}" for kind, n in kinds[:_SHOWN]) + more
