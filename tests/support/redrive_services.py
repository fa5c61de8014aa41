"""Services that fail at a chosen step and count each step they run: ``python redrive_services.py --fd N`` serves them.

A step fails until the file ``repaired`` is in the folder of the services. Each run of a step adds one line to the file
``steps``, before the step fails or succeeds.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from restate import (
    Context,
    InvocationRetryPolicy,
    ObjectContext,
    RunOptions,
    TerminalError,
    WorkflowContext,
    WorkflowSharedContext,
)

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import serve_inherited

FOLDER = Path(os.environ.get(FOLDER_VARIABLE, "."))
STEPS, REPAIRED = FOLDER / "steps", FOLDER / "repaired"
AT_ONCE = timedelta(milliseconds=50)
SOON = timedelta(milliseconds=200)
TWICE = InvocationRetryPolicy(initial_interval=AT_ONCE, max_attempts=2, on_max_attempts="kill")

orders = restate.Service("Orders")
carts = restate.VirtualObject("Carts")
approvals = restate.Workflow("Approvals", inactivity_timeout=SOON)


def _count(name: str) -> None:
    with STEPS.open("a") as file:  # one short write in append mode is atomic
        file.write(name + "\n")


async def _step(ctx: Any, order: str, name: str, *, fails: bool = False) -> str:
    """Run one step, which fails if ``fails`` and the services are not repaired."""

    def work() -> str:
        _count(f"{order} {name}")
        if fails and not REPAIRED.exists():
            raise TerminalError(f"{name} is down", status_code=503)
        return name

    return str(await ctx.run_typed(name, work))


@orders.handler()
async def ship(ctx: Context, order: dict[str, Any]) -> str:
    """Run ``steps`` steps; step number ``fails`` fails."""
    for number in range(order["steps"]):
        await _step(ctx, order["name"], f"step {number}", fails=number == order["fails"])
    return f"{order['name']} is shipped"


@orders.handler(journal_retention=timedelta(0))
async def ship_many(ctx: Context, many: list[dict[str, Any]]) -> int:
    for order in many:
        ctx.service_send(ship, order)
    return len(many)


@orders.handler()
async def greets(ctx: Context, name: str) -> str:
    return f"Hello {name}"


@orders.handler()
async def compensates(ctx: Context, name: str) -> str:
    """Charge, which fails; then refund, and fail as the charge did."""
    await _step(ctx, name, "reserve")
    try:
        return await _step(ctx, name, "charge", fails=True)
    except TerminalError:
        await _step(ctx, name, "release")
        raise


@orders.handler()
async def wraps(ctx: Context, name: str) -> str:
    """Charge, and fail with another message than the charge."""
    await _step(ctx, name, "reserve")
    try:
        return await _step(ctx, name, "charge", fails=True)
    except TerminalError as error:
        raise TerminalError(f"no order: {error.message}", status_code=400) from error


@orders.handler()
async def decides(ctx: Context, name: str) -> str:
    """Fail in the code after the last step, until the services are repaired."""
    await _step(ctx, name, "reserve")
    await _step(ctx, name, "quote")
    if not REPAIRED.exists():
        raise TerminalError("too expensive", status_code=402)
    return f"{name} is ordered"


@orders.handler()
async def calls(ctx: Context, name: str) -> str:
    await _step(ctx, name, "reserve")
    paid = await ctx.service_call(pay, name)
    await _step(ctx, name, "deliver")
    return paid


@orders.handler()
async def pay(ctx: Context, name: str) -> str:
    return await _step(ctx, f"{name} callee", "charge", fails=True)


@orders.handler()
async def calls_once(ctx: Context, name: str) -> str:
    await _step(ctx, name, "reserve")
    return await ctx.service_call(pay, name, idempotency_key=name)


@orders.handler(inactivity_timeout=SOON)
async def asks(ctx: Context, name: str) -> str:
    await _step(ctx, name, "reserve")
    id_, approval = ctx.awakeable()
    await ctx.run_typed("ask", lambda: id_)
    return str(await approval)


@orders.handler(invocation_retry_policy=TWICE)
async def gives_up(ctx: Context, name: str) -> str:
    """Take a step, and then retry a step that fails, until the policy ends the invocation."""
    await _step(ctx, name, "reserve")

    def work() -> str:
        _count(f"{name} charge")
        if not REPAIRED.exists():
            raise ValueError("charge is down")
        return "paid"

    return await ctx.run_typed("charge", work)


@orders.handler()
async def step_gives_up(ctx: Context, name: str) -> str:
    """Take a step, and then a step that fails after its own two attempts."""
    await _step(ctx, name, "reserve")

    def work() -> str:
        _count(f"{name} charge")
        if not REPAIRED.exists():
            raise ValueError("charge is down")
        return "paid"

    return await ctx.run_typed("charge", work, RunOptions(max_attempts=2, initial_retry_interval=AT_ONCE))


@orders.handler()
async def at_once(ctx: Context, name: str) -> list[str]:
    """Start three steps at the same time; the second one fails."""
    steps = [_started(ctx, name, number) for number in range(3)]
    return [str(await step) for step in steps]


def _started(ctx: Context, name: str, number: int) -> Any:
    def work() -> str:
        _count(f"{name} part {number}")
        if number == 1 and not REPAIRED.exists():
            raise TerminalError("part 1 is down", status_code=503)
        return f"part {number}"

    return ctx.run_typed(f"part {number}", work)


@carts.handler()
async def fill(ctx: ObjectContext, name: str) -> str:
    """Read and write state between steps, and fail at the last one."""
    count = await ctx.get("count", type_hint=int) or 0
    await _step(ctx, name, "reserve")
    ctx.set("count", count + 1)
    return await _step(ctx, name, "charge", fails=True)


@approvals.main()
async def run(ctx: WorkflowContext, name: str) -> str:
    await _step(ctx, name, "reserve")
    return str(await ctx.promise("decision").value())


@approvals.handler()
async def reject(ctx: WorkflowSharedContext) -> None:
    await ctx.promise("decision").reject("denied")


if __name__ == "__main__":
    serve_inherited(restate.app(services=[orders, carts, approvals]))
