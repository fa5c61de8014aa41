"""A good day of the order system: a lot looks suspicious, but nothing is wrong.

Customers have not paid yet, timers run for days, work is scheduled for tomorrow, some attempts failed before one
succeeded, and one order could not be fulfilled.
"""

from __future__ import annotations

from typing import Any

from restate_lab.demo.stories.steps import Act, Deploy, Send, StoryStep, repeat


def _place(role: str, number: int, card: str) -> Send:
    body = {"order": f"ord-{number}", "product": "mug", "card": card, "postal_code": f"2{number}"}
    return Send(role, "Orders/place", body, "succeeded")


def _ask(city: str, **options: Any) -> Send:
    return Send(f"agent_{city.lower()}", "agent/run", f"What is the weather in {city}?", "succeeded", **options)


DONE = (
    _ask("Detroit"),
    _ask("Lisbon", after={"agent_detroit": "succeeded"}),  # the first run loads the agent's libraries
    _ask("Nairobi"),
    Send("restock_mugs", "Inventory/mug/restock", 500, "succeeded"),
    *repeat(12, lambda n: _place(f"order_{n}", 3000 + n, "tok_visa")),
    # Two attempts each: the first one lost its connection.
    *repeat(3, lambda n: _place(f"recovered_{n}", 3100 + n, "tok_flaky")),
    *repeat(5, lambda n: Send(f"booking_{n}", "Account/umbrella/debit", 100 * n, "succeeded")),
    *repeat(
        4, lambda n: Send(f"invoice_{n}", "Invoices/render", {"order": f"ord-{3000 + n}", "pages": 1}, "succeeded")
    ),
    Send("transfer", "Warehouse/hamburg/transfer", {"to": "bremen", "product": "lamp", "pieces": 4}, "succeeded"),
    Send("checkout_paid", "Checkout/ord-3201/run", {"product": "mug", "pieces": 1}, "succeeded"),
    Send("payment", "Checkout/ord-3201/pay", "card", "succeeded"),
    Send("sold_out", "Inventory/lamp/reserve", 5, "failed"),
)
UNDER_WAY = (
    Send("unpaid", "Checkout/ord-3202/run", {"product": "mug", "pieces": 2}, "suspended"),
    *repeat(2, lambda n: Send(f"cooling_off_{n}", "Orders/cool_off", f"ord-{3300 + n}", "suspended")),
    Send("restock_tomorrow", "Inventory/lamp/restock", 20, "scheduled", delay="1day"),
    Send("changed_mind", "Orders/cool_off", "ord-3303", "suspended"),
    Act("changed_mind", "cancel", "changed_mind", {"changed_mind": "suspended"}, "cancelled"),
)

HEALTHY: tuple[StoryStep, ...] = (Deploy("orders_deployment", "orders"), *DONE, *UNDER_WAY)
