"""The store of an archive: numbered commits, other folders, damaged tables, maintenance."""

from __future__ import annotations

import shutil
import sys
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from restate_lab import errors
from restate_lab.history.commits import ClusterTables, table_of_records
from restate_lab.history.maintenance import compact, delete_before, vacuum
from restate_lab.history.store import (
    ArchiveStore,
    Deletion,
    LostRace,
    last_number,
    locate_store,
)
from restate_lab.history.tables import SCHEMA_VERSION, TABLES
from support.raw_server import raw_server, respond_with
from support.s3_server import s3_settings

TODAY = datetime.now(UTC).date()


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    made = locate_store(tmp_path / "archive")
    assert not made.exists()
    made.create()
    return made


def runs(*ids: str, day: date = TODAY, **more: Any) -> pa.Table:
    at = datetime.combine(day, datetime.min.time(), UTC)
    rows = [{"cluster_name": "c", "day": day, "visit": 1, "created_at": at, "id": id_, **more} for id_ in ids]
    return pa.Table.from_pylist(
        rows,
        pa.schema([*TABLES["invocations"].own.items(), ("id", pa.string()), *((name, pa.string()) for name in more)]),
    )


def ids(store: ArchiveStore) -> list[str]:
    table = store.open("invocations")
    return sorted(id_ for batch in store.read(table, ["id"], "cluster_name = 'c'") for id_ in batch["id"].to_pylist())


def test_two_archivers_cannot_commit_the_same_number(store: ArchiveStore) -> None:
    first, second = store.open("invocations"), store.open("invocations")
    store.append(first, runs("a"), cluster="c", after=0, number=1)
    with pytest.raises(LostRace):
        store.append(second, runs("a"), cluster="c", after=0, number=1)
    with pytest.raises(LostRace):
        store.append(store.open("invocations"), runs("a"), cluster="c", after=0, number=1)
    store.append(store.open("invocations"), runs("other"), cluster="d", after=0, number=1)
    store.append(first, runs("b"), cluster="c", after=1, number=2)
    assert ids(store) == ["a", "b", "other"]


def test_rows_of_a_newer_and_then_of_an_older_server_are_accepted(store: ArchiveStore) -> None:
    for number, more in enumerate(({}, {"new": "x"}, {}), start=1):
        rows = runs(f"run {number}", **more)
        store.append(store.open("invocations"), rows, cluster="c", after=number - 1, number=number)
    assert ids(store) == ["run 1", "run 2", "run 3"]


def test_a_killed_creation_is_continued(tmp_path: Path) -> None:
    store = locate_store(tmp_path / "archive")
    store.create()
    shutil.rmtree(tmp_path / "archive" / "visits")
    shutil.rmtree(tmp_path / "archive" / "services")
    (tmp_path / "archive" / "services" / "_delta_log").mkdir(parents=True)
    assert not store.exists()
    store.create()
    assert store.exists()
    assert set(store.open_all()) == set(TABLES)


def test_a_file_and_a_folder_with_other_content_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("x", "utf-8")
    DeltaTable.create(str(tmp_path / "other" / "visits"), pa.schema([("a", pa.int64())]))
    for name, message in {"file": "is a file", "folder": "notes.txt", "other": "not written by restate_lab"}.items():
        with pytest.raises(errors.ArchiveBroken, match=message):
            locate_store(tmp_path / name).exists()
    for where in ("gs://bucket/x", "https://example.com/x", "s3://", "s3://user@bucket/x"):
        with pytest.raises(errors.ArgumentError, match="is not a local path or a URI"):
            locate_store(where)


def test_an_archive_of_a_newer_version_is_refused(store: ArchiveStore) -> None:
    store.open("visits").alter.set_table_description(f"restate_lab archive, schema {SCHEMA_VERSION + 1}")
    with pytest.raises(errors.ArchiveBroken, match="update restate_lab"):
        store.exists()


