"""``open_history(live=…)``: which runs a joined source has, and which rows it asks the server for."""

from __future__ import annotations

import json
import random
import threading
from collections import Counter
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab.analysis.journal.encoding import encode_entry
from restate_lab.errors import ArgumentError, NotOnThisServer, UnknownName, Unreachable
from restate_lab.history.joined import JoinedHistory
from restate_lab.history.shards import ShardLayout
from restate_lab.history.store import locate_store
from restate_lab.history.tables import TABLES
from restate_lab.reads import Reads, Stopped
from support.agent_payloads import PAYLOADS
from support.archives import DAY, SampleArchive, entries_of, run
from support.joined_rows import ServedRows

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
NOW = DAY + 72 * HOUR
Runs = dict[tuple[str, datetime], dict[str, Any]]


def key_of(row: dict[str, Any]) -> tuple[str, datetime]:
    return row["id"], row["created_at"]


def open_run(number: int, created: datetime, **columns: Any) -> dict[str, Any]:
    ended = run(number, created + MINUTE)
    nothing = dict.fromkeys(("completed_at", "completion_result", "completion_retention"))
    return ended | nothing | {"created_at": created, "status": "invoked"} | columns


def served(*runs: dict[str, Any], now: datetime = NOW, **tables: list[dict[str, Any]]) -> ServedRows:
    """Return a server with runs and their journals, whose entries have the name "server"."""
    entries = [entry | {"name": "server"} for each in runs for entry in entries_of(each)]
    return ServedRows(now, sys_invocation_status=list(runs), sys_journal=entries, **tables)


@pytest.fixture(scope="module")
def repeated(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Runs]:
    """Forty ids with up to three archived runs each, in four visits."""
    chance = random.Random(4)  # noqa: S311 - no secret
    archive = SampleArchive(tmp_path_factory.mktemp("joined") / "history")
    known: Runs = {}
    for visit in range(4):
        at = DAY + (visit + 1) * 12 * HOUR
        runs = [run(number, at - HOUR) for number in range(40) if chance.random() < 0.5]
        archive.visit(at, runs, repeated=[each["id"] for each in runs if each["id"] in {id_ for id_, _ in known}])
        known |= {key_of(each): each for each in runs}
    return archive.path, known


def any_server(chance: random.Random, archived: Runs) -> Runs:
    """Return runs that a server can have after the last visit: at most one per id, the newest or an archived one."""
    there: Runs = {}
    for number in range(60):
        copies = sorted((each for each in archived.values() if each["id"] == run(number, DAY)["id"]), key=key_of)
        choice = chance.random()
        created = NOW - chance.randrange(1, 600) * MINUTE
        if choice < 0.3 and copies:
            row = copies[-1]
        elif choice < 0.5:
            row = open_run(number, created)
        elif choice < 0.7:
            row = run(number, created + MINUTE)
        else:
            continue
        there[key_of(row)] = row
    return there


@pytest.mark.parametrize(("since", "worlds"), [(None, 4), (DAY + 20 * HOUR, 1)], ids=["all", "since"])
def test_each_run_is_there_once_and_the_newest_one_has_the_id(
    repeated: tuple[Path, Runs], since: datetime | None, worlds: int
) -> None:
    path, archived = repeated
    in_period = {key for key, each in archived.items() if since is None or each["completed_at"] >= since}
    chance = random.Random(7)  # noqa: S311 - no secret
    for _ in range(worlds):
        there = any_server(chance, archived)
        expected = dict.fromkeys(in_period, "archive") | dict.fromkeys(there.keys() - archived.keys(), "server")
        newest = {id_: max(created for other, created in expected if other == id_) for id_, _ in expected}
        with rl.open_history(path, live=served(*there.values()), since=since) as joined:  # type: ignore[arg-type]
            rows = joined.arrow("SELECT id, created_at FROM sys_invocation_status").to_pylist()
            origins = {row["id"]: row["origin"] for row in joined.arrow("SELECT id, origin FROM origins").to_pylist()}
            names = joined.arrow("SELECT id, name, count(*) AS n FROM sys_journal GROUP BY id, name").to_pylist()
            some = [key for key in expected if chance.random() < 0.3]
            by_id = joined.arrow("SELECT id FROM sys_invocation_status WHERE id IN :ids", ids=[id_ for id_, _ in some])
        assert Counter((row["id"].partition("@")[0], row["created_at"]) for row in rows) == Counter(list(expected))
        assert all(("@" not in row["id"]) == (row["created_at"] == newest[row["id"][:38]]) for row in rows)
        assert origins == {row["id"]: expected[row["id"][:38], row["created_at"]] for row in rows}
        assert {row["id"]: row["name"] for row in names} == {
            id_: "server" if origin == "server" else None for id_, origin in origins.items()
        }, "the journal is from the same side as its run"
        assert {row["n"] for row in names} == {2}
        assert set(by_id["id"].to_pylist()) == {id_ for id_, _ in some}


