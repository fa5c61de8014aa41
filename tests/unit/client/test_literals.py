"""Literals: refused values with their reasons, and the forms; real servers test that they come back equal."""

from __future__ import annotations

import enum
import re
import subprocess
import sys
import uuid
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.client.sql.literals import literal, literals
from restate_lab.errors import ParameterError

CET = timezone(timedelta(hours=1))
MICRO = "'Timestamp(Microsecond, Some(\"+00:00\"))'"
NANO = "'Timestamp(Nanosecond, Some(\"+00:00\"))'"


class Color(str, enum.Enum):  # noqa: UP042 - the older form, whose str() is not its value
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@pytest.mark.parametrize(
    ("value", "sql"),
    [
        ("it's", "'it''s'"),
        ("\\n:x --", "'\\n:x --'"),
        (Color.RED, "'red'"),
        (Level.HIGH, "3"),
        (np.str_("a"), "'a'"),
        (5, "5"),
        (-5, "(-5)"),
        (2**64 - 1, "18446744073709551615"),
        (np.int64(-3), "(-3)"),
        (np.uint64(2**64 - 1), "18446744073709551615"),
        (True, "TRUE"),
        (np.bool_(0), "FALSE"),
        (0.1, "0.1"),
        (np.float64(2.5), "2.5"),
        (-0.0, "(-0.0)"),
        (5e-324, "5e-324"),
        (float("-inf"), "CAST('-inf' AS DOUBLE)"),
        (None, "NULL"),
        (b"\x00'\xff", "X'0027ff'"),
        (bytearray(b""), "X''"),
        (datetime(2026, 1, 2, 3, 4, 5, 6, CET), f"arrow_cast('2026-01-02T02:04:05.000006Z', {MICRO})"),
        (pd.Timestamp("2026-01-02", tz="UTC"), f"arrow_cast('2026-01-02T00:00:00.000000Z', {MICRO})"),
        (pd.Timestamp(1, tz="UTC"), f"arrow_cast('1970-01-01T00:00:00.000000001Z', {NANO})"),
        (timedelta(days=1), "(INTERVAL '86400 seconds')"),
        (timedelta(microseconds=-1), "(INTERVAL '-1 microseconds')"),
        (pd.Timedelta("90s"), "(INTERVAL '90 seconds')"),
        (pd.Timedelta(-1, "ns"), "(INTERVAL '-1 nanoseconds')"),
        (pa.scalar("x"), "'x'"),
    ],
)
def test_each_kind_of_value_has_one_form_with_parentheses_around_several_tokens(value: object, sql: str) -> None:
    assert literal(value) == sql


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (datetime(2026, 1, 2), "without a zone"),  # noqa: DTZ001
        (pd.Timestamp("2026-01-02"), "without a zone"),
        (np.datetime64("2026-01-02"), "have no zone"),
        (np.timedelta64(1, "s"), "timedelta"),
        (datetime(1, 1, 1, tzinfo=CET), "years 1 to 9999"),
        (timedelta.max, "292 years"),
        (float("nan"), "NaN"),
        (np.float32("nan"), "NaN"),
        (pd.NaT, "missing"),
        (pd.NA, "missing"),
        (pa.scalar(None, pa.string()), "missing"),
        (2**64, "2^64-1"),
        (-(2**63) - 1, "2^63"),
        ("\ud800", "surrogate"),
        (uuid.UUID(int=0), "UUID"),
        (Decimal(1), "Decimal"),
        (date(2026, 1, 2), "date"),
        (1j, "complex"),
        (["a"], "only after IN"),
        ({"a": 1}, "collection"),
        (pd.Series(["a"]), "only after IN"),
    ],
)
def test_a_value_without_an_exact_literal_is_refused_with_its_parameter_and_the_reason(
    value: object, reason: str
) -> None:
    with pytest.raises(ParameterError, match=re.escape(reason)) as raised:
        literal(value, name="since")
    assert ":since" in str(raised.value)


def test_a_long_value_is_cut_in_messages() -> None:
    with pytest.raises(ParameterError) as raised:
        literal("\ud800" + "x" * 10_000)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["b", "a", "b"], ["'b'", "'a'"]),
        (("a",), ["'a'"]),
        ({"b", "a", "c"}, ["'a'", "'b'", "'c'"]),
        ({"b": 1, "a": 2}.keys(), ["'a'", "'b'"]),
        (range(2), ["0", "1"]),
        (pd.Series(["x", "y"], index=[7, 7]), ["'x'", "'y'"]),
        (pd.Index([1, 2]), ["1", "2"]),
        (pd.Series([1, 2], dtype="Int64"), ["1", "2"]),
        (pd.Series(["x"], dtype="category"), ["'x'"]),
        (np.array([1.5, 2]), ["1.5", "2.0"]),
        (pa.array(["x"]), ["'x'"]),
        (pa.chunked_array([["x"], ["y"]]), ["'x'", "'y'"]),
        ([1, 2.5], ["1", "2.5"]),
        (pd.DatetimeIndex(["2026-01-02"], tz="UTC"), [f"arrow_cast('2026-01-02T00:00:00.000000Z', {MICRO})"]),
        (pd.Series([pd.Timedelta("1s")]), ["(INTERVAL '1 seconds')"]),
    ],
)
def test_a_list_gives_each_literal_once_in_its_order_and_a_set_sorted(values: Any, expected: list[str]) -> None:
    assert literals(values) == expected


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "empty list"),
        (pd.Series([], dtype=str), "empty list"),
        (["a", None], "element 1 of :ids is None"),
        (["a", float("nan")], "element 1 of :ids is nan"),
        (pd.Series(["a", None]), "element 1 of :ids"),
        (pd.Series([1, None], dtype="Int64"), "element 1 of :ids"),
        (pa.array(["a", None]), "element 1 of :ids"),
        (["a", 1], "mixes kinds of values (str at 0, number at 1)"),
        ([1, True], "mixes kinds"),
        ([["a"]], "element 0 of :ids is ['a']"),
        (np.array([["a"]]), "2 dimensions"),
        (pd.DataFrame({"id": ["a"]}), "frame['id']"),
        (pd.Series(pd.to_datetime(["2026-01-02"])), "without a zone"),
        (np.array(["2026-01-02"], dtype="datetime64[ns]"), "have no zone"),
        ("inv_1", "pass [value]"),
        (None, "pass [value]"),
    ],
)
def test_a_list_that_would_match_nothing_or_the_wrong_rows_is_refused(values: Any, reason: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(reason)):
        literals(values, name="ids")


def test_binding_imports_neither_pandas_nor_numpy_nor_pyarrow() -> None:
    code = (
        "import sys, restate_lab.client.sql.literals, restate_lab.client.sql.limits; "
        "print(sorted({'pandas', 'numpy', 'pyarrow'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_one_time_in_two_zones_has_one_literal() -> None:
    moment = datetime(2026, 3, 29, 0, 59, 59, 999999, UTC)
    assert literal(moment) == literal(moment.astimezone(CET))
