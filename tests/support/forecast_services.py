"""Services whose calls take as long as their sender wants: ``python forecast_services.py --fd N`` serves them."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Any

import restate
from restate import Context, ObjectContext

from restate_lab.demo.services_host import serve_inherited

NAMES = ("Queue", "Delayed", "Sleeper")
_SHORT = timedelta(seconds=1)
_FOREVER = 7_200

services = {name: restate.Service(name, inactivity_timeout=_SHORT) for name in NAMES}
hot = restate.VirtualObject("Hot")
brief = restate.VirtualObject("Brief", idempotency_retention=timedelta(0), journal_retention=timedelta(0))
"""Its completed calls are not kept."""


async def _work(_: Any, body: dict[str, float]) -> str:
    """Take some seconds; after the time ``stops``, never end."""
    await asyncio.sleep(_FOREVER if time.time() > body.get("stops", float("inf")) else body.get("seconds", 0))
    return "done"


async def _sleep(ctx: Context, body: dict[str, float]) -> str:
    """Sleep until a time, and then take some seconds."""
    await ctx.sleep(timedelta(seconds=max(body["until"] - body["sent"], 1)))
    await asyncio.sleep(body["seconds"])
    return "done"


for each in services.values():
    each.handler("work", inactivity_timeout=timedelta(hours=1))(_work)
services["Sleeper"].handler("sleep")(_sleep)


@hot.handler("work", inactivity_timeout=timedelta(hours=1))
async def work_on_key(ctx: ObjectContext, body: dict[str, float]) -> str:
    return await _work(ctx, body)


@brief.handler("work")
async def work_briefly(ctx: ObjectContext, body: dict[str, float]) -> str:
    return await _work(ctx, body)


if __name__ == "__main__":
    serve_inherited(restate.app([*services.values(), hot, brief]))
