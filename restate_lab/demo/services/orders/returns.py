"""Parcels that come back, in two releases: the second one cannot go on with what the first one has begun."""

import zlib

from restate import Context, Service

from restate_lab.demo.services.orders.policies import EAGER, SOON

__all__ = ["returns_1", "returns_2"]


class RefundRefused(Exception):
    """The provider does not take a refund at the moment."""


def _returns() -> Service:
    return Service("Returns", description="Takes parcels back", inactivity_timeout=SOON, invocation_retry_policy=EAGER)


returns_1, returns_2 = _returns(), _returns()


@returns_1.handler(name="take_back")
async def _take_back_1(ctx: Context, order: str) -> str:
    """Look at the parcel and refund it."""
    await ctx.run_typed("inspect parcel", _inspect, order=order)
    return await ctx.run_typed("refund card", _refund, order=order)


@returns_2.handler(name="take_back")
async def _take_back_2(ctx: Context, order: str) -> str:
    """Scan the label first: a step before all others, which no journal of the first release has."""
    await ctx.run_typed("scan label", _scan, order=order)
    await ctx.run_typed("inspect parcel", _inspect, order=order)
    return await ctx.run_typed("refund card", _refund, order=order)


def _scan(order: str) -> str:
    return f"RMA-{zlib.crc32(order.encode()) % 100_000:05}"


def _inspect(order: str) -> str:
    return f"{order} is unharmed"


def _refund(order: str) -> str:
    raise RefundRefused(f"HTTP 409 from https://api.paystream.example/v1/refunds: charge of {order} is still pending")
