"""Refunds for returned orders. It has a planted bug: the notebook about deployments finds and corrects it."""

from datetime import timedelta
from typing import TypedDict

import restate
from restate import Context, InvocationRetryPolicy, Service

refunds = Service(
    "Refunds",
    description="Pays back returned orders",
    invocation_retry_policy=InvocationRetryPolicy(
        initial_interval=timedelta(milliseconds=10), max_attempts=2, on_max_attempts="pause"
    ),
)


class OrderItem(TypedDict):
    """One product of an order, with its price in cents; 0 for a gift."""

    product: str
    price: int


@refunds.handler()
async def refund(ctx: Context, order: str) -> dict[str, int]:
    """Pay back an order: its voucher is split between its items."""
    items = await ctx.run_typed("read order", _items, order=order)
    voucher = await ctx.run_typed("read voucher", _voucher, order=order)
    share = _share(voucher, items)
    paid = {item["product"]: item["price"] - share for item in items}
    await ctx.run_typed("pay back", _pay_back, order=order, cents=sum(paid.values()))
    return paid


def _share(voucher: int, items: list[OrderItem]) -> int:
    """Return the part of a voucher for each item, in cents."""
    paid_for = [item for item in items if item["price"]]
    return voucher // len(paid_for)


def _items(order: str) -> list[OrderItem]:
    price = 0 if order.startswith("gift") else 1900
    return [{"product": "poster", "price": price}, {"product": "card", "price": price // 10}]


def _voucher(order: str) -> int:
    return 500 if order.startswith("order") else 0


def _pay_back(order: str, cents: int) -> str:
    return f"{cents} cents for {order}"


app = restate.app([refunds])
