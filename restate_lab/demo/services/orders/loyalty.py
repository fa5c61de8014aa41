"""Points for customers: a service that someone removed while it still had work."""

from datetime import timedelta

from restate import Context, Service

from restate_lab.demo.services.orders.policies import EAGER, SOON

__all__ = ["loyalty"]

loyalty = Service("Loyalty", description="Points", inactivity_timeout=SOON, invocation_retry_policy=EAGER)


class ReadOnlyDatabase(Exception):
    """The points' database is being moved."""


@loyalty.handler()
async def redeem(ctx: Context, customer: str) -> int:
    """Turn points into a voucher; return its value in cents."""
    return await ctx.run_typed("write off points", _write_off, customer=customer)


@loyalty.handler()
async def expire(ctx: Context, customer: str) -> str:
    """Take the points of a customer back after a year."""
    await ctx.sleep(timedelta(days=365), name="a year")
    return f"points of {customer} expired"


def _write_off(customer: str) -> int:
    raise ReadOnlyDatabase(f"cannot execute UPDATE in a read-only transaction (customer {customer})")
