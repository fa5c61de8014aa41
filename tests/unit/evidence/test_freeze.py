"""The files of a freeze, their order, and the files that remain if it does not finish."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import fs

from restate_lab.errors import ArgumentError, EvidenceWarning, NotFound, QueryInterrupted, TimedOut
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.manifest import Manifest
from restate_lab.evidence.store import open_evidence
from support.freezable import START, TABLES, TEXT, Freezable, invocation, sample_id
from support.stories import sample_story


def frozen(path: Path, source: Freezable, **options: Any) -> Manifest:
    freeze(source, path, **options)
    return Manifest.from_json((path / "manifest.json").read_bytes(), where=str(path))


def ids(path: Path, table: str = "sys_invocation_status", column: str = "id") -> set[str]:
    return set(pq.read_table(path / f"{table}.parquet")[column].to_pylist())


def numbers(*of: int) -> set[str]:
    return {sample_id(number) for number in of}


def test_the_manifest_has_rows_schema_sql_and_sha256_of_each_file_and_the_views(tmp_path: Path) -> None:
    source = Freezable(sys_invocation_status=[invocation(1), invocation(2)])
    path = tmp_path / "made.evidence"
    assert freeze(source, path) == path
    manifest = Manifest.from_json((path / "manifest.json").read_bytes(), where="")
    assert sorted(each.name for each in path.iterdir()) == sorted(
        ["manifest.json", *(f"{name}.parquet" for name in TABLES)]
    )
    for each in manifest.files:
        content = (path / each.file).read_bytes()
        table = pq.read_table(path / each.file)
        assert (len(content), hashlib.sha256(content).hexdigest()) == (each.size, each.sha256)
        assert (table.num_rows, table.column_names) == (each.rows, [column.name for column in each.columns])
        assert each.sql.startswith(f'SELECT "{table.column_names[0]}"')
    assert {each.table: each.rows for each in manifest.files if each.rows} == {"sys_invocation_status": 2}
    assert [view.name for view in manifest.views] == ["sys_invocation"]
    assert (manifest.server.name, manifest.server.version, manifest.scope) == ("made", "1.7.12", None)
    assert START < manifest.started_at < manifest.now < manifest.ended_at
    assert json.loads(manifest.to_json()) == json.loads((path / "manifest.json").read_text())


def test_tables_with_ids_of_invocations_are_read_before_their_state_status_and_other_rows(tmp_path: Path) -> None:
    source = Freezable()
    manifest = frozen(tmp_path / "a", source)
    assert source.read == [
        *("sys_keyed_service_status", "sys_invocation_state", "sys_invocation_status"),
        *("state", "sys_journal", "sys_deployment"),
        "sys_invocation_status",  # again, for new runs with the same id
    ]
    read_at = {each.table: each.read_at for each in manifest.files}
    assert read_at["sys_invocation_status"] < manifest.now < read_at["state"]


def test_payloads_are_read_only_on_request_and_raw_entries_never(tmp_path: Path) -> None:
    for payloads, missing in ((False, {"entry_json", "value", "value_utf8", "raw"}), (True, {"raw"})):
        source = Freezable()
        manifest = frozen(tmp_path / str(payloads), source, payloads=payloads)
        assert {each.column for each in manifest.excluded} == missing
        assert all(each.reason for each in manifest.excluded)
        here = {column.name for each in manifest.files for column in each.columns}
        assert not missing & here
        assert not any(f'"{column}"' in each.sql for column in missing for each in manifest.files)


def test_a_view_selects_its_tables_and_is_excluded_if_one_of_them_is_missing(tmp_path: Path) -> None:
    manifest = frozen(tmp_path / "view", Freezable(), tables="sys_invocation")
    assert {each.table for each in manifest.files} == {"sys_invocation_state", "sys_invocation_status"}
    manifest = frozen(tmp_path / "half", Freezable(), tables=["sys_invocation_status", "state"])
    assert manifest.views == ()
    assert "sys_invocation" in {each.table for each in manifest.excluded if each.column is None}
    with pytest.raises(ArgumentError, match="unknown table 'sys_jurnal' in tables=; similar names: sys_journal"):
        freeze(Freezable(), tmp_path / "c", tables=["sys_jurnal"])
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize(
    "failure",
    [QueryInterrupted("it broke off", rows=0), KeyboardInterrupt(), OSError("no space left")],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("elsewhere", [False, True])
def test_an_interrupted_freeze_leaves_no_file(tmp_path: Path, failure: BaseException, elsewhere: bool) -> None:
    source = Freezable(breaks={"sys_journal": failure}, sys_invocation_status=[invocation(1)])
    target: Any = "made" if elsewhere else tmp_path / "made"
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem()) if elsewhere else None
    with pytest.raises(type(failure)) as caught:
        freeze(source, target, filesystem=store)
    assert list(tmp_path.iterdir()) == []
    if isinstance(failure, QueryInterrupted):
        assert "sys_journal" in caught.value.__notes__[0]


@pytest.mark.parametrize(("timeout", "most"), [(None, 3600.0), ("5m", 300.0)])
def test_a_statement_of_a_copy_has_the_limit_of_the_call_or_else_of_an_hour(
    tmp_path: Path, timeout: str | None, most: float
) -> None:
    limits: list[Any] = []

    class Watched(Freezable):
        def stream(self, statement: str, /, **options: Any) -> Any:
            limits.append(options["timeout"])
            return super().stream(statement, **options)

    freeze(Watched(), tmp_path / "a", timeout=timeout)
    assert most - 60 < min(limits) <= max(limits) <= most


def test_an_existing_path_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("folder", "file", "link"):
        source = Freezable()
        with pytest.raises(ArgumentError, match="never overwrites"):
            freeze(source, tmp_path / name)
        assert source.read == []
    with pytest.raises(ArgumentError, match="not a folder"):
        freeze(Freezable(), tmp_path / "missing" / "made")

    class Slow(Freezable):
        def stream(self, statement: str, /, **options: Any) -> Any:
            (tmp_path / "late").mkdir(exist_ok=True)
            (tmp_path / "late" / "mine").touch()
            return super().stream(statement, **options)

    with pytest.raises(ArgumentError, match="never overwrites"):
        freeze(Slow(), tmp_path / "late")
    assert {each.name for each in tmp_path.iterdir()} == {"folder", "file", "link", "late"}
    assert [each.name for each in (tmp_path / "late").iterdir()] == ["mine"]


def test_the_manifest_is_written_last_on_a_store_that_cannot_move_folders(tmp_path: Path) -> None:
    store = fs.SubTreeFileSystem(str(tmp_path), fs.LocalFileSystem())
    seen: list[bool] = []

    class Watched(Freezable):
        def stream(self, statement: str, /, **options: Any) -> Any:
            seen.append((tmp_path / "made" / "manifest.json").exists())
            return super().stream(statement, **options)

    source = Watched(sys_invocation_status=[invocation(1)])
    assert freeze(source, "made", filesystem=store) == "made"
    assert seen == [False] * (len(TABLES) + 2)  # with the views, and the new runs
    evidence = open_evidence("made", filesystem=store)
    assert evidence.sql("SELECT id, status FROM sys_invocation")["id"].tolist() == [sample_id(1)]
    uri = (tmp_path / "made").as_uri()
    assert open_evidence(uri).sql("SELECT id FROM sys_invocation_status")["id"].tolist() == [sample_id(1)]


class CalledAgain(Freezable):
    """Invocations 1 and 2; the first one gets a new run when a certain table is read."""

    def __init__(self, table: str, **options: Any) -> None:
        self._table = table
        super().__init__(**options, **self._rows("old", START - timedelta(hours=1)))

    @contextmanager
    def stream(self, statement: str, /, **options: Any) -> Iterator[pa.RecordBatchReader]:
        if f'FROM "{self._table}"' in statement and self._table:
            self._table = ""
            self.put(**self._rows("new", START + timedelta(seconds=self.clock_reads, milliseconds=500)))
        with super().stream(statement, **options) as reader:
            yield reader

    def _rows(self, run: str, created_at: datetime) -> dict[str, list[dict[str, Any]]]:
        first = invocation(1, status=run, created_at=created_at, target_service_key="k", target_service_ty="workflow")
        return {
            "sys_invocation_status": [first, invocation(2)],
            "sys_keyed_service_status": [{"invocation_id": sample_id(n), "service_key": run} for n in (1, 2)],
            "sys_invocation_state": [{"id": sample_id(n), "last_failure": run} for n in (1, 2)],
            "sys_journal": [{"id": sample_id(n), "index": 0, "entry_type": run} for n in (1, 2)],
            "state": [{"service_name": "Svc", "service_key": key, "key": run} for key in ("k", "other")],
        }


@pytest.mark.parametrize("options", [{}, {"ids": [sample_id(1), sample_id(2)]}], ids=["whole", "by ids"])
@pytest.mark.parametrize("table", ["sys_invocation_state", "sys_invocation_status", "state", "sys_journal"])
def test_an_id_that_is_reused_during_a_freeze_keeps_only_its_status_with_a_warning(
    tmp_path: Path, table: str, options: dict[str, Any]
) -> None:
    with pytest.warns(EvidenceWarning, match=f"1 invocations were purged and called again.*{sample_id(1)}"):
        freeze(CalledAgain(table), tmp_path / "a", progress=False, **options)
    with open_evidence(tmp_path / "a") as evidence:
        assert evidence.manifest.new_runs == (sample_id(1),)
        status = evidence.sql("SELECT id, status FROM sys_invocation_status ORDER BY id")
        is_new = table in {"sys_invocation_state", "sys_invocation_status"}
        assert status["status"].tolist() == ["new" if is_new else "old", "suspended"]
        for name, column in (
            ("sys_keyed_service_status", "invocation_id"),
            ("sys_invocation_state", "id"),
            ("sys_journal", "id"),
        ):
            rows = evidence.sql(f"SELECT {column} AS id FROM {name}")
            assert set(rows["id"]) <= {sample_id(2)}, name
        assert "k" not in set(evidence.sql("SELECT service_key FROM state")["service_key"])
        with pytest.warns(EvidenceWarning, match="called again"):
            assert frozen(tmp_path / "b", evidence).new_runs == (sample_id(1),)  # type: ignore[arg-type] # any Source


def test_an_invocation_that_begins_during_a_freeze_is_not_a_new_run_of_its_id(tmp_path: Path) -> None:
    young = {"created_at": START + timedelta(hours=1)}
    source = Freezable(
        sys_invocation_status=[invocation(1, **young), invocation(2)],
        sys_journal=[{"id": sample_id(1), "index": 0}, {"id": sample_id(2), "index": 0}],
    )
    assert frozen(tmp_path / "a", source).new_runs == ()

    class Fails(Freezable):
        def stream(self, statement: str, /, **options: Any) -> Any:
            if ":since" in statement:
                raise TimedOut("too long")
            return super().stream(statement, **options)

    with pytest.warns(EvidenceWarning, match="It is unknown whether"):
        assert frozen(tmp_path / "b", Fails(sys_invocation_status=[invocation(1)])).new_runs is None


def test_a_frame_with_created_at_selects_these_runs(tmp_path: Path) -> None:
    source = Freezable(sys_invocation_status=[invocation(1), invocation(2, created_at=START)])
    times = [START - timedelta(hours=1)] * 2
    rows = pd.DataFrame({"id": [sample_id(1), sample_id(2)], "created_at": times})
    with pytest.warns(EvidenceWarning, match="1 of 2 ids now have a new run with the same id"):
        freeze(source, tmp_path / "a", ids=rows, progress=False)
    with open_evidence(tmp_path / "a") as evidence:
        assert evidence.sql("SELECT id FROM sys_invocation_status")["id"].tolist() == [sample_id(1)]
    freeze(source, tmp_path / "b", ids=rows["id"], progress=False)
    with open_evidence(tmp_path / "b") as evidence:
        assert len(evidence.sql("SELECT id FROM sys_invocation_status")) == 2


def call(caller: int, callee: int, kind: str = "Call") -> dict[str, Any]:
    body = (
        {"target": {"InvocationId": sample_id(callee)}}
        if kind == "AttachInvocation"
        else {"invocation_id": sample_id(callee)}
    )
    lite = json.dumps({"Command": {kind: body}})
    return {"id": sample_id(caller), "index": 1, "entry_type": f"Command: {kind}", "entry_lite_json": lite}


FAMILY = {
    "sys_invocation_status": [
        invocation(1, service="Root"),
        invocation(2, service="Meant", target_service_key="k", invoked_by_id=sample_id(1), status="inboxed"),
        invocation(3, service="Callee", target_service_key="k", invoked_by_id=sample_id(2)),
        invocation(4, service="Sibling", invoked_by_id=sample_id(1)),
        invocation(5, service="Attached", target_service_key="other"),
        invocation(6, service="Meant", target_service_key="k", status="invoked"),
        invocation(7, service="Stranger", target_service_key="other"),
        invocation(8, service="AsksLater", invoked_by_id=sample_id(6)),
    ],
    "sys_journal": [call(2, 3), call(6, 5, "AttachInvocation"), call(1, 2), call(7, 7)],
    "sys_keyed_service_status": [
        {"service_name": "Meant", "service_key": "k", "invocation_id": sample_id(6)},
        {"service_name": "Stranger", "service_key": "other", "invocation_id": sample_id(7)},
    ],
    "state": [
        {"service_name": name, "service_key": key, "key": "x"}
        for name, key in (("Meant", "k"), ("Callee", "k"), ("Meant", "other"), ("Stranger", "k"))
    ],
    "sys_invocation_state": [{"id": sample_id(6), "in_flight": True}, {"id": sample_id(7), "in_flight": True}],
    "sys_deployment": [{"id": "dp_1", "endpoint": "http://here"}],
}


def test_a_part_has_callers_callees_and_holders_of_keys_but_no_siblings(tmp_path: Path) -> None:
    manifest = frozen(tmp_path / "a", Freezable(**FAMILY), ids=sample_id(2))
    assert ids(tmp_path / "a") == numbers(1, 2, 3, 5, 6, 8)
    assert ids(tmp_path / "a", "sys_journal") == numbers(1, 2, 6)
    assert ids(tmp_path / "a", "sys_invocation_state") == numbers(6)
    state = pq.read_table(tmp_path / "a" / "state.parquet")
    pairs = set(zip(state["service_name"].to_pylist(), state["service_key"].to_pylist(), strict=True))
    assert pairs == {("Meant", "k"), ("Callee", "k")}, "a service of one key and the key of another were not meant"
    assert ids(tmp_path / "a", "sys_keyed_service_status", "service_name") == {"Meant"}
    assert ids(tmp_path / "a", "sys_deployment") == {"dp_1"}
    assert manifest.scope is not None
    assert (manifest.scope["named"], manifest.scope["with_callers_and_callees"]) == (1, 6)


def test_a_story_has_its_members_and_the_holders_of_their_keys_only(tmp_path: Path) -> None:
    """Callers and callees that do not belong to the story, such as those of another run of an id, are not frozen."""
    told = sample_story()
    created = pd.Series([START - timedelta(hours=1)], dtype=told.members["created_at"].dtype)
    members = told.members.head(1).assign(id=sample_id(2), created_at=created)
    manifest = frozen(tmp_path / "a", Freezable(**FAMILY), ids=dataclasses.replace(told, members=members))
    assert ids(tmp_path / "a") == numbers(2, 6)
    assert ids(tmp_path / "a", "sys_journal") == numbers(2, 6)
    assert manifest.scope is not None
    assert manifest.scope["named"] == 1


def test_the_holder_of_a_key_of_another_service_is_not_frozen(tmp_path: Path) -> None:
    """Holders are read by services and by keys, so a service of one key and the key of another are excluded."""
    keys = {1: ("Left", "a"), 2: ("Right", "b"), 3: ("Left", "a"), 4: ("Left", "b")}
    rows = [invocation(number, service=service, target_service_key=key) for number, (service, key) in keys.items()]
    waiting = [row | {"status": "inboxed"} for row in rows[:2]]
    held = [
        {"service_name": keys[number][0], "service_key": keys[number][1], "invocation_id": sample_id(number)}
        for number in (3, 4)
    ]
    source = Freezable(sys_invocation_status=[*waiting, *rows[2:]], sys_keyed_service_status=held)
    frozen(tmp_path / "a", source, ids=[sample_id(1), sample_id(2)])
    assert ids(tmp_path / "a") == numbers(1, 2, 3)


def test_an_unknown_table_is_frozen_whole_or_excluded_from_a_scoped_freeze(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TABLES, "sys_tomorrow", {"id": TEXT})
    rows: dict[str, Any] = {**FAMILY, "sys_tomorrow": [{"id": sample_id(7)}]}
    frozen(tmp_path / "all", Freezable(**rows))
    assert ids(tmp_path / "all", "sys_tomorrow") == numbers(7)
    manifest = frozen(tmp_path / "part", Freezable(**rows), ids=sample_id(2))
    assert not (tmp_path / "part" / "sys_tomorrow.parquet").exists()
    (excluded,) = [each for each in manifest.excluded if each.table == "sys_tomorrow"]
    assert "does not know which of its rows" in excluded.reason


def test_services_handlers_ids_and_times_select_what_matches_all_of_them(tmp_path: Path) -> None:
    hour, ended = timedelta(hours=1), {"status": "completed"}
    rows = [
        invocation(1, created_at=START - 9 * hour, completed_at=START - 8 * hour, **ended),
        invocation(2, created_at=START - 9 * hour, completed_at=START - 5 * hour, **ended),
        invocation(3, created_at=START - 9 * hour),
        invocation(4, created_at=START - 5 * hour, service="Other"),
        invocation(5, created_at=START - 1 * hour),
    ]
    window = {"since": START - 6 * hour, "until": START - 4 * hour}
    for number, (options, expected) in enumerate(
        [
            (window, {2, 3, 4}),
            ({**window, "service": "Svc"}, {2, 3}),
            ({"service": ["Svc", "Other"], "since": "90min"}, {3, 4, 5}),
            ({"ids": pd.DataFrame({"id": [sample_id(1)]})}, {1}),
            ({"ids": pd.Series([sample_id(1), sample_id(4)]), "service": "Other"}, {4}),
        ]
    ):
        frozen(tmp_path / str(number), Freezable(sys_invocation_status=rows), **options)
        assert ids(tmp_path / str(number)) == numbers(*expected), options
    for wrong in ({"ids": "inv_1x"}, {"ids": []}, {"service": []}, {"since": "1h", "until": "2h"}, {"since": "soon"}):
        with pytest.raises(ArgumentError):
            freeze(Freezable(sys_invocation_status=rows), tmp_path / "wrong", **wrong)
    with pytest.raises(NotFound, match=r"service \['Svk'\]"):
        freeze(Freezable(sys_invocation_status=rows), tmp_path / "wrong", service="Svk")
    assert not (tmp_path / "wrong").exists()


def test_missing_ids_and_too_many_callers_are_warnings_and_in_the_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(EvidenceWarning, match="1 of 2 ids do not exist"):
        manifest = frozen(tmp_path / "a", Freezable(**FAMILY), ids=[sample_id(5), sample_id(99)])
    assert "1 of 2 ids" in str(manifest.scope)
    monkeypatch.setattr("restate_lab.evidence.selection.MAX_INVOCATIONS", 3)
    with pytest.warns(EvidenceWarning, match="callees were followed only up to 3 invocations; there are more"):
        frozen(tmp_path / "b", Freezable(**FAMILY), ids=sample_id(2))
    assert sample_id(2) in ids(tmp_path / "b")
    with pytest.raises(ArgumentError, match="more than 3 invocations"):
        freeze(Freezable(**FAMILY), tmp_path / "c", since="2h")


def test_a_path_that_matched_no_value_is_a_warning(tmp_path: Path) -> None:
    state = [{"service_name": "Svc", "key": "x", "value": b'{"card":1}', "value_utf8": '{"card":1}'}]
    source = Freezable(state=state)
    with pytest.warns(EvidenceWarning, match=r"\$\.crad matched no frozen value"):
        manifest = frozen(tmp_path / "a", source, payloads=True, redact=["$.card", "$.crad"])
    assert manifest.redaction.masked == {"$.card": 2, "$.crad": 0}


def test_values_that_were_masked_as_a_whole_are_counted_by_column_and_warned_about(tmp_path: Path) -> None:
    lone = rb'{"card":1,"text":"cut \ud83d"}'
    state = [
        {"service_name": "Svc", "key": "x", "value": lone, "value_utf8": lone.decode()},
        {"service_name": "Svc", "key": "y", "value": b'{"card":2,', "value_utf8": '{"card":2,'},
        {"service_name": "Svc", "key": "z", "value": b"\x00\xff\x01"},
    ]
    payload = ",".join(map(str, b'{"card":2,'))
    entry = f'{{"Command":{{"Input":{{"headers":[],"payload":[{payload}],"name":""}}}}}}'
    journal = [{"id": sample_id(1), "index": 0, "entry_json": entry}]
    with pytest.warns(EvidenceWarning, match=r"4 values could not be read as JSON.*masked as a whole.*sys_journal"):
        manifest = frozen(tmp_path / "a", Freezable(state=state, sys_journal=journal), payloads=True, redact=["$.card"])
    unread = {"state.value": 2, "state.value_utf8": 1, "sys_journal.entry_json": 1}
    assert (manifest.redaction.unread, manifest.redaction.masked) == (unread, {"$.card": 2})
    with open_evidence(tmp_path / "a") as evidence:
        assert "not readable as JSON: state.value (2)" in evidence._repr_html_()
        assert "".join(evidence.sql("SELECT value_utf8 FROM state ORDER BY key")["value_utf8"].dropna()) == (
            '{"card":"•••","text":"cut \\ud83d"}"•••"'
        )


def test_evidence_without_the_count_of_unreadable_values_opens(tmp_path: Path) -> None:
    manifest = frozen(tmp_path / "a", Freezable())
    plain = json.loads(manifest.to_json())
    plain["redaction"] = {"patterns": ["$.card"], "masked": {"$.card": 0}, "not_json": {"state.value": 3}}
    old = Manifest.from_json(json.dumps(plain).encode(), where="")
    assert (dict(old.redaction.not_json), dict(old.redaction.unread)) == ({"state.value": 3}, {})


def test_evidence_can_be_frozen_in_part_or_with_more_masks(tmp_path: Path) -> None:
    freeze(Freezable(**FAMILY), tmp_path / "all")
    with open_evidence(tmp_path / "all") as evidence:
        manifest = frozen(tmp_path / "part", evidence, ids=sample_id(2), redact="sys_deployment.endpoint")
        assert (manifest.now, manifest.server.version) == (evidence.now, "1.7.12")
    again = open_evidence(tmp_path / "part")
    assert again.sql("SELECT id FROM sys_invocation WHERE status = 'running'")["id"].tolist() == [sample_id(6)]
    assert again.sql("SELECT endpoint FROM sys_deployment")["endpoint"].tolist() == ["•••"]


@pytest.mark.parametrize("character", ["\x1b", "\n", "\x7f"])
def test_a_path_that_cannot_be_opened_again_is_refused_before_anything_is_read(tmp_path: Path, character: str) -> None:
    source = Freezable()
    with pytest.raises(ArgumentError, match="control character"):
        freeze(source, tmp_path / f"a{character}b")
    assert source.read == []
    assert list(tmp_path.iterdir()) == []
