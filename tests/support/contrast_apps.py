"""Apps whose outcome depends on one planted property of a call: the table for the services and for the tests.

Every call has the same fields with values at random. The handler of an app fails, or waits, or is slow if the rule of
the app holds. Values, names of maps and keys have the text ``CANARY``: no output may have it at the first two levels.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

CANARY = "kanarie"
CALLS = 72  # of each app
PLANTED = 24  # of them with the property
REGIONS = ("oslo", "turin", "lyon", "porto", "graz")
STATIONS = ("juniper", "thorn", "maple", "alder")


@dataclass(frozen=True)
class Call:
    """What a handler gets: the input, the headers, the key, the service that called it, the deployment's release."""

    order: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    release: str = "old"


@dataclass(frozen=True)
class App:
    """``rule`` decides the outcome, ``plant`` changes a call so that the rule holds; both agree on every call.

    ``outcome``: failed, backing-off, paused, suspended, or slow. ``where, path``: the condition that is expected in the
    first place. ``level``: the lowest level of payloads at which it can be found, False for a column or a step.
    ``is_relayed``: services make the calls, Backfill the planted ones and Frontdesk the others.
    """

    name: str
    outcome: str
    rule: Callable[[Call], bool]
    plant: Callable[[Call], Any]
    where: str
    path: str
    level: object = "shape"
    is_relayed: bool = False
    is_keyed: bool = False


def call_of(app: App, number: int) -> Call:
    """Return a call; every third one has the planted property."""
    chance = random.Random(f"{app.name} {number}")  # noqa: S311 - data at random
    order = {
        "customer": {
            "region": chance.choice(REGIONS),
            "email": f"{CANARY}{number}@example.org",
            "tax_id": f"{CANARY}-{chance.randrange(10**6)}",
            "age": chance.randrange(18, 80),
        },
        "amount": chance.randrange(100, 9_000),
        "station": chance.choice(STATIONS),
        "express": chance.random() < 0.4,
        "coupon": chance.choice([None, "spring", "autumn"]),
        "note": chance.choice(["ring twice", "leave it there", "call me"]),
        "items": [{"sku": f"sku-{chance.randrange(40)}", "count": chance.randrange(1, 5)} for _ in range(2)],
        "scores": {f"{CANARY}{number}.{at}@example.org": at for at in range(2)},
    }
    key = f"{chance.choice(['pine', 'birch', 'cedar'])}-{CANARY}{app.name}{number}" if app.is_keyed else ""
    call = Call(order, {"x-tenant": f"{CANARY}-{chance.randrange(6)}", "x-channel": chance.choice(["web", "app"])}, key)
    if not is_planted(app, number):
        return call
    return app.plant(call) or call


