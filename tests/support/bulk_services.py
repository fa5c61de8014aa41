"""Services with many invocations for the tests of executions: ``python bulk_services.py --fd N`` serves them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path

import restate
from restate import Context, InvocationRetryPolicy, TerminalError

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=200)
OFTEN = InvocationRetryPolicy(initial_interval=SOON, max_interval=SOON)

bulk = restate.Service("Bulk", inactivity_timeout=SOON, abort_timeout=timedelta(seconds=2))


@bulk.handler(journal_retention=timedelta(0))
async def send(ctx: Context, order: tuple[str, int]) -> int:
    """Send many calls at once: "answer" runs now, "later" runs in an hour, and "wait" runs now and waits."""
    what, count = order
    for number in range(count):
        if what == "later":
            ctx.service_send(answer, number, send_delay=timedelta(hours=1))
        else:
            ctx.service_send(answer if what == "answer" else wait, number)
    return count


@bulk.handler()
async def answer(ctx: Context, number: int) -> int:
    return number


@bulk.handler()
async def wait(ctx: Context, number: int) -> str:
    """Take a step, which binds the invocation to its deployment, and wait for an awakeable that is never resolved."""
    await ctx.run_typed("step", lambda: number)
    return str(await ctx.awakeable()[1])


@bulk.handler(inactivity_timeout=timedelta(hours=1), abort_timeout=timedelta(seconds=6))
async def busy(ctx: Context, seconds: float) -> str:
    """Take a long step; when it is cancelled, clean up for the same time."""

    async def step() -> str:
        await asyncio.sleep(seconds)
        return "done"

    try:
        return await ctx.run_typed("step", step)
    except TerminalError:
        return await ctx.run_typed("clean up", step)


@bulk.handler(invocation_retry_policy=OFTEN)
async def storm(ctx: Context, name: str) -> str:
    """Take a step, and fail repeatedly if this deployment is the bad one."""
    await ctx.run_typed("step", lambda: name)
    if Path(os.environ[FOLDER_VARIABLE]).name == "bad":
        msg = "the code of this deployment is wrong"
        raise ValueError(msg)
    return f"{name} on the good one"


if __name__ == "__main__":
    serve_inherited(restate.app(services=[bulk]))
