"""The full incident: an order system with every fault that the doctor should find.

Each part below plants one fault. The tables describe the fault of each role. ``steps.ids`` returns the ids of a role.
The faults remain for hours, and retries continue.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

from restate_lab.demo.stories.steps import Act, Child, Deploy, Remove, Send, StoryStep, ask_weather, repeat

Part = tuple[StoryStep, ...]

FAULTS = MappingProxyType(
    {
        "storm_503": "a retry storm in the step “charge card”: the provider responds with 503",
        "storm_timeout": "the same storm with another message: a gateway of the provider times out",
        "agent_denver": "one invocation of the weather agent that retries one step at short intervals",
        "hot_key_holder": "holds the key Account/acme-retail and waits for a signature that never arrives",
        "deadlock_pair": "two warehouses that hold their keys and wait for each other",
        "deadlock_ring": "three warehouses, each waiting for the next",
        "deadlock_self": "a warehouse that waits for itself",
        "paused": "paused after three attempts: the bank has closed the account",
        "paused_by_hand": "paused by an operator while it was retrying",
        "forgotten_awakeable": "suspended on an awakeable that is never resolved",
        "pinned_to_removed": "retrying on a deployment that was removed (RT0011)",
        "asleep_on_removed": "asleep and pinned to the removed deployment: will fail when it wakes up",
        "unreachable": "retrying on a deployment that does not respond (RT0010)",
        "mismatch": "has a journal that does not match the replaced code (RT0016)",
        "declined": "failed permanently: cards declined; each message has a different order and request",
        "bad_address": "failed permanently: no carrier for the postal code; each postal code is different",
        "refused_settlement": "failed permanently: one gateway refuses; only the region in the inputs tells which one",
        "slow": "took seconds in a handler that should take milliseconds",
    }
)
"""Role → the planted fault: every cause that the doctor must report to the person on call."""

VICTIMS = MappingProxyType(
    {
        "storm_caller": "orders that wait for a charge of the storm",
        "hot_key_opener": "called the holder of the hot key",
        "hot_key_queue": "wait for the hot key",
        "hot_key_caller": "bills that wait for a call in that queue",
        "deadlock_pair_blocked": "the calls that the deadlocked pair waits for",
        "deadlock_ring_blocked": "the calls that the deadlocked ring waits for",
        "deadlock_self_blocked": "the call that the deadlocked warehouse waits for",
    }
)
"""Role → how a fault blocks it; these are not causes, but the doctor can list them with one."""

NOTES = MappingProxyType(
    {
        "forgotten_promise": "a workflow whose customer has not paid yet",
        "rendering": "runs one step for days",
        "drained_deployment": "an old release without pinned invocations",
        "pinning_deployment": "an old release that still has a pinned invocation",
        "on_old_deployment": "is pinned to this old release",
        "big_journal": "a long journal, and a large state of its key",
        "booked_twice": "one idempotency key, two targets",
        "restarted": "killed and restarted as new, twice",
    }
)
"""Role → a fact worth knowing that is not a fault. A role that is not in the three tables is normal work."""


def _charge(role: str, number: int, card: str, reaches: str, fails_with: str | None = None) -> Send:
    body = {"order": f"ord-{number}", "cents": 1990 + 10 * (number % 7), "card": card}
    return Send(role, "Payments/charge", body, reaches, fails_with=fails_with)


def _place(role: str, number: int, card: str, reaches: str) -> Send:
    body = {"order": f"ord-{number}", "product": "mug", "card": card, "postal_code": f"10{number}"}
    return Send(role, "Orders/place", body, reaches)


def _transfer(role: str, here: str, there: str) -> Send:
    body = {"to": there, "product": "lamp", "pieces": 4}
    return Send(role, f"Warehouse/{here}/transfer", body, "suspended")


AGENTS: Part = (
    ask_weather("Detroit", "succeeded"),
    # The first run loads the agent's libraries, and the other services of the process wait for that.
    ask_weather("Lisbon", "succeeded", after={"agent_detroit": "succeeded"}),
    ask_weather("Denver", "backing-off", fails_with="RT0007"),
)

DEPLOYMENTS: Part = (
    Deploy("orders_deployment", "orders"),
    Deploy("courier_deployment", "courier"),
    Deploy("loyalty_deployment", "loyalty"),
    Deploy("returns_deployment", "returns"),
    Deploy("drained_deployment", "promotions-1"),
    Deploy("pinning_deployment", "promotions-2"),
)

EVERYDAY: Part = (
    Send("restock_mugs", "Inventory/mug/restock", 500, "succeeded"),
    Send("restock_tomorrow", "Inventory/lamp/restock", 20, "scheduled", delay="1day"),
    *repeat(6, lambda n: _place(f"order_{n}", 1000 + n, "tok_visa", "succeeded")),
    Send("cooling_off", "Orders/cool_off", "ord-1001", "suspended"),
    # The client retried with another spelling of the account: the same idempotency key was booked twice.
    Send("booked_twice_1", "Account/globex/debit", 9900, "succeeded", idempotency_key="transfer-2026-11-0042"),
    Send("booked_twice_2", "Account/globex-eu/debit", 9900, "succeeded", idempotency_key="transfer-2026-11-0042"),
    Send("big_journal", "Account/initech/import_history", 150, "succeeded"),
)

STORM: Part = (
    *repeat(6, lambda n: _charge(f"storm_503_{n}", 1100 + n, "tok_amex", "backing-off", "RT0007")),
    *repeat(6, lambda n: _charge(f"storm_timeout_{n}", 1200 + n, "tok_mastercard", "backing-off", "RT0007")),
    *repeat(3, lambda n: _place(f"storm_caller_{n}", 1300 + n, "tok_amex", "suspended")),
    *repeat(3, lambda n: Child(f"storm_503_{6 + n}", f"storm_caller_{n}", "backing-off", "RT0007")),
)

HOT_KEY: Part = (
    Send("hot_key_opener", "Orders/close_quarter", "acme-retail", "suspended"),
    Child("hot_key_holder", "hot_key_opener", "suspended"),
    *repeat(8, lambda n: Send(f"hot_key_queue_{n}", "Account/acme-retail/debit", 100 * n, "pending")),
    *repeat(
        4,
        lambda n: Send(f"hot_key_caller_{n}", "Orders/bill", {"customer": "acme-retail", "cents": n}, "suspended"),
    ),
    *repeat(4, lambda n: Child(f"hot_key_queue_{8 + n}", f"hot_key_caller_{n}", "pending")),
)

DEADLOCKS: Part = (
    _transfer("deadlock_pair_1", "berlin", "madrid"),
    _transfer("deadlock_pair_2", "madrid", "berlin"),
    _transfer("deadlock_ring_1", "oslo", "riga"),
    _transfer("deadlock_ring_2", "riga", "tallinn"),
    _transfer("deadlock_ring_3", "tallinn", "oslo"),
    _transfer("deadlock_self", "porto", "porto"),
)
# These calls start when the trucks are loaded, two seconds later.
BLOCKED: Part = (
    *repeat(2, lambda n: Child(f"deadlock_pair_blocked_{n}", f"deadlock_pair_{n}", "pending")),
    *repeat(3, lambda n: Child(f"deadlock_ring_blocked_{n}", f"deadlock_ring_{n}", "pending")),
    Child("deadlock_self_blocked", "deadlock_self", "pending"),
)

PAUSED: Part = (
    Send("paused_1", "Payments/payout", "DE02120300000000202000", "paused"),
    Send("paused_2", "Payments/payout", "NL91ABNA0417164300", "paused"),
    Send("paused_by_hand", "Shipping/print_label", "packing-hall-3", "backing-off"),
)
PAUSE: Part = (Act("paused_by_hand", "pause", "paused_by_hand", {"paused_by_hand": "backing-off"}, "paused"),)

FORGOTTEN: Part = (
    Send("forgotten_awakeable", "Shipping/clear_customs", {"order": "ord-1401", "postal_code": "8001"}, "suspended"),
    Send("forgotten_promise", "Checkout/ord-1402/run", {"product": "mug", "pieces": 1}, "suspended"),
)

REMOVED: Part = (
    *repeat(
        3, lambda n: Send(f"pinned_to_removed_{n}", "Loyalty/redeem", f"cust-{n}", "backing-off", fails_with="RT0011")
    ),
    *repeat(2, lambda n: Send(f"asleep_on_removed_{n}", "Loyalty/expire", f"cust-{n}", "suspended")),
)
REMOVE: Part = (
    Remove("loyalty_deployment", after={"pinned_to_removed": "backing-off", "asleep_on_removed": "suspended"}),
)

UNREACHABLE: Part = repeat(
    2, lambda n: Send(f"unreachable_{n}", "Courier/deliver", f"ord-150{n}", "backing-off", fails_with="RT0010")
)

MISMATCH: Part = repeat(
    3, lambda n: Send(f"mismatch_{n}", "Returns/take_back", f"ord-160{n}", "backing-off", fails_with="RT0016")
)
REPLACE: Part = (Deploy("returns_deployment", "returns", release="2", after={"mismatch": "backing-off"}),)

FAILURES: Part = (
    *repeat(7, lambda n: _charge(f"declined_{n}", 1700 + n, "tok_insufficient_funds", "failed")),
    *repeat(
        4,
        lambda n: Send(
            f"bad_address_{n}", "Shipping/book", {"order": f"ord-180{n}", "postal_code": f"99{n}50"}, "failed"
        ),
    ),
)

# The refused settlements share the region of their gateway. Their currency is a red herring: another region has it.
# The remaining settlements of a closed day come from a job, and in the failing region the day is not over.
_CURRENCIES = {"eu-west": "EUR", "us-east": "USD", "eu-central": "EUR", "ap-south": "INR"}
_REFUSING, *_REGIONS = _CURRENCIES


def _settlement(number: int, region: str) -> dict[str, Any]:
    gateway = {"region": region, "currency": _CURRENCIES[region]}
    return {"order": f"ord-{number}", "amount": 500 + 7919 * number % 12_000, "gateway": gateway}


def _settle(role: str, number: int, region: str, reaches: str) -> Send:
    return Send(role, "Settlements/settle", _settlement(number, region), reaches)


def _settlements(number: int) -> Part:
    """Return a refused settlement and one that succeeds, and after every fourth pair a closed day with eight more."""
    region = _REGIONS[number % len(_REGIONS)]
    pair = (
        _settle(f"refused_settlement_{number}", 2200 + number, _REFUSING, "failed"),
        _settle(f"settlement_{number}", 2300 + number, region, "succeeded"),
    )
    day = [_settlement(2400 + 8 * number + each, region) for each in range(8)]
    closing = Send(f"closed_day_{number // 4}", "Settlements/close_day", day, "succeeded")
    return (*pair, closing) if number % 4 == 0 else pair


SETTLEMENTS: Part = tuple(step for number in range(1, 25) for step in _settlements(number))

SLOW: Part = (
    *repeat(8, lambda n: Send(f"slow_{n}", "Invoices/render", {"order": f"ord-190{n}", "pages": 25 + n}, "succeeded")),
    Send("rendering", "Invoices/render", {"order": "year-2025", "pages": 4_000_000}, "running"),
)

OLD_RELEASE: Part = (
    Send("on_old_deployment", "Promotions/end_campaign", "black-friday", "suspended"),
    Deploy("promotions_deployment", "promotions-3", after={"on_old_deployment": "suspended"}),
)

ENDS: Part = (
    Send("killed", "Orders/cool_off", "ord-2001", "suspended"),
    Send("cancelled", "Orders/cool_off", "ord-2002", "suspended"),
    Send("restarted_1", "Orders/cool_off", "ord-2003", "suspended"),
)
ENDING: Part = (
    Act("killed", "kill", "killed", {"killed": "suspended"}, "killed"),
    Act("cancelled", "cancel", "cancelled", {"cancelled": "suspended"}, "cancelled"),
    Act("restarted_1", "kill", "restarted_1", {"restarted_1": "suspended"}, "killed"),
    Act("restarted_2", "restart-as-new", "restarted_1", {"restarted_1": "killed"}, "suspended"),
    Act("restarted_2", "kill", "restarted_2", {"restarted_2": "suspended"}, "killed"),
    Act("restarted_3", "restart-as-new", "restarted_2", {"restarted_2": "killed"}, "suspended"),
)

INCIDENT: Part = (
    # First the steps that take time, then the steps that depend on them.
    *(*AGENTS, *DEPLOYMENTS, *DEADLOCKS, *EVERYDAY, *SLOW, *STORM, *HOT_KEY, *PAUSED, *FORGOTTEN, *REMOVED),
    *(
        *UNREACHABLE,
        *MISMATCH,
        *FAILURES,
        *SETTLEMENTS,
        *ENDS,
        *OLD_RELEASE,
        *BLOCKED,
        *PAUSE,
        *REPLACE,
        *REMOVE,
        *ENDING,
    ),
)
