"""Reads Arrow responses with flipped bits, in its own process: ``python corrupted_streams.py FIRST LAST``.

pyarrow trusts a stream, and some of these streams crash the interpreter when their values are accessed. The result of
``table()`` is therefore validated here before use: reading itself must not crash. Prints each outcome with its count.
"""

from __future__ import annotations

import io
import json
import random
import sys
import time
import warnings
from collections import Counter

import httpx
import pyarrow as pa

from restate_lab.client._stream import ARROW, ArrowResponse, _QueryLimits
from restate_lab.errors import QueryRefused, RestateLabError
from restate_lab.frames import to_frame
from restate_lab.progress import NoProgress
from restate_lab.source import read_table

ROWS = 40


def columns() -> pa.Table:
    """Return columns of all types that servers send."""
    text = [f"inv_{n}" if n % 3 else None for n in range(ROWS)]
    views = {"v": pa.array([str(n) for n in range(ROWS)], pa.string_view())} if hasattr(pa, "string_view") else {}
    return pa.table({
        "id": pa.array(text, pa.large_string()),
        "n": pa.array([None if n % 5 == 0 else n for n in range(ROWS)], pa.uint64()),
        "at": pa.array([n * 1000 for n in range(ROWS)], pa.timestamp("ms", "+00:00")),
        "d": pa.array(range(ROWS), pa.duration("ms")),
        "b": pa.array([n % 2 == 0 for n in range(ROWS)]),
        "l": pa.array([[n, n + 1] for n in range(ROWS)], pa.list_(pa.uint32())),
        "x": pa.array([bytes([n]) for n in range(ROWS)], pa.large_binary()),
        **views,
    })  # fmt: skip


def stream_of(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=16)
    return sink.getvalue()


def read(body: bytes) -> pa.Table:
    response = httpx.Response(200, headers={"content-type": ARROW}, stream=httpx.ByteStream(body))
    return read_table(ArrowResponse(response, _QueryLimits(time.monotonic() + 60, 60, 1 << 28, NoProgress())).reader())


def outcome(body: bytes, whole: pa.Table) -> str:
    """Return "right", the name of one of our errors, or "other values": a flipped bit within a value is one."""
    try:
        table = read(body)
    except RestateLabError as error:
        return type(error).__name__
    try:
        table.validate(full=True)
        to_frame(table)
    except (pa.ArrowException, KeyError, UnicodeDecodeError, QueryRefused):  # also for an unknown time zone
        return "not valid"
    return "right" if table.equals(whole) else "other values"


def main(first: int, last: int) -> None:
    warnings.simplefilter("ignore")  # a flipped name may be a duplicate
    whole = columns()
    body = stream_of(whole)
    counts: Counter[str] = Counter()
    for seed in range(first, last):
        chance = random.Random(seed)  # noqa: S311 - the same streams in every run
        flipped = bytearray(body)
        for _ in range(chance.choice([1, 1, 2, 8])):
            flipped[chance.randrange(len(body))] ^= 1 << chance.randrange(8)
        counts[outcome(bytes(flipped), whole)] += 1
    sys.stdout.write(json.dumps(counts))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
