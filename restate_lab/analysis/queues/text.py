"""The sentences about a queue and a rule, and the calls that would change them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from restate_lab._text import format_age, format_duration, plural, verb_form
from restate_lab.calls import SuggestedCall

NEARLY = 0.8
"""The share of a limit above which it is marked."""
RESOURCES = {
    "invoker-concurrency": "a slot of the invoker",
    "limit-key-concurrency": "a free place in a rule",
    "deployment-concurrency": "a slot of its deployment",
    "invoker-throttling": "the invoker, which is throttled",
    "invoker-memory": "free memory of the invoker",
    "throttling-rules": "a throttling rule",
}
_SHARES = {
    "lock_share": "its key",
    "rules_share": "a place in a rule",
    "slots_share": "a slot of the invoker",
    "memory_share": "memory of the invoker",
    "deployment_share": "a slot of its deployment",
    "throttling_share": "throttling",
}
LEGEND = (
    "Bars: solid is running (also between quick attempts), gray is other use of the rule, striped is waiting, striped "
    "in orange is between attempts. "
    "The line is the limit; without one, a bar ends at the largest queue."
)
_UPSERT = """from restate_lab.client.models import UpsertRule

# It replaces the whole rule; the limit is {limit} now.
lab.admin.upsert_rules([UpsertRule({arguments})], reason="…")"""


def name_queue(row: Mapping[Any, Any]) -> str:
    """Return the name of a queue: its key or its service, and its scope with the limit key."""
    name = row["lock_name"] or row["target_service_name"]
    scope = "" if row["scope"] is None else f" in scope {row['scope']}"
    key = "" if row["limit_key"] is None else f", limit key {row['limit_key']}"
    return f"{name}{scope}{key}"


def name_counter(row: Mapping[Any, Any]) -> str:
    """Return what a counter of a rule counts: a scope, or a scope with a limit key; "" if nothing uses the rule."""
    if row["scope"] is None:
        return ""
    key = "/".join(each for each in (row["l1"], row["l2"]) if each is not None)
    return f"{row['scope']}, limit key {key}" if key else str(row["scope"])


def describe_wait(
    row: Mapping[Any, Any],
    counter: Mapping[Any, Any] | None,
    holder: Mapping[Any, Any] | None,
    now: datetime,
) -> str:
    """Return what the head of a queue waits for, with the ``counter`` of its rule or the ``holder`` of its key."""
    if row["blocked_on"] == "queue paused":
        return "paused: nothing starts until the queue is resumed"
    if not row["waiting"]:
        return describe_back_offs(row, now) or "nothing waits"
    if row["blocked_on"] == "lock":
        return f"key {row['lock_name']}, {_describe_holder(holder, now)}"
    if row["blocked_on"] == "limit-key-concurrency" and row["blocked_rule"] is not None:
        used = "" if counter is None else f" ({describe_usage(counter)})"
        return f"a free place in rule {row['blocked_rule']}{used}"
    if row["blocked_on"] is None:
        return "its start: nothing blocks it"
    return RESOURCES.get(row["blocked_on"], str(row["blocked_on"]))


def describe_back_offs(row: Mapping[Any, Any], now: datetime) -> str:
    """Return how many calls of a queue are between two attempts, and when the next attempt is; "" without any."""
    if not row["backing_off"]:
        return ""
    seconds = 0.0 if row["next_attempt_at"] is None else (row["next_attempt_at"] - now).total_seconds()
    return f"{row['backing_off']:,} between attempts; next {f'in {format_duration(seconds)}' if seconds > 0 else 'now'}"


def _describe_holder(holder: Mapping[Any, Any] | None, now: datetime) -> str:
    if holder is None:
        return "held by another call"
    is_call = str(holder["holder_id"]).startswith("inv_")
    status = f" that is {holder['status']}" if holder.get("status") else ""
    return f"held for {format_age(holder['since'], now)} by {'a call' if is_call else 'a change of state'}{status}"


def describe_usage(counter: Mapping[Any, Any]) -> str:
    """Return how much of its limit a counter uses: "2 of 2 used"."""
    used, limit = counter["usage"] or 0, counter["concurrency_limit"]
    return f"{used:,} used" if limit is None else f"{used:,} of {limit:,} used"


def describe_load(row: Mapping[Any, Any]) -> str:
    """Return how much of the fullest rule of a queue is used, "2 of 2", or without a limit what runs."""
    if row["limit"] is None:
        return f"{row['running']:,} running"
    return f"{row['used'] or 0:,} of {row['limit']:,}"


def mark_counter(row: Mapping[Any, Any]) -> str:
    """Return a word about a rule that needs one: it is full, nearly full, disabled, or unused."""
    if row["disabled"]:
        return "disabled"
    if row["usage"] is None:
        return "not used now"
    share = row["usage_share"] or 0
    return "▲ full" if share >= 1 else f"▲ above {NEARLY:.0%}" if share > NEARLY else ""


def describe_queue(row: Mapping[Any, Any]) -> Iterator[str]:
    """Yield the facts about one queue: its calls, the rule that limits it most, and what its head has waited for."""
    waits = f"{plural(row['waiting'], 'call')} {verb_form(row['waiting'], 'waits', 'wait')}"
    oldest = f", the oldest for {format_duration(row['oldest_wait'])}" if row["waiting"] else ""
    counts = [f"{row[name]:,} {text}" for name, text in _COUNTS.items() if row[name]]
    yield f"{', '.join([waits + oldest, *counts])}."
    if row["blocked_on"] == "queue paused":
        yield "The queue is paused: nothing starts until it is resumed."
    elif row["waiting"]:
        yield f"Its head waits for {row['waits_for']}."
    if row["rule"] is not None:
        yield f"The fullest rule that applies is {row['rule']}: {row['used']:,} of {row['limit']:,} used."
    shares = [f"{row[name]:.0%} {text}" for name, text in _SHARES.items() if row[name]]
    if shares:
        yield f"Its head was blocked by: {', '.join(shares)}."


_COUNTS = {
    "backing_off": "between attempts",
    "running": "running",
    "suspended": "suspended",
    "paused": "paused",
    "scheduled": "to start later",
}


def resume_call(vqueue_id: str) -> SuggestedCall:
    """Return the call that resumes a queue."""
    return SuggestedCall("lab.admin.resume_vqueue", (vqueue_id,), {"reason": "…"})


def upsert_call(row: Mapping[Any, Any]) -> str:
    """Return the call that would change a rule: as it is now, with its present limit in the place to change."""
    limit = row["concurrency_limit"]
    limits = None if limit is None else {"concurrency": limit}
    arguments = [repr(row["rule"]), f"limits={limits!r}"]
    arguments += [f"description={row['description']!r}"] if row["description"] is not None else []
    arguments += ["disabled=True"] if row["disabled"] else []
    arguments += [f"precondition={row['rule_version']}"] if row["rule_version"] is not None else []
    return _UPSERT.format(limit="none" if limit is None else limit, arguments=", ".join(arguments))