@pytest.mark.parametrize("table", ["visits", "invocations"])
def test_a_table_without_a_readable_log_is_damaged_and_not_empty(store: ArchiveStore, table: str) -> None:
    handle = store.open("invocations")
    store.append(handle, runs("a"), cluster="c", after=0, number=1)
    log = max(Path(store.where, table, "_delta_log").glob("*.json"))
    content = log.read_bytes()
    log.write_bytes(content[: len(content) // 2])
    with pytest.raises(errors.ArchiveBroken, match="archive"):
        store.exists() and store.open(table)
    for each in Path(store.where, table, "_delta_log").glob("*.json"):
        each.unlink()
    Path(store.where, table, "part-0.parquet").write_bytes(b"")
    with pytest.raises(errors.ArchiveBroken, match="no readable log"):
        store.exists() and store.open(table)


def test_a_missing_data_file_is_an_error(store: ArchiveStore) -> None:
    store.append(store.open("invocations"), runs("a"), cluster="c", after=0, number=1)
    next(Path(store.where, "invocations").rglob("*.parquet")).unlink()
    with pytest.raises(errors.ArchiveBroken, match=r"\.parquet|not found|No such file"):
        ids(store)


def record(store: ArchiveStore, started: datetime) -> None:
    row = {"cluster_name": "c", "day": started.date(), "started_at": started, "outcome": "complete"}
    store.append(store.open("visits"), table_of_records([row]), cluster="c")


def test_past_days_become_few_files_and_deleted_days_are_not_archived_again(store: ArchiveStore) -> None:
    old, past = TODAY - timedelta(days=40), TODAY - timedelta(days=1)
    record(store, datetime.now(UTC))
    for number, day in enumerate((old, past, past, past, TODAY), start=1):
        rows = runs(f"run {number}", day=day)
        store.append(store.open("invocations"), rows, cluster="c", after=number - 1, number=number)
    done = compact(store).set_index("table").loc["invocations"]
    assert (done["files_before"], done["files_after"]) == (3, 1)
    assert store.deletion(store.open("invocations")) == Deletion()
    deleted = delete_before(store, TODAY - timedelta(days=30)).set_index("table")["rows_deleted"]
    assert deleted["invocations"] == 1
    assert store.deletion(store.open("invocations")).before == TODAY - timedelta(days=30)
    assert ids(store) == ["run 2", "run 3", "run 4", "run 5"]
    assert set(vacuum(store)["files_removed"]) == {0}, "files younger than 7 days can be in use"
    assert store.open("invocations").transaction_version("c") == 5


def test_the_files_and_the_log_of_a_table_do_not_grow_with_its_visits(store: ArchiveStore) -> None:
    """A visit reads all of them, many at once: growth would be memory and threads of an archiver that runs for days."""
    log, sizes = Path(store.where, "visits", "_delta_log"), []
    for minute in range(24):
        record(store, datetime.now(UTC) + timedelta(minutes=minute))
        last = max((int(each.name.partition(".")[0]) for each in log.glob("*.checkpoint.parquet")), default=0)
        table = store.open("visits")
        sizes.append((len(table.file_uris()), table.version() - last))
    assert max(files for files, _ in sizes) <= 10
    assert max(commits for _, commits in sizes) <= 10
    assert sum(len(batch) for batch in store.read(table, ["started_at"], "cluster_name = 'c'")) == 24


def test_archivers_that_merge_small_files_at_the_same_time_lose_and_repeat_no_row(store: ArchiveStore) -> None:
    def archive(shard: str) -> None:
        tables = ClusterTables(store, "c", {"invocations": store.open("invocations")}, shard=shard)
        for number in range(1, 26):
            assert tables.append_once("invocations", runs(f"{shard} {number:02}"), number - 1, number)

    shards = ("a", "b", "c")
    store.append(store.open("invocations"), runs("d"), cluster="d")  # now the table has the columns of a run
    with ThreadPoolExecutor(len(shards)) as pool:
        list(pool.map(archive, shards))
    assert ids(store) == [*(f"{shard} {number:02}" for shard in shards for number in range(1, 26)), "d"]
    assert [last_number(store.open("invocations"), "c", shard) for shard in shards] == [25, 25, 25]


def with_small_files(store: ArchiveStore, count: int) -> list[str]:
    """Add a run of yesterday in a commit of its own, ``count`` times, and return the ids in the archive."""
    for number in range(count):
        rows = runs(f"run {uuid.uuid4().hex}", day=TODAY - timedelta(days=1), number=str(number))
        store.append(store.open("invocations"), rows, cluster="c")
    return ids(store)


@pytest.mark.parametrize("opened", [1, 2])
def test_a_compaction_that_another_one_overtakes_repeats_no_row(
    store: ArchiveStore, monkeypatch: pytest.MonkeyPatch, opened: int
) -> None:
    """Between the first or the second opening of a table and the commit, another program compacts all tables."""
    there, openings, original = with_small_files(store, 3), Counter[str](), ArchiveStore.open

    def open_and_wait(self: ArchiveStore, table: str) -> DeltaTable:
        handle = original(self, table)
        openings[table] += 1
        if table == "invocations" and openings[table] == opened:
            monkeypatch.setattr(ArchiveStore, "open", original)
            assert compact(store).set_index("table").at["invocations", "files_before"] == 3
        return handle

    monkeypatch.setattr(ArchiveStore, "open", open_and_wait)
    if opened == 1:
        assert compact(store)["files_before"].sum() == 0
    else:
        with pytest.raises(errors.ArchiveBroken, match=r"another compaction, of \S*@.* began later and goes on"):
            compact(store)
    assert ids(store) == there
    assert compact(store)["files_before"].sum() == 0


COMPACTING = """
import sys
from restate_lab.errors import ArchiveBroken
from restate_lab.history.maintenance import compact
from restate_lab.history.store import locate_store
for line in sys.stdin:
    try:
        compact(locate_store(sys.argv[1]))
        print("done", flush=True)
    except ArchiveBroken as error:
        print(error, flush=True)
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_processes_that_compact_while_an_archiver_commits_lose_and_repeat_no_row(store: ArchiveStore) -> None:
    tables, outcomes = ClusterTables(store, "c", store.open_all()), []
    command = [sys.executable, "-c", COMPACTING, store.where]
    with ExitStack() as stack:
        programs = [Popen(command, stdin=PIPE, stdout=PIPE, text=True, bufsize=1) for _ in range(3)]
        started = [stack.enter_context(each) for each in programs]
        for number in range(20):
            there = with_small_files(store, 10)
            for each in started:
                print(file=each.stdin)
            for _ in range(3):
                there.append(f"today {uuid.uuid4().hex}")
                tables.append_once("invocations", runs(there[-1]))
            outcomes += [each.stdout.readline().strip() for each in started if each.stdout]
            assert ids(store) == sorted(there), f"round {number}: {outcomes[-3:]}"
    assert all(outcome == "done" or "another compaction" in outcome for outcome in outcomes), outcomes
    assert outcomes.count("done") >= 20


def test_a_day_after_the_last_complete_visit_is_refused(store: ArchiveStore) -> None:
    ago = datetime.now(UTC) - timedelta(days=9)
    for last in (None, ago, ago + timedelta(days=409)):
        if last:
            record(store, last)
        with pytest.raises(errors.ArgumentError, match=r"the last complete visit of .* was made on"):
            delete_before(store, ago.date() + timedelta(days=1))
    assert store.deletion(store.open("invocations")) == Deletion()
    delete_before(store, ago.date())


def test_a_smaller_day_is_the_new_limit_and_the_deleted_days_remain_known(store: ArchiveStore) -> None:
    record(store, datetime.now(UTC))
    delete_before(store, TODAY)
    delete_before(store, TODAY - timedelta(days=60))
    deletion = store.deletion(store.open("invocations"))
    assert (deletion.before, deletion.end) == (TODAY - timedelta(days=60), datetime.combine(TODAY, time(), UTC))
    properties = {"restate_lab.deleted_before": "2062-05-01"}  # as earlier versions accepted it
    store.open("invocations").alter.set_table_properties(properties, raise_if_not_exists=False)
    delete_before(store, TODAY - timedelta(days=60))
    deletion = store.deletion(store.open("invocations"))
    assert (deletion.before, deletion.end) == (TODAY - timedelta(days=60), deletion.until)
    assert deletion.until is not None
    assert abs(deletion.until - datetime.now(UTC)) < timedelta(minutes=10)


def test_addresses_that_would_open_another_folder_are_refused(tmp_path: Path) -> None:
    """Delta decodes some addresses and panics at others; a URI in a Path has lost a slash."""
    for where in (Path("s3://bucket/x"), "s3:/bucket/x", "file:/tmp/x", Path("https://host/x")):
        with pytest.raises(errors.ArgumentError, match="is a URI without its second slash"):
            locate_store(where)
    for name in ("per%20cent", "%41", "[x]", "a]", "^c", "a|b", "back\\slash", "tab\tx", "line\nx", "del\x7fx"):
        for address in (tmp_path / name, str(tmp_path / name), f"s3://bucket/{name}"):
            with pytest.raises(errors.ArgumentError, match=r"Choose another folder|not a local path or a URI"):
                locate_store(address)
    for name in ("per%", "a b", "ü", "#h", "q?x", "a:b", "{b}", "s3:"):
        store = locate_store(tmp_path / name)
        store.create()
        assert (tmp_path / name / "visits" / "_delta_log").is_dir(), name
        assert set(store.open_all()) == set(TABLES)


def test_an_exception_and_a_panic_of_delta_are_archive_broken_on_one_line(store: ArchiveStore, tmp_path: Path) -> None:
    rows = runs("a").append_column("half", pa.array([1.0], pa.float16()))
    with pytest.raises(errors.ArchiveBroken, match="Float16") as plain:
        store.append(store.open("invocations"), rows, cluster="c")
    with pytest.raises(errors.ArchiveBroken, match="InvalidDomainCharacter") as panic:
        store.append(DeltaTable.create(str(tmp_path / "[x]"), runs("a").schema), runs("a"), cluster="c")
    assert not any("\n" in str(each.value) or "<unknown>" in str(each.value) for each in (plain, panic))


@pytest.mark.parametrize(
    ("response", "error"),
    [
        ("404 Not Found <Code>NoSuchBucket</Code>", errors.NotFound),
        ("404 Not Found <Code>NoSuchKey</Code>", errors.ArchiveBroken),
        ("403 Forbidden <Code>InvalidAccessKeyId</Code>", errors.AccessDenied),
        ("401 Unauthorized", errors.AccessDenied),
        ("400 Bad Request <Code>ExpiredToken</Code>", errors.AccessDenied),
        ("400 Bad Request <Code>AuthorizationHeaderMalformed</Code>", errors.ArchiveBroken),
        ("400 Bad Request <Code>RequestTimeout</Code>", errors.Unreachable),
        ("503 Service Unavailable <Code>SlowDown</Code>", errors.Unreachable),
        ("507 Insufficient Storage", errors.Unreachable),
        ("429 Too Many Requests", errors.Unreachable),
        ("200 OK", errors.Unreachable),
        ("", errors.Unreachable),
    ],
)
def test_the_response_of_a_store_decides_what_its_error_is(
    response: str, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its status or its code. Without a complete response, as with 200 here, the store cannot be reached."""
    line, code, body = response.partition(" <")
    length = len(code + body) + 100 * (line == "200 OK")
    headers = 'connection: close\r\netag: "x"\r\nlast-modified: Wed, 21 Oct 2026 07:28:00 GMT'
    answer = f"HTTP/1.1 {line}\r\n{headers}\r\ncontent-length: {length}\r\n\r\n{code}{body}" if line else ""
    with raw_server(respond_with(answer.encode(), then_close=True)) as server:
        for name, value in s3_settings(server.address).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(error) as raised:
            locate_store("s3://bucket/credentials-dns-timeout").exists()
    assert type(raised.value) is error


def test_a_lost_race_adds_the_runs_that_the_other_archiver_did_not_find_once(store: ArchiveStore) -> None:
    tables = ClusterTables(store, "c", store.open_all())
    journal = runs("a", "a", "b").append_column("index", pa.array([0, 1, 0]))
    rows = journal.select([name for name in journal.schema.names if name != "repeated"])
    store.append(store.open("journal"), rows.slice(0, 2), cluster="c", after=0, number=1)
    assert not tables.append_once("journal", rows, 0, 1)
    assert not tables.append_once("journal", rows, 0, 1)
    found = tables.rows("journal", ["id", "index"])
    assert sorted((row["id"], row["index"]) for row in found) == [("a", 0), ("a", 1), ("b", 0)]
    assert tables.version("journal") == 1


def test_a_column_that_differs_only_in_its_case_is_noted_and_not_stored(store: ArchiveStore) -> None:
    tables = ClusterTables(store, "c", store.open_all())
    tables.append("invocations", runs("a", state="x"), 0, 1)
    tables.append("invocations", runs("b", State="y"), 1, 2)
    assert tables.notes == {"invocations.State differs from another column only in its case, and is not stored"}
    assert {row["id"]: row["state"] for row in tables.rows("invocations", ["id", "state"])} == {"a": "x", "b": None}
