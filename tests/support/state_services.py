"""A virtual object and a workflow with state of every sort: ``python state_services.py --fd N`` serves them."""

from __future__ import annotations

from datetime import timedelta

import restate
from restate import Context, ObjectContext, ObjectSharedContext, WorkflowContext
from restate.serde import BytesSerde

from restate_lab.demo.services_host import serve_inherited

MOMENT = timedelta(milliseconds=200)

drawer = restate.VirtualObject("Drawer", inactivity_timeout=MOMENT)
plain = restate.Service("Plain")
errand = restate.Workflow("Errand", inactivity_timeout=MOMENT)


@drawer.handler()
async def put(ctx: ObjectContext, values: dict[str, object]) -> None:
    for name, value in values.items():
        ctx.set(name, value)


@drawer.handler()
async def put_hex(ctx: ObjectContext, values: dict[str, str]) -> None:
    """Set keys to bytes, given in hexadecimal."""
    for name, value in values.items():
        ctx.set(name, bytes.fromhex(value), serde=BytesSerde())


@drawer.handler(kind="shared")
async def look(ctx: ObjectSharedContext, name: str) -> object:
    return await ctx.get(name)


@drawer.handler()
async def hold(ctx: ObjectContext) -> None:
    await ctx.awakeable(type_hint=str)[1]


@drawer.handler()
async def put_later(ctx: ObjectContext, values: dict[str, object]) -> None:
    """Keep the key for a while, and then set keys to JSON values."""
    await ctx.sleep(timedelta(seconds=4))
    for name, value in values.items():
        ctx.set(name, value)


@plain.handler()
async def nothing(ctx: Context) -> None:
    """Do nothing."""


@errand.main()
async def run(ctx: WorkflowContext, values: dict[str, object]) -> None:
    for name, value in values.items():
        ctx.set(name, value)
    await ctx.promise("done", type_hint=str).value()


if __name__ == "__main__":
    serve_inherited(restate.app(services=[drawer, plain, errand]))
