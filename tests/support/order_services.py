"""An order service with a planted bug, and its correction; only the SDK is imported, as in a repository of a user."""

from __future__ import annotations

from typing import Any

import restate
from restate import Context, TerminalError

RAN: list[str] = []
"""The steps whose bodies ran."""
orders = restate.Service("Orders")
fixed_orders = restate.Service("Orders")
quiet_orders, loud_orders = restate.Service("Orders"), restate.Service("Orders")


def _step(name: str) -> Any:
    RAN.append(name)
    raise AssertionError(f"the step {name} ran")


@orders.handler()
async def place(ctx: Context, order: dict[str, Any]) -> Any:
    """Fail at the second step's result: the price is in another field."""
    stock = await ctx.run_typed("stock", lambda: _step("stock"))
    quote = await ctx.run_typed(f"quote {order['customer']['email']}", lambda: _step("quote"))
    if stock == 0:
        raise TerminalError(f"no stock for {order['customer']['name']}", status_code=409)
    if order["sku"] == "book":
        return {"sent_to": order["customer"]["email"]}
    return quote["price"] * order["count"]


@fixed_orders.handler("place")
async def place_fixed(ctx: Context, order: dict[str, Any]) -> Any:
    await ctx.run_typed("stock", lambda: _step("stock"))
    quote = await ctx.run_typed(f"quote {order['customer']['email']}", lambda: _step("quote"))
    return await ctx.run_typed("ship", lambda: _step("ship")) + quote["amount"]


@quiet_orders.handler("place")
async def place_quietly(ctx: Context, order: dict[str, Any]) -> None:
    """Return nothing."""
    await ctx.run_typed("stock", lambda: _step("stock"))
    await ctx.run_typed(f"quote {order['customer']['email']}", lambda: _step("quote"))


@loud_orders.handler("place")
async def place_loudly(ctx: Context, order: dict[str, Any]) -> bool:
    await place_quietly(ctx, order)
    return True


app = restate.app([orders])
quiet, loud = restate.app([quiet_orders]), restate.app([loud_orders])
fixed = restate.app([fixed_orders])
