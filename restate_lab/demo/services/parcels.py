"""A parcel shop for the story "week": its second release prints labels slowly, and more cards are declined.

The server keeps the invocations of these services for seconds. The orders, their durations and their failures are the
same each time.
"""

import asyncio
from datetime import timedelta
from typing import TypedDict

from restate import Context, SendHandle, Service, TerminalError, Workflow, WorkflowContext

BATCHES = 18  # in a day; the first half of them is the morning
ORDERS = 4  # in a batch
INTERVAL = 0.25  # seconds between two batches, so that a day takes less than five
KEEP = timedelta(seconds=12)
KEEP_NOTHING = timedelta(0)
TUESDAY = 2
OFFLINE = (31, 33, 35)  # orders of Tuesday for which a label printer was offline
SUBSCRIPTION_DAYS = (1, 5)
PICKUP_DAYS = (2, 6)
NO_COURIER = 0.03  # share of all parcels


class Order(TypedDict):
    """An order: its number, its day, both from 1, and the number of its pieces."""

    number: int
    day: int
    pieces: int


def _service(name: str, description: str) -> Service:
    return Service(name, description=description, journal_retention=KEEP, idempotency_retention=KEEP)


parcels_1, parcels_2 = (_service("Parcels", "Sends parcels") for _ in range(2))
cards_1, cards_2 = (_service("Cards", "Charges cards") for _ in range(2))
books_1, books_2 = (Service("Books", description="The accounts of a month") for _ in range(2))
pickups = Workflow("Pickups", description="A van at a warehouse", journal_retention=KEEP)
pulse = Service("Pulse", description="Is not kept", journal_retention=KEEP_NOTHING, idempotency_retention=KEEP_NOTHING)
cron = Service("Cron", description="Sends the orders of a day")


@parcels_1.handler()
async def ship(ctx: Context, order: Order) -> str:
    """Pack a parcel and print its label."""
    return await _ship(ctx, order, label=0.4)


@parcels_2.handler(name="ship")
async def _ship_2(ctx: Context, order: Order) -> str:
    return await _ship(ctx, order, label=0.72)


async def _ship(ctx: Context, order: Order, *, label: float) -> str:
    await ctx.run_typed("pack", _pack, order=order)
    return await ctx.run_typed("print label", _print_label, order=order, seconds=label)


@cards_1.handler()
async def charge(ctx: Context, order: Order) -> str:
    """Charge a card."""
    return await _charge(ctx, order, declined=0.04)


@cards_2.handler(name="charge")
async def _charge_2(ctx: Context, order: Order) -> str:
    return await _charge(ctx, order, declined=0.15)


async def _charge(ctx: Context, order: Order, *, declined: float) -> str:
    return await ctx.run_typed("charge card", _charge_card, order=order, declined=declined)


@books_1.handler()
async def close(ctx: Context, month: str) -> str:  # noqa: ARG001 - handlers take a context
    """Close the accounts of a month; the first release cannot."""
    raise TerminalError(f"the accounts of {month} have an unknown currency", status_code=422)


@books_2.handler(name="close")
async def _close_2(ctx: Context, month: str) -> str:  # noqa: ARG001
    return f"the accounts of {month} are closed"


@pickups.main(workflow_retention=KEEP)
async def run(ctx: WorkflowContext, day: int) -> str:
    """Pick up the parcels of a warehouse."""
    return await ctx.run_typed("load van", _load, warehouse=ctx.key(), day=day)


@pulse.handler()
async def beat(ctx: Context, day: int) -> int:  # noqa: ARG001
    """Do nothing; the server removes the invocation when it ends."""
    return day


@cron.handler()
async def send_orders(ctx: Context, day: int) -> list[str]:
    """Send the orders of a day, and return the ids of all invocations that the server keeps.

    A subscription and a warehouse use their ids on two days.
    """
    sent = []
    began = await ctx.time()
    for batch in range(BATCHES):
        for position in range(ORDERS):
            order = _order(day, batch, position)
            sent += [ctx.service_send(ship, order), ctx.service_send(charge, order)]
        wait = began + (batch + 1) * INTERVAL - await ctx.time()
        if wait > 0:
            await ctx.sleep(timedelta(seconds=wait))
    sent += _reused_ids(ctx, day)
    ctx.service_send(beat, day)
    return [await each.invocation_id() for each in sent]


def _reused_ids(ctx: Context, day: int) -> list[SendHandle]:
    sent = []
    if day in SUBSCRIPTION_DAYS:
        sent.append(ctx.service_send(charge, _order(day, 0, 0), idempotency_key="subscription-42"))
    if day in PICKUP_DAYS:
        sent.append(ctx.workflow_send(run, "warehouse-1", day))
    return sent


def _order(day: int, batch: int, position: int) -> Order:
    """Return an order; orders of a morning have two more pieces, so that the two halves of a day differ."""
    number = ((day - 1) * BATCHES + batch) * ORDERS + position + 1
    is_morning = batch < BATCHES // 2
    return Order(number=number, day=day, pieces=1 + int(4 * _spread(number, 0.618034)) + 2 * is_morning)


def _spread(number: int, step: float) -> float:
    return number * step % 1


async def _work(order: Order, seconds: float) -> None:
    await asyncio.sleep(seconds * (0.4 + 0.15 * order["pieces"]))


async def _pack(order: Order) -> str:
    await _work(order, 0.3)
    return f"parcel {order['number']}"


async def _print_label(order: Order, seconds: float) -> str:
    await _work(order, seconds)
    number = order["number"]
    if order["day"] == TUESDAY and number % (BATCHES * ORDERS) in OFFLINE:
        raise TerminalError(f"label printer 7 is offline, parcel {number}", status_code=503)
    if _spread(number, 0.414214) < NO_COURIER:
        raise TerminalError(f"no courier for the postal code {10_000 + number}", status_code=404)
    return f"label {number}"


async def _charge_card(order: Order, declined: float) -> str:
    await _work(order, 0.4)
    if _spread(order["number"], 0.732051) < declined:
        raise TerminalError(f"card declined, request {order['number']}", status_code=402)
    return f"receipt {order['number']}"


async def _load(warehouse: str, day: int) -> str:
    await asyncio.sleep(0.1)
    return f"the van of day {day} has left {warehouse}"


DAILY = (cron, pickups, pulse)
RELEASE_1 = (books_1, cards_1, parcels_1)
RELEASE_2 = (books_2, cards_2, parcels_2)
