"""Services whose failing steps have data in their names: ``python step_services.py --fd N`` serves them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import restate
from restate import Context, InvocationRetryPolicy

from restate_lab.demo.services_host import serve_inherited

QUICK = timedelta(seconds=1)
OFTEN = InvocationRetryPolicy(initial_interval=QUICK, max_interval=QUICK, max_attempts=10_000)  # never paused
TWICE = InvocationRetryPolicy(initial_interval=QUICK, max_interval=QUICK, max_attempts=2, on_max_attempts="pause")
SELDOM = InvocationRetryPolicy(initial_interval=timedelta(hours=12), max_interval=timedelta(hours=12))

trips = restate.Service("Trips")
offices = restate.Service("Offices")


async def _fail(ctx: Context, step: str, about: str) -> str:
    def work() -> str:
        msg = f"no station in {about}"
        raise ValueError(msg)

    return await ctx.run_typed(step, work)


@trips.handler(invocation_retry_policy=OFTEN)
async def weather(ctx: Context, city: str) -> str:
    return await _fail(ctx, f"get weather {city}", city)


@trips.handler(invocation_retry_policy=OFTEN)
async def forecast(ctx: Context, city: str) -> str:
    """Fail in a step of the same name in another handler."""
    return await _fail(ctx, f"get weather {city}", city)


@trips.handler(invocation_retry_policy=OFTEN)
async def step(ctx: Context, name: str) -> str:
    return await _fail(ctx, name, "the database")


@trips.handler(invocation_retry_policy=TWICE)
async def pauses(ctx: Context, city: str) -> str:
    """Fail in a step that is named after the city, and be paused."""
    return await _fail(ctx, f"get weather {city}", city)


@trips.handler(invocation_retry_policy=SELDOM)
async def seldom(ctx: Context, city: str) -> str:
    """Fail, and be retried in twelve hours."""
    return await _fail(ctx, f"get weather {city}", city)


@offices.handler(invocation_retry_policy=OFTEN)
async def ask(ctx: Context, number: int) -> str:
    """Fail in one step, with an error that has the number."""

    def work() -> str:
        msg = f"office {number % 7} answered 503 to request {number}"
        raise ValueError(msg)

    return await ctx.run_typed("ask the office", work)


@offices.handler(invocation_retry_policy=OFTEN)
async def lost(_: Context, number: int) -> int:
    """Return the number; no attempt comes as far as this."""
    return number


services = restate.app(services=[trips, offices])


async def losing(scope: Any, receive: Any, send: Any) -> None:
    """Refuse the attempts of one handler, as an overloaded proxy does."""
    if scope["type"] != "http" or not scope["path"].endswith("/Offices/lost"):
        await services(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 502, "headers": []})
    await send({"type": "http.response.body", "body": b"bad gateway"})


if __name__ == "__main__":
    serve_inherited(losing)
