"""The questions' files: each states its result, cost and needs, and all follow the same rules."""

from __future__ import annotations

import contextlib
import re
from importlib.resources import files

import pytest

from restate_lab.analysis.ask import QUESTION_FUNCTIONS
from restate_lab.analysis.questions.catalog import Question, names, parse_question, read_question
from restate_lab.client.sql.parts import complete_for
from restate_lab.errors import NotOnThisServer
from restate_lab.status import _CANCELLED, _KILLED

FOLDER = files("restate_lab.analysis.questions")
FILES = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir() if file.name.endswith(".sql")}
STATEMENTS = [parse_question(name.removesuffix(".sql"), text) for name, text in sorted(FILES.items())]
ASKED = """overview oldest_unmoved blocked_keys blocked_heads retry_storm retry_storm_ids failing_deployments
waiting_on callers suspended_on_run terminal_failures error_onset pinned_to_missing deployment_pins backlog_by_key
throughput latency latency_parts largest_journals largest_payloads state_sizes wakes_next open_awakeables open_promises
restarts repeated_idempotency_keys paused sdks expiring throughput_by_day latency_by_day error_families slow_steps
usage slo queues limits scopes queued_behind""".split()  # noqa: SIM905 - a column of names reads no better
each_statement = pytest.mark.parametrize("asked", STATEMENTS, ids=lambda asked: asked.name)

FILE = """-- What is it?
-- row: one thing
-- cost: scan (all of it)
-- needs: feature vqueues, state.scope
-- :since = 24h (time) made since then
-- :ids = other(status=paused) (ids) these
--
-- A remark with a colon: in it.
SELECT 1
FROM state"""


def test_every_question_of_the_runbook_has_a_file() -> None:
    """The names that operators know are the names of the files; one more serves the others."""
    assert set(names()) == {*ASKED, "ids_by_status", *QUESTION_FUNCTIONS}


def test_a_head_has_question_row_cost_needs_and_parameters() -> None:
    asked = parse_question("thing", FILE)
    assert (asked.text, asked.row, asked.cost, asked.reads) == ("What is it?", "one thing", "scan", "all of it")
    assert (asked.name, asked.needs) == ("thing", ("feature vqueues", "state.scope"))
    assert [str(parameter) for parameter in asked.parameters] == ["since=24h", "ids=other(status=paused)"]
    assert [parameter.default_question for parameter in asked.parameters] == [None, ("other", {"status": "paused"})]
    assert asked.sql == "SELECT 1\nFROM state"


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("row: one thing", "one thing"),
        ("cost: scan (all of it)", "cost: cheap (all of it)"),
        ("cost: scan (all of it)", "cost: scan"),
        ("(time) made", "(date) made"),
        (" = 24h", ""),
    ],
)
def test_an_incomplete_head_is_refused_with_the_name_of_its_file(good: str, bad: str) -> None:
    with pytest.raises(ValueError, match="thing"):
        parse_question("thing", FILE.replace(good, bad))


def test_a_question_without_a_statement_has_a_function() -> None:
    """The files without a statement are those of the functions, and have the same head with a limit."""
    without = [question(name) for name in names() if not question(name).sql]
    assert {each.name for each in without} == set(QUESTION_FUNCTIONS)
    assert all("limit" in {parameter.name for parameter in each.parameters} for each in without)


@each_statement
def test_statements_list_columns_and_have_a_limit_and_an_order(asked: Question) -> None:
    assert not re.search(r"\*\s+FROM (sys_|state)", asked.sql)
    assert "ORDER BY" in asked.sql
    assert "LIMIT :limit" in asked.sql
    assert any(parameter.name == "limit" for parameter in asked.parameters)


@each_statement
def test_a_statement_uses_each_of_its_parameters_and_no_others(asked: Question) -> None:
    used = set(re.findall(r"(?<![\w:]):(\w+)", re.sub(r"'[^']*'", "", asked.sql)))
    assert used - {"now"} == {parameter.name for parameter in asked.parameters}


@each_statement
def test_needs_list_every_table_that_every_source_must_have(asked: Question) -> None:
    """Of a table in a chosen part, the file decides: without it, the question may have no rows."""
    optional: set[str] = set()

    def note(name: str) -> bool:
        optional.add(name)
        return True

    least = most = _tables(complete_for(asked.sql, note))
    with contextlib.suppress(NotOnThisServer):  # each part needs some table
        least = _tables(complete_for(asked.sql, lambda _: False))
    needs = {need.partition(".")[0] for need in asked.needs if not need.startswith(("feature ", "open ", "the "))}
    assert (most & least) - optional <= needs <= most | least


@each_statement
def test_json_is_read_one_key_at_a_time(asked: Question) -> None:
    """No arrows, and no json_get of several keys: frozen evidence only has functions of two arguments."""
    assert "->" not in asked.sql
    for call in re.findall(r"json_get_\w+\(", asked.sql):
        assert call in {"json_get_str(", "json_get_json(", "json_get_int("}
    assert not re.search(r"json_get_\w+\([\w.]+, '\w+', ", asked.sql)


@each_statement
def test_no_question_returns_values_payloads_or_raw_bytes(asked: Question) -> None:
    assert not {"value", "value_utf8", "raw", "entry_json"} & set(columns(asked))


@each_statement
def test_a_statement_about_killed_or_cancelled_recognizes_them_as_the_status_module(asked: Question) -> None:
    assert ("THEN 'cancelled'" in asked.sql) is (f"~ '{_CANCELLED}' THEN 'cancelled'" in asked.sql)
    assert ("THEN 'killed'" in asked.sql) is (f"~ '{_KILLED}' THEN 'killed'" in asked.sql)


def _tables(statement: str) -> set[str]:
    return set(re.findall(r"(?:FROM|JOIN)[\s(]+(sys_\w+|state|agent_steps|journal_entries)\b", statement))


def question(name: str) -> Question:
    found = read_question(name)
    assert found is not None
    return found


def columns(asked: Question) -> list[str]:
    start = [match.end() for match in re.finditer(r"^SELECT\s", asked.sql, re.MULTILINE)][-1]
    body, depth, found, at = asked.sql[start:], 0, [], 0
    for position, letter in enumerate(body):
        depth += (letter == "(") - (letter == ")")
        ends = depth == 0 and body.startswith("\nFROM", position)
        if ends or (depth == 0 and letter == ","):
            found.append(body[at:position].split()[-1].rpartition(".")[2])
            at = position + 1
        if ends:
            break
    return found
