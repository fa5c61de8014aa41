"""Services that play programs from ``programs.json`` in their folder: ``python replay_services.py --fd N`` serves them.

A program is a list of operations, each a list of its name and its arguments. Two processes with different files are an
old and a new version of the same code. Each step appends its name to ``steps.log``, code outside of steps appends to
``outside.log``.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from restate import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=150)
LONG = timedelta(hours=1)
RARELY = InvocationRetryPolicy(initial_interval=LONG, max_interval=LONG)
FOLDER = Path(os.environ[FOLDER_VARIABLE])

helper = restate.Service("Helper", inactivity_timeout=SOON)
programs = restate.VirtualObject("Programs", inactivity_timeout=SOON, invocation_retry_policy=RARELY)
lazy = restate.VirtualObject(
    "LazyPrograms", inactivity_timeout=SOON, invocation_retry_policy=RARELY, enable_lazy_state=True
)
flows = restate.Workflow("Flows", inactivity_timeout=SOON, invocation_retry_policy=RARELY)


@helper.handler()
async def answer(ctx: Context, text: Any) -> Any:
    return text


@helper.handler()
async def never(ctx: Context, text: Any) -> None:
    await ctx.sleep(LONG)


@helper.handler()
async def refuse(ctx: Context, text: str) -> None:
    raise TerminalError(text, status_code=418)


@programs.handler()
async def run(ctx: ObjectContext, name: str) -> Any:
    return await _play(ctx, name)


@lazy.handler("run")
async def run_lazily(ctx: ObjectContext, name: str) -> Any:
    """Play a program with state that is not sent with the request."""
    return await _play(ctx, name)


@flows.main("run")
async def run_flow(ctx: WorkflowContext, name: str) -> Any:
    """Play a program that can have promises."""
    return await _play(ctx, name)


@flows.handler()
async def resolve(ctx: WorkflowSharedContext, name: str) -> Any:
    """Play a program beside the workflow."""
    return await _play(ctx, name)


def _note(file: str, text: str) -> str:
    with (FOLDER / file).open("a") as log:
        log.write(f"{text}\n")
    return text


async def _play(ctx: Any, name: str) -> Any:
    _note("outside.log", name)
    program = json.loads((FOLDER / "programs.json").read_text())[name]
    values: list[Any] = []
    for operation, *arguments in program:
        if operation == "return":
            return arguments[0]
        if operation == "swallow":  # go on after any error, as code with a broad except does
            with contextlib.suppress(Exception):
                await _act(ctx, arguments[0], arguments[1:], values)
            continue
        await _act(ctx, operation, arguments, values)
    return values and str(len(values))


async def _act(ctx: Any, operation: str, arguments: list[Any], values: list[Any]) -> None:
    value = OPERATIONS[operation](ctx, *arguments)
    if inspect.isawaitable(value):
        values.append(await value)


def _step(ctx: Any, step: str) -> Any:
    return ctx.run_typed(step, lambda: _note("steps.log", step))


async def _run_terminal(ctx: Any, step: str) -> str | None:
    with contextlib.suppress(TerminalError):
        await ctx.run_typed(step, lambda: _fail_finally(step))


async def _two_runs(ctx: Any, one: str, other: str) -> None:
    await restate.gather(_step(ctx, one), _step(ctx, other))


async def _call(ctx: Any, handler: str, value: Any) -> Any:
    with contextlib.suppress(TerminalError):
        return await ctx.service_call({"answer": answer, "never": never, "refuse": refuse}[handler], value)


async def _race(ctx: Any, value: Any) -> None:
    await restate.select(call=ctx.service_call(never, value), timeout=ctx.sleep(timedelta(milliseconds=1)))


async def _await_awakeable(ctx: Any) -> Any:
    return await ctx.awakeable()[1]


async def _fulfill(ctx: Any, one: str, other: str) -> Any:
    await ctx.promise(one, type_hint=str).resolve("yes")
    return await ctx.promise(other, type_hint=str).value()


async def _listen(ctx: Any, name: str) -> Any:
    ctx.resolve_signal(ctx.request().id, name, "ding")
    return await ctx.signal(name, type_hint=str)


def _raise(_: Any, text: str) -> None:
    raise ValueError(text)


def _terminal(_: Any, text: str) -> None:
    raise TerminalError(text, status_code=418)


def _with(key: str, headers: dict[str, str]) -> dict[str, Any]:
    return {"idempotency_key": key, "headers": headers}


OPERATIONS: dict[str, Callable[..., Any]] = {
    "run": _step,
    "run_terminal": _run_terminal,
    "die": lambda ctx, step: ctx.run_typed(step, lambda: _fail_finally(step)),
    "run_failing": lambda ctx, step: ctx.run_typed(step, lambda: _fail(step)),
    "two_runs": _two_runs,
    "sleep": lambda ctx, name: ctx.sleep(timedelta(milliseconds=1), name=name),
    "nap": lambda ctx, name: ctx.sleep(LONG, name=name),
    "call": _call,
    "call_with": lambda ctx, value, key, headers: ctx.service_call(answer, value, **_with(key, headers)),
    "race": _race,
    "send": lambda ctx, value: ctx.service_send(answer, value) and None,
    "send_later": lambda ctx, value, hours: ctx.service_send(answer, value, send_delay=hours * LONG) and None,
    "send_with": lambda ctx, value, key, headers: ctx.service_send(answer, value, **_with(key, headers)) and None,
    "set": lambda ctx, key, value: ctx.set(key, value),
    "get": lambda ctx, key: ctx.get(key),
    "clear": lambda ctx, key: ctx.clear(key),
    "clear_all": lambda ctx: ctx.clear_all(),
    "keys": lambda ctx: ctx.state_keys(),
    "uuid": lambda ctx, key: ctx.set(key, str(ctx.uuid())),
    "awakeable": lambda ctx: ctx.service_send(answer, ctx.awakeable()[0]) and None,
    "await_awakeable": _await_awakeable,
    "resolve": lambda ctx, awakeable, value: ctx.resolve_awakeable(awakeable, value),
    "reject": lambda ctx, awakeable, text: ctx.reject_awakeable(awakeable, text),
    "signal": lambda ctx, target, name, value: ctx.resolve_signal(target, name, value),
    "listen": _listen,
    "cancel": lambda ctx, target: ctx.cancel_invocation(target),
    "attach": lambda ctx, target: ctx.attach_invocation(target, type_hint=str),
    "peek": lambda ctx, name: ctx.promise(name, type_hint=str).peek(),
    "complete": lambda ctx, name, value: ctx.promise(name, type_hint=str).resolve(value),
    "fulfill": _fulfill,
    "raise": _raise,
    "terminal": _terminal,
    "note": lambda _, text: _note("outside.log", text) and None,
    "header": lambda ctx, name: _note("outside.log", ctx.request().attempt_headers.get(name, "no header")) and None,
    "spin": lambda _, seconds: time.sleep(seconds),  # it blocks the process
    "exit": lambda _: os._exit(3),
}
"""The operations of programs."""


def _fail(step: str) -> None:
    msg = f"the step {step} failed"
    raise ValueError(msg)


def _fail_finally(step: str) -> None:
    raise TerminalError(f"the step {step} failed", status_code=422)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[helper, programs, lazy, flows]))
