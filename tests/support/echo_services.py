"""A virtual object that echoes any input: ``python echo_services.py --fd N`` serves it."""

from __future__ import annotations

from datetime import timedelta

import restate
from restate import InvocationRetryPolicy, ObjectContext

from restate_lab.demo.services_host import serve_inherited

RARELY = InvocationRetryPolicy(initial_interval=timedelta(hours=1), max_interval=timedelta(hours=1))


class EchoedError(Exception):
    """An error whose repr, which the SDK sends, is the text itself."""

    def __repr__(self) -> str:
        return str(self)


echo = restate.VirtualObject("Echo", inactivity_timeout=timedelta(milliseconds=200))


@echo.handler(invocation_retry_policy=RARELY)
async def fail(ctx: ObjectContext, text: str) -> None:
    raise EchoedError(text)


@echo.handler()
async def wait(ctx: ObjectContext, text: str) -> None:
    await ctx.awakeable(type_hint=str)[1]


if __name__ == "__main__":
    serve_inherited(restate.app(services=[echo]))
