"""Frames into files and back: nothing is lost or computed, and values that a format cannot hold are refused."""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import sys
import warnings
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from restate_lab import errors
from restate_lab.export import xlsx
from restate_lab.export.files import save
from restate_lab.frames import to_frame

FORMATS = (".csv", ".csv.gz", ".jsonl", ".ndjson", ".parquet", ".xlsx")
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", '=HYPERLINK("http://x","y")']
NOON = pd.Timestamp("2026-11-25T12:00:00.123Z")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
I64, U64 = st.integers(-(2**63), 2**63 - 1), st.integers(0, 2**64 - 1)
MOMENTS = st.datetimes(datetime(1900, 3, 1), datetime(9999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
TABLES = st.lists(
    st.fixed_dictionaries(
        {
            "text": st.none() | TEXTS,
            "int": st.none() | I64,
            "uint": st.none() | U64,
            "float": st.none() | st.floats(allow_nan=False),
            "yes": st.none() | st.booleans(),
            "at": st.none() | MOMENTS,
        }
    ),
    min_size=1,
    max_size=6,
)
SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("int", pa.int64()),
        ("uint", pa.uint64()),
        ("float", pa.float64()),
        ("yes", pa.bool_()),
        ("at", pa.timestamp("us", "UTC")),
    ]
)
NAMESPACE = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}

a_folder_is_shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)


def text_of(path: Path) -> io.StringIO:
    return io.StringIO(path.read_bytes().decode(), newline="")


def sheet(path: Path) -> list[dict[str, Any]]:
    """Return the cells of a sheet by header, as Excel reads them, without empty cells."""
    with zipfile.ZipFile(path) as archive:
        assert not [name for name in archive.namelist() if "externalLink" in name]
        tree = ET.fromstring(archive.read("xl/worksheets/sheet1.xml"))  # noqa: S314 - our own file
    assert not tree.findall(".//x:f", NAMESPACE)
    assert not tree.findall(".//x:hyperlink", NAMESPACE)
    rows = [
        {re.sub(r"\d", "", cell.attrib["r"]): cell_value(cell) for cell in row if len(cell)}
        for row in tree.iterfind(".//x:row", NAMESPACE)
    ]
    return [{rows[0][at]: value for at, value in row.items()} for row in rows[1:]]


def cell_value(cell: ET.Element) -> Any:
    number = cell.find("x:v", NAMESPACE)
    if number is None:
        return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda found: chr(int(found[1], 16)), "".join(cell.itertext()))
    text = str(number.text)
    return text == "1" if cell.get("t") == "b" else float(text)


def excel_day(moment: datetime) -> float:
    return (moment.replace(tzinfo=None) - datetime(1899, 12, 30)) / timedelta(days=1)  # noqa: DTZ001


