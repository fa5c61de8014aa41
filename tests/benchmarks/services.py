"""The services that fill a server for the benchmarks: ``services.py --fd N`` serves them on an inherited socket."""

from __future__ import annotations

import datetime as dt

import restate
from restate import Context, ObjectContext, Service, TerminalError, VirtualObject

from restate_lab.demo.services_host import serve_inherited

__all__ = ["SERVICES"]

SPLIT = 4  # of so many calls one goes to a virtual object
LATER = dt.timedelta(days=30)
AT_ONCE = dt.timedelta(milliseconds=100)
CUSTOMERS = 50_000
REFUSED = 10  # one executed order of so many fails

# The filler's own journals hold hundreds of calls and would be most of the server's disk.
filler = Service("Filler", journal_retention=dt.timedelta(0))
orders = Service("Orders")
baskets = VirtualObject("Baskets")
patience = Service("Patience", inactivity_timeout=AT_ONCE)


@filler.handler()
async def schedule(ctx: Context, span: tuple[int, int]) -> int:
    """Append the delayed one-way calls number ``span[0]`` to ``span[1]``; return how many."""
    for number in range(*span):
        if number % SPLIT:
            ctx.service_send(place, _order(number), send_delay=LATER)
        else:
            ctx.object_send(check_out, f"customer-{number % CUSTOMERS}", _order(number), send_delay=LATER)
    return span[1] - span[0]


@filler.handler()
async def execute(ctx: Context, span: tuple[int, int]) -> int:
    """Append the same calls without a delay: they run at once and leave journals."""
    for number in range(*span):
        if number % SPLIT:
            ctx.service_send(place, _order(number))
        else:
            ctx.object_send(check_out, f"customer-{number % CUSTOMERS}", _order(number))
    return span[1] - span[0]


@filler.handler()
async def suspend(ctx: Context, span: tuple[int, int]) -> int:
    """Append calls that wait for a month, for nobody, and for one another."""
    for number in range(*span):
        ctx.service_send((rest, ask, follow)[number % 3], number)
    return span[1] - span[0]


@patience.handler()
async def rest(ctx: Context, number: int) -> int:
    """Sleep."""
    await ctx.sleep(LATER)
    return number


@patience.handler()
async def ask(ctx: Context, number: int) -> str:
    """Wait for an awakeable that nobody resolves."""
    await ctx.run_typed("write a letter", lambda: f"letter {number}")
    _, answer = ctx.awakeable(type_hint=str)
    return await answer


@patience.handler()
async def follow(ctx: Context, number: int) -> int:
    """Wait for somebody who sleeps."""
    return await ctx.service_call(rest, number)


@orders.handler()
async def place(ctx: Context, order: dict[str, int]) -> str:
    """Reserve, charge, and confirm an order; some cards are refused."""
    reserved = await ctx.run_typed("reserve", lambda: f"shelf {order['number'] % 97}")
    if order["number"] % REFUSED == 1:
        msg = f"the card for order {order['number']} was refused"
        raise TerminalError(msg, status_code=402)
    charged = await ctx.run_typed("charge", lambda: order["amount"])
    return f"{reserved}, {charged} cents"


@baskets.handler()
async def check_out(ctx: ObjectContext, order: dict[str, int]) -> int:
    """Count the customer's orders."""
    count = (await ctx.get("orders", type_hint=int) or 0) + 1
    ctx.set("orders", count)
    return count


SERVICES = (filler, orders, baskets, patience)


def _order(number: int) -> dict[str, int]:
    return {"number": number, "amount": 100 + number * 7919 % 90_000}


if __name__ == "__main__":
    serve_inherited(restate.app(services=SERVICES))
