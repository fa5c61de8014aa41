"""Services with secrets in every place that a cluster keeps: ``python secret_services.py --fd N`` serves them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import restate
from restate import Context, InvocationRetryPolicy, ObjectContext, TerminalError, WorkflowContext
from restate.serde import BytesSerde

from restate_lab.demo.services_host import serve_inherited

SOON = timedelta(milliseconds=100)
RARELY = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))

vault = restate.VirtualObject("Vault", inactivity_timeout=SOON)
till = restate.Service("Till", inactivity_timeout=SOON)
order = restate.Workflow("Order", inactivity_timeout=SOON)
parcel = restate.Workflow("Parcel", inactivity_timeout=SOON)


@vault.handler()
async def keep(ctx: ObjectContext, secret: dict[str, Any]) -> dict[str, Any]:
    """Write it to state, and pass it on with a header."""
    ctx.set("kept", secret)
    return await ctx.object_call(echo, key=ctx.key(), arg=secret, headers={"x-api-key": secret["token"]})


@vault.handler(kind="shared")
async def echo(ctx: ObjectContext, secret: dict[str, Any]) -> dict[str, Any]:
    return await ctx.run_typed("say", lambda: secret)


@till.handler()
async def refuse(ctx: Context, secret: dict[str, Any]) -> None:
    raise TerminalError(f"declined {secret['failure']}", status_code=402)


@till.handler(invocation_retry_policy=RARELY)
async def stumble(ctx: Context, secret: dict[str, Any]) -> None:
    """Fail with a message that has a secret, and be retried much later."""
    raise RuntimeError(f"cannot reach {secret['failure']}")


@order.main()
async def run(ctx: WorkflowContext, secret: dict[str, Any]) -> None:
    await ctx.promise("paid").resolve(secret)


@parcel.main(accept="*/*", content_type="application/octet-stream", input_serde=BytesSerde(), output_serde=BytesSerde())
async def pack(ctx: WorkflowContext, content: bytes) -> bytes:
    """Store bytes, whatever they are, in state, in a promise, in a step, and in the output."""
    ctx.set("content", content, serde=BytesSerde())
    await ctx.promise("content", serde=BytesSerde()).resolve(content)
    return await ctx.run_typed("wrap", lambda: content, restate.RunOptions(serde=BytesSerde()))


if __name__ == "__main__":
    serve_inherited(restate.app(services=[vault, till, order, parcel]))
