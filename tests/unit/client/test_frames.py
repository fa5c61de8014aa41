"""Arrow to pandas: not a digit lost, and columns kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.client.frames import to_frame

BIG = 2**53 + 1


def test_integers_with_nulls_stay_exact() -> None:
    """A null beside 2**53 + 1 costs no digit."""
    for kind in (pa.int64(), pa.uint64()):
        frame = to_frame(pa.table({"n": pa.array([BIG, None], kind)}))
        assert int(frame["n"][0]) == BIG
        assert frame["n"][1] is pd.NA
    assert int(to_frame(pa.table({"n": pa.array([2**64 - 1, None], pa.uint64())}))["n"][0]) == 2**64 - 1


def test_types_are_plain_without_nulls_and_nullable_with() -> None:
    """Integers and booleans become nullable only where there are nulls."""
    plain = to_frame(pa.table({"n": pa.array([1, 2], pa.uint32()), "b": [True, False]}))
    nullable = to_frame(pa.table({"n": pa.array([1, None], pa.uint32()), "b": [True, None]}))
    assert [str(kind) for kind in plain.dtypes] == ["uint32", "bool"]
    assert [str(kind) for kind in nullable.dtypes] == ["UInt32", "boolean"]


def test_times_are_utc_and_durations_are_durations() -> None:
    """Times with and without a zone come out in UTC; durations as timedeltas; both may be missing."""
    moment = datetime(2026, 11, 25, 3, 0, tzinfo=UTC)
    table = pa.table(
        {
            "zoned": pa.array([moment, None], pa.timestamp("ms", "+00:00")),
            "bare": pa.array([moment.replace(tzinfo=None), None], pa.timestamp("ns")),
            "took": pa.array([timedelta(milliseconds=1500), None], pa.duration("ms")),
        }
    )
    for backend in (None, "numpy_nullable"):
        frame = to_frame(table, backend)
        assert frame["zoned"][0] == frame["bare"][0] == pd.Timestamp(moment)
        assert str(frame["bare"].dt.tz) == str(frame["zoned"].dt.tz) == "UTC"
        assert frame["took"][0] == pd.Timedelta("1.5s")
        assert frame.isna().iloc[1].all()


def test_empty_and_all_null_results_keep_their_columns_and_types() -> None:
    """No rows, and nothing but nulls, still have every column with its type."""
    schema = pa.schema({"id": pa.large_string(), "n": pa.uint64(), "at": pa.timestamp("ms", "+00:00")})
    empty = to_frame(schema.empty_table())
    assert list(empty.columns) == ["id", "n", "at"]
    assert str(empty["at"].dtype) == "datetime64[ms, UTC]"
    nulls = to_frame(pa.table({"id": pa.nulls(2, pa.large_string()), "n": pa.nulls(2, pa.uint64())}))
    assert nulls.isna().all().all()
    assert str(nulls["n"].dtype) == "UInt64"


def test_lists_bytes_and_json_values_are_python_objects() -> None:
    """Lists, bytes and JSON unions can be read as Python values."""
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array(["a", None]), pa.array([None, 7], pa.int64())], ["s", "i"]
    )
    table = pa.table({"l": pa.array([[1], None]), "b": pa.array([b"\x00", None]), "u": union})
    frame = to_frame(table)
    assert list(frame["l"][0]) == [1]
    assert frame["b"][0] == b"\x00"
    assert list(frame["u"]) == ["a", 7]


def test_integers_within_lists_maps_and_structs_stay_exact() -> None:
    """A null beside them makes no float of them: the last digit of 2**53 + 1 and of 2**64 - 1 would be lost."""
    nested = {
        "l": pa.array([[2**53 + 1, None]]),
        "u": pa.array([[[2**64 - 1, None], None]], pa.list_(pa.list_(pa.uint64()))),
        "m": pa.array([[("a", 2**53 + 1), ("b", None)]], pa.map_(pa.string(), pa.int64())),
        "s": pa.array([[{"n": 2**53 + 1}, {"n": None}]]),
    }
    for backend in (None, "numpy_nullable"):
        frame = to_frame(pa.table(nested), backend)
        assert list(frame["l"][0]) == [2**53 + 1, None]
        assert list(frame["u"][0][0]) == [2**64 - 1, None]
        assert frame["m"][0] == [("a", 2**53 + 1), ("b", None)]
        assert list(frame["s"][0]) == [{"n": 2**53 + 1}, {"n": None}]


def test_pandas_own_backends_mean_what_pandas_means() -> None:
    """``numpy_nullable`` and ``pyarrow`` give pandas' types of those names, and another word is an error."""
    table = pa.table({"n": [1, 2], "x": [0.5, None], "s": ["a", None], "b": [True, None]})
    assert [str(kind) for kind in to_frame(table, "numpy_nullable").dtypes] == ["Int64", "Float64", "string", "boolean"]
    assert all(isinstance(kind, pd.ArrowDtype) for kind in to_frame(table, "pyarrow").dtypes)
    with pytest.raises(ValueError, match="dtype_backend"):
        to_frame(table, "polars")  # type: ignore[arg-type]


def test_a_frame_can_be_written_to() -> None:
    """A small result's values can be changed in place, as in any frame."""
    frame = to_frame(pa.table({"n": [1, 2], "x": [0.5, 1.5], "b": [True, False], "m": pa.array([1, None])}))
    frame.loc[0, ["n", "x", "b", "m"]] = [5, 2.5, False, 7]
    assert frame.loc[0].tolist() == [5, 2.5, False, 7]


def test_text_without_any_value_is_text() -> None:
    """A text column of nothing but nulls has the type that it has with values."""
    texts = pa.table({"some": pa.array(["a", None], pa.large_string()), "none": pa.nulls(2, pa.large_string())})
    assert len(set(to_frame(texts).dtypes)) == 1


def test_a_result_without_columns_keeps_its_rows() -> None:
    """A table with no columns is a frame with no columns."""
    assert to_frame(pa.table({})).shape == (0, 0)
