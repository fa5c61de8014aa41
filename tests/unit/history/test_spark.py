"""A history in Spark: its closed set of statements, and the refusal of others; Spark itself answers in long tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.errors import ArgumentError, StatementError
from restate_lab.history.spark.translate import Translator, is_over_runs, spark_type
from restate_lab.reads import Reads
from support.spark_archive import write_archive
from support.spark_equality import PERIODS
from support.spark_set import PROVEN, RecordingEngine, digest_of, digests_of, guide_types, record, views

COUNT = "SELECT count(*) AS n FROM sys_invocation_status"
PROVE = "Compare them in Spark, and store the result: see the docstring of tests/support/spark_equality.py."


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write an archive with odd rows, and with ids that have several runs."""
    return write_archive(tmp_path_factory.mktemp("archive") / "history", runs=12)


@pytest.fixture
def history(archive: Path) -> Iterator[rl.History]:
    """Open a history in which DataFusion answers in place of Spark."""
    with rl.open_history(archive) as opened:
        RecordingEngine(opened)
        yield opened


def test_every_statement_that_reaches_spark_was_equal_there(archive: Path) -> None:
    """Each statement of the verbs, with each of their arguments, and each view has a proof for its translation."""
    proven = {line.partition(" ")[0] for line in PROVEN.read_text("utf-8").splitlines()}
    composed: dict[str, str] = {}
    for period in PERIODS:
        with rl.open_history(archive, **period) as opened:
            composed |= digests_of(opened, views(opened) if period else record(opened) | views(opened))
    unproven = sorted(name for digest, name in composed.items() if digest not in proven)
    assert not unproven, f"these statements have no proof: {', '.join(unproven)}. {PROVE}"
    assert len(composed) >= 100


def test_a_digest_depends_on_everything_but_the_literals() -> None:
    assert digest_of("SELECT 1 WHERE a IN ('x', 'y')") == digest_of("SELECT 22 WHERE a IN ('it\\'s')")
    assert digest_of("SELECT 1") != digest_of("SELECT 1 AS n")


@pytest.mark.parametrize("text", [COUNT, "SELECT * FROM visits", "SELECT id FROM sys_invocation WHERE id = 'inv_1'"])
def test_sql_of_the_user_is_refused_by_a_line_that_names_a_view(history: rl.History, text: str) -> None:
    """The call decides, and not the text: the same statement of a verb is answered."""
    view = "sys_invocation" if "inv_1" in text else "sys_invocation_status"
    for call in (history.sql, history.arrow, lambda each: history.stream(each).__enter__()):
        with pytest.raises(StatementError, match=rf"use history\.spark\.sql\(…\), where {view} is a view\.$") as error:
            call(text)
        assert "\n" not in str(error.value)
        assert not hasattr(error.value, "__notes__")
    Reads(history).arrow(text)
    assert len(history.tables())


def test_only_a_history_of_spark_has_its_session(archive: Path) -> None:
    with rl.open_history(archive) as alone:
        with pytest.raises(ArgumentError, match=r"needs a history of Spark: rl\.open_history\(where, engine=spark\)"):
            _ = alone.spark
        RecordingEngine(alone)
    with pytest.raises(StatementError, match="is closed; open it again"):
        _ = alone.spark


def test_only_a_session_of_spark_is_an_engine(archive: Path) -> None:
    with pytest.raises(ArgumentError, match="engine is a str: pass a SparkSession"):
        rl.open_history(archive, engine="local[2]")  # type: ignore[arg-type]


def test_the_guide_has_the_type_of_each_column_in_spark(history: rl.History) -> None:
    types = guide_types()
    for kind in sorted(set(history.tables()["type"])):
        assert [name for pattern, name in types.items() if pattern.fullmatch(kind)] == [spark_type(kind)], kind


@pytest.mark.parametrize(
    ("statement", "is_for_spark"),
    [
        ("SELECT count(*) FROM sys_invocation", True),
        ("SELECT id FROM sys_invocation WHERE target = 'inv_1'", True),
        ("SELECT s.id FROM sys_journal j JOIN sys_invocation s ON s.id = j.id", True),
        ("SELECT * FROM sys_journal WHERE id = 'inv_1'", False),
        ("WITH s AS (SELECT * FROM sys_invocation WHERE id IN ('inv_1', 'inv_2')) SELECT * FROM s", False),
        ("SELECT id FROM sys_invocation WHERE invoked_by_id IN ('inv_1')", False),
        ("SELECT count(*) FROM visits", False),
        ("SELECT id FROM sys_deployment WHERE id IN (SELECT name FROM sys_service)", False),
    ],
)
def test_statements_about_ids_and_small_tables_stay_on_datafusion(statement: str, *, is_for_spark: bool) -> None:
    assert is_over_runs(statement) == is_for_spark


REFUSED = (
    *("approx_distinct(id)", "json_as_text(target, 'a')", "now()", "log10(1)"),
    *("arrow_cast(created_at, 'Timestamp(Nanosecond, None)')", "date_part('hour', created_at)", "target ~* 'a'"),
    *("regexp_replace(target, 'a', 'x')", "regexp_replace(target, id, 'x', 'g')", "first_value(id ORDER BY id DESC)"),
)


def test_what_no_statement_of_the_set_has_is_refused(history: rl.History) -> None:
    translator = Translator.of(history._context)
    for part in REFUSED:
        with pytest.raises(StatementError, match="is in no statement that was compared in Spark"):
            translator.translate(f"SELECT {part} AS x FROM sys_invocation_status")
    with pytest.raises(StatementError, match=r"the table public\.x is not available in Spark"):
        translator.translate("SELECT 1 FROM x")
    with pytest.raises(StatementError, match=r"limit= of 1,000,000 or more is not supported in Spark; pass limit=None"):
        translator.translate(f"{COUNT} ORDER BY 1 LIMIT 1000000")
    assert "LIMIT" not in translator.translate(f"{COUNT} ORDER BY 1 LIMIT {2**62}")
