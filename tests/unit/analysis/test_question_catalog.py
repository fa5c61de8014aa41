"""The questions' files: each states its result, cost and needs, and all follow the same rules."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from restate_lab.analysis.ask import QUESTION_FUNCTIONS
from restate_lab.analysis.questions.catalog import Question, Variant, names, parse_variant, read_question
from restate_lab.client.sql.parts import complete_for
from restate_lab.status import _CANCELLED, _KILLED

FOLDER = files("restate_lab.analysis.questions")
FILES = {file.name: file.read_text("utf-8") for file in FOLDER.iterdir() if file.name.endswith(".sql")}
VARIANTS = [parse_variant(name, text) for name, text in sorted(FILES.items())]
ASKED = """overview oldest_unmoved blocked_keys blocked_heads retry_storm retry_storm_ids failing_deployments
waiting_on callers suspended_on_run terminal_failures error_onset pinned_to_missing deployment_pins backlog_by_key
throughput latency latency_parts largest_journals largest_payloads state_sizes wakes_next open_awakeables open_promises
restarts repeated_idempotency_keys paused sdks expiring throughput_by_day latency_by_day error_families slow_steps
usage slo queues limits scopes queued_behind""".split()  # noqa: SIM905 - a column of names reads no better
each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.file)

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
    variant = parse_variant("thing@1.6.sql", FILE)
    assert (variant.text, variant.row, variant.cost, variant.reads) == ("What is it?", "one thing", "scan", "all of it")
    assert (variant.tag, variant.needs) == ("1.6", ("feature vqueues", "state.scope"))
    assert [str(parameter) for parameter in variant.parameters] == ["since=24h", "ids=other(status=paused)"]
    assert [parameter.default_question for parameter in variant.parameters] == [None, ("other", {"status": "paused"})]
    assert variant.sql == "SELECT 1\nFROM state"


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
    with pytest.raises(ValueError, match=r"thing\.sql"):
        parse_variant("thing.sql", FILE.replace(good, bad))


def test_variants_of_an_archive_come_first_then_the_plain_one_then_older_versions() -> None:
    assert [variant.tag for variant in question("state_sizes").variants] == ["", "1.6"]
    assert [variant.tag for variant in question("usage").variants] == ["archive", "", "1.6"]


def test_a_question_without_a_statement_has_a_function() -> None:
    """The files without a statement are those of the functions, and have the same head with a limit."""
    without = [each for name in names() for each in question(name).variants if not each.sql]
    assert {each.file.removesuffix(".txt") for each in without} == set(QUESTION_FUNCTIONS)
    assert all("limit" in {parameter.name for parameter in each.parameters} for each in without)


@pytest.mark.parametrize("name", sorted(set(names()) - set(QUESTION_FUNCTIONS)))
def test_all_variants_of_a_question_have_equal_texts_parameters_and_columns(name: str) -> None:
    variants = question(name).variants
    assert len({(variant.text, variant.row, variant.parameters) for variant in variants}) == 1
    assert len({tuple(columns(variant)) for variant in variants}) == 1


@each_variant
def test_statements_list_columns_and_have_a_limit_and_an_order(variant: Variant) -> None:
    assert not re.search(r"\*\s+FROM (sys_|state)", variant.sql)
    assert "ORDER BY" in variant.sql
    assert "LIMIT :limit" in variant.sql
    assert any(parameter.name == "limit" for parameter in variant.parameters)


@each_variant
def test_a_statement_uses_each_of_its_parameters_and_no_others(variant: Variant) -> None:
    used = set(re.findall(r"(?<![\w:]):(\w+)", re.sub(r"'[^']*'", "", variant.sql)))
    assert used - {"now"} == {parameter.name for parameter in variant.parameters}


@each_variant
def test_needs_list_every_table_that_every_source_must_have(variant: Variant) -> None:
    optional: set[str] = set()

    def note(name: str) -> bool:
        optional.add(name)
        return True

    statement = complete_for(variant.sql, note)
    tables = set(re.findall(r"(?:FROM|JOIN)[\s(]+(sys_\w+|state|agent_steps|journal_entries)\b", statement))
    needs = {need.partition(".")[0] for need in variant.needs if not need.startswith(("feature ", "open "))}
    assert needs == tables - optional


@each_variant
def test_json_is_read_one_key_at_a_time(variant: Variant) -> None:
    """No arrows, and no json_get of several keys: frozen evidence only has functions of two arguments."""
    assert "->" not in variant.sql
    for call in re.findall(r"json_get_\w+\(", variant.sql):
        assert call in {"json_get_str(", "json_get_json(", "json_get_int("}
    assert not re.search(r"json_get_\w+\([\w.]+, '\w+', ", variant.sql)


@each_variant
def test_no_question_returns_values_payloads_or_raw_bytes(variant: Variant) -> None:
    assert not {"value", "value_utf8", "raw", "entry_json"} & set(columns(variant))


@each_variant
def test_a_statement_about_killed_or_cancelled_recognizes_them_as_the_status_module(variant: Variant) -> None:
    assert ("THEN 'cancelled'" in variant.sql) is (f"~ '{_CANCELLED}' THEN 'cancelled'" in variant.sql)
    assert ("THEN 'killed'" in variant.sql) is (f"~ '{_KILLED}' THEN 'killed'" in variant.sql)


def question(name: str) -> Question:
    found = read_question(name)
    assert found is not None
    return found


def columns(variant: Variant) -> list[str]:
    start = [match.end() for match in re.finditer(r"^SELECT\s", variant.sql, re.MULTILINE)][-1]
    body, depth, found, at = variant.sql[start:], 0, [], 0
    for position, letter in enumerate(body):
        depth += (letter == "(") - (letter == ")")
        ends = depth == 0 and body.startswith("\nFROM", position)
        if ends or (depth == 0 and letter == ","):
            found.append(body[at:position].split()[-1].rpartition(".")[2])
            at = position + 1
        if ends:
            break
    return found
