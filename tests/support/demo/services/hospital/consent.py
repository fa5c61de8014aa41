"""One patient's consent to an operation: a workflow that waits for a signature, and so do other invocations."""

from restate import Workflow, WorkflowContext, WorkflowSharedContext

from support.demo.services.hospital.policies import BRIEF

SIGNATURE = "Unterschrift"

consent = Workflow("Consent", description="The consent of one patient", inactivity_timeout=BRIEF)


@consent.main()
async def explain(ctx: WorkflowContext, procedure: str) -> str:
    """Explain the operation and wait for the signature."""
    ctx.set("procedure", procedure)
    name = await ctx.promise(SIGNATURE, type_hint=str).value()
    return f"{procedure}: {name}"


@consent.handler()
async def sign(ctx: WorkflowSharedContext, name: str) -> None:
    await ctx.promise(SIGNATURE, type_hint=str).resolve(name)


@consent.handler()
async def wait_until_signed(ctx: WorkflowSharedContext, who: str) -> str:
    """Return the name that signed, to every invocation that needs it."""
    name = await ctx.promise(SIGNATURE, type_hint=str).value()
    return f"{name}, for {who}"
