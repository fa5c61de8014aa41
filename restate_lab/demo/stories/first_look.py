"""A short story for a first look: agents, stock and orders; one invocation retries, one failed, and one waits."""

from __future__ import annotations

from restate_lab.demo.stories.steps import Send, StoryStep, ask_weather

FIRST_LOOK: tuple[StoryStep, ...] = (
    ask_weather("Detroit"),
    ask_weather("Lisbon", after={"agent_detroit": "succeeded"}),  # the first run loads the agent's libraries
    ask_weather("Nairobi"),
    ask_weather("Denver", reaches="backing-off"),
    Send("restock_mugs", "Inventory/mug/restock", 10, "succeeded"),
    Send("restock_lamps", "Inventory/lamp/restock", 2, "succeeded"),
    Send("restock_tomorrow", "Inventory/lamp/restock", 20, "scheduled", delay="1day"),
    Send("reserve_too_many", "Inventory/lamp/reserve", 5, "failed"),
    Send("checkout_unpaid", "Checkout/order-1/run", {"product": "mug", "pieces": 1}, "suspended"),
    Send("checkout_paid", "Checkout/order-2/run", {"product": "mug", "pieces": 2}, "succeeded"),
    Send("payment", "Checkout/order-2/pay", "card", "succeeded"),
)
