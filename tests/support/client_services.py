"""Small services for tests of AdminClient and IngressClient: ``python client_services.py --fd N`` serves them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import restate
from restate import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)
from restate.serde import BytesSerde

from restate_lab.demo.services_host import serve_inherited

BINARY = "application/octet-stream"
SOON = timedelta(milliseconds=200)
OFTEN = InvocationRetryPolicy(initial_interval=SOON, max_interval=SOON)

echo = restate.Service("Echo", description="Answers at once, later, never, or with a failure", inactivity_timeout=SOON)
counter = restate.VirtualObject("Counter", description="A number per key", inactivity_timeout=SOON)
signup = restate.Workflow("Signup", description="Waits until someone approves", inactivity_timeout=SOON)


@echo.handler(metadata={"team": "tests"})
async def say(ctx: Context, words: str) -> str:
    return words


@echo.handler(accept="*/*", content_type=BINARY, input_serde=BytesSerde(), output_serde=BytesSerde())
async def raw(ctx: Context, body: bytes) -> bytes:
    return body[::-1]


@echo.handler(content_type="text/html", output_serde=BytesSerde())
async def page(ctx: Context) -> bytes:
    return b"<html><title>Sign in</title></html>"


@echo.handler()
async def nothing(ctx: Context) -> None:
    """Take no input and return nothing."""


@echo.handler()
async def header(ctx: Context, name: str) -> str | None:
    return ctx.request().headers.get(name)


@echo.handler()
async def fail(ctx: Context, words: str) -> None:
    raise TerminalError(words, status_code=418)


@echo.handler()
async def fail_with(ctx: Context, code: int) -> None:
    """Fail with a terminal error of this code, with a message that servers use too."""
    msg = "not found"
    raise TerminalError(msg, status_code=code)


@echo.handler(invocation_retry_policy=OFTEN)
async def storm(ctx: Context) -> None:
    await ctx.run_typed("step", lambda: 1)
    msg = "not yet"
    raise ValueError(msg)


@echo.handler()
async def wait(ctx: Context) -> str:
    """Store an awakeable's id in Counter/awakeable, and wait for it."""
    id_, outcome = ctx.awakeable()
    ctx.object_send(remember, key=ctx.request().id, arg=id_)
    return f"got {await outcome}"


@echo.handler()
async def busy(ctx: Context, seconds: float) -> str:
    async def step() -> str:
        await asyncio.sleep(seconds)
        return "done"

    return await ctx.run_typed("step", step)


@counter.handler()
async def add(ctx: ObjectContext, amount: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + amount
    ctx.set("total", total)
    return total


@counter.handler()
async def hold(ctx: ObjectContext) -> str:
    id_, outcome = ctx.awakeable()
    ctx.object_send(remember, key=ctx.request().id, arg=id_)
    return f"got {await outcome}"


@counter.handler()
async def remember(ctx: ObjectContext, value: str) -> None:
    ctx.set("value", value)


@counter.handler(kind="shared")
async def value(ctx: ObjectSharedContext) -> str | None:
    return await ctx.get("value", type_hint=str)


@signup.main()
async def run(ctx: WorkflowContext, name: str) -> str:
    ctx.set("name", name)
    return f"{name} approved by {await ctx.promise('approval', type_hint=str).value()}"


@signup.handler()
async def approve(ctx: WorkflowSharedContext, by: str) -> None:
    await ctx.promise("approval", type_hint=str).resolve(by)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[echo, counter, signup]))
