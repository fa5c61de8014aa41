"""An archive and its real server as one source: the same answers as the union of both by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.analysis.questions.catalog import names
from restate_lab.client.lab import Lab
from restate_lab.history.joined import JoinedHistory
from restate_lab.source import Source
from support.bench import wait_for
from support.clusters import KINDS, PLAIN
from support.every_status import status_server
from support.tcp_relay import Fault, tcp_relay
from support.union_rows import OF_RUNS, AtTime, UnionRows

pytestmark = pytest.mark.server

IN_FLIGHT = "SELECT id FROM sys_invocation_state WHERE id = :id AND in_flight"
STATUSES = "SELECT id, status FROM sys_invocation_status WHERE id IN :ids"


@dataclass(frozen=True)
class Joined:
    """A server with runs of every origin, its archive, and the ids of some runs."""

    lab: Lab
    where: Path
    source: JoinedHistory
    ids: dict[str, str]


def until(lab: Lab, ids: dict[str, str], **expected: str) -> None:
    wanted = {ids[name]: status for name, status in expected.items()}

    def seen() -> dict[str, str]:
        return {row["id"]: row["status"] for row in lab.arrow(STATUSES, ids=list(wanted), progress=False).to_pylist()}

    wait_for(seen, lambda rows: rows == wanted)


def again(lab: Lab, ids: dict[str, str], name: str) -> None:
    """Purge an ended run; the next call with its key has the same id."""
    lab.admin.purge_invocation(ids[name], reason="INC-42")
    wait_for(lambda: lab.arrow(STATUSES, ids=[ids[name]], progress=False).num_rows, lambda rows: rows == 0)


@pytest.fixture(scope="module", params=KINDS)
def joined(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Joined]:
    folder = tmp_path_factory.mktemp("joined")
    with status_server(request.param, folder) as lab:

        def send(target: str, **options: Any) -> str:
            service, handler = target.split("/")
            return str(lab.ingress.send(service, handler, "x", **options).invocation_id)

        ids = {name: send("Every/greet") for name in ("both", "removed", "kept")}
        ids |= {"failed": send("Every/fail"), "failed and removed": send("Every/fail")}
        ids |= {name: send("Flow/run", key=name) for name in ("flow again", "flow")}
        ids |= {name: send("Every/greet", idempotency_key=name) for name in ("key again", "key")}
        ids["open then"] = send("Every/waits")
        until(lab, ids, **{name: "completed" for name in ids if name != "open then"}, **{"open then": "suspended"})
        where = folder / "history"
        rl.archive(lab, where, cluster_name="prod", progress=False)
        for name in ("removed", "failed and removed", "flow again", "key again"):
            again(lab, ids, name)
        assert send("Flow/run", key="flow again") == ids["flow again"]
        assert send("Every/waits", idempotency_key="key again") != ids["key again"], "another handler is another id"
        assert send("Every/greet", idempotency_key="key again") == ids["key again"]
        lab.admin.kill_invocation(ids["open then"], reason="INC-42")
        ids |= {"new": send("Every/greet"), "new failed": send("Every/fail"), "waits": send("Every/waits")}
        ids |= {
            "pauses": send("Every/pauses"),
            "holds": str(lab.ingress.send("Held", "hold", key="k").invocation_id),
            "later": send("Every/greet", delay="1h"),
            "runs": send("Every/busy"),
        }
        ids["takes"] = str(lab.ingress.send("Held", "take", "x", key="k").invocation_id)
        until(lab, ids, **dict.fromkeys(("flow again", "key again", "open then", "new", "new failed"), "completed"))
        until(lab, ids, waits="suspended", pauses="paused", holds="suspended", later="scheduled")
        wait_for(lambda: lab.arrow(IN_FLIGHT, id=ids["runs"], progress=False).num_rows)
        source = rl.open_history(where, live=lab)
        assert isinstance(source, JoinedHistory)
        with source:
            yield Joined(lab, where, source, ids)


@pytest.mark.also_on(PLAIN, reason="without vqueues it has other rows in its tables")
def test_all_rows_are_those_of_the_union_with_the_types_of_the_server(joined: Joined) -> None:
    with rl.open_history(joined.where) as history:
        union = UnionRows(history, joined.lab)
    live, mine = (
        {(row.table, row.column): row.type for row in each.tables().itertuples()}
        for each in (joined.lab, joined.source)
    )
    assert {key: mine[key] for key in live} == live
    assert {table for table, _ in mine.keys() - live.keys()} == {
        *("agent_steps", "journal_entries", "origins", "samples", "visits")
    }
    for name in [*OF_RUNS, "sys_invocation", "state", "sys_deployment", "sys_service", "sys_promise"]:
        rows, expected = (each.arrow(f'SELECT * FROM "{name}"') for each in (joined.source, union))
        assert rows.schema.names == expected.schema.names, name
        assert rows.schema.types == joined.lab.arrow(f'SELECT * FROM "{name}" LIMIT 0').schema.types, name
        assert _in_order(rows) == _in_order(expected), name
    origins = {row["id"]: row["origin"] for row in joined.source.arrow("SELECT * FROM origins").to_pylist()}
    ids = joined.ids
    archived = ("both", "removed", "kept", "failed", "failed and removed", "flow", "key")
    assert {name for name in ids if origins.get(ids[name]) == "archive"} == set(archived)
    earlier = [id_.partition("@")[0] for id_, origin in origins.items() if "@" in id_ and origin == "archive"]
    assert sorted(earlier) == sorted([ids["flow again"], ids["key again"]])


PARAMETERS: dict[str, dict[str, Any]] = {"ids_by_status": {"status": "suspended"}}
DEPLOYMENT = "SELECT min(id) AS id FROM sys_deployment"
DIFFERENT = ("block_duration", "p50_ms", "p90_ms", "p99_ms")


@pytest.mark.long
def test_each_question_answers_like_the_union(joined: Joined) -> None:
    with rl.open_history(joined.where) as history:
        union = UnionRows(history, joined.lab)
    asked = []
    for name in {*names()} - {"coverage", "draining"}:  # they need the coverage of the archive
        parameters = PARAMETERS.get(name, {})
        if name in {"callers", "queued_behind"}:
            parameters = {"ids": list(joined.ids.values())} if name == "callers" else {"id": joined.ids["takes"]}
        if name == "stuck_without":
            parameters = {"deployment": joined.lab.sql(DEPLOYMENT)["id"][0]}
        rows, expected = (_ask(AtTime(each, union.now), name, parameters) for each in (joined.source, union))
        if isinstance(expected, str) or isinstance(rows, str):
            assert repr(rows) == repr(expected), name
            continue
        # The time for which a queue has been blocked grows between two reads. A server estimates percentiles.
        columns = [each for each in expected if each in rows and not each.endswith(DIFFERENT)]
        assert _frame(rows[columns]) == _frame(expected[columns]), name
        asked += [name] * bool(len(rows))
    assert {"overview", "terminal_failures", "throughput", "slow_steps", "usage", "latency"} <= {*asked}


def _ask(source: Source, name: str, parameters: dict[str, Any]) -> pd.DataFrame | str:
    try:
        return rl.ask(source, name, **parameters)
    except errors.RestateLabError as error:
        return type(error).__name__


def test_verbs_answer_like_the_union(joined: Joined) -> None:
    with rl.open_history(joined.where) as history:
        union = UnionRows(history, joined.lab)
    now = union.now
    here, there = AtTime(joined.source, now), AtTime(union, now)
    findings = [_frame(rl.doctor(source).findings[["check", "title", "count", "ids"]]) for source in (here, there)]
    assert findings[0] == findings[1]
    assert {"paused", "terminal_failures"} <= {row.partition("|")[0] for row in findings[0]}
    waits = [_frame(rl.waits(source).edges) for source in (here, there)]
    assert waits[0] == waits[1]
    for name in ("removed", "failed and removed", "new failed", "waits", "pauses", "flow again"):
        frames = [_frame(rl.journal(source, joined.ids[name])) for source in (here, there)]
        assert frames[0] == frames[1], name
    for name in ("waits", "pauses", "new failed"):
        texts = [str(rl.why(source, joined.ids[name])).replace(there.name, here.name) for source in (here, there)]
        assert texts[0].splitlines()[0] == texts[1].splitlines()[0], name
    contrasts = [
        _frame(rl.contrast(source, [joined.ids["failed"], joined.ids["new failed"]]).attributes)
        for source in (here, there)
    ]
    assert contrasts[0] == contrasts[1]
    assert len(rl.agent_runs(joined.source)) == 0
    found = rl.find(joined.source, "nowhere")
    assert any("archived without payloads" in reason for reason in found.not_read["reason"])
    assert "It is archived" in str(rl.why(joined.source, joined.ids["removed"]))


def _frame(rows: pd.DataFrame) -> list[str]:
    """Return the rows as texts in order; a mean can differ in its last digits."""

    def text(value: Any) -> str:
        if isinstance(value, float | np.floating):
            return "" if math.isnan(value) else f"{value:.6g}"
        if isinstance(value, np.ndarray | list):
            return repr(sorted(map(str, value)))
        return "" if value is None or value is pd.NA or value is pd.NaT else str(value)

    return sorted("|".join(map(text, row)) for row in rows.itertuples(index=False))


def _in_order(rows: pa.Table) -> list[str]:
    return sorted(repr(row) for row in rows.to_pylist())


@pytest.mark.long  # by day, ``tests/unit/history/test_joined.py`` has the rules
def test_random_visits_between_statements_show_each_run_once(joined: Joined, tmp_path: Path) -> None:
    """Whatever has been visited and purged: a run is there once, and an id names its newest run."""
    lab, chance, where = joined.lab, random.Random(3), tmp_path / "history"  # noqa: S311 - no secret
    rl.archive(lab, where, cluster_name="prod", progress=False)
    expected: set[tuple[str, datetime]] = set()
    for turn in range(4):
        sent = [
            str(lab.ingress.send("Flow", "run", "x", key=f"random {chance.randrange(3)} {turn // 2}").invocation_id)
            for _ in range(2)
        ]
        sent += [str(lab.ingress.send("Every", "greet", "x").invocation_id)]
        wait_for(
            lambda sent=sent: lab.arrow(f"{STATUSES} AND status = 'completed'", ids=sent, progress=False).num_rows,
            lambda rows, sent=sent: rows == len(set(sent)),
        )
        if chance.random() < 0.6:
            rl.archive(lab, where, cluster_name="prod", progress=False)
        with rl.open_history(where, live=lab) as source:
            rows = source.arrow("SELECT id, created_at FROM sys_invocation_status").to_pylist()
        runs = [(row["id"].partition("@")[0], row["created_at"]) for row in rows]
        assert len(runs) == len(set(runs))
        assert len({row["id"] for row in rows}) == len(rows)
        expected |= {run for run in runs if run[0] in sent}
        assert expected <= set(runs)
        if chance.random() < 0.5:
            rl.archive(lab, where, cluster_name="prod", progress=False)
            lab.admin.purge_invocation(sent[0], reason="INC-42")
            wait_for(
                lambda sent=sent: lab.arrow(STATUSES, ids=sent[:1], progress=False).num_rows, lambda rows: rows == 0
            )


def test_a_server_that_does_not_respond_is_the_usual_error_within_the_timeout(joined: Joined) -> None:
    fault = Fault(b"/query", armed=False, passes=0, end="silence")
    with tcp_relay(joined.lab.settings.admin_url, fault=fault) as relay, rl.connect(relay.url, check=False) as lab:
        with rl.open_history(joined.where, live=lab) as source:
            assert len(source.sql("SELECT id FROM origins"))
            fault.armed = True
            with pytest.raises(errors.TimedOut):
                source.sql("SELECT count(*) FROM sys_invocation", timeout=1)
            assert fault.happened
            assert len(source.sql("SELECT visit FROM visits")) == 1
    with rl.connect(relay.url, check=False, timeout=3) as away:
        with pytest.raises((errors.Unreachable, errors.TimedOut)):
            rl.open_history(joined.where, live=away)
