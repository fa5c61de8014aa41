"""A deployment that stays and one that is removed: ``python removed_services.py removed --fd N`` serves one of them.

``wait`` and ``hold`` end once the test resolves the awakeable whose id is in the file ``awakeable-<name>``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from restate import Context, InvocationRetryPolicy

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import serve_inherited

_SHORT = timedelta(milliseconds=200)
_SECOND = timedelta(seconds=1)
_ONCE = InvocationRetryPolicy(initial_interval=_SHORT, max_attempts=1, on_max_attempts="pause")
_OFTEN = InvocationRetryPolicy(initial_interval=_SECOND, max_interval=_SECOND)
_FOLDER = Path(os.environ[FOLDER_VARIABLE])

only = restate.Service("Only", inactivity_timeout=_SHORT)
both = restate.Service("Both", inactivity_timeout=_SHORT)
new = restate.Service("New", inactivity_timeout=_SHORT)
item = restate.VirtualObject("Item", inactivity_timeout=_SHORT)
only_item = restate.VirtualObject("OnlyItem", inactivity_timeout=_SHORT)


async def _wait(ctx: Any, name: str) -> str:
    id_, result = ctx.awakeable(type_hint=str)
    await ctx.run_typed("publish", lambda: (_FOLDER / f"awakeable-{name}").write_text(id_))
    return str(await result)


async def _say(ctx: Any, name: str) -> str:
    return name


for each in (only, both, new):
    each.handler("wait")(_wait)
    each.handler("say")(_say)
for each in (item, only_item):
    each.handler("hold")(_wait)
    each.handler("say")(_say)


@only.handler(inactivity_timeout=timedelta(hours=1))
async def busy(ctx: Context, _: str) -> str:
    await ctx.run_typed("first", lambda: "first")
    await asyncio.sleep(3_600)
    return "done"


@only.handler(invocation_retry_policy=_OFTEN)
async def flaky(ctx: Context, name: str) -> str:
    await ctx.run_typed("first", lambda: name)
    msg = f"not yet, {name}"
    raise ValueError(msg)


@only.handler(invocation_retry_policy=_ONCE)
async def pauses(ctx: Context, name: str) -> str:
    await ctx.run_typed("first", lambda: name)
    msg = f"needs a person, {name}"
    raise ValueError(msg)


@new.handler()
async def calls(ctx: Context, name: str) -> str:
    """Wait for a call that waits."""
    return (await ctx.generic_call("Only", "wait", json.dumps(name).encode())).decode()


if __name__ == "__main__":
    version = sys.argv.pop(1)
    if version == "removed":
        both.handler("extra")(_say)
        item.handler("extra")(_say)
    serve_inherited(restate.app([only, both, item, only_item] if version == "removed" else [both, item, new]))
