"""Couriers on bicycles: their pods are gone, and only the load balancer still answers."""

from restate import Context, Service

from restate_lab.demo.services.orders.policies import EAGER

__all__ = ["courier"]

courier = Service("Courier", description="Delivers within the hour", invocation_retry_policy=EAGER)


@courier.handler()
async def deliver(ctx: Context, order: str) -> str:  # noqa: ARG001 - a handler has a context
    """Deliver an order."""
    return f"{order} was handed over"
