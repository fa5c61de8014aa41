"""Services around the order system, each with its own deployment.

Courier is unreachable: it has no running pods, and only the load balancer responds. Loyalty is removed while it still
has invocations. Promotions has one deployment per release. Returns is replaced by a release that cannot continue the
invocations of the first release.
"""

import zlib
from datetime import timedelta

from restate import Context, Service

from restate_lab.demo.services.orders.policies import EAGER, SOON

courier = Service("Courier", description="Delivers within the hour", invocation_retry_policy=EAGER)


@courier.handler()
async def deliver(ctx: Context, order: str) -> str:  # noqa: ARG001 - handlers take a context
    """Deliver an order."""
    return f"{order} was handed over"


loyalty = Service("Loyalty", description="Points", inactivity_timeout=SOON, invocation_retry_policy=EAGER)


class ReadOnlyDatabase(Exception):
    """The database of the points is read-only during a migration."""


@loyalty.handler()
async def redeem(ctx: Context, customer: str) -> int:
    """Convert points to a voucher; return its value in cents."""
    return await ctx.run_typed("write off points", _write_off, customer=customer)


@loyalty.handler()
async def expire(ctx: Context, customer: str) -> str:
    """Delete the points of a customer after a year."""
    await ctx.sleep(timedelta(days=365), name="a year")
    return f"points of {customer} expired"


def _write_off(customer: str) -> int:
    raise ReadOnlyDatabase(f"cannot execute UPDATE in a read-only transaction (customer {customer})")


promotions = Service("Promotions", description="Vouchers", inactivity_timeout=SOON)


@promotions.handler()
async def end_campaign(ctx: Context, campaign: str) -> str:
    """End a campaign after 30 days."""
    await ctx.sleep(timedelta(days=30), name="until the campaign ends")
    return f"{campaign} has ended"


class RefundRefused(Exception):
    """The provider rejects the refund for now."""


def _returns() -> Service:
    return Service("Returns", description="Takes parcels back", inactivity_timeout=SOON, invocation_retry_policy=EAGER)


returns_1, returns_2 = _returns(), _returns()


@returns_1.handler(name="take_back")
async def _take_back_1(ctx: Context, order: str) -> str:
    """Inspect the parcel and refund the card."""
    await ctx.run_typed("inspect parcel", _inspect, order=order)
    return await ctx.run_typed("refund card", _refund, order=order)


@returns_2.handler(name="take_back")
async def _take_back_2(ctx: Context, order: str) -> str:
    """Scan the label, inspect the parcel and refund the card.

    The journals of the first release do not have the first step.
    """
    await ctx.run_typed("scan label", _scan, order=order)
    await ctx.run_typed("inspect parcel", _inspect, order=order)
    return await ctx.run_typed("refund card", _refund, order=order)


def _scan(order: str) -> str:
    return f"RMA-{zlib.crc32(order.encode()) % 100_000:05}"


def _inspect(order: str) -> str:
    return f"{order} is unharmed"


def _refund(order: str) -> str:
    raise RefundRefused(f"HTTP 409 from https://api.paystream.example/v1/refunds: charge of {order} is still pending")
