"""Rows and frames read about many invocations: exact, and without an object for each equal value."""

from __future__ import annotations

from datetime import UTC, datetime

import pyarrow as pa

from restate_lab.actions.reader import _objects, _rows_of, _values_of

SERVER_TIME = pa.timestamp("ms", tz="+00:00")


def test_rows_are_those_that_pyarrow_makes() -> None:
    """Rows of a result equal ``to_pylist``, which needs ten times as long for timestamps: UTC, nulls become None."""
    table = pa.table(
        {
            "id": pa.array(["inv_1a", "inv_1b", "inv_1c"], pa.large_string()),
            "created_at": pa.array([0, 1_790_000_000_123, None], SERVER_TIME),
            "journal_size": pa.array([3, None, 0], pa.uint32()),
        }
    )
    chunked = pa.concat_tables([table.slice(0, 1), table.slice(1)])
    assert _rows_of(chunked) == table.to_pylist()
    assert [row["id"] for row in _rows_of(table.slice(0, 0))] == []


def test_a_timestamp_of_any_unit_keeps_its_microseconds() -> None:
    exact = datetime(2026, 11, 26, 20, 29, 43, 123_456, UTC)
    assert _values_of(pa.chunked_array([pa.array([exact], pa.timestamp("us", tz="UTC"))])) == [exact]


def test_equal_texts_are_one_object() -> None:
    """Most of 50,000 invocations have the same service and status: each text is kept once, also across chunks."""
    parts = [pa.array([letter * 3, None, "Orders"], pa.large_string()) for letter in "ab"]
    texts = list(_objects(pa.chunked_array(parts)))
    assert texts == ["aaa", None, "Orders", "bbb", None, "Orders"]
    assert texts[2] is texts[5]
    assert list(_objects(pa.chunked_array([], pa.large_string()))) == []
