"""Doctors on their round, calling the handlers of other services."""

from typing import TypedDict

from restate import Context, Service

from support.demo.services.hospital.pharmacy import dispense
from support.demo.services.hospital.policies import BRIEF
from support.demo.services.hospital.results import Result, publish

rounds = Service("Rounds", description="What doctors order", inactivity_timeout=BRIEF)


class Prescription(TypedDict):
    """Which drug, and how many packages."""

    drug: str
    packages: int


@rounds.handler()
async def medicate(ctx: Context, prescription: Prescription) -> int:
    """Have a drug given out."""
    return await ctx.object_call(dispense, key=prescription["drug"], arg=prescription["packages"])


@rounds.handler()
async def look_at_blood(ctx: Context, result: Result) -> str:
    """Have a finding published and read it."""
    return await ctx.service_call(publish, result)