@a_folder_is_shared
@given(TABLES)
def test_json_lines_return_every_value_and_null_exactly(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    path = save(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "rows.jsonl", overwrite=True)
    back = [json.loads(line) for line in path.read_bytes().decode().split("\n")[:-1]]
    assert len(back) == len(rows)
    for mine, read in zip(rows, back, strict=True):
        assert [read[name] for name in ("text", "int", "uint", "yes")] == [
            mine[name] for name in ("text", "int", "uint", "yes")
        ]
        assert mine["float"] is None or float(read["float"]) == mine["float"]
        assert (read["at"] and datetime.fromisoformat(read["at"])) == mine["at"]


@a_folder_is_shared
@given(TABLES)
def test_csv_returns_every_value_with_an_apostrophe_before_a_formula(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    path = save(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "rows.csv", overwrite=True)
    types = {field.name: pa.string() if field.name == "at" else field.type for field in SCHEMA}
    convert = pyarrow.csv.ConvertOptions(
        column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    parse = pyarrow.csv.ParseOptions(newlines_in_values=True)
    back = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=convert).to_pylist()
    assert len(back) == len(rows)
    for mine, read in zip(rows, back, strict=True):
        text = mine["text"]
        assert read["text"] == (f"'{text}" if text and text[0] in "=+-@\t\r\n＝＋－＠" else text)
        assert [read[name] for name in ("int", "uint", "float", "yes")] == [
            mine[name] for name in ("int", "uint", "float", "yes")
        ]
        assert (read["at"] and datetime.fromisoformat(read["at"])) == mine["at"]


@a_folder_is_shared
@given(TABLES)
def test_parquet_returns_the_same_types_and_values(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, SCHEMA)
    assert pq.read_table(save(table, tmp_path / "rows.parquet", overwrite=True)).equals(table)


@a_folder_is_shared
@given(TABLES)
def test_xlsx_returns_exact_texts_and_integers_and_times_to_the_millisecond(
    tmp_path: Path, rows: list[dict[str, Any]]
) -> None:
    try:
        path = save(pa.Table.from_pylist(rows, SCHEMA), tmp_path / "rows.xlsx", overwrite=True)
    except errors.ArgumentError:
        assert any(re.search("^<r>|_x[0-9a-fA-F]{4}_x", row["text"] or "") for row in rows)
        return
    for mine, read in zip(rows, sheet(path), strict=True):
        assert read.get("text") == mine["text"]
        for name in ("int", "uint"):
            assert mine[name] is None or int(read[name]) == mine[name]
        assert read.get("yes") == mine["yes"]
        assert mine["float"] is None or float(read["float"]) == pytest.approx(mine["float"], rel=1e-15)
        if mine["at"] is not None:
            at = read["at (UTC)"]
            exact = datetime.fromisoformat(at) == mine["at"] if isinstance(at, str) else None
            assert exact or at == pytest.approx(excel_day(mine["at"]), abs=1e-9)


@pytest.fixture
def mixed() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "id": ["inv_1", "inv_2", None],
            "partition_key": pd.array([2**64 - 1, None, 0], dtype="UInt64"),
            "n": [2**53 + 1, -5, 0],
            "at": pd.to_datetime([NOON, pd.NaT, NOON]).as_unit("us"),  # pandas 2 makes nanoseconds of a list
            "took": pd.to_timedelta([1500, None, 0], unit="ms"),
            "waits": [[1, 17], None, []],
            "payload": [{"a": 1}, None, {"b": [float("inf"), "é"]}],
            "value": [1, "1", b"\xff"],
            "raw": [b"\x00\xff", None, b""],
            "kind": pd.Categorical(["a", None, "b"]),
            "ok": pd.array([True, None, False], dtype="boolean"),
            "price": [Decimal("1.10"), None, Decimal(2)],
            "day": [date(2026, 11, 25), None, None],
            "period": pd.period_range("2026-01", periods=3, freq="M"),
        }
    )
    frame.attrs = {"truncated": "at 3 rows", "since": "2026-11-25T00:00:00Z"}
    return frame


