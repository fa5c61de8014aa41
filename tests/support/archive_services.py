"""Services for the tests of archives, with runs kept for seconds: ``python archive_services.py --fd N`` serves them.

Each handler of ``Ledger`` ends in another way. All runs are kept for ``KEPT``, except those of ``never``.
"""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta

import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, TerminalError, WorkflowContext

from restate_lab.demo.services_host import serve_inherited

KEPT = timedelta(seconds=float(os.environ.get("KEPT_SECONDS", "12")))
NOT_AT_ALL = timedelta(0)
OFTEN = timedelta(milliseconds=50)
RETRIES = InvocationRetryPolicy(initial_interval=OFTEN, max_interval=OFTEN, max_attempts=3, on_max_attempts="kill")

ledger = restate.Service("Ledger", journal_retention=KEPT, idempotency_retention=KEPT)
account = restate.VirtualObject("Account", journal_retention=KEPT, idempotency_retention=KEPT)
order = restate.Workflow("Order", journal_retention=KEPT)
parcel = restate.Service("Parcel", journal_retention=KEPT, idempotency_retention=KEPT)


@ledger.handler()
async def spread(ctx: Context, request: tuple[str, int, int]) -> int:
    """Send calls of one handler with the numbers from the first on."""
    handler, first, count = request
    for number in range(first, first + count):
        ctx.generic_send("Ledger", handler, str(number).encode())
    return count


@ledger.handler()
async def book(ctx: Context, number: int) -> int:
    return await ctx.run_typed(f"book {number}", lambda: number)


@ledger.handler()
async def refuse(ctx: Context, number: int) -> int:
    def step() -> int:
        raise TerminalError(f"cannot book {number}", status_code=409)

    return await ctx.run_typed("refuse", step)


@ledger.handler(invocation_retry_policy=RETRIES)
async def stumble(ctx: Context, number: int) -> int:
    """Fail in every attempt, so that the journal has events and the run is killed."""
    await ctx.run_typed("before", lambda: number)
    raise ValueError(f"attempt of {number} failed")


@ledger.handler(journal_retention=NOT_AT_ALL, idempotency_retention=NOT_AT_ALL)
async def never(ctx: Context, number: int) -> int:
    """Return at once; the run is not kept."""
    return number


@account.handler()
async def add(ctx: ObjectContext, number: int) -> int:
    total = (await ctx.get("total", type_hint=int) or 0) + number
    ctx.set("total", total)
    return total


@parcel.handler()
async def post(ctx: Context, number: int) -> int:
    return await ctx.run_typed("weigh", lambda: number)


@order.main()
async def run(ctx: WorkflowContext, number: int) -> int:
    return await ctx.service_call(book, number)


@ledger.handler()
async def slow(ctx: Context, seconds: float) -> str:
    async def step() -> str:
        await asyncio.sleep(seconds)
        return "done"

    return await ctx.run_typed("slow", step)


if __name__ == "__main__":
    serve_inherited(restate.app(services=[ledger, account, order, parcel]))
