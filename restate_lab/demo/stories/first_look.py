"""What happens in the demo: stories of sends, each with the status it is meant to reach.

A story is data. Another one, or a longer one, is another tuple of steps; a new kind of step is another class with
``act``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from restate_lab.demo.api import Api

__all__ = ["FIRST_LOOK", "Send", "Step", "crowd"]


class Step(Protocol):
    """Something that is done to the cluster; what it makes (mostly an invocation) gets a role.

    A later step of the same role takes the place of the earlier one: the invocation is to stay where that one says.
    """

    @property
    def role(self) -> str:
        """Return the name under which the story knows what the step makes."""

    @property
    def reaches(self) -> str | None:
        """Return the status in which the invocation stays; None where it is not an invocation."""

    @property
    def fails_with(self) -> str | None:
        """Return the Restate error code that its attempts end with, where that is worth waiting for."""

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Do it and return the id of what it made; ``roles`` has the ids of the steps before."""


@dataclass(frozen=True, slots=True)
class Send:
    """Start an invocation of ``handler`` ("service/handler" or "service/key/handler")."""

    role: str
    handler: str
    body: Any
    reaches: str
    delay: str | None = None
    idempotency_key: str | None = None
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:  # noqa: ARG002 - a send needs no step before it
        """Send it."""
        return api.send(self.handler, self.body, delay=self.delay, idempotency_key=self.idempotency_key)


def crowd(count: int, member: Callable[[int], Step]) -> tuple[Step, ...]:
    """Return several steps of one sort, made from their numbers 1, 2, …; ``roles.ids`` finds "role_1", … again."""
    return tuple(member(number) for number in range(1, count + 1))


def _ask_weather(city: str, reaches: str = "succeeded") -> Send:
    return Send(f"agent_{city.lower()}", "agent/run", f"What is the weather in {city}?", reaches)


FIRST_LOOK: tuple[Step, ...] = (
    _ask_weather("Detroit"),
    _ask_weather("Lisbon"),
    _ask_weather("Nairobi"),
    _ask_weather("Denver", reaches="backing-off"),
    Send("restock_mugs", "Inventory/mug/restock", 10, "succeeded"),
    Send("restock_lamps", "Inventory/lamp/restock", 2, "succeeded"),
    Send("restock_tomorrow", "Inventory/lamp/restock", 20, "scheduled", delay="1day"),
    Send("reserve_too_many", "Inventory/lamp/reserve", 5, "failed"),
    Send("checkout_unpaid", "Checkout/order-1/run", {"product": "mug", "pieces": 1}, "suspended"),
    Send("checkout_paid", "Checkout/order-2/run", {"product": "mug", "pieces": 2}, "succeeded"),
    Send("payment", "Checkout/order-2/pay", "card", "succeeded"),
)
