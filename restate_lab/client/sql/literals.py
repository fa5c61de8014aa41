"""Convert one Python value to one SQL literal, which is exact on the server; other values are refused.

A literal of more than one token is a call or has parentheses, so that a minus, a cast or a keyword next to the
parameter cannot change its meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Set as AbstractSet
from datetime import UTC, datetime, timedelta
from typing import Any

from restate_lab._text import one_line
from restate_lab.errors import ParameterError

_SHOWN = 60  # characters shown of a value in a message
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_MISSING = {"NaTType", "NAType"}


def literal(value: object, *, name: str = "value") -> str:
    """Return the SQL literal of one value.

    The value is a str, int, float, bool, None, aware datetime, timedelta, bytes, an enum of these, or a scalar of
    numpy, pandas or pyarrow. Times are UTC with microseconds, or with nanoseconds if the value has them. ``name`` is
    for messages.

    Raises:
        ParameterError: SQL has no exact literal for the value.
    """
    try:
        return _render(value)[1]
    except _NoLiteral as unfit:
        raise ParameterError(f":{name} is {_shorten(value)}: {unfit}") from None


def literals(values: Any, *, name: str = "values") -> list[str]:
    """Return the literals of a list without duplicates, in its order; the literals of a set are sorted.

    Raises:
        ParameterError: the list is empty, mixes kinds, or has a value without an exact SQL literal.
    """
    kinds: dict[str, int] = {}
    texts: dict[str, None] = {}
    for position, value in enumerate(_elements(values, name)):
        try:
            kind, text = _render(_check_present(value))
        except _NoLiteral as unfit:
            raise ParameterError(f"element {position} of :{name} is {_shorten(value)}: {unfit}") from None
        kinds.setdefault(kind, position)
        texts[text] = None
    if not texts:
        raise ParameterError(
            f":{name} is an empty list, and IN () is not valid SQL: skip the query if the list is empty."
        )
    if len(kinds) > 1:
        seen = ", ".join(f"{kind} at {position}" for kind, position in kinds.items())
        raise ParameterError(f":{name} mixes kinds of values ({seen}): use one kind, that of the compared column.")
    return sorted(texts) if isinstance(values, AbstractSet) else list(texts)


def is_list(value: object) -> bool:
    """Return whether a value is a collection of values: a list, tuple, set, range, Series, Index or array."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    if isinstance(value, list | tuple | range | AbstractSet):
        return True
    return bool(getattr(value, "ndim", 0)) or hasattr(value, "to_pylist") or hasattr(value, "to_list")


class _NoLiteral(Exception):
    """The reason why a value has no literal, and what to pass instead."""


def _render(value: Any) -> tuple[str, str]:
    if type(value) is str:  # fast path for long lists of ids
        return "str", _string(value)
    value = _unwrap(value)
    if value is None:
        return "None", "NULL"
    for types, kind, render in _KINDS:
        if isinstance(value, types):
            return kind, render(value)
    raise _NoLiteral(_advice(value))


def _unwrap(value: Any) -> Any:
    """Return a scalar of numpy or pyarrow as a Python value; pandas' scalars are subclasses of Python's types."""
    if type(value).__name__ in _MISSING:
        raise _NoLiteral("a missing value; pass None for NULL.")
    if hasattr(value, "as_py"):
        return _check_present(value.as_py())
    dtype = getattr(value, "dtype", None)
    if dtype is not None and hasattr(value, "item") and not getattr(value, "ndim", 0):
        if dtype.kind in "mM":
            raise _NoLiteral("numpy's times have no zone; pass an aware datetime or pd.Timestamp, or a timedelta.")
        return value.item()
    return value


def _check_present(value: Any) -> Any:
    if value is None or type(value).__name__ in _MISSING:
        raise _NoLiteral("a missing value, which equals nothing; remove it (Series.dropna()).")
    return value


