"""One Python value becomes one SQL literal: exact on the server, or refused.

Whatever is more than one token stands in parentheses or is a call, so that a minus, a cast or a word beside the
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

__all__ = ["is_list", "literal", "literals"]

_SHOWN = 60  # characters of a value in a message
_SURROGATE = re.compile("[\ud800-\udfff]")
_INT_MIN, _INT_MAX = -(2**63), 2**64 - 1
_MISSING = {"NaTType", "NAType"}


def literal(value: object, *, name: str = "value") -> str:
    """Return the SQL literal of one value.

    Takes str, int, float, bool, None, aware datetime, timedelta, bytes, enums of these, and the scalars of numpy,
    pandas and pyarrow. Times are UTC with microseconds; what has nanoseconds keeps them. ``name`` is for messages.

    Raises:
        ParameterError: SQL has no exact literal for the value.
    """
    try:
        return _render(value)[1]
    except _NoLiteral as unfit:
        raise ParameterError(f":{name} is {_shorten(value)}: {unfit}") from None


def literals(values: Any, *, name: str = "values") -> list[str]:
    """Return the literals of a list, each once, in the order given; those of a set sorted.

    Raises:
        ParameterError: the list is empty, mixes kinds, or holds what SQL has no exact literal for.
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
            f":{name} is an empty list, and IN () is not SQL: do not ask when there is nothing to find."
        )
    if len(kinds) > 1:
        seen = ", ".join(f"{kind} at {position}" for kind, position in kinds.items())
        raise ParameterError(f":{name} mixes kinds ({seen}): one column is compared with one kind of value.")
    return sorted(texts) if isinstance(values, AbstractSet) else list(texts)


def is_list(value: object) -> bool:
    """Tell whether a value stands for several: a list, tuple, set, range, Series, Index or array."""
    if isinstance(value, str | bytes | bytearray | memoryview):
        return False
    if isinstance(value, list | tuple | range | AbstractSet):
        return True
    return bool(getattr(value, "ndim", 0)) or hasattr(value, "to_pylist") or hasattr(value, "to_list")


class _NoLiteral(Exception):
    """Say why a value is no literal, and what to give instead."""


def _render(value: Any) -> tuple[str, str]:
    """Return the kind of a value, as it is called in messages, and its literal."""
    if type(value) is str:  # as in the long lists of ids: nothing to unwrap
        return "str", _string(value)
    value = _unwrap(value)
    if value is None:
        return "None", "NULL"
    for types, kind, render in _KINDS:
        if isinstance(value, types):
            return kind, render(value)
    raise _NoLiteral(_advice(value))


def _unwrap(value: Any) -> Any:
    """Unwrap the scalars of numpy and pyarrow; those of pandas are subclasses of Python's own."""
    if type(value).__name__ in _MISSING:
        raise _NoLiteral("a missing value; give None where NULL is meant.")
    if hasattr(value, "as_py"):
        return _check_present(value.as_py())
    dtype = getattr(value, "dtype", None)
    if dtype is not None and hasattr(value, "item") and not getattr(value, "ndim", 0):
        if dtype.kind in "mM":
            raise _NoLiteral("numpy's times know no zone; give an aware datetime or pd.Timestamp, or a timedelta.")
        return value.item()
    return value


def _check_present(value: Any) -> Any:
    if value is None or type(value).__name__ in _MISSING:
        raise _NoLiteral("a missing value, which equals nothing; leave it out (Series.dropna()).")
    return value


def _advice(value: object) -> str:
    if is_list(value) or isinstance(value, Mapping):
        return "a collection where one value is meant; a list stands only after IN, as in `id IN :ids`."
    return (
        f"a {type(value).__name__} has no SQL literal here; give a str, int, float, bool, None, aware datetime, "
        f"timedelta or bytes, such as str(value)."
    )


def _string(value: str) -> str:
    if _SURROGATE.search(value):
        raise _NoLiteral("it holds half of a surrogate pair, which UTF-8 cannot carry.")
    return "'" + str.__str__(value).replace("'", "''") + "'"


