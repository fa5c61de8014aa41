"""The stock of one product: a virtual object, so that two orders never take the same piece."""

from restate import ObjectContext, ObjectSharedContext, TerminalError, VirtualObject

__all__ = ["inventory", "reserve"]

inventory = VirtualObject("Inventory", description="What is on hand of one product")


@inventory.handler()
async def restock(ctx: ObjectContext, pieces: int) -> int:
    """Add pieces; return how many are on hand."""
    on_hand = await _on_hand(ctx) + pieces
    ctx.set("on_hand", on_hand)
    return on_hand


@inventory.handler()
async def reserve(ctx: ObjectContext, pieces: int) -> int:
    """Take pieces for an order; return how many are left, or fail for good when there are too few."""
    on_hand = await _on_hand(ctx)
    if pieces > on_hand:
        raise TerminalError(f"only {on_hand} of {ctx.key()} on hand, {pieces} wanted", status_code=409)
    ctx.set("on_hand", on_hand - pieces)
    return on_hand - pieces


@inventory.handler(kind="shared")
async def on_hand(ctx: ObjectSharedContext) -> int:
    """Return how many pieces are on hand."""
    return await _on_hand(ctx)


async def _on_hand(ctx: ObjectContext | ObjectSharedContext) -> int:
    return await ctx.get("on_hand", type_hint=int) or 0
