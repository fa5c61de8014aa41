"""Which runs are marked as repeated, and how much of an archive is read for that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from restate_lab.history.commits import ArchivedIds, ClusterTables, is_generated_key, with_repeated
from restate_lab.history.store import locate_store
from support.archives import DAY

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
NOON = DAY + timedelta(hours=12)


def ulid(at: datetime, tail: str = "DW38JKSX0DN3XT2Z") -> str:
    number, text = round(at.timestamp() * 1000), ""
    for _ in range(10):
        number, digit = divmod(number, 32)
        text = DIGITS[digit] + text
    return text + tail


@pytest.mark.parametrize(
    ("key", "is_generated"),
    [
        (ulid(NOON), True),
        (ulid(NOON - timedelta(seconds=20)), True),
        (ulid(NOON - timedelta(minutes=2)), False),
        (ulid(NOON).lower(), False),
        (ulid(NOON)[:-1], False),
        ("order 7", False),
        ("", False),
        ("Z" * 26, False),
        ("I" * 26, False),
    ],
)
def test_only_a_ulid_of_the_time_of_creation_is_a_generated_key(key: str, *, is_generated: bool) -> None:
    assert is_generated_key(key, NOON) is is_generated


@dataclass(slots=True)
class Counted(ClusterTables):
    reads: list[str] = field(default_factory=list)

    def batches(self, table: str, columns: list[str], where: str = "") -> Iterator[pa.RecordBatch]:
        self.reads.append(where)
        return ClusterTables.batches(self, table, columns, where)


@pytest.fixture
def tables(tmp_path: Path) -> Counted:
    store = locate_store(tmp_path / "archive")
    store.create()
    tables = Counted(store, "c", store.open_all())
    tables.append("invocations", runs_of(("old", "workflow", None, DAY - timedelta(days=90))), 0, 1)
    return tables


def runs_of(*rows: tuple[str, str, str | None, datetime]) -> pa.Table:
    names = ("id", "target_service_ty", "idempotency_key", "created_at")
    kinds = dict.fromkeys(names, pa.string()) | {"created_at": pa.timestamp("us", "UTC")}
    columns: dict[str, Any] = {name: pa.array([row[i] for row in rows], kinds[name]) for i, name in enumerate(names)}
    days = pa.array([row[3].date() for row in rows], pa.date32())
    return pa.table({"cluster_name": pa.array(["c"] * len(rows)), "day": days, **columns})


KNOWN = ArchivedIds((DAY - timedelta(days=1)).date(), pa.array(["known", "other"]))


def test_runs_with_generated_keys_are_searched_in_the_last_days_only(tables: Counted) -> None:
    rows = runs_of(
        ("new", "service", ulid(NOON), NOON), ("known", "service", ulid(NOON), NOON), ("plain", "service", None, NOON)
    )
    assert with_repeated(rows, tables, KNOWN)["repeated"].to_pylist() == [False, True, False]
    assert tables.reads == []


def test_other_keys_and_workflows_are_searched_in_all_days(tables: Counted) -> None:
    rows = runs_of(
        ("old", "workflow", None, NOON),
        ("known", "workflow", None, NOON),
        ("order", "service", "order 7", NOON),
        ("long", "service", ulid(NOON - timedelta(days=9)), NOON - timedelta(days=9)),
    )
    assert with_repeated(rows, tables, KNOWN)["repeated"].to_pylist() == [True, True, False, False]
    assert tables.reads == [f"AND day < '{KNOWN.since}'"], "the ids of the other days are known"
    assert with_repeated(rows, tables, None)["repeated"].to_pylist() == [True, False, False, False]
