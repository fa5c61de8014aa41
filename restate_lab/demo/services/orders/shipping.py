"""Shipping: parcels to customers, and transfers of stock between warehouses."""

import zlib
from datetime import timedelta
from typing import TypedDict

from restate import Context, ObjectContext, Service, TerminalError, VirtualObject

from restate_lab.demo.services.orders.policies import EAGER, SOON

LOADING = timedelta(seconds=2)

shipping = Service(
    "Shipping",
    description="Books carriers and follows parcels",
    inactivity_timeout=SOON,
    invocation_retry_policy=EAGER,
)


class PrinterOffline(Exception):
    """The label printer does not respond."""


class Parcel(TypedDict):
    """A parcel: the order and the postal code of the recipient."""

    order: str
    postal_code: str


@shipping.handler()
async def book(ctx: Context, parcel: Parcel) -> str:
    """Book a carrier and return the tracking number."""
    return await ctx.run_typed("find carrier", _carrier, **parcel)


@shipping.handler()
async def print_label(ctx: Context, printer: str) -> None:
    """Print a label on a printer in the packing hall."""
    await ctx.run_typed("print label", _print, printer=printer)


@shipping.handler()
async def clear_customs(ctx: Context, parcel: Parcel) -> str:
    """Submit the customs documents and wait for the customs office."""
    reference, cleared = ctx.awakeable(type_hint=str)
    await ctx.run_typed("hand in papers", _papers, order=parcel["order"], reference=reference)
    return await cleared


def _carrier(order: str, postal_code: str) -> str:
    if postal_code.startswith("99"):
        raise TerminalError(f"no carrier delivers to postal code {postal_code} (order {order})", 422)
    return f"1Z{zlib.crc32(order.encode()):08X}"


def _print(printer: str) -> None:
    raise PrinterOffline(f"lpd://{printer}:515: no route to host")


def _papers(order: str, reference: str) -> str:
    return f"declaration of {order}, answer to {reference}"


warehouses = VirtualObject("Warehouse", description="The stock of one warehouse", inactivity_timeout=SOON)


class Transfer(TypedDict):
    """A transfer: the receiving warehouse, the product and the number of pieces."""

    to: str
    product: str
    pieces: int


@warehouses.handler()
async def transfer(ctx: ObjectContext, request: Transfer) -> int:
    """Load a truck and wait until the other warehouse has received its load; return the remaining number of pieces.

    Two warehouses that send to each other at the same time are in a deadlock.
    """
    left = (await ctx.get(request["product"], type_hint=int) or 100) - request["pieces"]
    await ctx.sleep(LOADING, name="load the truck")
    await ctx.object_call(receive, key=request["to"], arg=request)
    ctx.set(request["product"], left)
    return left


@warehouses.handler()
async def receive(ctx: ObjectContext, request: Transfer) -> int:
    """Receive a load; return the new number of pieces."""
    there = (await ctx.get(request["product"], type_hint=int) or 0) + request["pieces"]
    ctx.set(request["product"], there)
    return there
