"""A small shop: the stock of each product is a virtual object, and each order until its payment is a workflow.

The workflow has two later releases. ``checkout_next`` breaks the orders that wait for their payment;
``checkout_corrected`` makes the same changes without breaking them.
"""

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

LARGE = 10  # pieces; a larger order needs a pallet

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


def _checkout() -> Workflow:
    # A workflow that waits for a customer is suspended after a second and then uses no resources.
    return Workflow("Checkout", description="One order, until it is paid", inactivity_timeout=timedelta(seconds=1))


checkout, checkout_next, checkout_corrected = _checkout(), _checkout(), _checkout()


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


@checkout_next.main(name="run")
async def _run_next(ctx: WorkflowContext, basket: Basket) -> str:
    """Book a pallet for a large order, estimate the delivery, and thank the customer in the receipt.

    The journals of orders that wait for their payment do not have the first two steps. The third change is inside of a
    step, so it breaks nothing.
    """
    ctx.set("stage", "reserving")
    if basket["pieces"] >= LARGE:
        await ctx.run_typed("book pallet", _pallet, order_id=ctx.key())
    await ctx.object_call(reserve, key=basket["product"], arg=basket["pieces"])
    await ctx.run_typed("estimate delivery", _delivery, product=basket["product"])
    ctx.set("stage", "waiting for payment")
    payment = await ctx.promise("payment", type_hint=str).value()
    receipt = await ctx.run_typed("send receipt", _friendly_receipt, order_id=ctx.key(), payment=payment)
    ctx.set("stage", "paid")
    return receipt


@checkout_corrected.main(name="run")
async def _run_corrected(ctx: WorkflowContext, basket: Basket) -> str:
    """Do the same as the next release, with the new steps after the payment: no waiting order has passed them."""
    ctx.set("stage", "reserving")
    await ctx.object_call(reserve, key=basket["product"], arg=basket["pieces"])
    ctx.set("stage", "waiting for payment")
    payment = await ctx.promise("payment", type_hint=str).value()
    if basket["pieces"] >= LARGE:
        await ctx.run_typed("book pallet", _pallet, order_id=ctx.key())
    await ctx.run_typed("estimate delivery", _delivery, product=basket["product"])
    receipt = await ctx.run_typed("send receipt", _friendly_receipt, order_id=ctx.key(), payment=payment)
    ctx.set("stage", "paid")
    return receipt


@checkout_corrected.handler()
@checkout_next.handler()
@checkout.handler()
async def pay(ctx: WorkflowSharedContext, payment: str) -> None:
    """Pay the order."""
    await ctx.promise("payment", type_hint=str).resolve(payment)


@checkout_corrected.handler()
@checkout_next.handler()
@checkout.handler()
async def stage(ctx: WorkflowSharedContext) -> str:
    """Return the current stage of the order."""
    return await ctx.get("stage", type_hint=str) or "unknown"


def _receipt(order_id: str, payment: str) -> str:
    return f"receipt for {order_id}, paid by {payment}"


def _friendly_receipt(order_id: str, payment: str) -> str:
    return f"{_receipt(order_id, payment)}. Thank you!"


def _pallet(order_id: str) -> str:
    return f"a pallet for {order_id}"


def _delivery(product: str) -> str:
    return f"{product}: in two days"