def test_nested_and_mixed_values_stay_as_they_are_in_json_lines(mixed: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.warns(errors.Truncated, match="at 3 rows"):
        path = save(mixed, tmp_path / "a.jsonl")
    first, second, third = map(json.loads, path.read_text("utf-8").splitlines())
    assert first == {
        "id": "inv_1", "partition_key": 2**64 - 1, "n": 2**53 + 1, "at": "2026-11-25T12:00:00.123000Z", "took": 1.5,
        "waits": [1, 17], "payload": {"a": 1}, "value": 1, "raw": "AP8=", "kind": "a", "ok": True, "price": "1.10",
        "day": "2026-11-25", "period": "2026-01",
    }  # fmt: skip
    assert second == dict.fromkeys(first) | {"id": "inv_2", "n": -5, "value": "1", "period": "2026-02"}
    assert (third["payload"], third["value"], third["waits"]) == ({"b": ["Infinity", "é"]}, "/w==", [])


def test_nested_values_are_json_and_numbers_are_not_quoted_in_csv(mixed: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.warns(errors.Truncated):
        lines = list(csv.DictReader(text_of(save(mixed, tmp_path / "a.csv"))))
    assert (lines[0]["payload"], lines[0]["waits"], lines[0]["value"]) == ('{"a": 1}', "[1, 17]", "1")
    assert (lines[0]["at"], lines[0]["took"], lines[1]["n"]) == ("2026-11-25T12:00:00.123000Z", "1.5", "-5")
    mixed.attrs.clear()
    packed = save(mixed.head(1).set_index("id"), tmp_path / "a.csv.gz")
    assert gzip.decompress(packed.read_bytes()).startswith(b'"id","partition_key","n"')


def test_parquet_returns_the_dtypes_and_attrs_of_pandas(mixed: pd.DataFrame, tmp_path: Path) -> None:
    back = pd.read_parquet(save(mixed, tmp_path / "a.parquet"))
    assert back.attrs == mixed.attrs
    for name in ("id", "partition_key", "n", "at", "took", "ok"):
        pd.testing.assert_series_equal(back[name], mixed[name])
    assert list(back["waits"][0]) == [1, 17]
    assert list(back["raw"]) == [b"\x00\xff", None, b""]
    assert json.loads(back["payload"][0]) == {"a": 1}


def test_ids_and_large_integers_are_texts_and_durations_seconds_in_xlsx(mixed: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.warns(errors.Truncated):
        first, second, _ = sheet(save(mixed, tmp_path / "a.xlsx"))
    assert first["at (UTC)"] == pytest.approx(excel_day(NOON), abs=1e-9)
    assert (first["partition_key"], first["n"], first["took (s)"]) == (str(2**64 - 1), str(2**53 + 1), 1.5)
    assert (first["waits"], first["payload"], first["ok"]) == ("[1, 17]", '{"a": 1}', True)
    assert set(second) == {"id", "n", "value", "period"}


def test_numbers_outside_the_range_of_excel_are_texts(tmp_path: Path) -> None:
    numbers = [sys.float_info.max, 5e-324, float("inf"), 9e307, 0.0, -1.5]
    read = [row["x"] for row in sheet(save(pa.table({"x": numbers}), tmp_path / "a.xlsx"))]
    assert [float(each) for each in read] == numbers
    assert [type(each) for each in read] == [str, str, str, float, float, float]


def test_a_text_that_a_spreadsheet_would_compute_stays_a_text(tmp_path: Path) -> None:
    frame = pd.DataFrame({"=evil": FORMULAS, "n": [-number for number in range(len(FORMULAS))]})
    rows = list(csv.reader(text_of(save(frame, tmp_path / "a.csv"))))
    assert rows[0] == ["'=evil", "n"]
    assert [row[0] for row in rows[1:]] == [f"'{text}" for text in FORMULAS]
    assert rows[2][1] == "-1"
    cells = sheet(save(frame, tmp_path / "a.xlsx"))
    assert [row["=evil"] for row in cells] == FORMULAS
    assert cells[1]["n"] == -1.0


@pytest.mark.parametrize("suffix", FORMATS)
def test_rows_of_nulls_stay_and_a_frame_without_rows_keeps_its_columns(suffix: str, tmp_path: Path) -> None:
    path = save(pd.DataFrame({"a": ["x", None, None]}), tmp_path / f"a{suffix}")
    readers: dict[str, Any] = {
        ".csv": pd.read_csv, ".csv.gz": pd.read_csv, ".parquet": pd.read_parquet, ".xlsx": sheet,
        ".jsonl": lambda p: p.read_text().splitlines(), ".ndjson": lambda p: p.read_text().splitlines(),
    }  # fmt: skip
    assert len(readers[suffix](path)) == 3
    empty = save(pd.DataFrame({"a": pd.Series(dtype=str), "b": pd.Series(dtype="Int64")}), tmp_path / f"b{suffix}")
    if suffix in {".csv", ".csv.gz", ".parquet"}:
        assert list(readers[suffix](empty).columns) == ["a", "b"]


def test_a_named_or_a_text_index_is_written_and_row_numbers_are_not(tmp_path: Path) -> None:
    frame = pd.DataFrame({"service": ["a", "a", "b"], "n": [1, 2, 3]})

    def columns(each: pd.DataFrame) -> list[str]:
        return list(pd.read_csv(save(each, tmp_path / "a.csv", overwrite=True)).columns)

    assert columns(frame[frame["n"] > 1]) == ["service", "n"]
    assert columns(frame.groupby("service").sum()) == ["service", "n"]
    assert columns(frame.set_index(["service", "n"]).assign(x=1)) == ["service", "n", "x"]
    assert columns(frame[["n"]].describe()) == ["index", "n"]
    assert columns(frame[frame["n"] > 9].groupby("service").sum()) == ["service", "n"]
    assert columns(pd.DataFrame(columns=["a"])) == ["a"]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_is_complete_or_absent_and_an_existing_one_is_kept(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, frame = tmp_path / f"a{suffix.upper()}", pd.DataFrame({"a": [1]})
    target.write_text("mine")
    with pytest.raises(errors.ArgumentError, match="overwrite=True"):
        save(frame, target)
    assert target.read_text() == "mine"
    with pytest.raises(errors.ArgumentError, match="two columns"):
        save(pd.DataFrame([[1, 2]], columns=["a", "a"]), target, overwrite=True)
    monkeypatch.setattr("restate_lab._files.publish", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        save(frame, target, overwrite=True)
    assert [each.name for each in tmp_path.iterdir()] == [target.name]
    assert target.read_text() == "mine"
    monkeypatch.undo()
    assert save(frame, str(target), overwrite=True) == target
    assert target.read_bytes() != b"mine"
    assert [each.name for each in tmp_path.iterdir()] == [target.name]


HALF = "Hi \ud83d"
HALVES = {
    "text": [HALF, "😀", None],
    "list": [[HALF], ["😀"], None],
    "object": [{"a": HALF}, {HALF: 1}, None],
    "mixed": [HALF, 1, None],
    "nested": [[{"a": [HALF]}], [], None],
}


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("kind", HALVES)
def test_half_of_a_character_is_escaped_in_json_and_replaced_elsewhere(
    kind: str, suffix: str, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    warnings.simplefilter("always")
    frame = pd.DataFrame({"a": pd.Series(HALVES[kind], dtype=object)})
    path = save(frame, tmp_path / f"half{suffix}")
    is_replaced = suffix not in {".jsonl", ".ndjson"} and kind in {"text", "list"}
    assert [(each.category, each.filename) for each in recwarn] == [(errors.HalfCharacter, __file__)] * is_replaced
    if suffix in {".jsonl", ".ndjson"}:
        assert [json.loads(line)["a"] for line in path.read_text().splitlines()] == HALVES[kind]
    if suffix == ".csv":
        assert ("Hi \ufffd" if is_replaced else "Hi \\ud83d") in path.read_text()
    if suffix == ".parquet":
        assert ("Hi \ufffd" if is_replaced else "Hi \\ud83d") in str(pq.read_table(path)["a"])


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(
        st.none() | st.text(st.characters()) | st.dictionaries(st.text(st.characters()), st.text(st.characters()))
    )
)
def test_any_text_also_with_half_characters_is_exact_in_json_lines(values: list[Any], tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object)})
    path = save(frame, tmp_path / "any.jsonl", overwrite=True)
    lines = path.read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["a"] for line in lines] == json.loads(json.dumps(values))


def test_a_file_that_another_process_writes_meanwhile_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.csv"
    monkeypatch.setattr(
        "restate_lab.export.files.to_table", lambda _, **__: target.write_text("theirs") and pa.table({"a": [1]})
    )
    with pytest.raises(errors.ArgumentError, match="already exists"):
        save(pd.DataFrame({"a": [1]}), target)
    assert target.read_text() == "theirs"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize(
    ("frame", "name", "words"),
    [
        ([1, 2], "a.csv", "a DataFrame or a pyarrow.Table, not a list"),
        (pd.Series([1]), "a.csv", "to_frame"),
        (pd.DataFrame({"a": [1]}), "a.xls", "unknown format"),
        (pd.DataFrame({"a": [1]}), ".csv", "unknown format"),
        (pd.DataFrame({"a": [1]}), "missing/a.csv", "does not exist: create it"),
        (pd.DataFrame({"a": [1]}), "", "is a folder"),
        (pd.DataFrame(), "a.csv", "no columns"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "a.csv", "two columns are named 'a'"),
        (pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["a", "a"]), "a.csv", "two columns are named 'a'"),
        (pd.DataFrame({"a": [1]}, index=pd.Index([1], name="a")), "a.csv", "index cannot become a column"),
        (pd.DataFrame({"a": ["x" * 32_768]}), "a.xlsx", r"row 0 .* 32,768 characters.*\.parquet"),
        (pd.DataFrame({"a": ["😀" * 16_384]}), "a.xlsx", "characters"),
        (pd.DataFrame({"a": ["<r>&</r>"]}), "a.xlsx", "as markup"),
        (pd.DataFrame({"a": ["_x0041_x0042_"]}), "a.xlsx", "as markup"),
    ],
)
def test_an_object_that_is_not_a_frame_is_refused_with_an_alternative(
    frame: Any, name: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(errors.ArgumentError, match=words):
        save(frame, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_an_address_of_an_object_store_is_refused() -> None:
    with pytest.raises(errors.ArgumentError, match="to_parquet"):
        save(pd.DataFrame({"a": [1]}), "s3://bucket/a.csv")


def test_attrs_that_are_not_json_are_refused(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1]})
    frame.attrs["at"] = NOON
    with pytest.raises(errors.ArgumentError, match="attrs must contain only JSON"):
        save(frame, tmp_path / "a.parquet")


def test_too_many_rows_for_a_sheet_are_refused_and_the_largest_frame_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xlsx, "MOST_ROWS", 3)
    frame = pd.DataFrame({"a": range(4)})
    with pytest.raises(errors.ArgumentError, match=r"4 rows.*at most 3: save it as \.parquet or \.csv"):
        save(frame, tmp_path / "a.xlsx")
    assert len(sheet(save(frame.head(3), tmp_path / "a.xlsx"))) == 3


