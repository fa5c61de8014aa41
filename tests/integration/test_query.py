"""The query path against real servers of every kind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.client._server_info import StatusCard
from restate_lab.client.lab import Lab
from restate_lab.client.responses import SUCCESS
from support.bench import wait_for
from support.clusters import PLAIN, Cluster
from support.sample_rows import SampleRows
from support.wrappers import WRAPPERS, check_same_answers

BREAKS_HALF_WAY = (
    "SELECT value, cast(CASE WHEN value > 20000 THEN 'x' ELSE '1' END AS int) AS n FROM generate_series(1, 40000)"
)
ENDLESS = "SELECT value FROM generate_series(1, 100000000000)"
SILENT = ENDLESS + " WHERE value % 7 = 8"


@pytest.fixture
def lab(cluster: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(cluster.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


@pytest.fixture
def newest_lab(newest: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(newest.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


@pytest.mark.also_on(PLAIN, reason="it has other features")
def test_name_version_features_and_clock_are_the_servers_own(lab: Lab, cluster: Cluster) -> None:
    assert isinstance(lab, rl.Source)
    assert lab.version == cluster.version
    assert lab.features.get("vqueues", False) is cluster.vqueues
    before, second = datetime.now(UTC), timedelta(seconds=1)
    assert before - second <= lab.now <= datetime.now(UTC) + second
    assert lab.now.tzinfo is UTC
    assert type(lab.now) is datetime, "a Timestamp with nanoseconds warns when it becomes a datetime"
    assert repr(lab) == f"<Lab {lab.name} at {cluster.admin_url}, restate {cluster.version}" + (
        ", vqueues>" if cluster.vqueues else ">"
    )


def test_real_invocations_come_as_a_frame(lab: Lab, cluster: Cluster) -> None:
    """The demo's invocations are found by id, with times in UTC and nulls kept."""
    ids = list(cluster.roles.values())
    frame = lab.sql("SELECT id, target, status, created_at, retry_count FROM sys_invocation WHERE id IN :ids", ids=ids)
    assert set(frame["id"]) == set(ids)
    assert str(frame["created_at"].dtype) == "datetime64[ms, UTC]"
    assert (frame["created_at"] <= pd.Timestamp(lab.now)).all()


def test_tables_are_those_of_the_server(lab: Lab, cluster: Cluster) -> None:
    tables = lab.tables()
    assert list(tables.columns) == ["table", "column", "type", "nullable"]
    assert {"sys_invocation", "sys_journal", "state", "sys_vqueues"} <= set(tables["table"])
    for table in sorted(set(tables["table"])):
        listed = list(tables.loc[tables["table"] == table, "column"])
        assert lab.arrow(f'SELECT * FROM "{table}" LIMIT 0').column_names == listed


def test_an_answer_that_breaks_off_is_an_error(lab: Lab) -> None:
    """A row that cannot be computed ends the response under status 200: QueryInterrupted, with the rows so far."""
    with pytest.raises(errors.QueryInterrupted, match="ended early, after") as caught:
        lab.sql(BREAKS_HALF_WAY)
    assert 0 < caught.value.rows < 40_000
    assert caught.value.partial is not None
    assert len(set(caught.value.partial["value"].to_pylist())) == caught.value.rows


def test_a_broken_stream_and_file_are_errors_too(lab: Lab, tmp_path: Path) -> None:
    """stream() raises after the rows that arrived, and to_parquet() leaves nothing behind."""
    rows = 0
    with lab.stream(BREAKS_HALF_WAY) as reader, pytest.raises(errors.QueryInterrupted) as caught:
        for batch in reader:
            rows += batch.num_rows
    assert rows == caught.value.rows > 0
    with pytest.raises(errors.QueryInterrupted):
        lab.to_parquet(BREAKS_HALF_WAY, tmp_path / "x.parquet")
    assert not list(tmp_path.glob("x*"))


def test_types_are_exact(lab: Lab) -> None:
    """Integers, times, durations, lists and bytes come back unchanged, beside nulls."""
    row = (
        "SELECT arrow_cast('18446744073709551615', 'UInt64') AS u, 9007199254740993 AS i, true AS b, "
        "arrow_cast('2026-11-25T03:00:00.123Z', 'Timestamp(Millisecond, Some(\"+00:00\"))') AS t, "
        "arrow_cast(1500, 'Duration(Millisecond)') AS d, [1, 2] AS l, X'00ff' AS x"
    )
    nulls = "SELECT " + ", ".join(f"NULL AS {name}" for name in "uibtdlx")
    frame = lab.sql(f"SELECT * FROM ({row} UNION ALL {nulls}) ORDER BY u NULLS LAST")
    first, second = frame.iloc[0], frame.iloc[1]
    assert (int(first.u), int(first.i), bool(first.b)) == (2**64 - 1, 2**53 + 1, True)
    assert first.t == pd.Timestamp("2026-11-25T03:00:00.123Z")
    assert first.d == pd.Timedelta("1.5s")
    assert (list(first.l), first.x) == ([1, 2], b"\x00\xff")
    assert second.isna().all()


