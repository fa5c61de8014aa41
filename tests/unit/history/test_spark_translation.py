"""Statements over many runs become statements of Spark; Spark itself answers them in the long tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sqlglot import exp, parse_one

import restate_lab as rl
from restate_lab.analysis.contrast.reader import ContrastReader, SideCondition
from restate_lab.client.sql.bind import bind, parameter_names
from restate_lab.client.sql.parts import complete_for
from restate_lab.errors import ArgumentError, NotOnThisServer, StatementError
from restate_lab.history.spark.translate import Translator, is_over_runs
from restate_lab.reads import Reads
from support.archives import DAY, SampleArchive, run
from support.spark_equality import OWN, Recorder

NOW = datetime(2026, 11, 21, tzinfo=UTC)
OF_DATAFUSION = re.compile(
    r"\b(?:arrow_cast|arrow_typeof|date_bin|json_\w+|percentile_cont|array_agg|first_value|last_value|string_to_array|"
    r"strpos|approx_\w+|octet_length_|to_timestamp)\(|::|~",
    re.IGNORECASE,
)
VALUES: dict[str, Any] = {
    "service": "Zahlung 'ü' \\",
    "handler": "place",
    "window": timedelta(days=30),
    "bin": timedelta(minutes=5),
    **dict.fromkeys(
        ("since", "until", "now", "from_time", "until_time", "recent", "overdue", "expires", "outlived"), NOW
    ),
    "limit": 100_001,  # the highest default of a question, and one row that shows that there are more
}
"""Values of parameters by name; the others are numbers."""


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.History]:
    """Open a period of an archive with two runs of one id, of which the views rename the earlier one."""
    path = tmp_path_factory.mktemp("archive") / "history"
    archive = SampleArchive(path)
    first, again = run(1, DAY + timedelta(hours=1)), run(1, DAY + timedelta(hours=30))
    archive.visit(DAY + timedelta(days=1), [first])
    archive.visit(DAY + timedelta(days=2), [again], repeated=[again["id"]])
    with rl.open_history(path, since="47h") as opened:
        yield opened


@pytest.fixture(scope="module")
def translator(history: rl.History) -> Translator:
    return Translator.of(history._context, "spark", NOW)


def _package_statements(history: rl.History) -> Iterator[tuple[str, str]]:
    """Yield each statement in a file of the analyses that a history has the tables for, and those of contrast."""
    reads = Reads(history)
    for path in sorted(Path(str(files("restate_lab.analysis"))).rglob("*.sql")):
        text = path.read_text("utf-8")
        needs = [
            each.strip() for line in re.findall(r"^-- needs: (.+)$", text, re.MULTILINE) for each in line.split(",")
        ]
        try:
            statement = complete_for(text, reads.has)
            if reads.missing(needs):
                continue
        except NotOnThisServer:
            continue
        values = {name: VALUES.get(name, 7) for name in parameter_names(statement)}
        values |= {name: ["one", "two"] for name in re.findall(r"IN :(\w+)", statement)}
        yield path.stem, bind(statement, values)
    recorder = Recorder(history)
    reader = ContrastReader(Reads(recorder))
    failing, healthy = (SideCondition(f"completion_result = '{each}'", {}) for each in ("failure", "success"))
    reader.outcomes(has_groups=True)
    reader.totals(failing, healthy)
    reader.sample(failing, 10)
    yield from ((f"contrast {number}", each) for number, each in enumerate(recorder.statements))


def test_every_statement_over_many_runs_is_translated(history: rl.History, translator: Translator) -> None:
    """The result is a statement of Spark without a function of DataFusion, and reads only views of this history."""
    names = set()
    statements = [*_package_statements(history), *((name, bind(each)) for name, each in OWN.items())]
    for name, statement in statements:
        if not is_over_runs(statement):
            continue
        names.add(name)
        written = translator.translate(statement)
        tree = parse_one(written, dialect="spark")
        outside = re.sub(r"'(?:[^'\\]|\\.)*'|`[^`]*`", "", written)
        assert not OF_DATAFUSION.search(outside), (name, written)
        ctes = {each.alias for each in tree.find_all(exp.CTE)}
        tables = {each.name for each in tree.find_all(exp.Table)} - ctes
        assert tables, name
        assert all(each.startswith("spark_") for each in tables), (name, tables)
    assert {"error_families", "slo", "usage", "runs", "steps", "archived_model_steps", "census", "contrast 0"} <= names
    assert len(names) >= 50


def test_each_rule_writes_what_spark_needs(translator: Translator) -> None:
    for part, wanted in RULES.items():
        written = translator.translate(f"SELECT {part} AS x FROM sys_invocation_status s").replace("`", "")
        assert wanted in written, (part, written)


RULES = {
    "arrow_cast(created_at, 'Int64')": "UNIX_MILLIS(s.created_at)",
    "arrow_cast(completion_retention, 'Int64')": "UNIX_MILLIS((CAST('1970-01-01T00:00:00Z' AS TIMESTAMP) + s.comp",
    "arrow_cast(date_bin(INTERVAL '1 day', created_at), 'Int64')": "* 1000)",
    "arrow_cast(date_trunc('hour', created_at), 'Int64')": "UNIX_MILLIS(DATE_TRUNC('HOUR', s.created_at))",
    "date_part('hour', created_at) / 2": "(CAST(EXTRACT(HOUR FROM s.created_at) AS INT) DIV CAST(2 AS BIGINT))",
    "floor(journal_size) / 2": "(CAST(FLOOR(s.journal_size) AS DOUBLE) / ",
    "arrow_cast(completed_at - created_at, 'Int64')": "UNIX_MILLIS((CAST('1970-01-01T00:00:00Z' AS TIMESTAMP) + s.comp",
    "date_bin(INTERVAL '5 minutes', created_at)": "- PMOD(UNIX_MICROS(s.created_at), 300000000)",
    "journal_size / 2": "(s.journal_size DIV CAST(2 AS BIGINT))",
    "journal_size / 2.0": "(CAST(s.journal_size AS DOUBLE) / ",
    "1.5": "CAST('1.5' AS DOUBLE)",
    "1.0 / CAST(journal_size AS DOUBLE)": "* CAST('Infinity' AS DOUBLE)",
    "now()": "CAST('2026-11-21T00:00:00.000000Z' AS TIMESTAMP)",
    "created_at > now() - INTERVAL '7 days'": "- INTERVAL '7' DAYS",
    "concat(target, id)": "CONCAT(COALESCE(CAST(s.target AS STRING), ''), COALESCE(CAST(s.id AS STRING), ''))",
    "target || id": "s.target || s.id",
    r"target ~ '^a.b$'": r"s.target RLIKE '(?d)^a.b\\z'",
    r"target ~* 'a'": "s.target RLIKE '(?dUi)a'",
    r"regexp_replace(target, 'a(b)', '\1x')": r"'\\A((?s:.*?))(?:(?d)a(b))((?s:.*))\\z', '$1$2x$3')",
    r"regexp_replace(target, '\bab[$]', '#', 'g')": r"REGEXP_REPLACE(s.target, '(?dU)\\bab[$]', '#')",
    "encode(sha256(target), 'hex')": "SHA2(s.target, 256)",
    "chr(300) || 'it''s \\'": "'Ĭ' || 'it\\'s \\\\'",
    "percentile_cont(journal_size, 0.5)": "PERCENTILE(s.journal_size, CAST('0.5' AS DOUBLE))",
    "first_value(id ORDER BY created_at)": "MIN_BY(s.id, STRUCT((s.created_at IS NULL), s.created_at))",
    "first_value(id ORDER BY created_at DESC)": "MAX_BY(s.id, STRUCT((s.created_at IS NULL), s.created_at))",
    "last_value(id ORDER BY created_at) FILTER (WHERE id > 'a')": "(s.created_at IS NULL), s.created_at)) FILTER(WHERE",
    "row_number() OVER (ORDER BY target)": "ORDER BY s.target NULLS LAST",
    "row_number() OVER (ORDER BY target DESC)": "ORDER BY s.target DESC NULLS FIRST",
    "array_agg(id ORDER BY id)": "COLLECT_LIST(STRUCT(STRUCT((s.id IS NULL), s.id) AS k, s.id AS v))), e -> e.v)",
    "json_get_str(json_get_json(target, 'a'), 'b')": 'TRY_PARSE_JSON(s.target), \'$["a"]["b"]\', ',
    "CAST(partition_key AS BIGINT UNSIGNED)": "CAST(s.partition_key AS DECIMAL(20, 0))",
    "avg(journal_size)": "AVG(CAST(s.journal_size AS DOUBLE))",
    "ln(journal_size)": "CAST('-Infinity' AS DOUBLE)",
}
"""A part of a statement of DataFusion, and a part of its translation."""
REFUSED = (
    *(
        "approx_percentile_cont(journal_size, 0.5)",
        "arrow_typeof(id)",
        "json_get_json(target, 'a')",
        "substr(id, 0, 2)",
    ),
    *(
        "json_get_str(target, id)",
        "json_get_str(target, '0')",
        "json_as_text(target, 'a')",
        "CAST(created_at AS VARCHAR)",
    ),
    *("CAST(1.5 AS VARCHAR)", "date_bin(INTERVAL '1 month', created_at)", "regexp_replace(target, id, 'x')"),
    *(r"target ~ '[[:alpha:]]'", "regexp_match(target, 'a')", "first_value(id ORDER BY created_at DESC, id)"),
    *(
        "array_agg(id)",
        "string_agg(id, ',')",
        "arrow_cast(TIMESTAMP '2026-11-20T00:00:00', 'Int64')",
        "to_timestamp(1)",
        "regexp_replace(target, 'a', '$1')",
        "log10(journal_size)",
    ),
    *(
        "suspended_waiting_for_signals[1]",
        "first_value(id ORDER BY created_at NULLS FIRST)",
        "encode(sha512(id), 'hex')",
    ),
)


def test_what_could_differ_is_refused(translator: Translator) -> None:
    for part in REFUSED:
        with pytest.raises(StatementError, match="Spark"):
            translator.translate(f"SELECT {part} AS x FROM sys_invocation_status")


@pytest.mark.parametrize("limit", ["LIMIT 1000000", "LIMIT 999999 OFFSET 1", "LIMIT ALL", "OFFSET 5"])
def test_the_first_rows_that_spark_would_take_in_any_order_are_refused(translator: Translator, limit: str) -> None:
    ordered = "SELECT id FROM sys_invocation_status ORDER BY id"
    for statement in (f"{ordered} {limit}", f"SELECT count(*) FROM ({ordered} {limit}) AS r"):
        with pytest.raises(StatementError, match="ORDER BY"):
            translator.translate(statement)
    assert "LIMIT" in translator.translate(f"{ordered} LIMIT 999000 OFFSET 10")
    assert "LIMIT" in translator.translate("SELECT id FROM sys_invocation_status LIMIT 1000000")


@pytest.mark.parametrize(
    ("statement", "is_for_spark"),
    [
        ("SELECT count(*) FROM sys_invocation", True),
        ("SELECT count(*) FROM archive.journal", True),
        ("SELECT id FROM sys_invocation WHERE target = 'inv_1'", True),
        ("SELECT s.id FROM sys_journal j JOIN sys_invocation s ON s.id = j.id", True),
        ("SELECT * FROM sys_journal WHERE id = 'inv_1'", False),
        ("SELECT * FROM sys_journal j WHERE 'inv_1' = j.id", False),
        ("WITH s AS (SELECT * FROM sys_invocation WHERE id IN ('inv_1', 'inv_2')) SELECT * FROM s", False),
        ("SELECT id FROM sys_invocation WHERE invoked_by_id IN ('inv_1')", False),
        ("SELECT count(*) FROM visits", False),
        ("SELECT id FROM sys_deployment WHERE id IN (SELECT name FROM sys_service)", False),
        ("EXPLAIN SELECT count(*) FROM sys_invocation", False),
        ("SELECT table_name FROM information_schema.tables", False),
    ],
)
def test_statements_about_ids_and_small_tables_stay_on_datafusion(statement: str, *, is_for_spark: bool) -> None:
    assert is_over_runs(statement) == is_for_spark


def test_only_a_session_of_spark_is_an_engine(history: rl.History) -> None:
    with pytest.raises(ArgumentError, match="engine is a str: pass a SparkSession"):
        rl.open_history(history.address, engine="local[2]")  # type: ignore[arg-type]
