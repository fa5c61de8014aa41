"""The store of an archive: numbered commits, other folders, damaged tables, maintenance."""

from __future__ import annotations

import shutil
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from restate_lab import errors
from restate_lab.history.store import ArchiveStore, LostRace, compact, delete_before, locate_store, vacuum
from restate_lab.history.tables import SCHEMA_VERSION, TABLES

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
    """The second commit of a number is refused, by a handle of the same version and by one opened later."""
    first, second = store.open("invocations"), store.open("invocations")
    store.append(first, runs("a"), cluster="c", after=0, number=1)
    with pytest.raises(LostRace):
        store.append(second, runs("a"), cluster="c", after=0, number=1)
    with pytest.raises(LostRace):
        store.append(store.open("invocations"), runs("a"), cluster="c", after=0, number=1)
    store.append(store.open("invocations"), runs("other"), cluster="d", after=0, number=1)
    store.append(first, runs("b"), cluster="c", after=1, number=2)
    assert ids(store) == ["a", "b", "other"]


def test_the_schema_can_grow(store: ArchiveStore) -> None:
    """Rows of a newer server add a column, and rows of an older one are accepted after that."""
    for number, more in enumerate(({}, {"new": "x"}, {}), start=1):
        rows = runs(f"run {number}", **more)
        store.append(store.open("invocations"), rows, cluster="c", after=number - 1, number=number)
    assert ids(store) == ["run 1", "run 2", "run 3"]


def test_a_killed_creation_is_continued(tmp_path: Path) -> None:
    """The table that is created last shows that all exist; until then, the folder counts as free."""
    store = locate_store(tmp_path / "archive")
    store.create()
    shutil.rmtree(tmp_path / "archive" / "visits")
    shutil.rmtree(tmp_path / "archive" / "services")
    (tmp_path / "archive" / "services" / "_delta_log").mkdir(parents=True)
    assert not store.exists()
    store.create()
    assert store.exists()
    assert set(store.open_all()) == set(TABLES)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    """A file, a folder with other content, and a Delta table of another program are not archives."""
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


def test_a_newer_schema_is_refused(store: ArchiveStore) -> None:
    """An archive that a newer version wrote is neither read nor written."""
    store.open("visits").alter.set_table_description(f"restate_lab archive, schema {SCHEMA_VERSION + 1}")
    with pytest.raises(errors.ArchiveBroken, match="update restate_lab"):
        store.exists()


@pytest.mark.parametrize("table", ["visits", "invocations"])
def test_a_half_written_table_is_reported(store: ArchiveStore, table: str) -> None:
    """A table without its log, with a truncated log, or without a data file is damaged, not empty."""
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


def test_a_missing_data_file_is_reported(store: ArchiveStore) -> None:
    """Rows that the log names and the folder does not have are an error, never fewer rows."""
    store.append(store.open("invocations"), runs("a"), cluster="c", after=0, number=1)
    next(Path(store.where, "invocations").rglob("*.parquet")).unlink()
    with pytest.raises(errors.ArchiveBroken, match=r"\.parquet|not found|No such file"):
        ids(store)


def test_compact_vacuum_and_delete(store: ArchiveStore) -> None:
    """Past days become few files, deleted days leave and are not archived again, and old files are removed."""
    old, past = TODAY - timedelta(days=40), TODAY - timedelta(days=1)
    for number, day in enumerate((old, past, past, past, TODAY), start=1):
        rows = runs(f"run {number}", day=day)
        store.append(store.open("invocations"), rows, cluster="c", after=number - 1, number=number)
    done = compact(store).set_index("table").loc["invocations"]
    assert (done["files_before"], done["files_after"]) == (3, 1)
    assert store.deleted_before(store.open("invocations")) is None
    deleted = delete_before(store, TODAY - timedelta(days=30)).set_index("table")["rows_deleted"]
    assert deleted["invocations"] == 1
    delete_before(store, TODAY - timedelta(days=60))
    assert store.deleted_before(store.open("invocations")) == TODAY - timedelta(days=30)
    assert ids(store) == ["run 2", "run 3", "run 4", "run 5"]
    assert set(vacuum(store)["files_removed"]) == {0}, "files younger than 7 days can be in use"
    assert store.open("invocations").transaction_version("c") == 5
