"""Patients leaving the hospital, in two releases: the second one does the same steps in another order."""

from restate import Context, Service

from support.demo.services.hospital.policies import BRIEF, ON_CALL


class BedsUnavailable(Exception):
    """The system of all beds does not respond."""


def _discharge() -> Service:
    return Service(
        "Discharge", description="Lets patients go", inactivity_timeout=BRIEF, invocation_retry_policy=ON_CALL
    )


discharge_1, discharge_2 = _discharge(), _discharge()


@discharge_1.handler(name="let_go")
async def _let_go_1(ctx: Context, patient: str) -> str:
    """Write the letter and cancel the meals."""
    await ctx.run_typed("write letter", _letter, patient=patient)
    await ctx.run_typed("cancel meals", _meals, patient=patient)
    return await ctx.run_typed("ベッドを空ける", _free_bed, patient=patient)


@discharge_2.handler(name="let_go")
async def _let_go_2(ctx: Context, patient: str) -> str:
    """Cancel the meals first: the same steps as before, in another order than in a journal of the first release."""
    await ctx.run_typed("cancel meals", _meals, patient=patient)
    await ctx.run_typed("write letter", _letter, patient=patient)
    return await ctx.run_typed("ベッドを空ける", _free_bed, patient=patient)


def _letter(patient: str) -> str:
    return f"{patient} is well again"


def _meals(patient: str) -> int:
    return len(patient)


def _free_bed(patient: str) -> str:
    raise BedsUnavailable(f"病床管理システムが応答しません(患者 {patient})")