@pytest.fixture
def asked(repeated: tuple[Path, Runs]) -> tuple[JoinedHistory, ServedRows]:
    server = served(
        *(open_run(number, NOW - HOUR, status="suspended" if number % 2 else "invoked") for number in range(90, 96)),
        state=[{"service_key": "k", "value_utf8": "v"}],
        sys_invocation_state=[{"id": run(number, DAY)["id"], "in_flight": True} for number in (1, 92)],
    )
    joined = rl.open_history(repeated[0], live=server)  # type: ignore[arg-type]
    assert isinstance(joined, JoinedHistory)
    joined.tables()
    server.asked.clear()
    return joined, server


def test_a_statement_reads_only_the_rows_of_the_server_that_it_needs(asked: tuple[JoinedHistory, ServedRows]) -> None:
    joined, server = asked
    id_ = run(91, DAY)["id"]
    joined.arrow("SELECT name FROM sys_journal WHERE id = :id AND index < 9", id=id_)
    assert len(server.asked) == 2
    assert all('"id" IN' in each for each in server.asked), "a journal is read by its id"
    assert "entry_lite_json" not in server.asked[1]
    in_flight = joined.arrow("SELECT id FROM sys_invocation_state WHERE in_flight")["id"].to_pylist()
    assert in_flight == [run(92, DAY)["id"]], "the state of an attempt is only that of a run of the server"
    server.asked.clear()
    assert joined.arrow("SELECT value_utf8 FROM state").to_pylist() == [{"value_utf8": "v"}]
    assert server.asked == ["SELECT value_utf8 FROM state"], "a table that only the server has is its own matter"
    server.asked.clear()
    joined.arrow("SELECT count(*) FROM visits")
    joined.arrow("SELECT count(*) FROM archive.invocations")
    assert server.asked == []
    rows = joined.arrow("SELECT id FROM sys_invocation_status WHERE status = 'suspended' AND target IS NOT NULL")
    assert len(rows) == 3
    assert '"status" IN' in server.asked[-1]
    server.asked.clear()
    joined.arrow(
        "SELECT s.id, (SELECT max(value_utf8) FROM state) AS v FROM sys_invocation_status s WHERE s.id = :id", id=id_
    )
    assert sum('FROM "state"' in each for each in server.asked) == 1, "a table in a subquery is read, too"


def test_a_run_that_is_removed_or_started_again_while_a_statement_reads_is_in_no_table(
    asked: tuple[JoinedHistory, ServedRows],
) -> None:
    joined, server = asked

    def change(statement: str) -> None:
        if "sys_journal" in statement:  # after the list of runs, before their rows
            server.before = lambda _: None
            server.put(sys_invocation_status=[open_run(92, NOW - MINUTE), *(open_run(n, NOW - HOUR) for n in (94, 95))])

    server.before = change
    statement = "SELECT j.id, s.id AS run, s.target FROM sys_journal j LEFT JOIN sys_invocation_status s ON s.id = j.id"
    rows = joined.arrow(f"{statement} WHERE s.status IS DISTINCT FROM 'completed'").to_pylist()
    assert {(row["id"], row["run"]) for row in rows} == {(run(number, DAY)["id"],) * 2 for number in (94, 95)}


