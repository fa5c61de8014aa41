"""Beds and patients: each ward is a virtual object, and a handover holds both ends."""

from datetime import timedelta
from typing import TypedDict

from restate import ObjectContext, VirtualObject

from support.demo.services.hospital.consent import wait_until_signed
from support.demo.services.hospital.policies import BRIEF

PACKING = timedelta(seconds=3)

wards = VirtualObject("Ward", description="The beds of one ward", inactivity_timeout=BRIEF)


class Handover(TypedDict):
    patient: str
    to: str


@wards.handler()
async def hand_over(ctx: ObjectContext, handover: Handover) -> int:
    """Bring a patient to another ward and return how many beds are free then.

    Wards that hand over in a circle wait for each other forever.
    """
    free = await ctx.get("free_beds", type_hint=int) or 0
    await ctx.sleep(PACKING, name="pack their things")
    await ctx.object_call(take_over, key=handover["to"], arg=handover["patient"])
    ctx.set("free_beds", free + 1)
    return free + 1


@wards.handler()
async def take_over(ctx: ObjectContext, patient: str) -> str:
    free = (await ctx.get("free_beds", type_hint=int) or 12) - 1
    ctx.set("free_beds", free)
    return f"{patient}: {ctx.key()}, bed {free}"


@wards.handler()
async def reserve_bed(ctx: ObjectContext, patient: str) -> str:
    """Keep a bed for a patient with a signed consent, and block it for others in the meantime."""
    signed = await ctx.workflow_call(wait_until_signed, key=patient, arg=f"ward {ctx.key()}")
    return f"a bed on {ctx.key()}, signed by {signed}"
