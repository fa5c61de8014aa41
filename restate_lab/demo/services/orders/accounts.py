"""What a business customer owes: one virtual object for each."""

from restate import ObjectContext, VirtualObject

from restate_lab.demo.services.orders.policies import SOON

__all__ = ["accounts", "audit", "debit"]

accounts = VirtualObject("Account", description="What one business customer owes", inactivity_timeout=SOON)


@accounts.handler()
async def debit(ctx: ObjectContext, cents: int) -> int:
    """Add to what the customer owes; return the new balance in cents."""
    balance = (await ctx.get("balance", type_hint=int) or 0) + cents
    ctx.set("balance", balance)
    return balance


@accounts.handler()
async def audit(ctx: ObjectContext, quarter: str) -> str:
    """Let nobody touch the account until an auditor has signed."""
    ctx.set("under_audit", quarter)
    signature, signed = ctx.awakeable(type_hint=str)
    await ctx.run_typed("ask the auditor", _mail, quarter=quarter, signature=signature)
    auditor = await signed
    ctx.clear("under_audit")
    return f"{quarter} signed by {auditor}"


@accounts.handler()
async def import_history(ctx: ObjectContext, months: int) -> int:
    """Take over the bookings of the old system, month by month; return how many there are."""
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
