"""Services whose invocations come to every status: ``python status_services.py --fd N`` serves them."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, TerminalError, WorkflowContext

from restate_lab.demo.services_host import serve_inherited

MOMENT = timedelta(milliseconds=200)
LONG = timedelta(hours=1)
NONE = timedelta(0)
SELDOM = InvocationRetryPolicy(initial_interval=LONG, max_interval=LONG)
ONCE = InvocationRetryPolicy(initial_interval=MOMENT, max_attempts=1, on_max_attempts="pause")

every = restate.Service("Every", inactivity_timeout=MOMENT)
held = restate.VirtualObject("Held", inactivity_timeout=MOMENT)
flow = restate.Workflow("Flow", inactivity_timeout=MOMENT)
nap = restate.Workflow("Nap", inactivity_timeout=MOMENT)
caller = restate.Service("Caller", inactivity_timeout=MOMENT)


@every.handler()
async def greet(ctx: Context, name: str) -> str:
    """Succeed, after a step."""
    return await ctx.run_typed("greeting", lambda: f"hello {name}")


@every.handler()
async def fail(ctx: Context, name: str) -> str:
    await ctx.run_typed("look up", lambda: name)
    raise TerminalError(f"no such user {name}", status_code=404)


@every.handler(inactivity_timeout=LONG, abort_timeout=LONG)
async def busy(ctx: Context, name: str) -> str:
    async def work() -> str:
        await asyncio.sleep(3600)
        return name

    return await ctx.run_typed("work", work)


@every.handler(invocation_retry_policy=SELDOM)
async def flaky(ctx: Context, name: str) -> str:
    """Fail after a step, and be retried in an hour."""
    await ctx.run_typed("first", lambda: name)
    msg = f"not yet, {name}"
    raise ValueError(msg)


@every.handler(invocation_retry_policy=ONCE)
async def pauses(ctx: Context, name: str) -> str:
    """Fail after a step, and be paused."""
    await ctx.run_typed("first", lambda: name)
    msg = f"needs a person, {name}"
    raise ValueError(msg)


@every.handler()
async def waits(ctx: Context, name: str) -> str:
    await ctx.run_typed("first", lambda: name)
    _, outcome = ctx.awakeable(type_hint=str)
    return await outcome


@every.handler(journal_retention=NONE, idempotency_retention=LONG)
async def forgets(ctx: Context, name: str) -> str:
    """Succeed, and keep no journal."""
    return name


@held.handler()
async def hold(ctx: ObjectContext) -> str:
    _, outcome = ctx.awakeable(type_hint=str)
    return await outcome


@held.handler()
async def take(ctx: ObjectContext, name: str) -> str:
    """Do nothing, once the key is free."""
    return name


@flow.main()
async def run(ctx: WorkflowContext, name: str) -> str:
    return name


@nap.main()
async def sleeps(ctx: WorkflowContext, seconds: int) -> str:
    """Sleep; without seconds, wait for a promise instead."""
    if seconds:
        await ctx.sleep(timedelta(seconds=seconds))
        return "slept"
    return await ctx.promise("answer", type_hint=str).value()


@held.handler()
async def hold_and_call(ctx: ObjectContext, name: str) -> str:
    return await ctx.service_call(waits, name)


@caller.handler()
async def calls(ctx: Context, name: str) -> str:
    """Send two, one of them for later, and call two that wait, one of them through another call."""
    ctx.service_send(waits, f"{name}, sent")
    ctx.service_send(greet, f"{name}, for later", send_delay=LONG)
    parts = await restate.gather(ctx.service_call(waits, name), ctx.service_call(passes_on, name))
    return str(len(parts))


@caller.handler()
async def passes_on(ctx: Context, name: str) -> str:
    return await ctx.service_call(waits, name)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[every, held, flow, nap, caller]))
