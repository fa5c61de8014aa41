"""A handler that fails on a recorded journal, in a folder of its own, and its record: for sessions of a debugger."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from restate_lab.testing import Record
from restate_lab.testing.journal import Failure, Journal
from support.forked import restate_lab

CODE = """\
import logging
import pathlib

import restate
from restate import ObjectContext
from restate.logging import getLogger

logging.basicConfig(level=logging.INFO, format="log: %(message)s")
log = getLogger("shop")
orders = restate.VirtualObject("Orders")


def price_of(parts):
    first = parts[0]
    return first + parts[1]


def step():
    pathlib.Path("ran").touch()


@orders.handler()
async def place(ctx: ObjectContext, order: dict) -> int:
    total = 0
    for i in range(2):
        total += await ctx.run_typed(f"item {i}", step)
        log.info("item %s", i)
    ctx.set("total", total)
    parts = await ctx.run_typed("load", step)
    order["parts"] = parts
    return total + price_of([part for part in parts.values() if part])


app = restate.app([orders])
"""
HOSTILE = "\x1b[2J\u202e\x9b31m"
ENTRIES: tuple[dict[str, Any], ...] = (
    {"type": "Command: Input", "value": '{"sku": "A"}'},
    {"type": "Command: Run", "result_completion_id": 1, "name": "item 0"},
    {"type": "Notification: Run", "completion_id": 1, "value": "1"},
    {"type": "Command: Run", "result_completion_id": 2, "name": "item 1"},
    {"type": "Notification: Run", "completion_id": 2, "value": "4"},
    {"type": "Command: SetState", "key": "total", "value": "5"},
    {"type": "Command: Run", "result_completion_id": 3, "name": "load"},
    {"type": "Notification: Run", "completion_id": 3, "value": '{"a": 0, "b": 52}'},
)
ID = "inv_1iGNiIFQWiu36yH4qRUkjeMq1EhGoQ7kAB"
FAILING_LINE = CODE.splitlines().index("    return first + parts[1]") + 1


def line_of(text: str) -> int:
    """Return the number of the first line of the code with a text."""
    return next(number for number, line in enumerate(CODE.splitlines(), 1) if text in line)


def journal(entries: Iterable[dict[str, Any]] = ENTRIES, **fields: Any) -> Journal:
    """Return the journal in which the handler fails, or another one with other fields."""
    error = Failure(
        "IndexError", "IndexError('list index out of range')", 500, 7, file="/app/shop.py", line=33, function="price_of"
    )
    known: dict[str, Any] = {"service": "Orders", "handler": "place", "key": "4711", "status": "paused", "error": error}
    identity = {"id": ID, "id_bytes": bytes(range(24)), "protocol": 6, "seed": 7}
    return Journal(**{**known, **identity, **fields, "entries": tuple(entries)})


def write_app(folder: Path, code: str = CODE) -> Path:
    """Write ``shop.py`` and ``record.json`` to a folder, and return it."""
    (folder / "shop.py").write_text(code)
    Record(journal()).save(folder / "record.json")
    return folder


ARGUMENTS = ("debug", "shop", "record.json")


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path.cwd()), "PYTHONDONTWRITEBYTECODE": "1"}


def start_session(folder: Path, *options: str, **settings: Any) -> subprocess.Popen[str]:
    """Start ``restate-lab debug`` in a folder with its app and its record."""
    streams: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen(
        [*restate_lab(), *ARGUMENTS, *options], cwd=folder, env=environment(), text=True, **{**streams, **settings}
    )
