"""Services whose calls hold their slots, keys and scopes for an hour.

``python limit_services.py --fd N`` serves them.
"""

from __future__ import annotations

import asyncio
from typing import Any

import restate
from restate import Context, ObjectContext

from restate_lab.demo.services_host import serve_inherited

work = restate.Service("Work")
item = restate.VirtualObject("Item")


async def _wait(seconds: float = 3_600) -> str:
    await asyncio.sleep(seconds)
    return "done"


@work.handler()
async def hold(ctx: Context, _: Any) -> str:
    return await ctx.run_typed("hold", _wait)


@work.handler()
async def take(ctx: Context, seconds: float) -> str:
    return await ctx.run_typed("take", _wait, seconds=seconds)


@work.handler()
async def say(ctx: Context, what: str) -> str:
    return what


@work.handler()
async def fail(ctx: Context, _: Any) -> str:
    raise restate.TerminalError("no stock", 409)


@item.handler(name="hold")
async def hold_key(ctx: ObjectContext, _: Any) -> str:
    return await ctx.run_typed("hold", _wait)


if __name__ == "__main__":
    serve_inherited(restate.app([work, item]))