@pytest.mark.parametrize(("shard", "number"), [(None, 2), ("orders", 1)])
def test_the_journal_of_an_archived_run_is_the_servers_until_it_is_archived(
    tmp_path: Path, shard: str | None, number: int
) -> None:
    """An archiver that was killed has committed the run, and not its journal."""
    archive, other = SampleArchive(tmp_path / "history"), SampleArchive(tmp_path / "other")
    row = run(1, NOW - HOUR)
    archive.visit(NOW - 2 * HOUR, [run(2, NOW - 3 * HOUR)])
    other.visit(NOW - MINUTE, [row])
    rows = pa.table(locate_store(other.path).open("invocations").scan())
    for column, value in (("visit", number), ("shard", shard)):
        place = rows.schema.get_field_index(column)
        rows = rows.set_column(place, column, pa.array([value], TABLES["invocations"].own[column]))
    store = locate_store(archive.path)
    for table in ("invocations", "journal", "events", "agent_steps"):  # the first visit was complete
        store.append(
            store.open(table), store.open(table).to_pyarrow_table().slice(0, 0), cluster="prod", after=0, number=1
        )
    if shard:
        ShardLayout().with_archiver(shard, ("Orders",)).store_in(store.open("invocations"), "prod")
    store.append(store.open("invocations"), rows, cluster="prod", shard=shard, after=number - 1, number=number)
    with rl.open_history(archive.path, live=served(row, run(2, NOW - 3 * HOUR))) as joined:  # type: ignore[arg-type]
        names = joined.arrow("SELECT id, name FROM sys_journal ORDER BY id").to_pylist()
        assert joined.arrow("SELECT DISTINCT origin FROM origins").to_pylist() == [{"origin": "archive"}]
    assert [(each["id"], each["name"]) for each in names] == [
        *[(row["id"], "server")] * 2,
        *[(run(2, DAY)["id"], None)] * 2,
    ]


def test_the_tables_of_an_archive_also_have_the_runs_that_only_the_server_has(repeated: tuple[Path, Runs]) -> None:
    """The tokens of an agent count before a visit; a step and its result have the same completion."""
    row = open_run(97, NOW - HOUR, target_service_name="Agent")
    payload = list(json.dumps(PAYLOADS["OpenAI Agents"]).encode())
    results = {"Notification": {"Completion": {"Run": {"completion_id": 3, "result": {"Success": payload}}}}}
    raw = encode_entry(results)
    common = {"id": row["id"], "version": 2, "appended_at": NOW - MINUTE, "raw_length": len(raw), "raw": raw}
    journal = [
        common
        | {"index": 1, "entry_type": "Command: Run", "entry_lite_json": '{"Command":{"Run":{"completion_id":3}}}'},
        common
        | {
            "index": 2,
            "entry_type": "Notification: Run",
            "entry_json": json.dumps(results),
            "entry_lite_json": '{"Notification":{"ty":"Run","id":{"CompletionId":3},"result":"Success"}}',
        },
    ]
    server = ServedRows(NOW, sys_invocation_status=[row], sys_journal=journal)
    with rl.open_history(repeated[0], live=server) as joined:  # type: ignore[arg-type]
        entries = joined.arrow("SELECT index, completion_id, result FROM journal_entries WHERE id = :id", id=row["id"])
        (step,) = joined.arrow("SELECT * FROM agent_steps").to_pylist()
        assert rl.ask(joined, "agent_spend")["spent_tokens"].to_list() == [120]
        assert joined.arrow("SELECT count(*) AS n FROM agent_steps WHERE id = 'other'")["n"].to_pylist() == [0]
    assert sorted(entries.to_pylist(), key=lambda each: each["index"]) == [
        {"index": 1, "completion_id": 3, "result": None},
        {"index": 2, "completion_id": 3, "result": "Success"},
    ]
    assert (step["id"], step["service"], step["input_tokens"], step["output_tokens"]) == (row["id"], "Agent", 100, 20)
    assert (step["created_at"], step["day"], step["visit"]) == (NOW - HOUR, None, None)


