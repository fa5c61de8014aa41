"""Malicious evidence, with a manifest that matches the manipulated files."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restate_lab.errors import EvidenceBroken, ResultTooLarge
from restate_lab.evidence import verification
from restate_lab.evidence.freeze import freeze
from restate_lab.evidence.manifest import type_name
from restate_lab.evidence.store import open_evidence
from support.freezable import Freezable

GROUPS, ROWS = 20, 100_000


def freeze_sample(folder: Path) -> Path:
    numbers = range(50)
    source = Freezable(
        sys_invocation_status=[{"id": f"inv_{n}", "status": "suspended", "waits_for": [1, 2]} for n in numbers],
        state=[{"service_name": "S", "service_key": f"k{n}", "key": "a", "value": b"x" * n} for n in numbers],
        sys_journal=[{"id": f"inv_{n}", "index": n, "entry_lite_json": '{"Command": {}}'} for n in numbers],
    )
    return Path(freeze(source, folder / "good.evidence", progress=False, payloads=True))


def rewrite(folder: Path, name: str, content: bytes, **more: int) -> None:
    """Replace a file, and adapt the manifest to it."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(each for each in manifest["files"] if each["file"] == name)
    entry |= {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), **more}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def test_a_small_file_of_gigabytes_stops_at_max_bytes(tmp_path: Path) -> None:
    folder = freeze_sample(tmp_path)
    schema = pq.read_schema(folder / "state.parquet")
    same = pa.table(
        {
            field.name: pa.array([b"x" * 100 if pa.types.is_large_binary(field.type) else "x" * 100]).cast(field.type)
            for field in schema
        },
        schema=schema,
    )
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, schema, compression="zstd") as writer:
        group = same.take(pa.array([0] * ROWS))
        for _ in range(GROUPS):
            writer.write_table(group)
    assert group.nbytes * GROUPS > 1000 * len(sink.getvalue())
    rewrite(folder, "state.parquet", sink.getvalue(), rows=GROUPS * ROWS)
    with open_evidence(folder) as evidence:
        assert evidence.sql("SELECT count(*) AS n FROM state")["n"][0] == GROUPS * ROWS
        with pytest.raises(ResultTooLarge) as caught:
            evidence.sql("SELECT * FROM state", max_bytes=20 << 20)
    assert caught.value.size < 200 << 20


def bomb(folder: Path, table: pa.Table) -> Path:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", store_schema=False)
    inside = pq.ParquetFile(io.BytesIO(sink.getvalue())).schema_arrow
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = next(each for each in manifest["files"] if each["table"] == "state")
    entry["columns"] = [
        {"name": each.name, "type": "x", "nullable": True, "arrow": type_name(each.type)} for each in inside
    ]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    rewrite(folder, "state.parquet", sink.getvalue(), rows=table.num_rows)
    assert len(sink.getvalue()) < 1_000_000
    return folder


@pytest.mark.parametrize("within_lists", [False, True])
def test_a_large_value_for_each_row_is_decoded_few_at_a_time(
    tmp_path: Path, within_lists: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A megabyte that is once in a file of 1 kB, and in each of its 20,000 rows, does not become 8 GB at once."""
    monkeypatch.setattr(verification, "_MAX_BATCH_BYTES", 16 << 20)
    rows = 20_000
    values: Any = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([b"x" * 1_000_000]))
    if within_lists:
        values = pa.ListArray.from_arrays(pa.array(range(rows + 1), pa.int32()), values)
    folder = bomb(freeze_sample(tmp_path), pa.table({"value": values}))
    with open_evidence(folder) as evidence:
        assert evidence.sql("SELECT count(*) AS n FROM state")["n"][0] == rows
        with pytest.raises(ResultTooLarge) as caught:
            evidence.sql("SELECT value FROM state", max_bytes=20 << 20)
    assert caught.value.size < 100 << 20


BOMBS: dict[str, tuple[Callable[[], pa.Table], str]] = {
    "nulls": (lambda: pa.table({"key": pa.nulls(10_000_000)}), "a column of a type that is not allowed: key is null"),
    "nulls in lists": (
        lambda: pa.table({"key": pa.ListArray.from_arrays(pa.array([0, 10**7], pa.int32()), pa.nulls(10**7))}),
        "a column of a type that is not allowed",
    ),
    "one list of 2,000,000": (
        lambda: pa.table(
            {"key": pa.ListArray.from_arrays(pa.array([0, 2 * 10**6], pa.int32()), pa.array(np.zeros(2 * 10**6, "i1")))}
        ),
        "a value has 16,000,000 bytes, but at most 8,388,608 are allowed",
    ),
    "columns": (lambda: pa.table({f"c{n}": pa.array([1]) for n in range(1200)}), "it has 1,200 columns"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_columns_that_would_fill_the_memory_are_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "_MAX_VALUE_BYTES", 8 << 20)
    made, words = BOMBS[name]
    folder = freeze_sample(tmp_path)
    bomb(folder, made())
    with pytest.raises(EvidenceBroken, match=words):
        open_evidence(folder)
