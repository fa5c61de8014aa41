"""Services with several problems of one handler, for notes about them: ``python noted_services.py --fd N``."""

from __future__ import annotations

from datetime import timedelta

import restate
from restate import Context, InvocationRetryPolicy

from restate_lab.demo.services_host import serve_inherited

SELDOM = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))

payments = restate.Service("Payments")


@payments.handler(invocation_retry_policy=SELDOM)
async def charge(ctx: Context, failure: list[str]) -> None:
    """Fail in the named step with the message."""
    step, message = failure

    def fail() -> None:
        raise ValueError(message)

    await ctx.run_typed(step, fail)


app = restate.app([payments])

if __name__ == "__main__":
    serve_inherited(app)
