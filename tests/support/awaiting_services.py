"""Services whose handlers combine results, and whose values are encoded by the SDK.

``python awaiting_services.py --fd N`` serves them. The encoded values are JSON, compressed, in base64.
"""

from __future__ import annotations

from datetime import timedelta

import restate
from restate import Context, WorkflowContext

from restate_lab.demo.services_host import serve_inherited

HOUR = timedelta(hours=1)
MOMENT = timedelta(milliseconds=100)

waiter = restate.Service("Waiter", inactivity_timeout=MOMENT)
approval = restate.Workflow("Approval", inactivity_timeout=MOMENT)


@waiter.handler()
async def rest(ctx: Context) -> None:
    """Wait for an hour."""
    await ctx.sleep(HOUR)


@waiter.handler()
async def both(ctx: Context) -> None:
    """Wait for an hour and for a call."""
    await restate.gather(ctx.sleep(HOUR, name="nap"), ctx.service_call(rest, arg=None))


@waiter.handler()
async def any_of_four(ctx: Context) -> None:
    """Wait for whichever comes first: an hour, a call, an awakeable, a signal."""
    await restate.select(
        time=ctx.sleep(HOUR),
        call=ctx.service_call(rest, arg=None),
        awakeable=ctx.awakeable(type_hint=str)[1],
        signal=ctx.signal("go", type_hint=str),
    )


@approval.main()
async def run(ctx: WorkflowContext) -> None:
    """Wait for a promise, for an hour at most."""
    await restate.select(signed=ctx.promise("signed", type_hint=str).value(), late=ctx.sleep(HOUR))


if __name__ == "__main__":
    serve_inherited(restate.app(services=[waiter, approval]))
