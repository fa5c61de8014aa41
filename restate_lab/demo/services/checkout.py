"""One order from the basket to the payment: a workflow that waits for a promise."""

from datetime import timedelta
from typing import TypedDict

from restate import Workflow, WorkflowContext, WorkflowSharedContext

from restate_lab.demo.services.inventory import reserve

__all__ = ["checkout"]

# Whoever waits for a customer is suspended after a second, and costs nothing while it waits.
checkout = Workflow("Checkout", description="One order, until it is paid", inactivity_timeout=timedelta(seconds=1))


class Order(TypedDict):
    """What a customer wants."""

    product: str
    pieces: int


@checkout.main()
async def run(ctx: WorkflowContext, order: Order) -> str:
    """Reserve the pieces, wait for the payment, send the receipt."""
    ctx.set("stage", "reserving")
    await ctx.object_call(reserve, key=order["product"], arg=order["pieces"])
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
