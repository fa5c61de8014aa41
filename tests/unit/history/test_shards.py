"""Shards of an archive without a server: which archivers may be active, and what Delta refuses."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest

from restate_lab.errors import ArgumentError
from restate_lab.history.commits import ClusterTables, table_of_records
from restate_lab.history.maintenance import delete_before
from restate_lab.history.shards import ShardLayout, claim, parse_shard, release
from restate_lab.history.store import ArchiveStore, LostRace, locate_store
from restate_lab.history.tables import TABLES

NOW = datetime.now(UTC)
SERVICES = {"A", "B", "C", "D"}


@pytest.fixture
def store(tmp_path: Path) -> ArchiveStore:
    made = locate_store(tmp_path / "archive")
    made.create()
    return made


def tables(store: ArchiveStore, shard: str | None, cluster: str = "c") -> ClusterTables:
    return ClusterTables(store, cluster, store.open_all(), shard=shard)


def begin(store: ArchiveStore, shard: str | None, services: str = "", *, is_first: bool = True) -> ClusterTables:
    """Claim services, each a letter, and return the tables of the archiver."""
    made = tables(store, shard)
    claim(made, tuple(services), SERVICES, is_first=is_first)
    return made


def commit(archiver: ClusterTables, id_: str) -> None:
    rows = [{"cluster_name": archiver.cluster, "day": NOW.date(), "created_at": NOW, "id": id_}]
    schema = pa.schema([*TABLES["invocations"].own.items(), ("id", pa.string())])
    number = archiver.version("invocations")
    own = {"visit": number + 1, "shard": archiver.shard}
    table = pa.Table.from_pylist([{**row, **own} for row in rows], schema)
    archiver.append("invocations", table, number, number + 1)


def ids(store: ArchiveStore) -> list[str]:
    return sorted(row["id"] for row in tables(store, None).rows("invocations", ["id"]))


def test_the_archiver_that_comes_second_is_refused_with_what_to_do(store: ArchiveStore) -> None:
    begin(store, "first", "AB")
    begin(store, "first", "AB")
    begin(store, "second", "C")
    for shard, services, message in (
        ("first", "A", r"the shard 'first' of c has the services A, B; this visit has A\. Choose another name"),
        ("other", "BD", r"B of c is archived by the shard 'first', .* release .* --shard first\.$"),
        (None, "", r"archived by the shards 'first' \(A, B\), 'second' \(C\), so its whole cluster cannot"),
        ("third", "X", "the cluster has no service 'X'"),
    ):
        with pytest.raises(ArgumentError, match=message):
            begin(store, shard, services)
    assert claim(tables(store, "x", "another"), ("A",), SERVICES, is_first=True).active == {"x": ("A",)}


def test_a_whole_cluster_is_followed_by_shards_and_back_once_it_was_released(store: ArchiveStore) -> None:
    whole = begin(store, None)
    commit(whole, "a")
    with pytest.raises(ArgumentError, match="an archiver visits the whole cluster c"):
        begin(store, "first", "A")
    assert release(store, "c", None).to_dict("records") == [{"shard": "the whole cluster", "services": "all"}]
    begin(store, "first", "A")
    begin(store, "second", "B")
    assert release(store, "c", "first").to_dict("records") == [{"shard": "first", "services": "A"}]
    with pytest.raises(ArgumentError, match=r"no active shard 'first': it is archived by 'second' \(B\)"):
        release(store, "c", "first")
    begin(store, "third", "A")
    assert len(release(store, "c", None)) == 2
    with pytest.raises(ArgumentError, match="it is archived by no archiver"):
        release(store, "c", None)
    layout = claim(tables(store, None), (), SERVICES, is_first=True)
    assert (layout.is_whole, layout.inactive(None)) == (True, ["first", "second", "third"])


def test_a_visit_to_the_whole_cluster_without_runs_also_refuses_shards(store: ArchiveStore) -> None:
    record = {"cluster_name": "c", "day": NOW.date(), "started_at": NOW, "outcome": "failed"}
    store.append(store.open("visits"), table_of_records([record]), cluster="c")
    begin(store, "first", "A")
    release(store, "c", None)
    other = locate_store(Path(store.where).with_name("other"))
    other.create()
    other.append(other.open("visits"), table_of_records([record | {"outcome": "complete"}]), cluster="c")
    with pytest.raises(ArgumentError, match="an archiver visits the whole cluster c"):
        begin(other, "first", "A")


@pytest.mark.parametrize("change", ["another shard begins", "the shard is released"])
def test_an_archiver_cannot_commit_what_it_selected_under_an_earlier_layout(store: ArchiveStore, change: str) -> None:
    on_its_way = begin(store, "first", "A")
    if change == "another shard begins":
        begin(store, "second", "B")
    else:
        release(store, "c", "first")
    with pytest.raises(LostRace):
        commit(on_its_way, "a")
    if change == "the shard is released":
        with pytest.raises(ArgumentError, match="the shard 'first' of c was released while it was archived"):
            begin(store, "first", "A", is_first=False)
    commit(begin(store, "first", "A"), "a")
    assert ids(store) == ["a"]


def test_shards_that_commit_at_the_same_time_lose_nothing(store: ArchiveStore) -> None:
    for name, services in (("first", "A"), ("second", "B"), ("third", "C")):
        begin(store, name, services)
    commit(begin(store, "first", "A"), "columns of the server")  # a new column ends commits of others once
    archivers = [begin(store, name, services) for name, services in (("first", "A"), ("second", "B"), ("third", "C"))]

    def write(archiver: ClusterTables) -> None:
        for number in range(10):
            commit(archiver, f"{archiver.shard} {number}")

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, archivers))
    assert len(ids(store)) == len(set(ids(store))) == 31
    assert [tables(store, name).version("invocations") for name in ("first", "second", "third", None)] == [
        11,
        10,
        10,
        0,
    ]


def test_only_an_archive_with_shards_is_refused_by_earlier_programs(store: ArchiveStore) -> None:
    def version() -> str:
        return str(store.open("visits").metadata().description)

    commit(begin(store, None), "a")
    assert (version(), ShardLayout.of(store.open("invocations"), "c").is_stored) == (
        "restate_lab archive, schema 1",
        False,
    )
    release(store, "c", None)
    assert version() == "restate_lab archive, schema 2"
    assert store.exists()


def test_other_properties_and_shards_do_not_replace_each_other(store: ArchiveStore) -> None:
    begin(store, "first", "A")
    claim(tables(store, "x", "other"), ("A",), SERVICES, is_first=True)
    row = {"cluster_name": "c", "day": NOW.date(), "started_at": NOW, "ended_at": NOW, "outcome": "complete"}
    store.append(store.open("visits"), table_of_records([row]), cluster="c")
    delete_before(store, NOW.date())
    begin(store, "second", "B")
    invocations = store.open("invocations")
    assert store.deletion(invocations).before == NOW.date()
    assert ShardLayout.of(invocations, "c").active == {"first": ("A",), "second": ("B",)}
    assert ShardLayout.of(invocations, "other").active == {"x": ("A",)}


def test_a_shard_has_a_name_and_services(tmp_path: Path) -> None:
    assert parse_shard(None, None) == (None, ())
    assert parse_shard("a", ["B", "A", "B"]) == ("a", ("A", "B"))
    for shard, service in (("a", None), (None, "A"), ("a/b", "A"), ("", "A"), ("a", [""])):
        with pytest.raises(ArgumentError, match=r"needs|not valid|service"):
            parse_shard(shard, service)
