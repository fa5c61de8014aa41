"""Payloads as Python's values, and such values as JSON again."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from uuid import uuid4

__all__ = ["read", "write", "write_for_display"]

_HALF = re.compile("[\ud800-\udfff]")
_MARKED = re.compile(r'"([0-9a-f]{32})(-?[0-9]+)"')


def read(value: str | bytes) -> Any:
    """Return what Python's ``json.loads`` returns, for all that it takes, NaN and a byte order mark in bytes included.

    An integer of more digits than Python converts (4,300) becomes a ``Decimal``, which has them all.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: it is nested too deeply.
    """
    try:
        return json.loads(value)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # an integer is too long
        return json.loads(value, parse_int=_integer)


def write(value: Any, *, indent: int | None = None) -> str:
    """Return a value that ``read`` gave as JSON text; lone surrogates, which no encoding takes, stay escaped.

    What JSON does not have becomes text.
    """
    mark = uuid4().hex

    def other(each: Any) -> str:
        return f"{mark}{each:f}" if isinstance(each, Decimal) and each == each.to_integral_value() else str(each)

    text = json.dumps(value, ensure_ascii=False, indent=indent, default=other)
    if not text.isascii() and _HALF.search(text):
        text = json.dumps(value, indent=indent, default=other)
    return _MARKED.sub(lambda found: found[2] if found[1] == mark else found[0], text) if mark in text else text


def write_for_display(value: Any, *, indent: int | None = None) -> str:
    """Return what ``write`` returns, or that the value is nested too deeply."""
    try:
        return write(value, indent=indent)
    except RecursionError:
        return "JSON, nested too deeply to be shown"


def _integer(digits: str) -> int | Decimal:
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)