def test_a_timedelta_comes_back_as_a_timedelta(lab: Lab, tmp_path: Path) -> None:
    """It holds for every kind of server and for evidence's engine: as a frame, in nested values, and as Parquet."""
    day = timedelta(days=1, microseconds=5)
    exact = pd.Timedelta(day) + pd.Timedelta(7, "ns")
    statement = "SELECT :d AS d, :e AS e, INTERVAL '1 month' AS m, make_array(:d) AS l, CAST(:d AS VARCHAR) AS t"
    for frame in (lab.sql(statement, d=day, e=exact), SampleRows().sql(statement, params={"d": day, "e": exact})):
        assert str(frame["d"].dtype) == str(frame["e"].dtype) == "timedelta64[ns]"
        assert frame.loc[0, ["d", "e", "m"]].tolist() == [day, exact, pd.DateOffset(months=1, days=0, nanoseconds=0)]
        assert list(frame["l"][0]) == [day]
        assert isinstance(frame["t"][0], str), "what the advice for Parquet names works"
    path = lab.to_parquet("SELECT :d AS d", tmp_path / "d.parquet", d=day)
    assert pq.read_table(path)["d"].to_pylist() == [day]
    with pytest.raises(errors.QueryRefused, match="column 'm'"):
        lab.to_parquet("SELECT INTERVAL '1 month' AS m", tmp_path / "m.parquet")


def test_times_within_nested_values_are_the_servers(lab: Lab) -> None:
    """now() within structs, lists and maps is exact and UTC; two fields of one name are refused."""
    frame = lab.sql(
        "SELECT now() AS t, arrow_cast(now(), 'Int64') AS ns, named_struct('t', now()) AS s, make_array(now()) AS l, "
        "map(['k'], [now()]) AS m, named_struct('d', arrow_cast(5, 'Duration(Nanosecond)')) AS d"
    )
    moment = pd.Timestamp(int(frame["ns"][0]), tz="UTC")
    assert frame["t"][0] == moment
    assert (frame["s"][0], list(frame["l"][0]), frame["m"][0]) == ({"t": moment}, [moment], [("k", moment)])
    assert frame["d"][0] == {"d": pd.Timedelta(5, "ns")}
    with pytest.raises(errors.QueryRefused, match="two fields named 'a'"):
        lab.sql("SELECT named_struct('a', 1, 'a', 2) AS s")


def test_empty_results_keep_their_columns(lab: Lab) -> None:
    frame = lab.sql("SELECT id, created_at, partition_key FROM sys_invocation_status WHERE false")
    assert frame.shape == (0, 3)
    assert str(frame["created_at"].dtype) == "datetime64[ms, UTC]"


def test_names_that_come_twice_are_told_apart(lab: Lab) -> None:
    with pytest.warns(errors.DuplicateColumns):
        frame = lab.sql("SELECT a.id, b.id FROM sys_invocation a JOIN sys_invocation b ON a.id = b.id LIMIT 1")
    assert list(frame.columns) == ["id", "id_2"]


@pytest.mark.parametrize(
    ("statement", "best"),
    [
        ("SELECT * FROM sys_invocatoin", "sys_invocation"),
        ("SELECT idd FROM sys_invocation", "sys_invocation.id"),
        ("SELECT i.statsu FROM sys_invocation i", "i.status"),
        ("SELECT coutn(id) FROM sys_invocation", "count"),
    ],
)
def test_unknown_names_suggest_the_nearest(lab: Lab, statement: str, best: str) -> None:
    with pytest.raises(errors.UnknownName) as caught:
        lab.sql(statement)
    assert caught.value.suggestions[0] == best


@pytest.mark.parametrize("statement", ["SELECT 1 +", "SELECT 1/0", "SELECT id FROM sys_invocation WHERE id = 'nope'"])
def test_refusals_have_the_servers_words(lab: Lab, statement: str) -> None:
    """Whether the server responds 400 or 500, a statement that it cannot run is QueryRefused."""
    with pytest.raises(errors.QueryRefused, match="refused the query") as caught:
        lab.sql(statement)
    assert caught.value.status in {400, 500}


