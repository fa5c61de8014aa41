"""Convert payloads to Python values, and these values to JSON."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic_core import from_json

_HALF = re.compile("[\ud800-\udfff]")
_MARKED = re.compile(r'"([0-9a-f]{32})(-?[0-9]+)"')


def read(value: str | bytes) -> Any:
    """Parse JSON like Python's ``json.loads``, including NaN and, in bytes, a byte order mark.

    An integer with more digits than Python converts (4,300) becomes a ``Decimal`` with all digits.

    Raises:
        ValueError: the text is not JSON.
        RecursionError: the text is nested too deeply.
    """
    try:
        return from_json(value)  # twice as fast
    except (ValueError, TypeError):  # it rejects a few forms that json reads
        pass
    try:
        return json.loads(value)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError:  # an integer is too long
        return json.loads(value, parse_int=_integer)


def write(value: Any, *, indent: int | None = None) -> str:
    """Return a value of ``read`` as JSON text; lone surrogates stay escaped, because they cannot be encoded.

    Values that JSON does not have become text.
    """
    mark = uuid4().hex

    def other(each: Any) -> str:
        return f"{mark}{each:f}" if isinstance(each, Decimal) and each == each.to_integral_value() else str(each)

    text = json.dumps(value, ensure_ascii=False, indent=indent, default=other)
    if not text.isascii() and _HALF.search(text):
        text = json.dumps(value, indent=indent, default=other)
    return _MARKED.sub(lambda found: found[2] if found[1] == mark else found[0], text) if mark in text else text


def write_for_display(value: Any, *, indent: int | None = None) -> str:
    """Return the text of ``write``, or a note that the value is nested too deeply."""
    try:
        return write(value, indent=indent)
    except RecursionError:
        return "JSON, nested too deeply to display"


def _integer(digits: str) -> int | Decimal:
    try:
        return int(digits)
    except ValueError:
        return Decimal(digits)
