"""Frames as tables to read, with all rows as a download."""

from __future__ import annotations

import base64
import io
from datetime import UTC

import pandas as pd
import pytest

from restate_lab.redaction import MASK
from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import FrameTable
from restate_lab.reports.report import Report
from restate_lab.reports.tables import MOST_BYTES, TableBuilder

MAKER = TableBuilder(UTC, Masker(["hunter2hunter2"]))


def taken(table: FrameTable) -> bytes:
    assert table.download is not None
    return base64.b64decode(table.download.uri.partition(",")[2])


def test_a_table_shows_the_first_rows_and_its_download_has_every_row() -> None:
    frame = pd.DataFrame({"id": [f"inv_1{n:033}" for n in range(1234)], "n": [2**53 + n for n in range(1234)]})
    table = MAKER.table(frame, rows=50, file="stuck ones")
    assert len(table.rows) == 50
    assert table.note == "The first 50 of 1,234 rows."
    assert table.download is not None
    assert table.download.name == "stuck-ones.csv"
    assert len(taken(table)) == table.download.size
    again = pd.read_csv(io.BytesIO(taken(table)))
    pd.testing.assert_frame_equal(again, frame, check_dtype=False)


def test_a_frame_that_is_shown_completely_has_no_download() -> None:
    table = MAKER.table(pd.DataFrame({"a": [1, 2]}), file="short")
    assert (len(table.rows), table.note, table.download) == (2, "", None)
    assert MAKER.table(pd.DataFrame({"a": []}), file="empty").rows == ()


def test_the_download_has_the_columns_that_the_table_omits() -> None:
    table = MAKER.table(pd.DataFrame({"a": [1], "b": [2], "c": [None]}), columns=["b", "c", "z"], file="some")
    assert [each.name for each in table.columns] == ["b", "c"]
    assert taken(table).decode().splitlines()[0] == '"a","b","c"'
    dropped = MAKER.table(pd.DataFrame({"a": [1], "c": [None]}), drop_empty=True)
    assert [each.name for each in dropped.columns] == ["a"]


def test_a_named_or_a_text_index_is_a_column_and_a_row_counter_is_not() -> None:
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["a", "b"], name="service"))
    assert [each.name for each in MAKER.table(frame).columns] == ["service", "n"]
    assert [each.name for each in MAKER.table(pd.DataFrame({"n": [1]}, index=[7])).columns] == ["n"]


@pytest.mark.long  # writes tables of many megabytes
def test_a_download_that_is_too_large_is_explained_and_not_embedded() -> None:
    frame = pd.DataFrame({"text": ["x" * 1000] * 4000})
    whole = MAKER.table(frame, rows=5, file="big")
    assert whole.download is not None
    assert whole.download.size > 4_000_000
    without = TableBuilder(UTC, Masker(), bytes_left=1_000_000).table(frame, rows=5, file="big")
    assert without.download is None
    assert "4.0 MB) are not embedded: the limit for all downloads of a report is 5 MB" in without.note
    assert "rl.save(frame, 'big.csv')" in without.note
    larger = MAKER.table(pd.DataFrame({"text": ["x" * 1000] * 6000}), rows=5, file="big")
    assert larger.download is None
    huge = MAKER.table(pd.DataFrame({"text": ["x" * 1000] * 40_000}), rows=5, file="big")
    assert "too large to embed" in huge.note


def test_secrets_are_masked_in_the_table_and_in_its_download() -> None:
    frame = pd.DataFrame(
        {
            "x-api-key": ["abc", None],
            "headers": [{"cookie": "c00kie"}, {"accept": "json"}],
            "message": ["sent hunter2hunter2", "Authorization: Bearer abc12345678"],
            "n": [1, 2],
        }
    )
    table = MAKER.table(frame, rows=1, file="some")
    shown = repr(table.rows) + taken(table).decode()
    for secret in ("abc", "c00kie", "hunter2", "12345678"):
        assert secret not in shown
    assert MASK in shown
    assert "json" in shown


def test_a_spreadsheet_that_opens_the_download_computes_no_text() -> None:
    frame = pd.DataFrame({"key": ['=HYPERLINK("http://e.example")', "+1", "plain"]})
    assert b"'=HYPERLINK" in taken(MAKER.table(frame, rows=1, file="keys"))


def test_a_frame_that_a_limit_cut_has_a_note_in_the_report() -> None:
    frame = pd.DataFrame({"n": [1]})
    frame.attrs["truncated"] = {"message": "more than 1 rows", "limit": 1}
    assert MAKER.table(frame).note == "Incomplete: more than 1 rows"


def test_two_columns_of_one_name_are_shown_unchanged() -> None:
    frame = pd.DataFrame([[1, "a"], [2, "b"]], columns=["n", "n"])
    assert [[each.text for each in row] for row in MAKER.table(frame).rows] == [["1", "a"], ["2", "b"]]


def test_the_downloads_of_all_sections_share_one_limit_of_bytes() -> None:
    report = Report("INC-42").add(pd.DataFrame({"a": range(9)}), rows=1)
    (table,) = report.sections[0].parts
    assert 0 < len(taken(table)) == MOST_BYTES - report.maker.bytes_left
