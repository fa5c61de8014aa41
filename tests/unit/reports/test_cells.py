"""One value as text for a person."""

from __future__ import annotations

from datetime import UTC, timedelta, tzinfo
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest

from restate_lab._cells import REPORT
from restate_lab._html.table import TableCell, table_cell
from restate_lab.reports.tables import table_column

MOMENT = pd.Timestamp("2026-11-25T04:22:10.123Z")


def shown(value: Any, zone: tzinfo = UTC, kind: Any = "text") -> TableCell:
    return table_cell(value, kind, zone, REPORT)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (pd.NaT, "–"),
        (pd.NA, "–"),
        (float("nan"), "–"),
        ("", ""),
        (True, "true"),
        (np.False_, "false"),
        (0, "0"),
        (9007199254740993, "9,007,199,254,740,993"),
        (0.25, "0.25"),
        (1234567.8, "1,234,568"),
        (MOMENT, "2026-11-25 04:22:10"),
        (timedelta(milliseconds=12), "12ms"),
        (pd.Timedelta("1.5s"), "1.5s"),
        (pd.Timedelta("59.999s"), "1m"),
        (timedelta(hours=26, minutes=3, seconds=1), "1d 2h"),
        (timedelta(minutes=-2), "-2m"),
        (timedelta(hours=1, seconds=1), "1h"),
        ([1, 2], "1, 2"),
        (np.array(["a", "b", "c", "d", "e"]), "a, b, c and 2 more"),
        ([], "none"),
        ({"é": None}, '{"é": null}'),
        ({"a": float("nan"), "n": Decimal("9" * 5)}, '{"a": NaN, "n": 99999}'),
        (b"text", "text"),
        (b"\xff\x00", "\\xff‹U+0000›"),
    ],
)
def test_a_cell_has_its_value_as_a_person_writes_it(value: Any, text: str) -> None:
    assert shown(value, UTC).text == text


def test_a_column_of_times_names_its_zone_and_its_cells_are_in_it() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    times = pd.Series([MOMENT])
    assert table_column("created_at", times, berlin).name == "created at (Europe/Berlin)"
    assert shown(MOMENT, berlin).text == "2026-11-25 05:22:10"


def test_a_cell_shows_300_characters_and_its_tooltip_the_whole_text() -> None:
    long = shown("x" * 400, UTC)
    assert (len(long.text), long.more) == (301, "x" * 400)
    assert shown("x" * 300, UTC).more == ""


def test_only_a_status_has_a_colour_and_the_same_word_in_a_text_has_none() -> None:
    assert shown("failed", kind="status").colour
    assert not shown("failed", UTC).colour
    assert not shown("whatever", kind="status").colour


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("id", ["inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9"], "id"),
        ("n", [1, None], "number"),
        ("status_before", ["running"], "text"),
        ("holder_status", ["running"], "status"),
        ("message", ["long " * 20], "long"),
        ("done", [True], "text"),
        ("empty", [None], "text"),
    ],
)
def test_ids_numbers_statuses_and_long_texts_have_their_own_style(name: str, values: list[Any], kind: str) -> None:
    assert table_column(name, pd.Series(values), UTC).kind == kind
