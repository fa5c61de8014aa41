"""The ways to get rows from a server, side by side: from curl, which is the floor, to handwritten code."""

from __future__ import annotations

import functools
import gc
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Self

import httpx
import pandas as pd
import pyarrow as pa

from restate_lab import connect
from restate_lab.demo.install import install_cli

QUERIES = {
    "std": (
        "SELECT id, target, target_service_name, target_handler_name, target_service_key, target_service_ty, status, "
        "created_at, modified_at, running_at, completed_at, retry_count, last_failure, pinned_deployment_id, "
        "journal_size FROM sys_invocation"
    ),
    "narrow": "SELECT id, target_service_name, target_handler_name, status, created_at FROM sys_invocation",
    "star": "SELECT * FROM sys_invocation",
}
ARROW = "application/vnd.apache.arrow.stream"
JSON = "application/json"
CLI = "restate sql --json"
GZIP = "gzip, deflate"  # httpx requests it by itself, if neither zstd nor brotli is installed


class Floor:
    """curl in a new process, the response discarded: the cost of server and transfer; no client can be faster."""

    def __init__(self, admin_url: str) -> None:
        curl = shutil.which("curl")
        if curl is None:
            sys.exit("the benchmarks take curl as their floor: install it")
        self.size = 0
        headers = ("-H", f"accept: {ARROW}", "-H", "content-type: application/json")
        said = ("-w", "%{time_total} %{size_download}")
        self._command = [curl, "-s", "-S", "--fail", "-o", os.devnull, *headers, *said, f"{admin_url}/query"]

    def __call__(self, query: str) -> float:
        """Return the seconds of the request alone, as curl reports them, without the start of its process."""
        done = subprocess.run(
            [*self._command, "-d", json.dumps({"query": query})], check=True, capture_output=True, text=True
        )
        seconds, size = done.stdout.split()
        self.size = int(size)
        return float(seconds)


@functools.cache
def ways(admin_url: str) -> Mapping[str, Callable[[str], Any]]:
    """Return the methods by name, on connections that this process keeps; each takes a query and returns the rows."""
    lab = connect(admin_url)
    client = httpx.Client(base_url=admin_url, timeout=600, trust_env=False)
    return {
        "lab.sql": lambda query: lab.sql(query, progress=False),
        "lab.arrow": lambda query: lab.arrow(query, progress=False),
        "httpx stream, Arrow": lambda query: httpx_stream(client, query),
        "httpx read all, Arrow": lambda query: httpx_read_all(client, query, "identity"),
        "httpx read all, Arrow zstd": lambda query: httpx_read_all(client, query, "zstd"),
        "httpx JSON by hand, gzip": lambda query: httpx_json(client, query, GZIP),
        "httpx JSON by hand, zstd": lambda query: httpx_json(client, query, "zstd"),
        CLI: lambda query: cli_json(admin_url, query),
    }


class Worker:
    """A method in its own process, so that no method uses the memory of another."""

    def __init__(self, admin_url: str, name: str) -> None:
        self._task = functools.partial(_timed, admin_url, name)
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))

    def __call__(self, query: str) -> float:
        """Return the seconds until the rows are there."""
        return self._process.submit(self._task, query).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.shutdown()


def _timed(admin_url: str, name: str, query: str) -> float:
    method = ways(admin_url)[name]
    gc.collect()
    started = time.perf_counter()
    kept = method(query)
    seconds = time.perf_counter() - started
    del kept  # freeing the memory is not part of the response
    return seconds


def httpx_stream(client: httpx.Client, query: str) -> pd.DataFrame:
    headers = {"accept": ARROW, "accept-encoding": "identity"}
    with client.stream("POST", "/query", json={"query": query}, headers=headers) as response:
        response.raise_for_status()
        reader = pa.ipc.open_stream(io.BufferedReader(_Blocks(response.iter_raw()), 1 << 18))
        return reader.read_all().to_pandas()


def httpx_read_all(client: httpx.Client, query: str, encoding: str) -> pd.DataFrame:
    headers = {"accept": ARROW, "accept-encoding": encoding}
    response = client.post("/query", json={"query": query}, headers=headers).raise_for_status()
    return pa.ipc.open_stream(response.content).read_all().to_pandas()


def httpx_json(client: httpx.Client, query: str, encoding: str) -> pd.DataFrame:
    headers = {"accept": JSON, "accept-encoding": encoding}
    response = client.post("/query", json={"query": query}, headers=headers).raise_for_status()
    return pd.DataFrame(json.loads(response.content)["rows"])


def cli_json(admin_url: str, query: str) -> bytes:
    environment = {"PATH": os.environ["PATH"], "HOME": os.devnull, "RESTATE_ADMIN_URL": admin_url, "DO_NOT_TRACK": "1"}
    command = [str(install_cli()), "sql", "--json", query]
    return subprocess.run(command, check=True, capture_output=True, env=environment).stdout


class _Blocks(io.RawIOBase):
    """An iterator of blocks as the file that pyarrow needs."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks = blocks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._blocks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size], self._rest = self._rest[:size], self._rest[size:]
        return size