def _bool(value: bool) -> str:
    return "TRUE" if value else "FALSE"


def _int(value: int) -> str:
    if not _INT_MIN <= value <= _INT_MAX:
        raise _NoLiteral(
            "outside of what the server holds exactly (-2^63 to 2^64-1); beyond, it would round to a float."
        )
    return _parenthesize_negative(int.__repr__(value))


def _float(value: float) -> str:
    if math.isnan(value):
        raise _NoLiteral(
            "NaN equals nothing, so nothing would be found; leave it out, or give None where NULL is meant."
        )
    if math.isinf(value):
        return f"CAST('{float.__repr__(value)}' AS DOUBLE)"
    return _parenthesize_negative(float.__repr__(value))


def _parenthesize_negative(number: str) -> str:
    # x -:n must not become the comment x --5, x<:n not the operator <-, and :n::bigint must cast the whole number.
    return f"({number})" if number.startswith("-") else number


def _datetime(value: datetime) -> str:
    """Return a literal of the tables' own zone; the year range of Python fits microseconds, not nanoseconds."""
    if value.utcoffset() is None:
        raise _NoLiteral("a datetime without a zone; say which, for instance value.replace(tzinfo=timezone.utc).")
    try:
        text = value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds")
    except (OverflowError, ValueError) as error:
        raise _NoLiteral("its moment in UTC lies outside of the years 1 to 9999.") from error
    nanoseconds = getattr(value, "nanosecond", 0)
    unit, digits = ("Nanosecond", f"{nanoseconds:03}") if nanoseconds else ("Microsecond", "")
    return f"arrow_cast('{text}{digits}Z', 'Timestamp({unit}, Some(\"+00:00\"))')"


def _timedelta(value: timedelta) -> str:
    """Return an interval in its smallest unit only.

    Servers of 1.6 subtract no Duration from a time, and an interval of 1 day is not equal to one of 24 hours.
    """
    microseconds = (value.days * 86_400 + value.seconds) * 1_000_000 + value.microseconds
    nanoseconds = microseconds * 1000 + getattr(value, "nanoseconds", 0)
    if not _INT_MIN <= nanoseconds < 2**63:
        raise _NoLiteral("the server holds intervals of up to 292 years.")
    for size, unit in ((1_000_000_000, "seconds"), (1000, "microseconds")):
        if nanoseconds % size == 0:
            return f"(INTERVAL '{nanoseconds // size} {unit}')"
    return f"(INTERVAL '{nanoseconds} nanoseconds')"


def _bytes(value: bytes | bytearray | memoryview) -> str:
    return f"X'{bytes(value).hex()}'"


# bool before int, whose subclass it is
_KINDS: tuple[tuple[Any, str, Callable[[Any], str]], ...] = (
    (str, "str", _string),
    (bool, "bool", _bool),
    (int, "number", _int),
    (float, "number", _float),
    (datetime, "datetime", _datetime),
    (timedelta, "timedelta", _timedelta),
    ((bytes, bytearray, memoryview), "bytes", _bytes),
)


def _elements(values: Any, name: str) -> list[Any]:
    if not is_list(values):
        raise ParameterError(f":{name} is {_shorten(values)}, and IN takes a list: give [value].")
    if getattr(values, "ndim", 1) != 1:
        raise ParameterError(f":{name} has {values.ndim} dimensions; give one column, such as frame['id'].")
    for method in ("to_pylist", "to_list", "tolist"):
        # numpy's own lists of times are bare integers
        if hasattr(values, method) and getattr(getattr(values, "dtype", None), "kind", "") not in "mM":
            return list(getattr(values, method)())
    return list(values)


def _shorten(value: object) -> str:
    text = repr(value[: _SHOWN + 1]) if isinstance(value, str | bytes) else repr(value)
    return one_line(text, _SHOWN)