def test_a_text_of_1_mb_with_control_characters_survives_in_all_other_formats(tmp_path: Path) -> None:
    text = "\u202e\x00\x1b\ufeff<script>\r\n" + "x" * 1_000_000
    frame = pd.DataFrame({"a": [text]})
    assert pd.read_parquet(save(frame, tmp_path / "a.parquet"))["a"][0] == text
    assert json.loads(save(frame, tmp_path / "a.jsonl").read_bytes())["a"] == text
    csv.field_size_limit(2_000_000)
    assert (
        next(csv.DictReader(io.StringIO(save(frame, tmp_path / "a.csv").read_bytes().decode(), newline="")))["a"]
        == text
    )


def test_without_xlsxwriter_the_error_names_the_extra_and_other_formats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xlsxwriter", None)
    with pytest.raises(errors.MissingExtra, match=r"restate-lab\[xlsx\].*\.csv"):
        save(pd.DataFrame({"a": [1]}), tmp_path / "a.xlsx")
    assert list(tmp_path.iterdir()) == []


INTERVALS = pa.table(
    {
        "plain": pa.array([(0, 1, 5_000), None], pa.month_day_nano_interval()),
        "months": pa.array([(1, -2, -3_000_000_000), None], pa.month_day_nano_interval()),
        "list": pa.array([[(0, 1, 5_000), (1, 0, 0)], None], pa.list_(pa.month_day_nano_interval())),
    }
)
SECONDS = 86_400.000005


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("is_frame", [True, False])
def test_an_interval_without_months_is_a_duration_and_another_an_iso_text(
    tmp_path: Path, suffix: str, is_frame: bool
) -> None:
    path = save(to_frame(INTERVALS) if is_frame else INTERVALS, tmp_path / f"rows{suffix}")
    if suffix == ".parquet":
        first = pq.read_table(path).to_pylist()[0]
        assert first["plain"] == pd.Timedelta(1, "D") + pd.Timedelta(5, "us")
    elif suffix == ".xlsx":
        first = next(row for row in sheet(path))
        assert SECONDS in first.values()
    elif suffix.startswith(".csv"):
        text = gzip.decompress(path.read_bytes()) if suffix.endswith("gz") else path.read_bytes()
        first = next(csv.DictReader(io.StringIO(text.decode())))
        assert float(first["plain"]) == SECONDS
    else:
        first = json.loads(path.read_text().partition("\n")[0])
        assert first["plain"] == SECONDS
    assert first["months"] == "P1M-2DT-3S"
    parts = first["list"] if isinstance(first["list"], list) else json.loads(first["list"])
    assert parts == [SECONDS, "P1M0DT0S"]


def test_times_within_nested_values_keep_every_digit(tmp_path: Path) -> None:
    stamp = pd.Timestamp(1_795_661_848_748_094_834, tz="UTC")
    array = np.array([stamp.to_datetime64()])
    frame = pd.DataFrame({"s": [{"t": stamp}], "a": [array], "d": [np.array([np.timedelta64(5, "ns")])]})
    row = json.loads(save(frame, tmp_path / "rows.jsonl").read_text())
    assert row == {"s": {"t": "2026-11-26T02:57:28.748094834Z"}, "a": ["2026-11-26T02:57:28.748094834"], "d": [5e-9]}


def test_a_struct_with_two_fields_of_one_name_is_refused(tmp_path: Path) -> None:
    struct = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    for suffix in FORMATS:
        with pytest.raises(errors.ArgumentError, match=r"column 'c'.*two fields named 'a'"):
            save(pa.table({"c": struct}), tmp_path / f"rows{suffix}")
    assert not list(tmp_path.iterdir())
