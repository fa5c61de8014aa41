"""The target ids: from any type that a notebook holds them in, each once, and never by guessing."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab._text import shorten_id
from restate_lab.actions.reader import IDS_PER_QUERY
from restate_lab.analysis.ids import invocation_id_in, is_invocation_id, parse_created, parse_ids
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ArgumentError

A, B = "inv_1" + "0" * 32 + "1", "inv_1" + "0" * 32 + "2"


def polars_ids() -> Any:
    import polars as pl

    return pl.DataFrame({"id": [A, B]})


@pytest.mark.parametrize(
    "targets",
    [
        [A, B],
        (A, B),
        pd.Series([A, B]),
        pd.Index([A, B]),
        pd.Series([A, B], dtype=pd.ArrowDtype(pa.string())),
        pd.Series([A, B]).to_numpy(),
        pd.DataFrame({"id": [A, B], "target": ["x", "y"]}),
        pd.DataFrame({"invocation_id": [A, B]}),
        pa.table({"id": [A, B]}),
        pa.chunked_array([[A], [B]]),
        pytest.param(polars_ids, id="polars"),
        (id_ for id_ in (A, B)),
    ],
    ids=lambda each: type(each).__name__,
)
def test_lists_series_arrays_frames_and_tables_give_the_same_ids_in_order(targets: Any) -> None:
    assert parse_ids(targets() if callable(targets) else targets) == ([A, B], 0)


def test_a_single_id_is_one_target_and_an_empty_list_or_frame_none() -> None:
    assert parse_ids(A) == ([A], 0)
    assert parse_ids([]) == ([], 0)
    assert parse_ids(pd.DataFrame({"id": []})) == ([], 0)


def test_a_duplicate_is_one_target_at_its_first_place() -> None:
    assert parse_ids([B, A, B, A, B]) == ([B, A], 3)


@pytest.mark.parametrize("value", [None, 7, "Payments", "inv_short", f"{A}x", ""])
def test_a_target_that_is_not_an_id_is_refused_and_named(value: Any) -> None:
    with pytest.raises(ArgumentError, match=rf"targets has {re.escape(repr(value))}, which is not an invocation id"):
        parse_ids(pd.Series([A, value], dtype=object))


@pytest.mark.parametrize("text", [f"{A} {B}", f"{A},{B}", f" {A}\n{B}\n", f"['{A}', '{B}']", f'{{"{A}"; "{B}"}}'])
def test_a_text_of_ids_and_separators_has_these_targets(text: str) -> None:
    assert parse_ids(text) == ([A, B], 0)


@pytest.mark.parametrize(
    "text", [f"WARN {A} called {B}", f"http://127.0.0.1:9070/ui/invocations/{A}", "Payments", f"{A}: failed"]
)
def test_a_text_with_more_than_ids_selects_no_targets(text: str) -> None:
    with pytest.raises(ArgumentError, match=r"which is not an invocation id\. Pass only ids"):
        parse_ids(text)


@pytest.mark.parametrize(
    "text",
    [A, f" '{A}'\n", f"2026-11-25 WARN {{id={A}}} retry of {A}", f"http://127.0.0.1:9070/ui/invocations/{A}?tab=state"],
)
def test_the_only_id_of_a_text_is_found(text: str) -> None:
    assert invocation_id_in(text) == A


def test_a_text_with_several_ids_or_none_is_refused_with_its_ids() -> None:
    with pytest.raises(ArgumentError, match=rf"id has 2 invocation ids; pass one of them: {A}, {B}\."):
        invocation_id_in(f"{A} called {B}")
    for value in ("Payments", "", "x" * 5_000):
        with pytest.raises(ArgumentError, match="which is not an invocation id") as caught:
            invocation_id_in(value)
        assert len(str(caught.value)) < 200
    with pytest.raises(ArgumentError, match=r"id is a DataFrame: .*frame\.id\[0\]"):
        invocation_id_in(pd.DataFrame({"id": [A]}))


def test_a_cut_id_and_a_target_are_told_apart() -> None:
    with pytest.raises(ArgumentError, match=r"33 letters and digits \(case-sensitive\); this one has 30\.$"):
        invocation_id_in(A[:-3])
    for target in ("Payments/charge", "Orders/4711/place"):
        with pytest.raises(
            ArgumentError, match=r"is the target of invocations; .*; pass the id of one of them\.$"
        ) as caught:
            invocation_id_in(target)
        assert len(str(caught.value)) < 200


def test_a_short_id_is_refused_with_the_way_to_the_whole_one() -> None:
    with pytest.raises(ArgumentError, match=r"which is the short form of an invocation id; .*--full-ids shows it"):
        invocation_id_in(shorten_id(A))


@pytest.mark.parametrize(
    ("targets", "says"),
    [
        (pd.DataFrame({"id": [A], "invocation_id": [B]}), r"id and invocation_id.*frame\['id'\]"),
        (pd.DataFrame({"holder_id": [A], "n": [1]}), r"holder_id, n.*frame\['holder_id'\]"),
        (pd.DataFrame({"id": [A], "x": [B]}).rename(columns={"x": "id"}), "id and id"),
        ({"id": [A]}, "dict"),
        (7, "int"),
        (None, "NoneType"),
        (b"inv_1", "bytes"),
    ],
)
def test_targets_without_one_column_of_ids_are_refused_with_the_columns(targets: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        parse_ids(targets)


def test_ids_are_case_sensitive_and_a_too_large_number_is_no_id() -> None:
    assert is_invocation_id("inv_1" + "0" * 33)
    assert not is_invocation_id("inv_1" + "Z" * 33)
    assert not is_invocation_id("INV_1" + "0" * 33)


EARLY, LATE = (datetime(2026, 11, 26, hour, 0, 0, 518_000, tzinfo=UTC) for hour in (9, 10))


@pytest.mark.parametrize(
    "times",
    [
        [EARLY, LATE],
        [EARLY.isoformat(), LATE.isoformat()],
        pd.to_datetime([EARLY, LATE]).tz_convert("Asia/Tokyo"),
        pd.to_datetime([EARLY, LATE]).tz_localize(None) + pd.Timedelta(microseconds=9),
    ],
    ids=["UTC", "text", "another zone", "no zone and finer"],
)
def test_a_column_created_at_selects_the_runs_in_any_form_of_a_frame(times: Any) -> None:
    import polars as pl

    frame = pd.DataFrame({"id": [A, B], "created_at": times})
    for rows in (frame, pa.Table.from_pandas(frame), pl.from_pandas(frame)):
        assert parse_created(rows) == {A: frozenset({EARLY}), B: frozenset({LATE})}


def test_an_id_without_a_time_names_no_run_and_one_with_two_times_selects_both() -> None:
    assert parse_created([A]) == parse_created(A) == parse_created(pd.DataFrame({"id": [A]})) == {}
    rows = pd.DataFrame({"id": [A, A, B, B, None], "created_at": [EARLY, LATE, EARLY, None, EARLY]})
    assert parse_created(rows) == {A: frozenset({EARLY, LATE})}
    for wrong in ([1, 2], ["soon", "now"]):
        with pytest.raises(ArgumentError, match="created_at of the frame is not a timestamp"):
            parse_created(pd.DataFrame({"id": [A, B], "created_at": wrong}))


def test_chunks_have_every_id_once_and_in_order() -> None:
    ids = [str(number) for number in range(2 * IDS_PER_QUERY + 1)]
    parts = list(chunks(ids, IDS_PER_QUERY))
    assert [len(part) for part in parts] == [IDS_PER_QUERY, IDS_PER_QUERY, 1]
    assert [id_ for part in parts for id_ in part] == ids
