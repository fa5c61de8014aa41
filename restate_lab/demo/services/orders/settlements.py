"""Settlements: the money of a paid order is collected through the acquirer's gateway of its region.

The gateway of one region refuses every settlement. The message does not name the region: only the inputs have it.
"""

import zlib
from typing import TypedDict

from restate import Context, Service, TerminalError

from restate_lab.demo.services.orders.policies import PATIENT, SOON

settlements = Service(
    "Settlements",
    description="Collects the money of paid orders",
    inactivity_timeout=SOON,
    invocation_retry_policy=PATIENT,
)


class Gateway(TypedDict):
    """A gateway of the acquirer: its region and its currency."""

    region: str
    currency: str


class Settlement(TypedDict):
    """One settlement: the order, the amount in the smallest unit of the currency, and the gateway."""

    order: str
    amount: int
    gateway: Gateway


@settlements.handler()
async def settle(ctx: Context, request: Settlement) -> str:
    """Collect the money of one order and return the number of the transfer."""
    return await ctx.run_typed("collect", _collect, order=request["order"], region=request["gateway"]["region"])


@settlements.handler()
async def close_day(ctx: Context, day: list[Settlement]) -> int:
    """Start the remaining settlements of a region whose day is over; return their number."""
    for each in day:
        ctx.service_send(settle, each)
    return len(day)


def _collect(order: str, region: str) -> str:
    number = zlib.crc32(f"{order} {region}".encode())
    if region == "eu-west":
        raise TerminalError(f"settlement refused: merchant not enrolled (order {order}, request req_{number:08x})", 422)
    return f"st_{number:08x}"
