"""A small shop: the stock of each product is a virtual object, and each order until its payment is a workflow."""

from datetime import timedelta
from typing import TypedDict

from restate import (
    ObjectContext,
    ObjectSharedContext,
    TerminalError,
    VirtualObject,
    Workflow,
    WorkflowContext,
    WorkflowSharedContext,
)

__all__ = ["checkout", "inventory", "reserve"]

inventory = VirtualObject("Inventory", description="The stock of one product")


@inventory.handler()
async def restock(ctx: ObjectContext, pieces: int) -> int:
    """Add pieces; return the number in stock."""
    on_hand = await _on_hand(ctx) + pieces
    ctx.set("on_hand", on_hand)
    return on_hand


@inventory.handler()
async def reserve(ctx: ObjectContext, pieces: int) -> int:
    """Take pieces for an order and return the remaining number; fail with a TerminalError if there are too few."""
    on_hand = await _on_hand(ctx)
    if pieces > on_hand:
        raise TerminalError(f"only {on_hand} of {ctx.key()} on hand, {pieces} wanted", status_code=409)
    ctx.set("on_hand", on_hand - pieces)
    return on_hand - pieces


@inventory.handler(kind="shared")
async def on_hand(ctx: ObjectSharedContext) -> int:
    """Return the number of pieces in stock."""
    return await _on_hand(ctx)


async def _on_hand(ctx: ObjectContext | ObjectSharedContext) -> int:
    return await ctx.get("on_hand", type_hint=int) or 0


# A workflow that waits for a customer is suspended after a second and then uses no resources.
checkout = Workflow("Checkout", description="One order, until it is paid", inactivity_timeout=timedelta(seconds=1))


class Basket(TypedDict):
    """A product and the number of pieces that a customer orders."""

    product: str
    pieces: int


@checkout.main()
async def run(ctx: WorkflowContext, basket: Basket) -> str:
    """Reserve the pieces, wait for the payment, send the receipt."""
    ctx.set("stage", "reserving")
    await ctx.object_call(reserve, key=basket["product"], arg=basket["pieces"])
    ctx.set("stage", "waiting for payment")
    payment = await ctx.promise("payment", type_hint=str).value()
    receipt = await ctx.run_typed("send receipt", _receipt, order_id=ctx.key(), payment=payment)
    ctx.set("stage", "paid")
    return receipt


@checkout.handler()
async def pay(ctx: WorkflowSharedContext, payment: str) -> None:
    """Pay the order."""
    await ctx.promise("payment", type_hint=str).resolve(payment)


@checkout.handler()
async def stage(ctx: WorkflowSharedContext) -> str:
    """Return the current stage of the order."""
    return await ctx.get("stage", type_hint=str) or "unknown"


def _receipt(order_id: str, payment: str) -> str:
    return f"receipt for {order_id}, paid by {payment}"
