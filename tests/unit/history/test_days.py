"""Statements about given ids read only the files of the days of these runs, and have the same rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.evidence.engine import read
from restate_lab.history.days import ids_of
from support.large_archive import write_archive

OF_ONE = "SELECT id FROM sys_journal WHERE id IN ('a')"
ABOUT_IDS = (
    (f"{OF_ONE} AND index > 3 ORDER BY id LIMIT 5", {"a"}),
    ("-- x IN ('z')\nSELECT json_get_str(target, 'z') FROM sys_invocation WHERE id IN ('a', 'b''c')", {"a", "b'c"}),
    ("SELECT j.id FROM sys_journal AS j WHERE index = 1 AND j.id = 'a'", {"a"}),
    (f"SELECT s.id FROM ({OF_ONE}) s LEFT JOIN ({OF_ONE}) r ON r.id = s.id", {"a"}),
    (f"{OF_ONE} UNION ALL SELECT id FROM sys_invocation WHERE id = 'b'", {"a", "b"}),
    ("SELECT s.id FROM (SELECT id FROM sys_invocation WHERE id = 'a') s JOIN sys_deployment d ON d.id = s.id", {"a"}),
)
ABOUT_OTHERS = (
    *(
        f"{OF_ONE} OR index = 1",
        f"{OF_ONE} AND index BETWEEN 1 AND 2",
        f"EXPLAIN {OF_ONE}",
        f"WITH x AS ({OF_ONE}) {OF_ONE}",
    ),
    "SELECT id FROM sys_journal WHERE NOT id IN ('a')",
    "SELECT id FROM sys_journal WHERE id NOT IN ('a')",
    "SELECT id FROM sys_journal WHERE id IN ('a') IS NULL",
    "SELECT id FROM sys_journal WHERE id = 'a' || 'b'",
    "SELECT id FROM sys_journal WHERE CASE WHEN true AND id IN ('a') AND true THEN false END",
    "SELECT id FROM sys_journal WHERE id IN ('a', lower('B'))",
    "SELECT id FROM sys_journal WHERE id IN (SELECT id FROM sys_invocation)",
    "SELECT id FROM sys_invocation WHERE invoked_by_id IN ('a')",
    "SELECT id FROM sys_journal, sys_invocation WHERE id IN ('a')",
    "SELECT id FROM sys_journal AS j (index, id) WHERE id IN ('a')",
    "SELECT j.id FROM sys_journal j JOIN sys_invocation s ON s.id = j.id WHERE j.id IN ('a')",
    "SELECT id FROM archive.journal WHERE id IN ('a')",
    "SELECT id FROM visits WHERE id IN ('a')",
    f"{OF_ONE} UNION ALL SELECT id FROM sys_journal",
    f"{OF_ONE} AND EXISTS (SELECT 1 FROM sys_invocation)",
    "SELECT (SELECT count(*) FROM sys_invocation) FROM sys_journal WHERE id IN ('a')",
    "SELECT id FROM sys_journal WHERE id = 'a' LIMIT (SELECT count(*) FROM sys_invocation)",
    "SELECT id FROM sys_journal WHERE id = 'a",
    "SHOW TABLES",
    "SELECT id FROM",
    "SELECT id FROM sys_journal WHERE id IN ()",
    f"SELECT {'(' * 9_000}1{')' * 9_000} FROM sys_journal WHERE id = 'a'",
)
STATEMENTS = (
    "SELECT * FROM sys_invocation WHERE id IN :ids ORDER BY id",
    "SELECT * FROM sys_journal WHERE id IN :ids ORDER BY id, index",
    """SELECT s.id, r.in_flight FROM (SELECT * FROM sys_invocation_status WHERE id IN :ids) s
    LEFT JOIN (SELECT * FROM sys_invocation_state WHERE id IN :ids) r ON r.id = s.id ORDER BY s.id""",
    "SELECT id, count(*) AS n FROM sys_journal_events WHERE id IN :ids GROUP BY id ORDER BY id",
    "SELECT count(*) AS n FROM journal_entries WHERE id IN :ids",
)
DAYS = 12


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive of twelve days, in which ids ran twice."""
    folder = tmp_path_factory.mktemp("days") / "archive"
    write_archive(folder, runs=3_000, days=DAYS, every=timedelta(hours=12))
    return folder


@pytest.mark.parametrize(("statement", "ids"), ABOUT_IDS)
def test_the_ids_of_a_statement_are_found(statement: str, ids: set[str]) -> None:
    assert ids_of(statement) == ids


@pytest.mark.parametrize("statement", ABOUT_OTHERS)
def test_a_statement_that_can_read_other_runs_has_no_ids(statement: str) -> None:
    assert ids_of(statement) == frozenset()


def _chosen(history: rl.History) -> Iterator[list[str]]:
    """Yield ids: a run, an earlier run, both runs of an id, runs of many days, and one with an id without a run."""
    ids = history.sql("SELECT id FROM sys_invocation ORDER BY id")["id"].to_list()
    earlier = next(each for each in ids if "@" in each)
    yield from ([ids[0]], [earlier], [earlier, earlier.partition("@")[0]], ids[::50], ["inv_none", ids[-1]])


@pytest.mark.parametrize("since", [pytest.param(None, marks=pytest.mark.long), timedelta(days=7, hours=5)])
def test_rows_are_those_of_all_files(where: Path, since: timedelta | None) -> None:
    with rl.open_history(where, since=since) as history:
        for ids in _chosen(history):
            for statement in STATEMENTS:
                found = history.arrow(statement, ids=ids)
                sessions, history._days.days = history._days.days, 0  # all files are read
                assert found.equals(history.arrow(statement, ids=ids)), (statement, ids)
                history._days.days = sessions
        assert history._days._sessions


def test_only_the_files_of_the_days_are_read(where: Path) -> None:
    """A run of one day has a session with this day; runs of most days, and other statements, have that of all."""
    with rl.open_history(where) as history:
        rows = history.sql("SELECT id, completed_at FROM sys_invocation ORDER BY id")
        id_, day = rows["id"][0], rows["completed_at"][0].date()
        session = history._days.session(f"SELECT * FROM sys_journal WHERE id = '{id_}'", None)
        for table in ("invocations", "journal"):
            _, batches = read(session, f"SELECT DISTINCT day FROM archive.{table}")
            assert [row["day"] for batch in batches for row in batch.to_pylist()] == [day]
        many = ", ".join(f"'{each}'" for each in rows["id"][::50])
        for statement in (f"SELECT * FROM sys_journal WHERE id IN ({many})", "SELECT * FROM sys_journal"):
            assert history._days.session(statement, None) is history._days.context
