"""One drug on one shelf of the pharmacy: a virtual object, so that each package is promised only once."""

from restate import ObjectContext, VirtualObject

from support.demo.services.hospital.policies import BRIEF
from support.demo.services.hospital.wholesale import order

pharmacy = VirtualObject("Pharmacy", description="A drug on its shelf", inactivity_timeout=BRIEF)


@pharmacy.handler()
async def dispense(ctx: ObjectContext, packages: int) -> int:
    """Give packages out and return how many have been given out so far."""
    given = (await ctx.get("given", type_hint=int) or 0) + packages
    ctx.set("given", given)
    return given


@pharmacy.handler()
async def reorder(ctx: ObjectContext, packages: int) -> str:
    """Order from the wholesaler; in the meantime nothing is given out, so that the count is right."""
    return await ctx.service_call(order, f"{packages} x {ctx.key()}")
