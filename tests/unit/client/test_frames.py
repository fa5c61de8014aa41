"""Arrow to pandas: every digit and every column is kept."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, strategies as st

from restate_lab.errors import QueryRefused
from restate_lab.frames import to_frame, with_card

BIG = 2**53 + 1


def test_integers_with_nulls_stay_exact() -> None:
    for kind in (pa.int64(), pa.uint64()):
        frame = to_frame(pa.table({"n": pa.array([BIG, None], kind)}))
        assert int(frame["n"][0]) == BIG
        assert frame["n"][1] is pd.NA
    assert int(to_frame(pa.table({"n": pa.array([2**64 - 1, None], pa.uint64())}))["n"][0]) == 2**64 - 1


def test_integers_and_booleans_are_nullable_only_if_there_are_nulls() -> None:
    plain = to_frame(pa.table({"n": pa.array([1, 2], pa.uint32()), "b": [True, False]}))
    nullable = to_frame(pa.table({"n": pa.array([1, None], pa.uint32()), "b": [True, None]}))
    assert [str(kind) for kind in plain.dtypes] == ["uint32", "bool"]
    assert [str(kind) for kind in nullable.dtypes] == ["UInt32", "boolean"]


def test_times_with_and_without_a_zone_are_utc_and_durations_are_timedeltas() -> None:
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
    schema = pa.schema({"id": pa.large_string(), "n": pa.uint64(), "at": pa.timestamp("ms", "+00:00")})
    empty = to_frame(schema.empty_table())
    assert list(empty.columns) == ["id", "n", "at"]
    assert str(empty["at"].dtype) == "datetime64[ms, UTC]"
    nulls = to_frame(pa.table({"id": pa.nulls(2, pa.large_string()), "n": pa.nulls(2, pa.uint64())}))
    assert nulls.isna().all().all()
    assert str(nulls["n"].dtype) == "UInt64"


def test_lists_bytes_and_json_values_are_python_objects() -> None:
    union = pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array(["a", None]), pa.array([None, 7], pa.int64())], ["s", "i"]
    )
    table = pa.table({"l": pa.array([[1], None]), "b": pa.array([b"\x00", None]), "u": union})
    frame = to_frame(table)
    assert list(frame["l"][0]) == [1]
    assert frame["b"][0] == b"\x00"
    assert list(frame["u"]) == ["a", 7]


def test_integers_within_lists_maps_and_structs_stay_exact() -> None:
    """A null beside them does not make them floats: the last digit of 2**53 + 1 and of 2**64 - 1 would be lost."""
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


def test_the_backends_of_pandas_give_the_types_of_pandas_and_another_is_an_error() -> None:
    table = pa.table({"n": [1, 2], "x": [0.5, None], "s": ["a", None], "b": [True, None]})
    assert [str(kind) for kind in to_frame(table, "numpy_nullable").dtypes] == ["Int64", "Float64", "string", "boolean"]
    assert all(isinstance(kind, pd.ArrowDtype) for kind in to_frame(table, "pyarrow").dtypes)
    with pytest.raises(ValueError, match="dtype_backend"):
        to_frame(table, "polars")  # type: ignore[arg-type]


def test_the_values_of_a_frame_can_be_changed_in_place() -> None:
    frame = to_frame(pa.table({"n": [1, 2], "x": [0.5, 1.5], "b": [True, False], "m": pa.array([1, None])}))
    frame.loc[0, ["n", "x", "b", "m"]] = [5, 2.5, False, 7]
    assert frame.loc[0].tolist() == [5, 2.5, False, 7]


def test_a_text_column_with_only_nulls_has_the_type_of_one_with_values() -> None:
    texts = pa.table({"some": pa.array(["a", None], pa.large_string()), "none": pa.nulls(2, pa.large_string())})
    assert len(set(to_frame(texts).dtypes)) == 1


def test_a_table_without_columns_is_a_frame_without_columns() -> None:
    assert to_frame(pa.table({})).shape == (0, 0)


INTERVAL = pa.month_day_nano_interval()
DAY = 86_400 * 10**9
MOMENT = 1_795_661_848_748_094_834  # nanoseconds since 1970, with a digit in each place
PER_UNIT = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
Backend = Literal["numpy_nullable"] | None


def nested(value: Any, kind: pa.DataType) -> dict[str, pa.Array]:
    inner = pa.struct([("t", kind)])
    return {
        "struct": pa.array([{"t": value}, {"t": None}], inner),
        "map": pa.array([[("k", value), ("k", None)], None], pa.map_(pa.string(), kind)),
        "list": pa.array([[value, None], None], pa.list_(kind)),
        "large": pa.array([[value, None], None], pa.large_list(kind)),
        "fixed": pa.array([[value, None], None], pa.list_(kind, 2)),
        "structs": pa.array([[{"t": value}, None], None], pa.list_(inner)),
        "deep": pa.array(
            [{"m": [("k", [{"t": value}])]}, None], pa.struct([("m", pa.map_(pa.string(), pa.list_(inner)))])
        ),
    }


def expected(value: Any) -> dict[str, list[Any]]:
    return {
        "struct": [{"t": value}, {"t": None}],
        "map": [[("k", value), ("k", None)], None],
        **{name: [[value, None], None] for name in ("list", "large", "fixed")},
        "structs": [[{"t": value}, None], None],
        "deep": [{"m": [("k", [{"t": value}])]}, None],
    }


@pytest.mark.parametrize("backend", [None, "numpy_nullable"])
@pytest.mark.parametrize("zone", [None, "UTC", "+00:00", "Europe/Berlin"])
@pytest.mark.parametrize("unit", PER_UNIT)
def test_times_within_nested_values_are_exact_and_utc(backend: Backend, zone: str | None, unit: str) -> None:
    count = MOMENT // PER_UNIT[unit]
    frame = to_frame(pa.table(nested(count, pa.timestamp(unit, zone))), backend)
    value = frame["struct"][0]["t"]
    assert {name: list(frame[name]) for name in frame} == expected(pd.Timestamp(count, unit=unit, tz="UTC"))
    assert pd.Timestamp(value).as_unit("ns").value == count * PER_UNIT[unit]
    assert value.utcoffset() == timedelta(0)
    assert isinstance(value, pd.Timestamp) is (unit == "ns"), "a datetime has microseconds"


@pytest.mark.parametrize("unit", PER_UNIT)
def test_durations_within_nested_values_are_exact_timedeltas(unit: str) -> None:
    frame = to_frame(pa.table(nested(5, pa.duration(unit))))
    assert {name: list(frame[name]) for name in frame} == expected(pd.Timedelta(5, unit=unit))


def test_the_pyarrow_backend_keeps_the_types_and_values_of_nested_times() -> None:
    table = pa.table(nested(MOMENT, pa.timestamp("ns", "UTC")))
    frame = to_frame(table, "pyarrow")
    assert pa.Table.from_pandas(frame).cast(table.schema).equals(table)


def test_a_struct_with_two_fields_of_one_name_is_refused_by_column_and_field() -> None:
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    lists = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), struct)
    for column in (struct, lists):
        for backend in (None, "numpy_nullable", "pyarrow"):
            with pytest.raises(QueryRefused, match=r"column 'c'.*two fields named 'a'.*arrow\(\)"):
                to_frame(pa.table({"c": column}), backend)  # type: ignore[arg-type]


DAYS, NANOSECONDS = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)


@given(st.lists(st.none() | st.tuples(st.just(0), DAYS, NANOSECONDS), max_size=5), st.integers(0, 3))
def test_intervals_without_months_are_timedeltas_of_the_same_length(rows: list[Any], skipped: int) -> None:
    """Days of 24 hours and nanoseconds add up exactly; the unit is nanoseconds if they fit, or a coarser one."""
    column = pa.chunked_array([pa.array([(9, 9, 9)] * skipped + rows, INTERVAL).slice(skipped)], INTERVAL)
    made = to_frame(pa.table({"d": column}))["d"]
    lengths = [row and row[1] * DAY + row[2] for row in rows]
    unit = next((unit for unit in ("ns", "us", "ms", "s") if all(fits(each, unit) for each in lengths)), None)
    assert str(made.dtype) == (f"timedelta64[{unit}]" if unit else "object")
    if unit:
        counts = [None if value is pd.NaT else count for value, count in zip(made, made.astype("int64"), strict=True)]
        assert [count and int(count) * PER_UNIT[unit] for count in counts] == lengths


def fits(length: int | None, unit: str) -> bool:
    """Return True if a length in nanoseconds is a whole number of units within 64 bits, excluding the NaT."""
    return length is None or (length % PER_UNIT[unit] == 0 and abs(length // PER_UNIT[unit]) < 2**63)


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_one_interval_with_months_makes_offsets_of_its_column(backend: Backend) -> None:
    """A month has no fixed length, so the whole column stays exact as DateOffset, and can be shown."""
    frame = to_frame(pa.table({"d": pa.array([(1, 2, 3), (0, 1, 5), None], INTERVAL)}), backend)
    assert list(frame["d"][:2]) == [
        pd.DateOffset(months=1, days=2, nanoseconds=3),
        pd.DateOffset(months=0, days=1, nanoseconds=5),
    ]
    assert frame["d"][2] is None
    assert "DateOffset" in repr(frame)


@pytest.mark.parametrize("backend", [None, "numpy_nullable", "pyarrow"])
def test_an_interval_column_without_values_is_one_of_timedeltas(backend: Backend) -> None:
    for values in ([], [None]):
        dtype = to_frame(pa.table({"d": pa.array(values, INTERVAL)}), backend)["d"].dtype
        assert str(dtype) in {"timedelta64[ns]", "duration[ns][pyarrow]"}


def test_intervals_within_nested_values_are_timedeltas_or_offsets_with_months() -> None:
    frame = to_frame(pa.table({"d": pa.array([[(0, 1, 5), (1, 0, 0), None]], pa.list_(INTERVAL))}))
    assert frame["d"][0] == [pd.Timedelta(DAY + 5, "ns"), pd.DateOffset(months=1, days=0, nanoseconds=0), None]
    with pytest.raises(QueryRefused, match="292 years"):
        to_frame(pa.table({"d": pa.array([[(0, 110_000, 0)]], pa.list_(INTERVAL))}))


def test_dictionaries_of_times_are_times_in_utc() -> None:
    times = pa.array([MOMENT, None, MOMENT], pa.timestamp("ns")).dictionary_encode()
    made = to_frame(pa.table({"t": times}))["t"]
    assert str(made.dtype) == "datetime64[ns, UTC]"
    assert made[0].value == MOMENT


def card(frame: pd.DataFrame) -> str:
    """Return the expected HTML of a notebook."""
    return f"<b>{len(frame)} rows</b>"


def test_a_frame_with_a_card_is_a_frame() -> None:
    """A pickle keeps its card and its attrs; a derived frame, or one with other columns, has the plain table."""
    frame = pd.DataFrame({"n": [1, 2, 3]})
    frame.attrs = {"source": "demo"}
    carded = with_card(frame, card)
    for each in (carded, pickle.loads(pickle.dumps(carded))):  # noqa: S301
        assert each._repr_html_() == "<b>3 rows</b>"  # type: ignore[operator]
        assert each._display_()._repr_html_() == "<b>3 rows</b>"  # type: ignore[operator]
        assert each.attrs == {"source": "demo"}
        pd.testing.assert_frame_equal(pd.DataFrame(each), frame)
    for made in (carded.head(1), carded[carded["n"] > 1], carded.copy(), carded[["n"]], carded.assign(m=1)):
        assert type(made) is pd.DataFrame
        assert made.attrs == {"source": "demo"}
    carded["m"] = 1
    assert "<table" in carded._repr_html_()  # type: ignore[operator]
    assert type(carded._display_()) is pd.DataFrame  # type: ignore[operator]
    with pd.option_context("display.notebook_repr_html", False):  # noqa: FBT003
        assert with_card(frame, card)._repr_html_() is None  # type: ignore[operator]