def test_limits_stop_runaway_queries(lab: Lab) -> None:
    """Too many bytes, too much time with rows, and too much time without any each have their error."""
    with pytest.raises(errors.ResultTooLarge):
        lab.sql(ENDLESS, max_bytes=1_000_000, progress=False)
    for statement in (ENDLESS, SILENT):
        with pytest.raises(errors.TimedOut):
            lab.arrow(statement, timeout=0.7, max_bytes=1 << 40, progress=False)


def cpu_seconds(admin_url: str) -> float:
    """Return the processor time of the server that listens on this port."""
    port = int(admin_url.rsplit(":", 1)[1])
    for process in psutil.Process().children(recursive=True):
        if any(c.laddr.port == port and c.status == psutil.CONN_LISTEN for c in process.net_connections("tcp4")):
            times = process.cpu_times()
            return float(times.user + times.system)
    raise AssertionError("no such server")


@pytest.mark.parametrize("statement", [ENDLESS, SILENT])
def test_the_stop_button_ends_the_query_on_the_server(newest: Cluster, statement: str) -> None:
    with rl.connect(newest.own_url) as lab:  # a proxy would notice the end of the connection later
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            lab.arrow(statement, max_bytes=1 << 40, progress=False)

    def share() -> float:
        before, began = cpu_seconds(newest.own_url), time.monotonic()
        time.sleep(1)
        return (cpu_seconds(newest.own_url) - before) / (time.monotonic() - began)

    wait_for(share, lambda share: share < 0.5, within=15)
    with rl.connect(newest.own_url) as lab:
        assert lab.sql("SELECT 1 AS one")["one"][0] == 1


