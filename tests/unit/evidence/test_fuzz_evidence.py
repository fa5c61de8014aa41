"""Evidence of somebody who means ill, and whose manifest fits what he has done to the files."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from restate_lab.errors import ResultTooLarge
from restate_lab.evidence.store import open_evidence
from support import flipped_evidence
from support.flipped_evidence import frozen, rewrite

FLIPS = 120
GROUPS, ROWS = 20, 100_000


def test_flipped_bits_end_no_kernel(tmp_path: Path) -> None:
    """Whatever bits are flipped, the evidence is refused, or a query of it is, or it is read; and nothing crashes."""
    tests = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tests.parent), str(tests)])}
    program = [sys.executable, str(flipped_evidence.__file__), str(tmp_path), "0", str(FLIPS)]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    counts = json.loads(done.stdout)
    assert counts.keys() <= {"read", "EvidenceBroken", "QueryRefused"}
    assert counts["EvidenceBroken"] > FLIPS / 5


def test_a_parquet_bomb_is_defused(tmp_path: Path) -> None:
    """A small file of gigabytes opens at once, can be counted, and is stopped at ``max_bytes`` as any result."""
    folder = frozen(tmp_path)
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
