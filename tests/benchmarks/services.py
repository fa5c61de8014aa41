"""The services that fill a server for the benchmarks: ``services.py --fd N`` serves them on an inherited socket."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

from restate import Context, InvocationRetryPolicy, ObjectContext, Service, TerminalError, VirtualObject

from restate_lab.demo.services_host import application, serve_inherited

SPLIT = 4  # one of this many calls goes to a virtual object
LATER = dt.timedelta(days=30)
AT_ONCE = dt.timedelta(milliseconds=100)
CUSTOMERS = 50_000
REFUSED = 10  # one of this many executed orders fails
ACCOUNTS = 10
LONG_NAME = 1_000  # characters
WORDS = (
    *("card", "address", "parcel", "voucher", "discount", "invoice", "seat", "refund", "coupon", "signature"),
    *("insurance", "delivery", "warranty", "deposit", "permit", "passport", "ticket", "contract", "license", "receipt"),
)
FAMILIES = 300  # of messages, at most the square of the vocabulary
HOURLY = InvocationRetryPolicy(
    initial_interval=dt.timedelta(seconds=1), exponentiation_factor=3600, max_interval=dt.timedelta(hours=1)
)
"""Attempts after one second, and then after an hour: the data of a benchmark must not move."""

# The filler's own journals hold hundreds of calls and would be most of the server's disk.
filler = Service("Filler", journal_retention=dt.timedelta(0))
orders = Service("Orders")
baskets = VirtualObject("Baskets")
trouble = Service("Trouble", inactivity_timeout=AT_ONCE)
accounts = VirtualObject("Accounts", inactivity_timeout=AT_ONCE)


@filler.handler()
async def append(ctx: Context, batch: tuple[str, int, int]) -> None:
    """Append the one-way calls of this kind from one number up to another."""
    kind, start, stop = batch
    for number in range(start, stop):
        KINDS[kind](ctx, number)


def _send_order(ctx: Context, number: int, delay: dt.timedelta | None = None) -> None:
    order = {"number": number, "amount": 100 + number * 7919 % 90_000}
    if number % SPLIT:
        ctx.service_send(place, order, send_delay=delay)
    else:
        ctx.object_send(check_out, f"customer-{number % CUSTOMERS}", order, send_delay=delay)


def _send_suspended(ctx: Context, number: int) -> None:
    """Of four, one sleeps, one waits for an awakeable, and one calls a sleeper."""
    if number % 4 < 3:
        ctx.service_send((rest, ask, follow)[number % 4], number)


def _send_queued(ctx: Context, number: int) -> None:
    """Queue for a few keys, one of which has a very long name."""
    key = f"account-{number % ACCOUNTS}"
    ctx.object_send(lock, key if number % ACCOUNTS else key.ljust(LONG_NAME, "x"), number)


@trouble.handler()
async def rest(ctx: Context, number: int) -> int:
    await ctx.sleep(LATER)
    return number


@trouble.handler()
async def ask(ctx: Context, number: int) -> str:
    await ctx.run_typed("write a letter", lambda: f"letter {number}")
    _, answer = ctx.awakeable(type_hint=str)
    return await answer


@trouble.handler()
async def follow(ctx: Context, number: int) -> int:
    return await ctx.service_call(rest, number)


@trouble.handler(invocation_retry_policy=HOURLY)
async def charge(ctx: Context, number: int) -> int:
    """Fail in one of a few steps, whose names contain data; one of a hundred has a very long name and message."""
    width = 0 if number % 100 else LONG_NAME

    def fail() -> int:
        msg = f"no response from bank {number % 7} for order {number}"
        raise RuntimeError(msg.ljust(width, "x"))

    step = f"charge order {number}" if number % 2 else f"book {number % 13}"
    return await ctx.run_typed(step.ljust(width, "x"), fail)


@trouble.handler()
async def refuse(ctx: Context, number: int) -> None:
    """Fail with a terminal error, with one of `FAMILIES` kinds of message."""
    await ctx.run_typed("reserve", lambda: f"shelf {number % 97}")
    first, second = divmod(number % FAMILIES, len(WORDS))
    msg = f"the {WORDS[first]} {WORDS[second]} of order {number} was refused"
    raise TerminalError(msg, status_code=402)


@accounts.handler()
async def lock(ctx: ObjectContext, number: int) -> str:
    """Hold the key and wait for an awakeable, which is never resolved."""
    _, answer = ctx.awakeable(type_hint=str)
    return f"{number} {await answer}"


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


SERVICES = (filler, orders, baskets, trouble, accounts)
KINDS: dict[str, Callable[[Context, int], object]] = {
    "schedule": lambda ctx, number: _send_order(ctx, number, LATER),
    "execute": _send_order,
    "suspended": _send_suspended,
    "retrying": lambda ctx, number: ctx.service_send(charge, number),
    "failed": lambda ctx, number: ctx.service_send(refuse, number),
    "queued": _send_queued,
}
"""The calls of the filler."""


if __name__ == "__main__":
    serve_inherited(application({("", "1"): SERVICES}, {}))
