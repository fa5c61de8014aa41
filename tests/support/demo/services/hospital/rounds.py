"""Doctors on their round, calling the handlers of other services."""

from typing import TypedDict

from restate import Context, Service

from support.demo.services.hospital.pharmacy import dispense
from support.demo.services.hospital.policies import BRIEF
from support.demo.services.hospital.results import Result, publish

rounds = Service("Rounds", description="What doctors order", inactivity_timeout=BRIEF)


class Prescription(TypedDict):
    drug: str
    packages: int


@rounds.handler()
async def medicate(ctx: Context, prescription: Prescription) -> int:
    return await ctx.object_call(dispense, key=prescription["drug"], arg=prescription["packages"])


@rounds.handler()
async def look_at_blood(ctx: Context, result: Result) -> str:
    return await ctx.service_call(publish, result)
