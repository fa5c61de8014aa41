"""The types of DataFusion as types of sqlglot, and those of Spark.

sqlglot has no units of times and durations, so three types of other databases stand for the units of times, and two for
those of durations.
"""

from __future__ import annotations

import re
from typing import Any

from sqlglot import exp

MILLISECONDS, MICROSECONDS, NANOSECONDS = exp.DType.TIMESTAMP_MS, exp.DType.TIMESTAMPTZ, exp.DType.TIMESTAMP_NS
DURATION_MS, DURATION_US = exp.DType.TIME, exp.DType.TIMETZ
TIMES = (MILLISECONDS, MICROSECONDS, NANOSECONDS)
DURATION_OF = {MILLISECONDS: DURATION_MS, MICROSECONDS: DURATION_US, NANOSECONDS: DURATION_US}
INTERVALS = (exp.DType.INTERVAL, DURATION_MS, DURATION_US)
INTEGERS = (*exp.DataType.SIGNED_INTEGER_TYPES, *exp.DataType.UNSIGNED_INTEGER_TYPES)
FLOATS = (exp.DType.DOUBLE, exp.DType.FLOAT)
TEXTS = tuple(exp.DataType.TEXT_TYPES)
_INTEGERS = (exp.DType.INT, exp.DType.UINT, exp.DType.BIGINT, exp.DType.UBIGINT)
COERCIONS: dict[Any, set[Any]] = {
    **{kind: {*_INTEGERS[at + 1 :], exp.DType.DOUBLE} for at, kind in enumerate(_INTEGERS)},
    **{kind: set(TIMES[at + 1 :]) for at, kind in enumerate(TIMES)},
    exp.DType.DATE: set(TIMES),
    DURATION_MS: {DURATION_US},
}
_NAMED = {
    **dict.fromkeys(("Utf8", "LargeUtf8", "Utf8View", "string"), exp.DType.VARCHAR),
    **dict.fromkeys(("Int8", "Int16", "Int32"), exp.DType.INT),
    "Int64": exp.DType.BIGINT,
    **dict.fromkeys(("UInt8", "UInt16", "UInt32"), exp.DType.UINT),
    "UInt64": exp.DType.UBIGINT,
    **dict.fromkeys(("Float32", "Float64"), exp.DType.DOUBLE),
    "Boolean": exp.DType.BOOLEAN,
    "Date32": exp.DType.DATE,
    **dict.fromkeys(("Binary", "LargeBinary", "BinaryView"), exp.DType.VARBINARY),
}
_UNITS = {
    **dict.fromkeys(("ms", "Millisecond"), (MILLISECONDS, DURATION_MS)),
    **dict.fromkeys(("us", "µs", "Microsecond"), (MICROSECONDS, DURATION_US)),
    **dict.fromkeys(("ns", "Nanosecond"), (NANOSECONDS, DURATION_US)),
}
_WITH_UNIT = re.compile(r"(Timestamp|Duration)\((\w+)")
_LIST = re.compile(r"(?:Large)?List\((?:nullable |non-null )?([^,]+)(?:,.*)?\)")
_IN_SPARK = {
    **dict.fromkeys((*TEXTS, exp.DType.VARCHAR), "STRING"),
    **dict.fromkeys((exp.DType.TINYINT, exp.DType.SMALLINT, exp.DType.INT), "INT"),
    **dict.fromkeys((exp.DType.BIGINT, exp.DType.UINT), "BIGINT"),
    exp.DType.UBIGINT: "DECIMAL(20, 0)",
    **dict.fromkeys(FLOATS, "DOUBLE"),
    exp.DType.BOOLEAN: "BOOLEAN",
    exp.DType.DATE: "DATE",
    exp.DType.VARBINARY: "BINARY",
    **dict.fromkeys((*TIMES, exp.DType.TIMESTAMP), "TIMESTAMP"),
    **dict.fromkeys((DURATION_MS, DURATION_US), "INTERVAL DAY TO SECOND"),
}


def type_named(name: str) -> exp.DataType:
    """Return the type that Arrow or ``arrow_cast`` names; UNKNOWN for one that Spark does not have."""
    unit = _WITH_UNIT.match(name)
    if unit and unit[2] in _UNITS:
        return exp.DataType(this=_UNITS[unit[2]][unit[1] == "Duration"])
    if items := _LIST.fullmatch(name):
        return exp.DataType(this=exp.DType.ARRAY, expressions=[type_named(items[1])], nested=True)
    return exp.DataType(this=_NAMED.get(name, exp.DType.UNKNOWN))


def kind_of(node: Any) -> Any:
    """Return the kind of the type that a part of a statement has; UNKNOWN if it was not found."""
    kind = getattr(node, "type", None)
    return exp.DType.UNKNOWN if kind is None else kind.this


def spark_type(kind: Any) -> str:
    """Return the name of a type in Spark; "" if it has none."""
    if kind.this == exp.DType.ARRAY:
        item = spark_type(kind.expressions[0]) if kind.expressions else ""
        return f"ARRAY<{item}>" if item else ""
    return _IN_SPARK.get(kind.this, "")
