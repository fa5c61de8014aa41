"""Vouchers: a service that is released again and again, each time beside the one before."""

from datetime import timedelta

from restate import Context, Service

from restate_lab.demo.services.orders.policies import SOON

__all__ = ["promotions"]

promotions = Service("Promotions", description="Vouchers", inactivity_timeout=SOON)


@promotions.handler()
async def end_campaign(ctx: Context, campaign: str) -> str:
    """End a campaign in a month."""
    await ctx.sleep(timedelta(days=30), name="until the campaign ends")
    return f"{campaign} has ended"
