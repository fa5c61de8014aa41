"""Frozen evidence of the incident gives the same results as the live cluster at that time, on every kind of server."""

from __future__ import annotations

import shutil
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.analysis.doctor import doctor
from restate_lab.analysis.questions.catalog import names
from restate_lab.analysis.why import why
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, EvidenceWarning, NotOnThisServer
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.store import Evidence, open_evidence
from restate_lab.source import Source
from support.clusters import PHASE, PLAIN, Cluster

OTHER_TABLES = pytest.mark.also_on(PLAIN, reason="without vqueues other tables say what fails and who holds a key")

REQUIRED = {
    "callers": {"ids": "paused"},
    "ids_by_status": {"status": "paused"},
    "queued_behind": {"id": "hot_key_queue"},
}
AHEAD = {"wakes_next": {"until": "700d"}, "expiring": {"until": "700d"}}
# The cluster changes these values all the time, because it retries: they lie between two live results.
MOVING = {"attempts", "worst", "next_retry_at", "retry_count", "wakes_at", "wakes_in", "lock_block_duration", "retries"}
MOVING |= {"last_start_at", "scheduled_at", "waiting_since"}
ATTEMPTS = 30


class At:
    """A live source at a chosen time, so that ages can be compared."""

    def __init__(self, lab: Lab, now: datetime) -> None:
        self._lab = lab
        self.now = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lab, name)


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def difference(before: pd.DataFrame, frozen: pd.DataFrame, after: pd.DataFrame) -> str | None:
    """Return how the frozen result differs from the live ones around it; None if it does not.

    All cells of all rows must be equal, in any order of the rows; values that change must lie between the two.
    """
    assert list(frozen.columns) == list(before.columns)
    assert _types(frozen) == _types(before)
    still = [column for column in before.columns if column not in MOVING]
    frames = [_sorted(frame, still) for frame in (before, frozen, after)]
    keys = [_rows(frame[still]) for frame in frames]
    for live in (keys[0], keys[2]):
        if live != keys[1]:
            return f"live {sorted(set(live) - set(keys[1]))[:3]}, frozen {sorted(set(keys[1]) - set(live))[:3]}"
    for column in MOVING & set(before.columns):
        for first, cell, last in zip(*(frame[column] for frame in frames), strict=True):
            if not (pd.isna(cell) and pd.isna(first)) and not min(first, last) <= cell <= max(first, last):
                return f"{column}: {cell} does not lie between {first} and {last}"
    return None


