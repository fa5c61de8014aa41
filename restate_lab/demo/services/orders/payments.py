"""Card payments through a provider, their settlement, accounts of business customers, and invoices."""

import asyncio
import zlib
from datetime import timedelta
from typing import TypedDict

from restate import Context, ObjectContext, Service, TerminalError, VirtualObject

from restate_lab.demo.services.orders.policies import GIVES_UP, PATIENT, SOON

PAGES_PER_SECOND = 10


class ProviderDown(Exception):
    """The payment provider is not available; a later attempt can succeed."""


class BankRejected(Exception):
    """A bank rejected a transfer."""


class PaymentGateway:
    """The client of the payment provider; it loses the first request of each order with the card "tok_flaky"."""

    def __init__(self) -> None:
        self._lost: set[str] = set()

    def charge_card(self, order: str, cents: int, card: str) -> str:
        """Charge a card and return the receipt number.

        Raises:
            ProviderDown: the provider's gateway for this card network is not available.
            TerminalError: the bank declined the card; a retry does not help.

        """
        if card == "tok_amex":
            raise ProviderDown("HTTP 503 Service Unavailable from https://api.paystream.example/v1/charges")
        if card == "tok_mastercard":
            raise ProviderDown("connect to mc-gateway.paystream.example:443 timed out after 10.0 s")
        if card == "tok_flaky" and order not in self._lost:
            self._lost.add(order)
            raise ProviderDown("connection to api.paystream.example:443 reset by peer")
        number = zlib.crc32(f"{order} {cents} {card}".encode())
        if card == "tok_insufficient_funds":
            raise TerminalError(f"card declined: insufficient_funds (order {order}, request req_{number:08x})", 402)
        return f"ch_{number:08x}"


def pay_out(iban: str) -> str:
    """Send money to a bank account and return the transfer number.

    Raises:
        BankRejected: the account is closed.

    """
    if iban.endswith("00"):
        raise BankRejected(f"SEPA transfer returned AC04, account closed: {iban}")
    return f"po_{zlib.crc32(iban.encode()):08x}"


gateway = PaymentGateway()
payments = Service(
    "Payments",
    description="Charges cards and pays merchants",
    inactivity_timeout=SOON,
    invocation_retry_policy=PATIENT,
)


class Charge(TypedDict):
    """A charge: the order, the amount in cents, and the card token."""

    order: str
    cents: int
    card: str


@payments.handler()
async def charge(ctx: Context, request: Charge) -> str:
    """Charge a card for an order and return the receipt number."""
    await ctx.run_typed("score fraud", _score, cents=request["cents"])
    return await ctx.run_typed("charge card", gateway.charge_card, **request)


@payments.handler(invocation_retry_policy=GIVES_UP)
async def payout(ctx: Context, iban: str) -> str:
    """Pay a merchant and return the transfer number."""
    return await ctx.run_typed("send transfer", pay_out, iban=iban)


def _score(cents: int) -> float:
    return min(0.99, cents / 1_000_000)


accounts = VirtualObject("Account", description="Balance of one business customer", inactivity_timeout=SOON)


@accounts.handler()
async def debit(ctx: ObjectContext, cents: int) -> int:
    """Add an amount to the customer's balance; return the new balance in cents."""
    balance = (await ctx.get("balance", type_hint=int) or 0) + cents
    ctx.set("balance", balance)
    return balance


@accounts.handler()
async def audit(ctx: ObjectContext, quarter: str) -> str:
    """Lock the account until an auditor has signed."""
    ctx.set("under_audit", quarter)
    signature, signed = ctx.awakeable(type_hint=str)
    await ctx.run_typed("ask the auditor", _mail, quarter=quarter, signature=signature)
    auditor = await signed
    ctx.clear("under_audit")
    return f"{quarter} signed by {auditor}"


@accounts.handler()
async def import_history(ctx: ObjectContext, months: int) -> int:
    """Import the bookings of the old system, month by month; return their number."""
    history: list[str] = []
    for month in range(months):
        history += await ctx.run_typed(f"read month {month + 1}", _bookings, month=month)
    ctx.set("history", history)
    return len(history)


def _mail(quarter: str, signature: str) -> str:
    return f"mail to audit@example.com: please sign {quarter} with {signature}"


def _bookings(month: int) -> list[str]:
    year, of_year = 2014 + month // 12, month % 12 + 1
    return [
        f"{year}-{of_year:02}-{day:02} invoice {year}{of_year:02}{day:02}-0001 paid in full" for day in range(1, 29)
    ]


# Rendering takes long without journal entries, so a long inactivity timeout prevents an interruption.
invoices = Service(
    "Invoices",
    description="Renders invoices",
    inactivity_timeout=timedelta(days=7),
    invocation_retry_policy=PATIENT,
)


class InvoiceDocument(TypedDict):
    """An invoice to render."""

    order: str
    pages: int


@invoices.handler()
async def render(ctx: Context, document: InvoiceDocument) -> str:
    """Render an invoice and return the path of the file."""
    return await ctx.run_typed("render pdf", _render, **document)


async def _render(order: str, pages: int) -> str:
    await asyncio.sleep(pages / PAGES_PER_SECOND)
    return f"invoices/{order}.pdf"


# The gateway of one region refuses every settlement, and its message does not name the region: only the inputs have it.
settlements = Service(
    "Settlements",
    description="Collects the money of paid orders",
    inactivity_timeout=SOON,
    invocation_retry_policy=PATIENT,
)


class Acquirer(TypedDict):
    """A gateway of the bank that collects the money: its region and its currency."""

    region: str
    currency: str


class Settlement(TypedDict):
    """One settlement: the order, the amount in the smallest unit of the currency, and the gateway."""

    order: str
    amount: int
    gateway: Acquirer


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