def test_other_clusters_and_times_are_refused_and_errors_are_those_of_the_server(
    repeated: tuple[Path, Runs], asked: tuple[JoinedHistory, ServedRows], tmp_path: Path
) -> None:
    joined, server = asked
    with pytest.raises(ArgumentError, match=r"open_history\(live=…\) needs a live cluster"):
        rl.open_history(repeated[0], live=joined)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="until= and live= exclude each other"):
        rl.open_history(repeated[0], live=server, until="1h")  # type: ignore[arg-type]
    other = served(sys_deployment=[{"id": "dp_other"}])
    with pytest.raises(ArgumentError, match=r"live= is another cluster: 'prod' in .* has none of its deployments"):
        rl.open_history(repeated[0], live=other)  # type: ignore[arg-type]
    archive = SampleArchive(tmp_path / "known")
    archive.visit(DAY, [run(1, DAY - HOUR)], address=other.address)
    rl.open_history(archive.path, live=other).close()  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="in the future: the cluster's clock is"):
        joined.at("2099-01-01T00:00:00Z")
    with pytest.raises(ArgumentError, match="a plan needs a live cluster"):
        rl.plan(joined, "purge", [run(91, DAY)["id"]])
    with pytest.raises(UnknownName, match="sys_jurnal"):
        joined.arrow("SELECT * FROM sys_jurnal, sys_invocation_status")
    server.fails = Unreachable("no route")
    with pytest.raises(Unreachable, match="no route"):
        joined.arrow("SELECT count(*) FROM sys_invocation_status")
    assert joined.arrow("SELECT count(*) AS n FROM visits")["n"].to_pylist() == [4]
    assert "not counted: Unreachable" in joined._repr_html_()
    server.fails = None
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        Reads(joined, stop=stop).arrow("SELECT count(*) FROM sys_invocation_status")


def test_what_is_missing_is_stated_until_now(repeated: tuple[Path, Runs]) -> None:
    """Between the last visit and the retention before now, runs can have ended and have been removed."""
    now = datetime.now(DAY.tzinfo)
    kept = {"service": "Orders", "handler": "place", "completion_retention_ms": 3_600_000}
    with rl.open_history(repeated[0], live=served()) as joined:  # type: ignore[arg-type]
        assert isinstance(joined, JoinedHistory)
        joined._retention = f"[{kept}]".replace("'", '"')
        coverage = joined.coverage
    assert coverage.open_invocations
    assert coverage.until is None
    last = DAY + 48 * HOUR
    (gap,) = [each for each in coverage.gaps if each.since > last - MINUTE]
    assert abs(gap.until - (now - HOUR)) < MINUTE
    assert any("after the last visit, at 2026-11-22" in text for text in coverage.unknown)
    with pytest.raises(NotOnThisServer):
        rl.waits(rl.open_history(repeated[0]))


def test_an_archived_run_neither_expires_nor_outlives_its_retention(tmp_path: Path) -> None:
    """Its retention on the server says nothing about the archive, and an action on it is suggested only before that."""
    failed = {"completion_result": "failure", "completion_failure": "[500] no"}
    old, recent = run(1, NOW - 60 * HOUR, **failed), run(2, NOW - 10 * MINUTE, **failed)
    new = run(3, NOW - MINUTE, completion_retention=HOUR, journal_retention=HOUR, **failed)
    archive = SampleArchive(tmp_path / "history")
    archive.visit(NOW - 2 * MINUTE, [old, recent | {"completion_retention": 30 * MINUTE}])
    with rl.open_history(archive.path, live=served(new)) as joined:  # type: ignore[arg-type]
        assert rl.ask(joined, "expiring")["id"].to_list() == [new["id"]]
        diagnosis = rl.doctor(joined)
        assert "late_cleanup" in set(diagnosis.checked["check"])
        assert "late_cleanup" not in set(diagnosis.findings["check"])
        texts = {row["id"]: rl.why(joined, row["id"]) for row in (old, recent, new)}
    assert "It is archived; the cluster keeps its record until" in str(texts[recent["id"]])
    assert [bool(len(texts[row["id"]].options)) for row in (old, recent, new)] == [False, True, True]
    assert "Its record is kept until" in str(texts[new["id"]])