def is_planted(app: App, number: int) -> bool:
    """Return whether this call of an app has the planted property; of slow ones, only a tenth has it."""
    return number % (10 if app.outcome == "slow" else CALLS // PLANTED) == 1


def _set(*path: str, value: Any) -> Callable[[Call], None]:
    def plant(call: Call) -> None:
        inner = call.order
        for name in path[:-1]:
            inner = inner[name]
        inner[path[-1]] = value

    return plant


def _header(name: str, value: str) -> Callable[[Call], None]:
    return lambda call: call.headers.update({name: value})  # type: ignore[attr-defined]


def _without_header(name: str) -> Callable[[Call], None]:
    return lambda call: call.headers.pop(name) and None  # type: ignore[attr-defined]


def _with_key(prefix: str) -> Callable[[Call], Call]:
    return lambda call: Call(call.order, call.headers, f"{prefix}-{call.key.partition('-')[2]}")


APPS: tuple[App, ...] = (
    App(
        "region",
        "failed",
        lambda call: call.order["customer"]["region"] == f"eu-{CANARY}",
        _set("customer", "region", value=f"eu-{CANARY}"),
        "input",
        "customer.region",
    ),
    App(
        "tax",
        "backing-off",
        lambda call: "tax_id" not in call.order["customer"],
        lambda call: call.order["customer"].pop("tax_id") and None,
        "input",
        "customer.tax_id",
    ),
    App(
        "dry",
        "paused",
        lambda call: "x-dry-run" in call.headers,
        _header("x-dry-run", CANARY),
        "header",
        "x-dry-run",
    ),
    App(
        "relay",
        "suspended",
        lambda call: call.order.get("via") == "Backfill",
        lambda call: None,
        "column",
        "caller",
        level=False,
        is_relayed=True,
    ),
    App(
        "large",
        "slow",
        lambda call: call.order["amount"] > 9_000,
        lambda call: call.order.update(amount=9_001 + call.order["amount"]),
        "input",
        "amount",
    ),
    App(
        "keyed",
        "failed",
        lambda call: call.key.startswith(f"{CANARY}-"),
        _with_key(CANARY),
        "key",
        "target_service_key",
        level=False,
        is_keyed=True,
    ),
)
"""The apps of the suite."""


def _shape(name: str, outcome: str, path: str, rule: Callable[[Any], bool], plant: Callable[[Call], Any]) -> App:
    """Return an app whose cause is at a path of the input; ``rule`` gets the order."""
    return App(name, outcome, lambda call: rule(call.order), plant, "input", path)


def _drop(*path: str) -> Callable[[Call], Any]:
    def plant(call: Call) -> None:
        inner = call.order
        for name in path[:-1]:
            inner = inner[name]
        del inner[path[-1]]

    return plant


def _append_sku(call: Call) -> None:
    call.order["items"].append({"sku": "sku-bad", "count": 1})


MORE: tuple[App, ...] = (
    _shape("station", "failed", "station", lambda o: o["station"] == "onyx", _set("station", value="onyx")),
    _shape("text", "failed", "amount", lambda o: isinstance(o["amount"], str), _set("amount", value="12")),
    _shape("young", "failed", "customer.age", lambda o: o["customer"]["age"] < 18, _set("customer", "age", value=9)),
    _shape("flag", "paused", "express", lambda o: o["express"] == "yes", _set("express", value="yes")),
    _shape("nothing", "failed", "note", lambda o: o["note"] is None, _set("note", value=None)),
    _shape("coupon", "backing-off", "coupon", lambda o: o["coupon"] == "void", _set("coupon", value="void")),
    _shape("absent", "paused", "note", lambda o: "note" not in o, _drop("note")),
    _shape("extra", "failed", "legacy", lambda o: "legacy" in o, _set("legacy", value=True)),
    _shape("sku", "failed", "items[].sku", lambda o: o["items"][-1]["sku"] == "sku-bad", _append_sku),
    _shape("empty", "backing-off", "items[]", lambda o: not o["items"], _set("items", value=[])),
    _shape("long", "failed", "items", lambda o: len(o["items"]) > 9, lambda c: c.order["items"].extend([{}] * 9)),
    _shape("object", "failed", "customer", lambda o: isinstance(o["customer"], str), _set("customer", value="anna")),
    _shape("halted", "suspended", "station", lambda o: o["station"] == "onyx", _set("station", value="onyx")),
    _shape("heavy", "slow", "station", lambda o: o["station"] == "onyx", _set("station", value="onyx")),
    App(
        "beta",
        "failed",
        lambda c: c.headers.get("x-channel") == "beta",
        _header("x-channel", "beta"),
        "header",
        "x-channel",
    ),
    App(
        "plain",
        "backing-off",
        lambda c: "x-channel" not in c.headers,
        _without_header("x-channel"),
        "header",
        "x-channel",
    ),
    App(
        "held",
        "paused",
        lambda c: c.key.startswith(f"{CANARY}-"),
        _with_key(CANARY),
        "key",
        "target_service_key",
        level=False,
        is_keyed=True,
    ),
    App(
        "jam",
        "backing-off",
        lambda c: c.key.startswith(f"{CANARY}-"),
        _with_key(CANARY),
        "key",
        "target_service_key",
        level=False,
        is_keyed=True,
    ),
    App(
        "import",
        "failed",
        lambda c: c.order.get("via") == "Backfill",
        lambda _: None,
        "column",
        "caller",
        level=False,
        is_relayed=True,
    ),
    App(
        "fraud",
        "failed",
        lambda c: c.order["amount"] > 9_000,
        lambda c: c.order.update(amount=9_500),
        "step",
        "check fraud",
        level=False,
    ),
)
"""The apps of the night."""
RELEASED = App(
    "release", "failed", lambda c: c.release == "new", lambda _: None, "column", "pinned_deployment_id", level=False
)
"""The app that fails in the new release of the code."""
ALL = (*APPS, *MORE, RELEASED)
