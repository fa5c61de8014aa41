"""The text of a value comes from one place: for the grid, reports, the command line and reprs."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, date, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest

from restate_lab._cells import (
    FULL,
    REPORT,
    Cell,
    cell,
    full_text,
    is_missing,
    kind_of,
    value_line,
)

EAST = timezone(timedelta(hours=2))
TIME = pd.Timestamp("2026-11-25T04:22:10.123Z")
TIME_IN_UTC = "2026-11-25T04:22:10.123000Z"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, Cell(None)),
        (pd.NA, Cell(None)),
        (pd.NaT, Cell(None)),
        (np.float32("nan"), Cell(None)),
        (2**63 + 1, Cell("9223372036854775809")),
        (np.True_, Cell("true")),
        (0.1 + 0.2, Cell("0.3", "0.30000000000000004")),
        (
            pd.Timestamp("2026-11-25T03:04:05.678Z"),
            Cell("2026-11-25 05:04:05", "2026-11-25T03:04:05.678000Z"),
        ),
        (pd.Timestamp("2026-11-25 03:00"), Cell("2026-11-25 03:00:00", "2026-11-25T03:00:00 (without a zone)")),
        (timedelta(days=1, hours=2, seconds=3), Cell("1d 2h", "1d 2h 3s")),
        (["a", None, {"b": 1}], Cell('["a", null, {"b": 1}]')),
        (np.array([1, 2]), Cell("[1, 2]")),
        (b"a\xffb", Cell("a\\xffb")),
        ("two\nlines\there", Cell("two↵lines here", "two\nlines\there")),
        ("\x1b[31m\x00\u202e\u200b\ud800", Cell("‹U+001B›[31m‹U+0000›‹U+202E›‹U+200B›‹U+D800›")),
        ("👩‍🚀 שלום", Cell("👩‍🚀 שלום")),
    ],
)
def test_cells(value: Any, expected: Cell) -> None:
    """Values are short text; invisible characters become visible; a tooltip has the full value of a shortened cell."""
    assert cell(value, EAST) == expected


@pytest.mark.parametrize(
    ("value", "grid", "report", "line"),
    [
        (None, None, None, "–"),
        (np.datetime64("NaT", "ns"), None, None, "–"),
        (float("nan"), None, None, "–"),
        ("", "", "", "''"),
        (False, "false", "false", "False"),
        (9007199254740993, "9007199254740993", "9,007,199,254,740,993", "9007199254740993"),
        (np.uint64(2**64 - 1), "18446744073709551615", "18,446,744,073,709,551,615", "18446744073709551615"),
        (Decimal("0.1000000000000000055511151231"),) + ("0.1000000000000000055511151231",) * 3,
        (1234567.8, "1234567.8", "1,234,568", "1234567.8"),
        (TIME, "2026-11-25 06:22:10", "2026-11-25 06:22:10", TIME_IN_UTC),
        (TIME.to_pydatetime(), "2026-11-25 06:22:10", "2026-11-25 06:22:10", TIME_IN_UTC),
        (
            np.datetime64("2026-11-25T04:22:10"),
            "2026-11-25 04:22:10",
            "2026-11-25 04:22:10",
            "2026-11-25T04:22:10 (with",
        ),
        (date(2026, 11, 25), "2026-11-25", "2026-11-25", "2026-11-25"),
        (pd.Timedelta(days=1, hours=2, seconds=3), "1d 2h", "1d 2h", "1d 2h 3s"),
        (np.timedelta64(90, "s"), "1m 30s", "1m 30s", "1m 30s"),
        (timedelta(minutes=-2), "-2m", "-2m", "-2m"),
        (b"\xff\x00", "\\xff‹U+0000›", "\\xff‹U+0000›", "\\xff‹U+0000›"),
        (memoryview(b"a"), "a", "a", "a"),
        ([1, 2, 3, 4_000], "[1, 2, 3, 4000]", "1, 2, 3 and 1 more", "1, 2, 3, 4000"),
        ([None, True], "[null, true]", "–, true", "–, True"),
        ([], "[]", "none", "none"),
        ({"a": float("nan"), "n": Decimal("9" * 40)},)
        + (f'{{"a": NaN, "n": {"9" * 40}}}',) * 2
        + (f"a: –, n: {'9' * 40}",),
        ({1: Decimal("0.5")}, '{"1": "0.5"}', '{"1": "0.5"}', "1: 0.5"),
    ],
)
def test_every_type_in_every_style(value: Any, grid: str | None, report: str | None, line: str) -> None:
    """A report rounds, separates thousands and summarizes lists; a repr is exact; the rest is equal."""
    assert cell(value, EAST).text == grid
    assert cell(value, EAST, REPORT).text == report
    assert value_line(value, 60).startswith(line)
    assert is_missing(value) == (grid is None)


def test_a_cell_is_never_more_than_its_limits() -> None:
    """A nested value is written only as far as it is shown; a recursive or too deep one has a note."""
    circular: list[Any] = []
    circular.append(circular)
    assert cell(circular, UTC).text == "[[...]]"
    deep: list[Any] = []
    for _ in range(5_000):
        deep = [deep]
    assert (cell(deep, UTC).text or "")[:5] in {"[[[[[", "JSON,"}
    long = value_line({"key": "x" * 500, "other": ["y"] * 100}, 70)
    assert (len(long), long[-1]) == (70, "…")
    assert len(full_text("x" * (FULL + 1), UTC).partition("…")[0]) == FULL
    assert full_text(pd.NaT, UTC) == ""


def test_a_text_of_several_lines() -> None:
    """Only a report keeps line ends in the cell; the longer text has them everywhere; a repr is one line."""
    assert cell("a\n\tb\r\n", UTC) == Cell("a↵ b↵", "a\n\tb‹U+000D›\n")
    assert cell("a\n\tb", UTC, REPORT) == Cell("a\n\tb")
    assert value_line("a\nb", 9) == "a↵b"


@pytest.mark.parametrize(
    ("values", "name", "kind"),
    [
        (["failed"], "status", "status"),
        (["failed"], "holder_status", "status"),
        (["failed"], "status_before", "text"),
        ([True], "done", "text"),
        (pd.array([1, None], dtype="Int64"), "n", "number"),
        ([TIME], "at", "time"),
        ([timedelta(1)], "took", "duration"),
        ([None], "empty", "text"),
    ],
)
def test_a_column_is_drawn_by_its_dtype_and_a_status_by_its_name(values: Any, name: str, kind: str) -> None:
    assert kind_of(name, pd.Series(values)) == kind


def test_a_repr_loads_neither_pandas_nor_numpy() -> None:
    script = "import sys, restate_lab._cells; print([m for m in ('pandas', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
