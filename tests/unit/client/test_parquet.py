"""Rows to a Parquet file: complete, or no file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from restate_lab.client.parquet import arrow_bytes, write_parquet
from restate_lab.errors import QueryRefused

TABLE = pa.table({"id": ["a", "b"], "n": [1, 2]})


def test_the_written_rows_are_read_back_and_no_unfinished_file_stays(tmp_path: Path) -> None:
    path = write_parquet(TABLE.to_batches(), TABLE.schema, tmp_path / "x.parquet", None)
    assert path == tmp_path / "x.parquet"
    assert pq.read_table(path).equals(TABLE)
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


@pytest.mark.parametrize("kind", [pa.string_view(), pa.binary_view(), pa.large_string(), pa.list_(pa.string_view())])
def test_bytes_of_every_type_are_counted_also_of_views(kind: pa.DataType) -> None:
    texts = ["v" * 1000, None, "w" * 1000, "x" * 1000]
    rows = [[text] for text in texts] if pa.types.is_list(kind) else texts
    assert 3000 <= arrow_bytes(pa.record_batch({"value": pa.array(rows, kind)})) < 4000


def test_a_uri_and_a_path_on_a_filesystem_are_accepted(tmp_path: Path) -> None:
    write_parquet(TABLE.to_batches(), TABLE.schema, (tmp_path / "uri.parquet").as_uri(), None)
    write_parquet(
        TABLE.to_batches(), TABLE.schema, "sub.parquet", fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["sub.parquet", "uri.parquet"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:

    def broken() -> Iterator[pa.RecordBatch]:
        yield from TABLE.to_batches()
        raise RuntimeError("cut")

    (tmp_path / "x.parquet").write_text("old")
    with pytest.raises(RuntimeError):
        write_parquet(broken(), TABLE.schema, tmp_path / "x.parquet", None)
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("x.parquet", "old")]


def test_string_views_are_written_as_text_and_unions_are_refused_by_column(tmp_path: Path) -> None:
    views = TABLE.select(["id"]).cast(pa.schema({"id": pa.string_view()}))
    write_parquet(views.to_batches(), views.schema, tmp_path / "v.parquet", None)
    assert pq.read_table(tmp_path / "v.parquet")["id"].to_pylist() == ["a", "b"]
    union = pa.table({"u": pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])})
    with pytest.raises(QueryRefused, match="column 'u'"):
        write_parquet(union.to_batches(), union.schema, tmp_path / "u.parquet", None)
    assert not (tmp_path / "u.parquet").exists()


def test_an_empty_result_is_a_file_with_columns(tmp_path: Path) -> None:
    write_parquet([], TABLE.schema, tmp_path / "e.parquet", None)
    assert pq.read_table(tmp_path / "e.parquet").schema.equals(TABLE.schema)


INTERVAL = pa.month_day_nano_interval()
STRUCT = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])


def test_intervals_without_months_are_written_as_exact_durations(tmp_path: Path) -> None:
    table = pa.table({"d": pa.array([(0, 1, 5), None, (0, -1, -5), (0, 0, 2**63 - 1)], INTERVAL).slice(0)})
    write_parquet(table.to_batches(max_chunksize=3), table.schema, tmp_path / "i.parquet", None)
    back = pq.read_table(tmp_path / "i.parquet")["d"]
    day = 86_400 * 10**9
    assert back.type == pa.duration("ns")
    assert back.cast(pa.int64()).to_pylist() == [day + 5, None, -day - 5, 2**63 - 1]


@pytest.mark.parametrize(
    ("values", "advice"),
    [
        (pa.array([(0, 1, 5), (1, 0, 0)], INTERVAL), r"months.*CAST\(d AS VARCHAR\)"),
        (pa.array([(0, 110_000, 0)], INTERVAL), r"292 years.*CAST\(d AS VARCHAR\)"),
        (pa.array([[(0, 1, 5)]], pa.list_(INTERVAL)), "nested"),
        (STRUCT, "two fields named 'a'"),
        (pa.array([{}], pa.struct([])), "Cast the column"),
    ],
)
def test_what_parquet_cannot_hold_is_one_error_that_names_the_column(
    tmp_path: Path, values: pa.Array, advice: str
) -> None:
    table = pa.table({"d": values})
    with pytest.raises(QueryRefused, match=advice):
        write_parquet(table.to_batches(), table.schema, tmp_path / "d.parquet", None)
    assert list(tmp_path.iterdir()) == []
