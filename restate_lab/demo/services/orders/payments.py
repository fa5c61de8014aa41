"""Money in and out, through the payment provider."""

from typing import TypedDict

from restate import Context, Service

from restate_lab.demo.services.orders.paystream import Gateway, pay_out
from restate_lab.demo.services.orders.policies import GIVES_UP, PATIENT, SOON

__all__ = ["Charge", "charge", "payments"]

gateway = Gateway()
payments = Service(
    "Payments",
    description="Charges cards and pays merchants",
    inactivity_timeout=SOON,
    invocation_retry_policy=PATIENT,
)


class Charge(TypedDict):
    """What to charge: an order, an amount in cents, and the card's token."""

    order: str
    cents: int
    card: str


@payments.handler()
async def charge(ctx: Context, request: Charge) -> str:
    """Charge a card for an order and return the receipt's number."""
    await ctx.run_typed("score fraud", _score, cents=request["cents"])
    return await ctx.run_typed("charge card", gateway.charge_card, **request)


@payments.handler(invocation_retry_policy=GIVES_UP)
async def payout(ctx: Context, iban: str) -> str:
    """Pay a merchant out and return the transfer's number."""
    return await ctx.run_typed("send transfer", pay_out, iban=iban)


def _score(cents: int) -> float:
    return min(0.99, cents / 1_000_000)
