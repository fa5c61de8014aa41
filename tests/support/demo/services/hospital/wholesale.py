"""The wholesaler's connector: it was registered, and since then its proxy waits for it without success."""

from restate import Context, Service

from support.demo.services.hospital.policies import ON_CALL

wholesale = Service("wholesale.Orders", description="Orders drugs", invocation_retry_policy=ON_CALL)


@wholesale.handler()
async def order(ctx: Context, article: str) -> str:
    return f"{article} arrives tomorrow"