def test_progress_appears_only_for_what_takes_long(
    newest_lab: Lab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick query shows nothing; one of more than a second shows rows and MB, also while no rows arrive."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    newest_lab.sql("SELECT 1 AS one")
    assert capsys.readouterr().err == ""
    for statement in (ENDLESS, SILENT):
        for timeout in (1.6, 5, 20):  # on a busy machine a bar of one second is late
            with pytest.raises(errors.TimedOut):
                newest_lab.arrow(statement, timeout=timeout, max_bytes=1 << 40)
            if shown := capsys.readouterr().err:
                break
        assert "MB" in shown


def test_streams_hold_one_piece_at_a_time(lab: Lab) -> None:
    """A large result passes through a reader in pieces; a reader may stop early."""
    with lab.stream("SELECT value FROM generate_series(1, :n)", n=300_000) as reader:
        assert isinstance(reader, pa.RecordBatchReader)
        sizes = [batch.num_rows for batch in reader]
    assert sum(sizes) == 300_000
    assert max(sizes) < 50_000
    with lab.stream(ENDLESS) as reader:
        reader.read_next_batch()
    assert lab.sql("SELECT 1 AS one")["one"][0] == 1


def test_a_parquet_file_holds_what_arrow_gives(lab: Lab, tmp_path: Path) -> None:
    columns = "id, status, created_at, completed_at, journal_size, retry_count"
    statement = f"SELECT {columns} FROM sys_invocation WHERE id IN :ids ORDER BY id"
    # Retrying invocations may change between the two.
    ids = lab.sql("SELECT id FROM sys_invocation_status WHERE status IN ('completed', 'suspended')").id
    path = lab.to_parquet(statement, tmp_path / "x.parquet", ids=ids)
    assert pq.read_table(path).equals(lab.arrow(statement, ids=ids))


def test_polars_and_duckdb_read_tables_and_streams(newest_lab: Lab) -> None:
    import duckdb
    import polars as pl

    table = newest_lab.arrow("SELECT target_service_name AS service, status FROM sys_invocation")
    assert pl.from_arrow(table).height == table.num_rows > 0  # type: ignore[union-attr]
    invocations = table  # DuckDB finds it by its name
    assert duckdb.sql("SELECT count(*) FROM invocations").fetchall() == [(invocations.num_rows,)]
    with newest_lab.stream("SELECT value FROM generate_series(1, 1000)") as reader:
        assert duckdb.from_arrow(reader).aggregate("sum(value)").fetchall() == [(500_500,)]


def test_results_of_several_threads_do_not_mix(newest_lab: Lab) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = pool.map(
            lambda n: newest_lab.sql("SELECT :n AS n, value FROM generate_series(1, 3000)", n=n), range(40)
        )
        for n, frame in enumerate(answers):
            assert len(frame) == 3000
            assert set(frame["n"]) == {n}


# In its own process: a fork of the test process would inherit the locks of its threads.
FORKED = """
import os, sys
import restate_lab as rl

lab = rl.connect(sys.argv[1])
with lab.stream("SELECT value FROM generate_series(1, 500000)") as reader:
    rows = reader.read_next_batch().num_rows
    lab.sql("SELECT 1 AS n")  # leaves an idle line
    who = "parent" if os.fork() else "child"
    answers = [lab.sql("SELECT :who AS who", who=who)["who"][0] for _ in range(50)]
    try:
        if who == "parent":
            os.wait()
        rows += sum(batch.num_rows for batch in reader)
    except rl.errors.QueryInterrupted:
        rows = 0
    print(who, set(answers), rows, flush=True)
    if who == "child":
        os._exit(0)
"""


def test_a_fork_shares_no_line(newest: Cluster) -> None:
    """Parent and child each get their own responses, whether a connection was idle or in the middle of a response."""
    command = [sys.executable, "-c", FORKED, newest.admin_url]
    told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert told.stdout.splitlines() == ["child {'child'} 0", "parent {'parent'} 500000"], told.stderr


def test_a_wrong_address_fails_on_the_line_that_connects(newest: Cluster) -> None:
    """No server at the address, or the ingress instead of the admin port: connect() reports it."""
    with pytest.raises(errors.Unreachable, match="refused"):
        rl.connect("http://127.0.0.1:1")
    with pytest.raises(errors.ServerFailed, match="not a Restate Admin API"):
        rl.connect(newest.ingress_url)
    assert repr(rl.connect("http://127.0.0.1:1", check=False)) == "<Lab 127.0.0.1:1 at http://127.0.0.1:1>"


def test_a_base_path_is_part_of_every_request(newest: Cluster) -> None:
    with pytest.raises(errors.ServerFailed, match="404"):
        rl.connect(newest.admin_url + "/behind/a/gateway")


def test_a_unix_socket_is_an_address(newest: Cluster) -> None:
    (socket,) = newest.base_dir.glob("*/admin.sock")
    with rl.connect(f"unix:{socket}") as lab:
        assert lab.sql("SELECT value FROM generate_series(1, 5000)")["value"].sum() == 12_502_500


def test_the_variable_for_read_only_wins_over_the_argument(newest: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTATE_LAB_READ_ONLY", "1")
    with rl.connect(newest.admin_url, read_only=False) as lab:
        assert lab.read_only
        killed = SUCCESS["kill_invocation"]
        with pytest.raises(errors.ReadOnly):
            lab.transport.change("PATCH", "/invocations/inv_1/kill", action="kill", targets=["inv_1"], success=killed)


@pytest.mark.also_on(PLAIN, reason="without vqueues a long back-off is in another table")
def test_the_card_names_the_cluster_and_counts(lab: Lab, cluster: Cluster) -> None:
    """The card shows address and counts by status; with vqueues, too, back-offs are counted as such."""
    deadline = time.monotonic() + 20
    while "backing-off" not in (html := lab._repr_html_()) and time.monotonic() < deadline:
        lab._card = StatusCard(lab._count_statuses)  # an attempt was running just then: count anew
    assert "backing-off" in html
    assert cluster.admin_url in html
    total = lab.sql("SELECT count(*) AS n FROM sys_invocation_status")["n"][0]
    assert f"{total:,} invocations" in html


def test_a_card_of_a_lost_server_says_so() -> None:
    """A card that could not count reports that, and the reason, within its limit."""
    lab = rl.connect("http://127.0.0.1:1", check=False)
    started = time.monotonic()
    assert "not counted" in lab._repr_html_()
    assert time.monotonic() - started < 9


def test_normal_use_raises_no_warning(newest_lab: Lab) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for backend in (None, "numpy_nullable", "pyarrow"):
            newest_lab.sql("SELECT * FROM sys_invocation", dtype_backend=backend)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapper_gives_what_the_lab_gives(newest_lab: Lab, wrapper: str) -> None:
    """It holds for sql, arrow, stream and tables; its limits apply, its errors are the Lab's, and it is as live."""
    wrapped = WRAPPERS[wrapper](newest_lab)
    # These columns of an invocation do not change.
    columns = "id, partition_key, target, created_at, scheduled_start_at"
    statement = f"SELECT {columns} FROM sys_invocation_status WHERE id IN :ids ORDER BY id"
    ids = newest_lab.sql("SELECT id FROM sys_invocation_status")["id"].tolist()
    check_same_answers(wrapped, newest_lab, statement, ids=ids)
    assert wrapped.live
    for read in (wrapped.sql, wrapped.arrow):
        with pytest.raises(errors.ResultTooLarge):
            read(ENDLESS, max_bytes=1_000_000)
        with pytest.raises(errors.TimedOut):
            read(ENDLESS, timeout="200ms", max_bytes=1 << 40)
        with pytest.raises(errors.UnknownName, match="sys_invocation"):
            read("SELECT id FROM sys_invocatoin")
    with pytest.raises(errors.ResultTooLarge), wrapped.stream(ENDLESS, max_bytes=1_000_000) as reader:
        reader.read_all()
