"""Other programs read the tables of an archive, and twelve questions have exactly the same answers everywhere."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from deltalake import DeltaTable

import restate_lab as rl
from support.archives import DAY, SampleArchive, run

QUESTIONS = {
    "runs": "SELECT count(*) AS n FROM invocations",
    "by handler": "SELECT target_handler_name AS h, count(*) AS n FROM invocations GROUP BY target_handler_name",
    "by result": "SELECT completion_result AS r, count(*) AS n FROM invocations GROUP BY completion_result",
    "by day": "SELECT day, count(*) AS n, sum(journal_size) AS entries FROM invocations GROUP BY day",
    "one day": "SELECT count(*) AS n FROM invocations WHERE day = DATE '2026-11-22'",
    "from a day": "SELECT day, max(completed_at) AS last FROM invocations WHERE day >= DATE '2026-11-23' GROUP BY day",
    "failures": (
        "SELECT completion_failure AS f, min(completed_at) AS first, max(completed_at) AS last, count(*) AS n "
        "FROM invocations WHERE completion_result = 'failure' GROUP BY completion_failure"
    ),
    "longest": "SELECT id, journal_size AS n FROM invocations WHERE journal_size = 9",
    "retention": "SELECT min(completion_retention_ms) AS low, max(completion_retention_ms) AS high FROM invocations",
    "one id": "SELECT id, created_at, completed_at FROM invocations WHERE id = '{id}'",
    "entries": "SELECT entry_type AS kind, count(*) AS n, sum(raw_length) AS bytes FROM journal GROUP BY entry_type",
    "entries of failed ones": (
        "SELECT j.entry_type AS kind, count(*) AS n FROM journal j JOIN invocations i ON i.id = j.id "
        "AND i.created_at = j.created_at WHERE i.completion_result = 'failure' GROUP BY j.entry_type"
    ),
}
IDS = [run(number, DAY)["id"] for number in range(300)]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 runs on five days, and a commit that was merged with others and left files behind."""
    path = tmp_path_factory.mktemp("archive") / "history"
    archive, chance = SampleArchive(path), random.Random(1)  # noqa: S311
    for number in range(5):
        runs = []
        for each in range(60):
            failed = chance.random() < 0.2
            runs.append(
                run(
                    number * 60 + each,
                    DAY + timedelta(days=number, milliseconds=chance.randrange(86_000_000)),
                    target_handler_name=chance.choice(["place", "list", "cancel"]),
                    journal_size=chance.randrange(2, 10),
                    completion_result="failure" if failed else "success",
                    completion_failure=f"[500] no stock of {chance.randrange(3)}" if failed else None,
                )
            )
        archive.visit(DAY + timedelta(days=number + 1), runs[:30])
        archive.visit(DAY + timedelta(days=number + 1, seconds=9), runs[30:])
    with rl.open_history(path) as history:
        assert history.compact()["files_before"].sum() > 5
    return path


@pytest.fixture(scope="module")
def expected(path: Path) -> dict[str, list[list[Any]]]:
    """Return the cells of each question, as the history itself reads them."""
    with rl.open_history(path) as history:
        tables = {
            name: _asked(question).replace("FROM ", "FROM archive.").replace("JOIN ", "JOIN archive.")
            for name, question in QUESTIONS.items()
        }
        return {name: _plain(history.arrow(statement).to_pylist()) for name, statement in tables.items()}


def _asked(question: str) -> str:
    return question.format(id=IDS[123])


def _with_duckdb(path: Path, question: str) -> list[dict[str, Any]]:
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for name in ("invocations", "journal"):
            connection.register(name, DeltaTable(path / name).to_pyarrow_dataset())
        return connection.sql(question).to_arrow_table().to_pylist()


def _with_polars(path: Path, question: str) -> list[dict[str, Any]]:
    import polars as pl

    tables = {name: pl.scan_delta(str(path / name)) for name in ("invocations", "journal")}
    return pl.SQLContext(tables).execute(question, eager=True).to_dicts()


@pytest.mark.parametrize("program", [_with_duckdb, _with_polars])
@pytest.mark.parametrize("name", QUESTIONS)
def test_duckdb_and_polars_return_every_cell_of_the_history(
    path: Path, expected: dict[str, list[list[Any]]], name: str, program: Callable[[Path, str], list[dict[str, Any]]]
) -> None:
    assert expected[name]
    assert _plain(program(path, _asked(QUESTIONS[name]))) == expected[name]


def _plain(rows: list[dict[str, Any]]) -> list[list[Any]]:
    return sorted((list(_cells(row)) for row in rows), key=repr)


def _cells(row: dict[str, Any]) -> Iterator[Any]:
    for value in row.values():
        if isinstance(value, Decimal):  # DuckDB's sum of integers
            yield int(value)
        elif isinstance(value, datetime):
            yield value.astimezone(UTC).isoformat()
        else:
            yield value.isoformat() if isinstance(value, date) else value
