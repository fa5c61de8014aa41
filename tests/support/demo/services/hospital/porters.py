"""Porters, moving patients from door to door: a service that was removed while it still had work."""

from datetime import timedelta

from restate import Context, Service

from support.demo.services.hospital.policies import BRIEF, ON_CALL

porters = Service("Porters", description="From door to door", inactivity_timeout=BRIEF, invocation_retry_policy=ON_CALL)


class LiftStuck(Exception):
    """A lift does not arrive."""


@porters.handler()
async def fetch(ctx: Context, patient: str) -> str:
    return await ctx.run_typed("wezwij windę", _lift, patient=patient)


@porters.handler()
async def bring_back(ctx: Context, patient: str) -> str:
    return await ctx.run_typed("wezwij windę", _lift, patient=patient)


@porters.handler()
async def tidy_up(ctx: Context, house: str) -> str:
    """Collect wheelchairs once a month."""
    await ctx.sleep(timedelta(days=30), name="a month")
    return f"{house} is tidy"


def _lift(patient: str) -> str:
    raise LiftStuck(f"winda nr 3 nie odpowiada (pacjent {patient})")
