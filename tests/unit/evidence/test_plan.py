"""The plan of a freeze: it is complete before anything is written, and the files match it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.manifest import Manifest
from restate_lab.evidence.plan import FreezePlan, RowFilter, TablePlan, TableRows, plan_freeze
from restate_lab.evidence.redaction import parse_patterns
from restate_lab.evidence.selection import InvocationSelection
from restate_lab.evidence.tables import read_schema
from restate_lab.reads import Reads
from support.freezable import Freezable, invocation, sample_id

KEYS = frozenset({("Svc", "k")})
SELECTION = InvocationSelection(
    arguments={"ids": 1}, matches=1, ids=(sample_id(1), sample_id(2)), keys=KEYS, queues=(), notes=("a note",)
)


def plan(
    *, selection: InvocationSelection | None = None, redact: Any = None, payloads: bool = False, tables: Any = None
) -> FreezePlan:
    source = Freezable()
    schema = read_schema(Reads(source))
    patterns = parse_patterns(redact, schema.columns)
    planned = plan_freeze(schema, schema.base_tables(tables), selection=selection, patterns=patterns, payloads=payloads)
    assert source.read == [], "a plan reads no rows"
    return planned


def table(of: FreezePlan, name: str) -> TablePlan:
    (planned,) = [each for each in of.tables if each.name == name]
    return planned


def test_rows_of_a_selection_are_read_by_ids_or_keys_or_filtered_after_the_read() -> None:
    ids = {"values": [sample_id(1), sample_id(2)]}
    planned = plan(selection=SELECTION)
    status = table(planned, "sys_invocation_status")
    assert status.rows == TableRows('"id" IN :values', (ids,))
    assert table(planned, "sys_invocation_state").rows == status.rows
    state = table(planned, "state")
    assert state.rows.params == ({"services": ["Svc"], "keys": ["k"]},)
    assert state.rows.keep == RowFilter(("service_name", "service_key"), KEYS)
    deployments = table(planned, "sys_deployment")
    assert ("WHERE" in deployments.sql, deployments.rows) == (False, TableRows())
    assert all(("WHERE" in each.sql, each.rows) == (False, TableRows()) for each in plan().tables)


def test_a_filter_does_not_keep_the_service_of_one_pair_with_the_key_of_another() -> None:
    names = ["service_name", "service_key"]
    batch = pa.RecordBatch.from_pydict(dict(zip(names, [["A", "A", "B"], ["1", "2", "2"]], strict=True)))
    kept = RowFilter(("service_name", "service_key"), frozenset({("A", "1"), ("B", "2")})).apply(batch)
    assert [tuple(row.values()) for row in kept.to_pylist()] == [("A", "1"), ("B", "2")]


def test_each_column_has_its_method_and_a_pattern_of_a_view_applies_to_its_tables() -> None:
    def methods(planned: FreezePlan) -> dict[str, str]:
        return {mask.column: mask.method for each in planned.tables for mask in each.masks.values()}

    assert methods(plan()) == {"sys_deployment.endpoint": "user_info"}
    always = {"sys_deployment.endpoint": "user_info", "sys_journal.entry_json": "entry"}
    payloads = {"state.value": "json", "state.value_utf8": "json"}
    assert methods(plan(payloads=True)) == {**always, **payloads}
    planned = plan(payloads=True, redact=["state.value", "sys_invocation.last_failure", "$..card"])
    whole = ("state.value", "state.value_utf8", "sys_invocation_state.last_failure")
    assert methods(planned) == {**always, **dict.fromkeys(whole, "whole")}
    assert [each.text for each in table(planned, "sys_journal").masks["entry_json"].patterns] == ["$..card"]
    assert planned.patterns == ("state.value", "sys_invocation.last_failure", "$..card")


def test_each_exclusion_has_a_reason_and_no_statement_reads_it() -> None:
    planned = plan(tables=["state", "sys_invocation_status"])
    excluded = {(each.table, each.column): each.reason for each in planned.excluded}
    assert excluded["sys_journal", None] == "tables= does not name it"
    assert excluded["state", "value"] == "payloads are frozen only with payloads=True"
    assert excluded["sys_invocation", None] == "a table that the view needs is excluded"
    assert [each.name for each in planned.tables] == ["sys_invocation_status", "state"]
    assert '"value"' not in table(planned, "state").sql
    assert planned.views == ()
    assert [view.name for view in plan().views] == ["sys_invocation"]


def test_the_manifest_and_the_files_match_the_plan(tmp_path: Path) -> None:
    source = Freezable(sys_invocation_status=[invocation(1)])
    freeze(source, tmp_path / "a", payloads=True, redact="state.value")
    manifest = Manifest.from_json((tmp_path / "a" / "manifest.json").read_bytes(), where="")
    planned = plan(payloads=True, redact="state.value")
    assert [(each.table, each.sql) for each in manifest.files] == [(each.name, each.sql) for each in planned.tables]
    for each in planned.tables:
        columns = pq.read_schema(tmp_path / "a" / f"{each.name}.parquet").names
        assert columns == [column.name for column in each.columns]
    assert (manifest.views, manifest.excluded) == (planned.views, planned.excluded)
    assert manifest.redaction.patterns == planned.patterns
