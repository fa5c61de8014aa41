"""A small shop: the stock of each product (a virtual object), and each order from basket to payment (a workflow)."""

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

inventory = VirtualObject("Inventory", description="What is on hand of one product")


@inventory.handler()
async def restock(ctx: ObjectContext, pieces: int) -> int:
    """Add pieces; return how many are on hand."""
    on_hand = await _on_hand(ctx) + pieces
    ctx.set("on_hand", on_hand)
    return on_hand


@inventory.handler()
async def reserve(ctx: ObjectContext, pieces: int) -> int:
    """Take pieces for an order; return how many are left, or fail for good when there are too few."""
    on_hand = await _on_hand(ctx)
    if pieces > on_hand:
        raise TerminalError(f"only {on_hand} of {ctx.key()} on hand, {pieces} wanted", status_code=409)
    ctx.set("on_hand", on_hand - pieces)
    return on_hand - pieces


@inventory.handler(kind="shared")
async def on_hand(ctx: ObjectSharedContext) -> int:
    """Return how many pieces are on hand."""
    return await _on_hand(ctx)


async def _on_hand(ctx: ObjectContext | ObjectSharedContext) -> int:
    return await ctx.get("on_hand", type_hint=int) or 0


# Whoever waits for a customer is suspended after a second, and costs nothing while it waits.
checkout = Workflow("Checkout", description="One order, until it is paid", inactivity_timeout=timedelta(seconds=1))


class Basket(TypedDict):
    """What a customer wants."""

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
    """Return how far the order is."""
    return await ctx.get("stage", type_hint=str) or "unknown"


def _receipt(order_id: str, payment: str) -> str:
    return f"receipt for {order_id}, paid by {payment}"
