"""Services whose invocations start, wait, fail, pause and end all the time: ``python past_services.py --fd N``.

``Past`` has one handler per way of life; ``Box`` has keys for which invocations and their callers wait. ``Patient``
waits long before it is suspended, so that one that was resumed by hand is in progress for a while.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, TerminalError, WorkflowContext

from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=300)
SHORT = timedelta(milliseconds=700)
RETRIES = InvocationRetryPolicy(initial_interval=SHORT, max_interval=timedelta(seconds=4), exponentiation_factor=2)
PAUSES = InvocationRetryPolicy(initial_interval=SHORT, max_attempts=2, on_max_attempts="pause")

past = restate.Service("Past", inactivity_timeout=SOON, abort_timeout=timedelta(seconds=5))
box = restate.VirtualObject("Box", inactivity_timeout=SOON)
flow = restate.Workflow("Flow", inactivity_timeout=SOON)
patient = restate.Service("Patient", inactivity_timeout=timedelta(seconds=4))
attempts: Counter[str] = Counter()


@past.handler()
async def work(ctx: Context, seconds: float) -> float:
    async def step() -> float:
        await asyncio.sleep(seconds)
        return seconds

    await ctx.run_typed("first", lambda: seconds)
    return await ctx.run_typed("work", step)


@past.handler()
async def nap(ctx: Context, seconds: float) -> float:
    await ctx.sleep(timedelta(seconds=seconds))
    await ctx.run_typed("between", lambda: seconds)
    await ctx.sleep(timedelta(seconds=seconds / 2))
    return seconds


@past.handler()
async def waits(ctx: Context, seconds: float) -> float:
    """Wait for an awakeable, which a delayed call resolves; then work."""
    id_, outcome = ctx.awakeable(type_hint=str)
    ctx.service_send(resolve, id_, send_delay=timedelta(seconds=seconds))
    await outcome
    return await ctx.run_typed("after", lambda: seconds)


@past.handler()
async def resolve(ctx: Context, awakeable: str) -> None:
    ctx.resolve_awakeable(awakeable, "go")


@past.handler()
async def calls(ctx: Context, seconds: float) -> float:
    return await ctx.service_call(nap, seconds)


@past.handler()
async def both(ctx: Context, seconds: float) -> int:
    """Wait for two at once, of which the first to end does not wake it."""
    parts = await restate.gather(ctx.sleep(timedelta(seconds=seconds / 3)), ctx.service_call(nap, seconds))
    return len(parts)


@past.handler(invocation_retry_policy=RETRIES)
async def stumbles(ctx: Context, failures: int) -> int:
    """Fail this number of times after a step."""
    await ctx.run_typed("first", lambda: failures)
    attempts[str(ctx.request().id)] += 1
    if attempts[str(ctx.request().id)] <= failures:
        raise ValueError(f"attempt {attempts[str(ctx.request().id)]} failed")
    await ctx.sleep(SHORT)
    return failures


@past.handler(invocation_retry_policy=PAUSES)
async def pauses(ctx: Context, seconds: float) -> float:
    """Be paused by two failures; succeed after it is resumed."""
    await ctx.run_typed("first", lambda: seconds)
    attempts[str(ctx.request().id)] += 1
    if attempts[str(ctx.request().id)] <= 2:
        raise ValueError("it needs a person")
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@past.handler()
async def refuses(ctx: Context, seconds: float) -> None:
    await ctx.sleep(timedelta(seconds=seconds / 4))
    raise TerminalError("no", status_code=404)


@past.handler(journal_retention=timedelta(0), idempotency_retention=timedelta(hours=1))
async def forgets(ctx: Context, seconds: float) -> float:
    """Keep no journal."""
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@past.handler(journal_retention=timedelta(0), idempotency_retention=timedelta(0))
async def vanishes(ctx: Context, seconds: float) -> float:
    """Leave nothing when it has ended."""
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@past.handler()
async def queues(ctx: Context, seconds: float) -> float:
    """Wait for a call that waits for its key."""
    return await ctx.object_call(hold, key="box 0", arg=seconds / 3)


@patient.handler()
async def sleeps(ctx: Context, seconds: float) -> float:
    await ctx.sleep(timedelta(seconds=seconds))
    await ctx.run_typed("after", lambda: seconds)
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@box.handler()
async def hold(ctx: ObjectContext, seconds: float) -> float:
    await ctx.sleep(timedelta(seconds=seconds))
    return seconds


@box.handler()
async def take(ctx: ObjectContext, seconds: float) -> float:
    ctx.set("last", seconds)
    return await ctx.run_typed("take", lambda: seconds)


@flow.main()
async def run(ctx: WorkflowContext, seconds: float) -> str:
    ctx.generic_send("Flow", "answer", b'"yes"', key=ctx.key(), send_delay=timedelta(seconds=seconds))
    return await ctx.promise("answer", type_hint=str).value()


@flow.handler()
async def answer(ctx: restate.WorkflowSharedContext, text: str) -> None:
    await ctx.promise("answer", type_hint=str).resolve(text)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[past, box, flow, patient]))
