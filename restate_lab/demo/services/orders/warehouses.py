"""Stock on the move between warehouses: each is a virtual object, and a transfer holds both ends."""

from datetime import timedelta
from typing import TypedDict

from restate import ObjectContext, VirtualObject

from restate_lab.demo.services.orders.policies import SOON

__all__ = ["warehouses"]

LOADING = timedelta(seconds=2)

warehouses = VirtualObject("Warehouse", description="The stock of one warehouse", inactivity_timeout=SOON)


class Transfer(TypedDict):
    """How many pieces of a product go to which warehouse."""

    to: str
    product: str
    pieces: int


@warehouses.handler()
async def transfer(ctx: ObjectContext, request: Transfer) -> int:
    """Load a truck and wait until the other warehouse has taken its load; return what is left here.

    Two warehouses that send to each other at the same time wait for each other for ever.
    """
    left = (await ctx.get(request["product"], type_hint=int) or 100) - request["pieces"]
    await ctx.sleep(LOADING, name="load the truck")
    await ctx.object_call(receive, key=request["to"], arg=request)
    ctx.set(request["product"], left)
    return left


@warehouses.handler()
async def receive(ctx: ObjectContext, request: Transfer) -> int:
    """Take a load; return what is there now."""
    there = (await ctx.get(request["product"], type_hint=int) or 0) + request["pieces"]
    ctx.set(request["product"], there)
    return there
