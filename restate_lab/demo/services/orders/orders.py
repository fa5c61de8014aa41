"""Orders, from the purchase to the delivery: the service that calls the other services."""

from datetime import timedelta
from typing import TypedDict

from restate import Context, Service

from restate_lab.demo.services.orders.payments import Charge, audit, charge, debit
from restate_lab.demo.services.orders.policies import PATIENT, SOON
from restate_lab.demo.services.orders.shipping import Parcel, book
from restate_lab.demo.services.shop import reserve

orders = Service("Orders", description="Takes orders", inactivity_timeout=SOON, invocation_retry_policy=PATIENT)


class Purchase(TypedDict):
    """A purchase: the order, the product, the payment card, and the postal code of the customer."""

    order: str
    product: str
    card: str
    postal_code: str


class Bill(TypedDict):
    """The amount that a business customer must pay."""

    customer: str
    cents: int


@orders.handler()
async def place(ctx: Context, order: Purchase) -> str:
    """Charge the card, reserve one piece, and book a carrier; return the tracking number."""
    await ctx.service_call(charge, Charge(order=order["order"], cents=2490, card=order["card"]))
    await ctx.object_call(reserve, key=order["product"], arg=1)
    tracking = await ctx.service_call(book, Parcel(order=order["order"], postal_code=order["postal_code"]))
    ctx.service_send(ask_for_review, order["order"], send_delay=timedelta(days=14))
    return tracking


@orders.handler()
async def ask_for_review(ctx: Context, order: str) -> str:
    """Ask the customer for a review."""
    return await ctx.run_typed("send mail", _mail, order=order)


@orders.handler()
async def bill(ctx: Context, request: Bill) -> int:
    """Add an amount to a business customer's account; return the new balance in cents."""
    return await ctx.object_call(debit, key=request["customer"], arg=request["cents"])


@orders.handler()
async def close_quarter(ctx: Context, customer: str) -> str:
    """Request an audit of a customer's account."""
    return await ctx.object_call(audit, key=customer, arg="2026-Q3")


@orders.handler()
async def cool_off(ctx: Context, order: str) -> str:
    """Wait until the customer can no longer cancel the order."""
    await ctx.sleep(timedelta(days=14), name="cooling-off period")
    return f"{order} is final"


def _mail(order: str) -> str:
    return f"mail: how was {order}?"