def _advice(value: object) -> str:
    if is_list(value) or isinstance(value, Mapping):
        return "a collection, but one value is needed here; use a list only after IN, as in `id IN :ids`."
    return (
        f"a {type(value).__name__} has no SQL literal here; pass a str, int, float, bool, None, aware datetime, "
        f"timedelta or bytes, for example str(value)."
    )


def _string(value: str) -> str:
    if _SURROGATE.search(value):
        raise _NoLiteral("it has half of a surrogate pair, which UTF-8 cannot encode.")
    return "'" + str.__str__(value).replace("'", "''") + "'"


def _int(value: int) -> str:
    if not _INT_MIN <= value <= _INT_MAX:
        raise _NoLiteral("outside of the server's exact range (-2^63 to 2^64-1); it would be rounded to a float.")
    return _parenthesize_negative(int.__repr__(value))


def _float(value: float) -> str:
    if math.isnan(value):
        raise _NoLiteral("NaN equals nothing, so no row would match; remove it, or pass None for NULL.")
    if math.isinf(value):
        return f"CAST('{float.__repr__(value)}' AS DOUBLE)"
    return _parenthesize_negative(float.__repr__(value))


def _parenthesize_negative(number: str) -> str:
    # Otherwise x -:n becomes the comment x --5, x<:n has the operator <-, and :n::bigint casts only the digits.
    return f"({number})" if number.startswith("-") else number


def _datetime(value: datetime) -> str:
    """Return a literal in UTC, as in the tables.

    Microseconds hold all years of a datetime, but nanoseconds do not, so they are used only if necessary.
    """
    if value.utcoffset() is None:
        raise _NoLiteral("a datetime without a zone; add one, for example value.replace(tzinfo=timezone.utc).")
    try:
        text = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (OverflowError, ValueError) as error:
        raise _NoLiteral("in UTC it is outside of the years 1 to 9999.") from error
    nanoseconds = getattr(value, "nanosecond", 0)
    unit, digits = ("Nanosecond", f"{nanoseconds:03}") if nanoseconds else ("Microsecond", "")
    return f"arrow_cast('{text}{digits}Z', 'Timestamp({unit}, Some(\"+00:00\"))')"


def _timedelta(value: timedelta) -> str:
    """Return an interval in its smallest unit only.

    An interval of 1 day is not equal to one of 24 hours.
    """
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    nanoseconds = microseconds * 1000 + getattr(value, "nanoseconds", 0)
    if not _INT_MIN <= nanoseconds < 2**63:
        raise _NoLiteral("too long; the server supports intervals of up to 292 years.")
    for size, unit in ((1_000_000_000, "seconds"), (1000, "microseconds")):
        if nanoseconds % size == 0:
            return f"(INTERVAL '{nanoseconds // size} {unit}')"
    return f"(INTERVAL '{nanoseconds} nanoseconds')"


# bool before int, because it is a subclass of int
_KINDS: tuple[tuple[Any, str, Callable[[Any], str]], ...] = (
    (str, "str", _string),
    (bool, "bool", lambda value: "TRUE" if value else "FALSE"),
    (int, "number", _int),
    (float, "number", _float),
    (datetime, "datetime", _datetime),
    (timedelta, "timedelta", _timedelta),
    ((bytes, bytearray, memoryview), "bytes", lambda value: f"X'{bytes(value).hex()}'"),
)


def _elements(values: Any, name: str) -> list[Any]:
    if not is_list(values):
        raise ParameterError(f":{name} is {_shorten(values)}, but IN needs a list: pass [value].")
    if getattr(values, "ndim", 1) != 1:
        raise ParameterError(f":{name} has {values.ndim} dimensions; pass one column, such as frame['id'].")
    for method in ("to_pylist", "to_list", "tolist"):
        # numpy would convert times to plain integers
        if hasattr(values, method) and getattr(getattr(values, "dtype", None), "kind", "") not in "mM":
            return list(getattr(values, method)())
    return list(values)


def _shorten(value: object) -> str:
    text = repr(value[: _SHOWN + 1]) if isinstance(value, str | bytes) else repr(value)
    return one_line(text, _SHOWN)