def _milliseconds(time: datetime) -> datetime:
    return time.replace(microsecond=time.microsecond // 1000 * 1000)


def _types(frame: pd.DataFrame) -> dict[Any, Any]:
    """Return the types; durations have milliseconds on a server and microseconds in evidence, which compares equal."""
    return {name: "duration" if kind.kind == "m" else kind for name, kind in frame.dtypes.items()}


def _sorted(frame: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    order = sorted(range(len(frame)), key=_rows(frame[by]).__getitem__)
    return frame.iloc[order].reset_index(drop=True)


def _rows(frame: pd.DataFrame) -> list[str]:
    floats = frame.select_dtypes("float")
    rounded = frame.assign(**floats.round(9))  # the engine of an older server can compute another last digit
    plain = rounded.astype(object).where(rounded.notna(), None)
    return [repr(row) for row in plain.itertuples(index=False, name=None)]


def until_equal(
    lab: Lab, cluster: Cluster, path: Path, asked: dict[str, Callable[[Any], pd.DataFrame]], **options: Any
) -> dict[str, str | None]:
    """Freeze between two live reads until the three results of every question are equal; return the last differences.

    An attempt that begins between two of the reads goes away with a repetition; a wrong frozen result never does.
    """
    last: dict[str, str | None] = dict.fromkeys(asked, "not asked")
    with cluster.suspended_services():
        for number in range(ATTEMPTS):
            left = [name for name, how in last.items() if how is not None]
            if not left:
                break
            now = _milliseconds(lab.now)
            before = {name: asked[name](At(lab, now)) for name in left}
            freeze(lab, path / str(number), **options)
            after = {name: asked[name](At(lab, now)) for name in left}
            with open_evidence(path / str(number)) as evidence:
                for name in left:
                    last[name] = difference(before[name], asked[name](At(evidence, now)), after[name])
            shutil.rmtree(path / str(number))
    return {name: how for name, how in last.items() if how is not None}


def question(name: str, incident: Cluster) -> Callable[[Any], pd.DataFrame]:
    required = REQUIRED.get(name, {})
    params: dict[str, Any] = {key: value if key == "status" else incident.ids(value) for key, value in required.items()}
    if "id" in params:
        params["id"] = params["id"][-1]
    params |= AHEAD.get(name, {})
    if name == "stuck_without":
        deployment = "SELECT min(id) AS id FROM sys_deployment"
        return lambda source: rl.ask(source, name, limit=None, deployment=source.sql(deployment)["id"][0])
    return lambda source: rl.ask(source, name, limit=None, **params)


def is_answered(lab: Lab, ask: Callable[[Any], pd.DataFrame]) -> bool:
    try:
        ask(lab)
    except NotOnThisServer:
        return False
    return True


def test_frozen_results_of_every_question_equal_the_live_results(lab: Lab, incident: Cluster, tmp_path: Path) -> None:
    asked = {name: question(name, incident) for name in names()}
    there = {name: ask for name, ask in asked.items() if is_answered(lab, ask)}
    assert until_equal(lab, incident, tmp_path, there, payloads=True) == {}
    freeze(lab, tmp_path / "evidence")
    with open_evidence(tmp_path / "evidence") as evidence:
        for name in asked.keys() - there.keys():
            with pytest.raises(NotOnThisServer, match=name):
                asked[name](evidence)


@pytest.mark.long
def test_frozen_journals_and_waits_equal_those_of_the_cluster(lab: Lab, incident: Cluster, tmp_path: Path) -> None:
    roles = ("big_journal", "declined_1", "mismatch_1", "hot_key_opener", "storm_caller_1", "restarted_3", "paused_1")
    roles += ("forgotten_promise", "forgotten_awakeable", "killed_1", "deadlock_pair_1", "cancelled")
    ids = {role: incident.roles[role] for role in roles if role in incident.roles}
    assert len(ids) > 10
    asked: dict[str, Callable[[Any], pd.DataFrame]] = {
        role: lambda source, id_=id_: rl.journal(source, id_, depth=2, payloads=True) for role, id_ in ids.items()
    }
    asked |= {
        part: lambda source, part=part: getattr(rl.waits(source), part) for part in ("edges", "blockers", "deadlocks")
    }
    assert until_equal(lab, incident, tmp_path, asked, payloads=True) == {}


def test_frozen_findings_and_explanations_equal_those_of_the_cluster(
    lab: Lab, incident: Cluster, tmp_path: Path
) -> None:
    ids = [incident.roles[role] for role in ("hot_key_holder", "deadlock_pair_1", "declined_1", "restock_tomorrow")]
    found: dict[str, Callable[[Any], pd.DataFrame]] = {
        "doctor": lambda source: doctor(source).findings.drop(
            columns=["title", "details", "ids", "suggested_code", "draining", "deleted_at"]  # only of a live cluster
        ),
        "not checked": lambda source: doctor(source).not_read.query("part != 'scheduler_gaps'"),  # it reads twice
        # the lines above name the source
        "why": lambda source: pd.DataFrame({"why": [str(why(source, id_)).partition("\n\n")[2] for id_ in ids]}),
    }
    assert until_equal(lab, incident, tmp_path, found, payloads=True) == {}
    freeze(lab, tmp_path / "half", tables=["sys_invocation", "sys_deployment"])
    with open_evidence(tmp_path / "half") as evidence:
        diagnosis = doctor(evidence)
    assert "deadlock" in " ".join(diagnosis.not_read["part"])
    assert diagnosis.not_read["reason"].str.contains("sys_").any()


@OTHER_TABLES
def test_tables_and_views_hold_what_the_cluster_held(lab: Lab, incident: Cluster, tmp_path: Path) -> None:
    """Every row that did not change around the freeze is in it, to the last cell; the view is rebuilt from them.

    With vqueues an attempt leaves no trace in these tables, and an attempt that runs only during the freeze changes
    such a row: then the freeze is repeated. A row that is read or built wrong is missing every time.
    """
    live = lab.tables()
    kept = live[~((live["table"] == "sys_journal") & (live["column"] == "raw"))].reset_index(drop=True)
    quoted = kept.assign(column='"' + kept["column"] + '"').groupby("table")["column"]
    statements = {str(table): f"SELECT {', '.join(columns)} FROM {table}" for table, columns in quoted}
    for number in range(ATTEMPTS):
        path = tmp_path / str(number)
        before = _by_table(lab, statements)
        freeze(lab, path, payloads=True)
        after = _by_table(lab, statements)
        with open_evidence(path) as evidence:
            frozen = _by_table(evidence, statements)
            told = evidence.tables()
            types = [source.arrow(f"{statements['sys_invocation']} LIMIT 1").schema for source in (lab, evidence)]
        still = [table for table in statements if before[table] == after[table]]
        wrong = {table: lost for table in statements if (lost := (before[table] & after[table]) - frozen[table])}
        wrong |= {table: frozen[table] - before[table] for table in still if frozen[table] != before[table]}
        if not wrong:
            break
    assert wrong == {}
    assert sum(bool(before[table]) for table in still) >= 5
    pd.testing.assert_frame_equal(told, kept)
    assert types[0].equals(types[1])


def _by_table(source: Source, statements: dict[str, str]) -> dict[str, Counter[str]]:
    return {table: Counter(_rows(source.sql(statement))) for table, statement in statements.items()}


def test_duckdb_and_pandas_read_the_files(lab: Lab, incident: Cluster, tmp_path: Path) -> None:
    import duckdb

    path = tmp_path / "evidence"
    freeze(lab, path)
    statement = """
    SELECT s.id, s.created_at, s.suspended_waiting_for_signals AS signals, s.partition_key, count(j.id) AS entries
    FROM {}sys_invocation_status{} s LEFT JOIN {}sys_journal{} j ON j.id = s.id GROUP BY 1, 2, 3, 4 ORDER BY 1"""
    around = (f"'{path}/", ".parquet'") * 2
    with open_evidence(path) as evidence, duckdb.connect() as connection:
        ours = evidence.arrow(statement.format("", "", "", "")).to_pylist()
        assert connection.sql(statement.format(*around)).to_arrow_table().to_pylist() == ours
        assert len(ours) > 100
        counts = {each.table: each.rows for each in evidence.manifest.files}
    for table, rows in counts.items():
        assert len(pd.read_parquet(path / f"{table}.parquet")) == rows


@OTHER_TABLES
def test_a_scoped_freeze_has_the_named_invocations_with_callers_and_waits(
    lab: Lab, incident: Cluster, tmp_path: Path
) -> None:
    queued = incident.ids("deadlock_ring_blocked")[0]
    freeze(lab, tmp_path / "part", ids=queued)
    with open_evidence(tmp_path / "part") as evidence:
        ids = set(evidence.sql("SELECT id FROM sys_invocation")["id"])
        assert ids == {*incident.ids("deadlock_ring"), *incident.ids("deadlock_ring_blocked")}
        deadlocks = rl.waits(evidence).deadlocks
        assert (len(deadlocks), deadlocks["length"][0]) == (1, 3)
        held = "SELECT acquired_by AS id FROM sys_locks" if incident.vqueues else None
        held = held or "SELECT invocation_id AS id FROM sys_keyed_service_status"
        assert set(evidence.sql(held)["id"]) == set(incident.ids("deadlock_ring"))
    freeze(lab, tmp_path / "service", service="Payments", handler="payout")
    with open_evidence(tmp_path / "service") as evidence:
        assert set(evidence.sql("SELECT id FROM sys_invocation")["id"]) == set(incident.ids("paused"))
        assert evidence.sql("SELECT count(*) AS n FROM sys_deployment")["n"][0] > 1


@OTHER_TABLES
def test_the_repr_and_the_card_name_the_cluster_the_time_and_the_server(
    lab: Lab, incident: Cluster, tmp_path: Path
) -> None:
    freeze(lab, tmp_path / "evidence")
    with pytest.raises(ArgumentError, match="never overwrites"):
        freeze(lab, tmp_path / "evidence")
    evidence: Evidence = open_evidence(tmp_path / "evidence")
    assert lab.name in repr(evidence)
    assert ("vqueues" in repr(evidence)) == (incident.vqueues and PHASE != "rolled-back")
    html = evidence._repr_html_()
    for word in ("succeeded", "suspended", "paused", "backing-off", "sys_journal", incident.version):
        assert word in html
    assert abs(evidence.now - lab.now) < pd.Timedelta("10min")
    with warnings.catch_warnings():
        warnings.simplefilter("error", EvidenceWarning)
        freeze(lab, tmp_path / "quiet", redact=["failures", "$..password", "state.value"])
