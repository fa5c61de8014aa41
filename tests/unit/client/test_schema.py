"""Responses compared with the columns of our own SQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from restate_lab.client.schema import (
    FAMILIES,
    check_columns,
    check_rows,
    check_types,
    note_response,
    selected_columns,
    tables_of,
    translate_errors,
)
from restate_lab.errors import ArgumentError, ServerFailed

STATEMENT = """
-- row: one, of FROM nowhere
WITH s AS (SELECT x, (SELECT 1) FROM y)
SELECT DISTINCT s.id, count(*) AS n, 'a, b' || max(s.name) AS name, coalesce(t.at, now()) AS created_at,
  CASE WHEN s.x IN ('FROM', 'b') THEN 'c' ELSE 'd' END AS status, now() - at AS idle_for, sent, services, "value"
FROM s JOIN (SELECT z FROM w) t ON true LIMIT :limit"""
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
GOOD = pa.table(
    {
        "id": ["inv_1"], "n": [1], "name": ["a"], "created_at": pa.array([NOON], pa.timestamp("ms", "+00:00")),
        "status": ["d"], "idle_for": [timedelta(1)], "sent": [True], "services": [["a"]], "value": [b"v"],
    }
)  # fmt: skip
OTHER = {"id": 1, "n": "1", "name": 5, "created_at": "x", "status": 1.5, "idle_for": 1, "sent": "x", "services": 1}


class Source:
    """The parts of a source that a check reads."""

    name, version = "prod", "1.9.0"

    def __init__(self, tables: Any = None) -> None:
        self._tables = tables

    def tables(self) -> Any:
        return self._tables


SOURCE: Any = Source()


def sql_files(folder: Traversable) -> list[Traversable]:
    found = [each for each in folder.iterdir() if each.name.endswith(".sql")]
    return found + [file for each in folder.iterdir() if each.is_dir() for file in sql_files(each)]


def test_names_and_columns_without_nulls_are_read_from_the_outermost_select() -> None:
    assert [name for name, _ in selected_columns(STATEMENT)] == GOOD.column_names
    assert [name for name, is_never_null in selected_columns(STATEMENT) if is_never_null] == ["id", "n", "status"]


def test_the_kind_of_every_column_of_our_statements_is_known() -> None:
    """Each SQL file names all its columns, and each of them has a type; shared parts are not read alone."""
    found = [each for each in sql_files(files("restate_lab")) if "/parts/" not in str(each)]
    assert len(found) > 80
    columns = {(file.name, column.name) for file in found for column in selected_columns(file.read_text("utf-8"))}
    assert {(file, name) for file, name in columns if name not in FAMILIES} == set()


def test_a_response_with_the_selected_columns_passes() -> None:
    """More columns, no rows, and nulls in nullable columns pass as well."""
    nulls = GOOD.set_column(2, "name", pa.nulls(1))
    for answer in (GOOD, GOOD.slice(0, 0), GOOD.append_column("more", [[1]]), nulls):
        assert check_columns(answer, STATEMENT, SOURCE) is answer


@pytest.mark.parametrize("name", GOOD.column_names)
def test_a_column_that_is_missing_or_renamed_is_named(name: str) -> None:
    renamed = GOOD.rename_columns([f"{each}_2" if each == name else each for each in GOOD.column_names])
    for answer in (GOOD.drop_columns([name]), renamed, GOOD.drop_columns([name]).schema):
        with pytest.raises(
            ServerFailed, match=f"column '{name}' is missing. prod runs restate 1.9.0. Check for a proxy"
        ):
            check_columns(answer, STATEMENT, SOURCE)


@pytest.mark.parametrize("name", OTHER)
def test_a_column_of_another_type_is_named(name: str) -> None:
    """Numbers for texts and texts for all other types are refused; a dictionary does not count as text."""
    at = GOOD.column_names.index(name)
    with pytest.raises(ServerFailed, match=f"column '{name}' has .* instead of "):
        check_columns(GOOD.set_column(at, name, [[OTHER[name]]]), STATEMENT, SOURCE)
    with pytest.raises(ServerFailed, match="column 'id' has dictionary"):
        check_columns(GOOD.set_column(0, "id", GOOD["id"].dictionary_encode()), STATEMENT, SOURCE)


@pytest.mark.parametrize("name", ["id", "n", "status"])
def test_a_null_in_a_column_without_nulls_is_named(name: str) -> None:
    """A missing id, count or status would be shown as another invocation, zero or nothing."""
    at = GOOD.column_names.index(name)
    answer = GOOD.set_column(at, name, pa.nulls(1, GOOD.schema.field(name).type))
    with pytest.raises(ServerFailed, match=f"column '{name}' has nulls"):
        check_columns(answer, STATEMENT, SOURCE)


def test_another_number_of_rows_is_an_error_of_its_own() -> None:
    check_rows(GOOD, STATEMENT, SOURCE)
    with pytest.raises(ServerFailed, match="0 rows instead of 1"):
        check_rows(GOOD.slice(0, 0), STATEMENT, SOURCE)


def test_a_table_has_the_types_that_the_server_names() -> None:
    statement, types = 'SELECT "id", "n" FROM "t"', {"id": "LargeUtf8", "n": "UInt64"}
    assert check_types(GOOD.schema, types, statement, SOURCE) == GOOD.schema
    for wrong in ({"id": "UInt64"}, {"n": 'Timestamp(Millisecond, Some("+00:00"))'}, {"gone": None}):
        with pytest.raises(ServerFailed, match=f"column '{next(iter(wrong))}'"):
            check_types(GOOD.schema, wrong, statement, SOURCE)


def test_the_list_of_tables_has_table_and_column_in_every_row() -> None:
    good = pd.DataFrame({"table": ["t"], "column": ["c"]})
    assert tables_of(Source(good)) is good  # type: ignore[arg-type]
    for bad in (good[["table"]], good.assign(column=[None]), good.assign(table=[1])):
        with pytest.raises(ServerFailed, match="the list of tables and columns has an unexpected shape"):
            tables_of(Source(bad))  # type: ignore[arg-type]


@translate_errors
def verb(source: Any, error: Exception | None = None) -> str:
    """Return, or raise the error after a response."""
    if error is not None:
        note_response()
        raise error
    return "done"


@translate_errors
def early(source: Any, error: Exception) -> None:
    """Raise the error before a response."""
    raise error


@pytest.mark.parametrize(
    "error", [KeyError("id"), TypeError("x"), IndexError("x"), AttributeError("x"), pa.ArrowInvalid("x")]
)
def test_a_raw_error_is_translated_and_kept_as_the_cause(error: Exception) -> None:
    """The error states that it may be a bug of restate_lab, names the server, and has the original as its cause."""
    with pytest.raises(
        ServerFailed, match=r"verb\(\) could not read.*bug of restate_lab.*prod runs restate 1\.9"
    ) as told:
        verb(SOURCE, error)
    assert told.value.__cause__ is error
    verb(SOURCE)
    with pytest.raises(ArgumentError, match=r"early\(\) cannot use these arguments: .*Nothing was sent") as told_early:
        early(SOURCE, error)
    assert told_early.value.__cause__ is error


def test_own_errors_and_wrong_calls_are_not_translated() -> None:
    for error in (ArgumentError("x"), ZeroDivisionError("x"), OSError("x"), RuntimeError("x")):
        with pytest.raises(type(error)) as told:
            verb(SOURCE, error)
        assert told.value is error
    with pytest.raises(ArgumentError, match=r"verb\(\) has no argument 'unknown'. It has source, error"):
        verb(SOURCE, unknown=1)  # type: ignore[call-arg]
    with pytest.raises(ArgumentError, match=r"verb\(\) needs a connection first: rl\.verb\(lab\)"):
        verb()  # type: ignore[call-arg]
    assert (verb(SOURCE), verb.__name__, verb.__doc__) == (
        "done",
        "verb",
        "Return, or raise the error after a response.",
    )
