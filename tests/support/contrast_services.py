"""The services of the apps in ``contrast_apps``: ``python contrast_services.py --fd N`` serves them."""

from __future__ import annotations

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import restate
from contrast_apps import ALL, App, Call
from restate import Context, InvocationRetryPolicy, ObjectContext, TerminalError

from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.services_host import application, serve_inherited

SOON = timedelta(milliseconds=200)
DAY = timedelta(days=1)
POLICIES = {
    "backing-off": InvocationRetryPolicy(initial_interval=timedelta(minutes=5), max_interval=timedelta(minutes=5)),
    "paused": InvocationRetryPolicy(initial_interval=SOON, max_attempts=1, on_max_attempts="pause"),
}
RELEASED = Path(os.environ.get(FOLDER_VARIABLE, "")) / "released"
"""Exists when slow calls may end: a test creates it when the others have ended, so that no other is as slow."""


async def serve_call(ctx: Context, app: App, call: Call) -> str:
    """Take the steps of an order; the one that depends on the planted property is "charge card"."""
    is_bad = app.rule(call)
    await ctx.run_typed("reserve", lambda: 1)
    if app.name == "fraud" and is_bad:
        await ctx.run_typed("check fraud", lambda: 1)
    await ctx.run_typed("charge card", charge(app, is_bad=is_bad))
    if is_bad and app.outcome == "suspended":
        await ctx.awakeable()[1]
    await ctx.run_typed("ship", lambda: 1)
    return "shipped"


def charge(app: App, *, is_bad: bool) -> Any:
    async def step() -> str:
        if app.outcome == "slow":
            while is_bad and not RELEASED.exists():
                await asyncio.sleep(0.02)
        elif is_bad and app.outcome == "failed":
            raise TerminalError("card declined")
        elif is_bad and app.outcome in POLICIES:
            raise ValueError("the gateway is not available")
        return "charged"

    return step


def services(release: str) -> tuple[Any, ...]:
    """Return the services of one release of the code."""
    shop = restate.Service("Shop", inactivity_timeout=SOON)
    carts = restate.VirtualObject("Carts", inactivity_timeout=SOON)
    handlers = {}
    for app in ALL:
        policy = {"invocation_retry_policy": POLICIES[app.outcome]} if app.outcome in POLICIES else {}
        if app.is_keyed:
            handlers[app.name] = carts.handler(app.name, **policy)(_keyed_handler(app, release))
        else:
            handlers[app.name] = shop.handler(app.name, idempotency_retention=DAY, **policy)(_handler(app, release))

    async def send(ctx: Context, orders: list[tuple[str, dict[str, Any], str]]) -> int:
        """Send orders to the handlers of apps, each with an idempotency key."""
        for name, order, key in orders:
            ctx.service_send(handlers[name], order, idempotency_key=key)
        return len(orders)

    async def ready(ctx: Context) -> None:
        """Answer, so that a test knows that the services are served."""

    callers = [restate.Service(name) for name in ("Backfill", "Frontdesk")]
    for caller in callers:
        caller.handler()(send)
        caller.handler()(ready)
    return shop, carts, *callers


def _handler(app: App, release: str) -> Any:
    async def handle(ctx: Context, order: dict[str, Any]) -> str:
        return await serve_call(ctx, app, Call(order, ctx.request().headers, "", release))

    return handle


def _keyed_handler(app: App, release: str) -> Any:
    async def handle(ctx: ObjectContext, order: dict[str, Any]) -> str:
        return await serve_call(ctx, app, Call(order, ctx.request().headers, ctx.key(), release))

    return handle


if __name__ == "__main__":
    serve_inherited(application({("", "1"): services("old"), ("new", "1"): services("new")}, {}))
