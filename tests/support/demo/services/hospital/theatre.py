"""Operations: a theatre that plans one waits for it, and the operation waits for its theatre."""

from restate import ObjectContext, VirtualObject, Workflow, WorkflowContext

from support.demo.services.hospital.policies import BRIEF

theatres = VirtualObject("operating-theatre", description="One theatre", inactivity_timeout=BRIEF)
surgery = Workflow("Surgery", description="One operation", inactivity_timeout=BRIEF)


@theatres.handler()
async def disinfect(ctx: ObjectContext, after: str) -> str:
    return await ctx.run_typed("mop the floor", _mop, theatre=ctx.key(), after=after)


@surgery.main()
async def operate(ctx: WorkflowContext, theatre: str) -> str:
    ctx.set("phase", "before")
    return await ctx.object_call(disinfect, key=theatre, arg=ctx.key())


@theatres.handler()
async def plan(ctx: ObjectContext, case: str) -> str:
    """Run an operation in this theatre.

    The operation needs the theatre that is held here, so that neither ever ends.
    """
    return await ctx.workflow_call(operate, key=case, arg=ctx.key())


def _mop(theatre: str, after: str) -> str:
    return f"{theatre} is clean after {after}"
