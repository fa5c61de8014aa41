"""A short story for a first look: agents, stock and orders; one invocation retries, one failed, and one waits."""

from __future__ import annotations

from typing import Any

from restate_lab.demo.stories.steps import Send, StoryStep


def _ask_weather(city: str, reaches: str = "succeeded", **options: Any) -> Send:
    return Send(f"agent_{city.lower()}", "agent/run", f"What is the weather in {city}?", reaches, **options)


FIRST_LOOK: tuple[StoryStep, ...] = (
    _ask_weather("Detroit"),
    _ask_weather("Lisbon", after={"agent_detroit": "succeeded"}),  # the first run loads the agent's libraries
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
