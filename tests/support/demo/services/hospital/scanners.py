"""Scanners: one patient at a time, and none while a technician is expected."""

from restate import ObjectContext, VirtualObject

from support.demo.services.hospital.policies import BRIEF

scanners = VirtualObject("scanner_pool", description="One scanner", inactivity_timeout=BRIEF)


@scanners.handler()
async def scan(ctx: ObjectContext, patient: str) -> str:
    return await ctx.run_typed("take picture", _picture, scanner=ctx.key(), patient=patient)


@scanners.handler()
async def calibrate(ctx: ObjectContext, reason: str) -> str:
    """Call a technician and wait until they confirm the scanner."""
    token, calibrated = ctx.awakeable(type_hint=str)
    await ctx.run_typed("page technician", _page, reason=reason, token=token)
    return await calibrated


def _picture(scanner: str, patient: str) -> str:
    return f"{scanner}-{patient}.dcm"


def _page(reason: str, token: str) -> str:
    return f"paged: {reason}, confirm with {token}"
