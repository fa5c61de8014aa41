"""The wholesaler's connector: it was registered, and since then its proxy waits for it in vain."""

from restate import Context, Service

from restate_lab.demo.services.hospital.policies import ON_CALL

__all__ = ["order", "wholesale"]

wholesale = Service("wholesale.Orders", description="Orders drugs", invocation_retry_policy=ON_CALL)


@wholesale.handler()
async def order(ctx: Context, article: str) -> str:  # noqa: ARG001 - a handler has a context
    """Order an article."""
    return f"{article} arrives tomorrow"
