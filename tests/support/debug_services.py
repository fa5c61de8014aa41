"""The services of ``replay_services`` with bugs: programs that fail in every way that code of a user fails.

``python debug_services.py --fd N`` serves them. Each bug has a line of its own, so that the line of a failure says
which one it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import replay_services as base  # this file is a program, and a module of tests/support
import restate
from restate import TerminalError
from restate.exceptions import RetryableError

from restate_lab.demo.services_host import serve_inherited


class OutOfStock(Exception):
    """An error of an application, with more than a message."""

    def __init__(self, item: str, left: int) -> None:
        super().__init__(item, left)


class Refused(TerminalError):
    """A failure of an application that ends an invocation."""


def _missing_key(values: list[Any]) -> Any:
    return {"price": len(values)}["prise"]


def _missing_index(values: list[Any]) -> Any:
    parts = [each for each in values if each == "no such value"]
    return parts[1]


def _wrong_type(values: list[Any]) -> Any:
    return "total " + len(values)  # type: ignore[operator]


def _division(values: list[Any]) -> Any:
    return 1 / (len(values) - len(values))


def _missing_attribute(values: list[Any]) -> Any:
    return None.price  # type: ignore[attr-defined]


def _number(values: list[Any]) -> Any:
    return int("box")


def _assertion(values: list[Any]) -> Any:
    assert len(values) < 0, "a count is negative"


def _unpack(values: list[Any]) -> Any:
    one, two = [1]
    return one, two


def _json(values: list[Any]) -> Any:
    return json.loads("{")


def _own_error(values: list[Any]) -> Any:
    raise OutOfStock("kettle ☕", 0)


def _chained(values: list[Any]) -> Any:
    try:
        return _missing_key(values)
    except KeyError as error:
        raise RuntimeError("no price") from error


def _in_finally(values: list[Any]) -> Any:
    try:
        return values
    finally:
        _division(values)


def _deep(values: list[Any]) -> Any:
    return [_missing_index(each) for each in ([values],)]


def _several_lines(values: list[Any]) -> Any:
    raise ValueError("first line\nsecond line: 'quoted'")


def _retryable(values: list[Any]) -> Any:
    raise RetryableError("try later", retry_after=timedelta(hours=1))


def _refused(values: list[Any]) -> Any:
    raise Refused("not allowed", status_code=403)


def _from_terminal(values: list[Any]) -> Any:
    raise ValueError("a wrapped failure") from TerminalError("no stock", status_code=409)


BUGS: dict[str, Callable[[list[Any]], Any]] = {
    "missing key": _missing_key,
    "missing index": _missing_index,
    "wrong type": _wrong_type,
    "division": _division,
    "missing attribute": _missing_attribute,
    "number": _number,
    "assertion": _assertion,
    "unpack": _unpack,
    "json": _json,
    "own error": _own_error,
    "chained": _chained,
    "in finally": _in_finally,
    "deep": _deep,
    "several lines": _several_lines,
    "retryable": _retryable,
    "refused": _refused,
    "from terminal": _from_terminal,
}
"""Bugs of code outside of steps, each with its line."""


async def _in_gather(ctx: Any) -> None:
    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("in a task")

    await asyncio.gather(fail(), asyncio.sleep(0))


async def _clock(ctx: Any) -> None:
    """Run a step whose name is never the same, and suspend, so that the next attempt does not match."""
    await ctx.run_typed(f"at {time.time_ns()}", lambda: "done")
    await ctx.sleep(timedelta(milliseconds=600))


async def _cancelled(ctx: Any) -> None:
    """Wait until the invocation is cancelled, and go on, as code that compensates."""
    with contextlib.suppress(TerminalError):
        await ctx.sleep(base.LONG, name="the end")


base.OPERATIONS |= {
    "bug": lambda _, name: BUGS[name]([]),
    "gather": _in_gather,
    "clock": _clock,
    "compensate": _cancelled,
    "unserializable": lambda _: None,  # the end of ``_play`` in ``unserializable``
}


@base.programs.handler()
async def unserializable(ctx: restate.ObjectContext, name: str) -> Any:
    """Play a program, and return a set, which JSON does not have; the fixed program returns its value."""
    value = await base._play(ctx, name)
    program = json.loads((base.FOLDER / "programs.json").read_text())[name]
    return {object()} if ["unserializable"] in program else value


app = restate.app(services=[base.helper, base.programs, base.lazy, base.flows])

if __name__ == "__main__":
    serve_inherited(app)
