"""What a program printed, as a reader would have seen it: without colours, and with what it wrote over gone."""

from __future__ import annotations

import re

__all__ = ["as_printed"]

# CSI … (colours and the like), OSC … (titles, links), and escapes of two characters
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")


def as_printed(text: str) -> str:
    """Return the text without a terminal's escapes; of a line that was written over, the last state is left."""
    plain = _ESCAPES.sub("", text).replace("\r\n", "\n")
    return "\n".join(_last(line) for line in plain.split("\n"))


def _last(line: str) -> str:
    return next((each for each in reversed(line.split("\r")) if each), "")
