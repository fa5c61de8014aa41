"""The waits of the heads of queues, and the scopes that have the places and slots: read once for several checks."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import pandas as pd

from restate_lab.analysis.doctor.census import MAX_ROWS
from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.reader import Row, earliest, timestamp_of
from restate_lab.analysis.patterns import group_by
from restate_lab.analysis.scopes import ScopeKey, scope_key_of
from restate_lab.frames import handler_of

RULE, SLOT = "limit-key-concurrency", "invoker-concurrency"
_NOT_STUCK = {"lock", "backing-off", "scheduled", "new", "queue paused", None}  # the checks of waits report locks
# What a head waits for → how long it has waited for it.
_DURATIONS = {
    RULE: "concurrency_rules_block_duration",
    SLOT: "invoker_concurrency_block_duration",
    "deployment-concurrency": "deployment_concurrency_block_duration",
    "invoker-throttling": "invoker_throttling_block_duration",
    "invoker-memory": "invoker_memory_block_duration",
    "throttling-rules": "throttling_rules_block_duration",
}
_USUAL = 3.0  # a queue whose running calls usually take long is busy until so many times their median duration


@dataclass(frozen=True, slots=True)
class Use:
    """The running calls of a place: their number, the oldest one, and when a call last started or ended."""

    place: ScopeKey | None  # None for the calls without a scope
    running: int
    holder: str | None
    held_since: datetime | None
    last_at: datetime | None


@dataclass(frozen=True, slots=True)
class LimitWait:
    """The heads that wait for one counter of a rule; ``holders`` have its places, ``starved`` heads get none."""

    place: ScopeKey
    rule: str
    heads: Sequence[Row]
    holders: Sequence[Use]
    is_starved: bool
    is_dominated: bool

    @property
    def taken(self) -> int:
        """Return the number of places that are taken."""
        return sum(each.running for each in self.holders)

    def shares(self) -> Counter[ScopeKey]:
        """Return the places taken by each part of the counter, the largest first."""
        counts: Counter[ScopeKey] = Counter()
        for each in self.holders:
            if each.place is not None:
                counts[each.place.upper(self.place.level + 1)] += each.running
        return counts


def waiting_heads(context: CheckContext) -> list[Row]:
    """Return the heads of queues that have waited for one resource, except a key, for longer than ``waiting``.

    A head is in a busy queue for as long as the calls before it need, so that its time in the queue says nothing.
    """
    if not context.census.count_open("inboxed"):
        return []
    heads = [row for row in context.ask("blocked_heads", limit=MAX_ROWS) if row["blocked_on"] not in _NOT_STUCK]
    rows: list[Row] = [{**row, "since": _blocked_since(context, row)} for row in heads]
    return [row for row in rows if context.age(row["since"]) >= context.thresholds.waiting]


def limit_waits(context: CheckContext) -> list[LimitWait]:
    """Return the heads that have waited for a place under a rule for longer than ``waiting``, by its counter."""
    heads = [row for row in context.once(waiting_heads) if row["blocked_on"] == RULE]
    if not heads:
        return []
    uses, waits = context.once(scope_uses), []
    for rows in group_by(heads, lambda row: (*counter_of(row), _is_starved(context, scope_key_of(row), uses))):
        place, rule = counter_of(rows[0])
        holders = [each for each in uses if each.running and each.place is not None and place.contains(each.place)]
        if _is_busy(context, holders, rows):
            continue
        is_alone = not any(each not in holders and _moves(context, each) for each in uses)
        is_starved = _is_starved(context, scope_key_of(rows[0]), uses) and not is_alone
        wait = LimitWait(place, rule, rows, holders, is_starved, is_dominated=False)
        is_dominated = not is_starved and dominant_part(context, wait) is not None
        waits.append(LimitWait(place, rule, rows, holders, is_starved, is_dominated))
    return waits


def covered_queues(context: CheckContext) -> set[str]:
    """Return the waiting vqueues that the checks of this module report, or that are only busy."""
    heads, waits = context.once(waiting_heads), context.once(limit_waits)
    others = {row["vqueue_id"] for each in waits if not (each.is_starved or each.is_dominated) for row in each.heads}
    covered = {row["vqueue_id"] for row in heads if row["blocked_on"] == RULE} - others
    if context.once(dominant_use) is not None:
        covered |= {row["vqueue_id"] for row in heads if row["blocked_on"] == SLOT}
    return covered


def counter_of(row: Row) -> tuple[ScopeKey, str]:
    """Return the counter that a head waits for, and the pattern of its rule."""
    about = json.loads(row["blocked_on_json"] or "{}")
    place = scope_key_of({"scope": about.get("scope", row["scope"]), "limit_key": about.get("limit_key")})
    level = {"scope": 1, "level1": 2}.get(about.get("blocked_level"), 3)
    return place.upper(level), str(about.get("blocked_rule") or "")


def scope_uses(context: CheckContext) -> list[Use]:
    """Return the running calls of each scope and limit key, and when it last started or ended a call."""
    rows = context.rows("scope_use")
    scopes = sorted({row["scope"] for row in context.once(waiting_heads) if row["scope"] is not None})
    since = context.now - context.thresholds.waiting
    ends = context.rows("scope_ends", scopes=scopes, since=since) if scopes else []
    uses = [
        Use(
            scope_key_of(row) if row["scope"] is not None else None,
            int(row["running"]),
            row["holder_id"],
            timestamp_of(row["held_since"]),
            timestamp_of(row["last_at"]),
        )
        for row in rows
    ]
    # An empty queue has been removed with its times, so that the ended calls are uses, too.
    return uses + [Use(scope_key_of(row), 0, None, None, timestamp_of(row["last_at"])) for row in ends]


def dominant_use(context: CheckContext) -> tuple[ScopeKey, int, int] | None:
    """Return the scope or limit key with most running calls, their number, and that of all; None if none has most.

    Calls of another scope, or without one, must wait for a slot.
    """
    heads = [row for row in context.once(waiting_heads) if row["blocked_on"] == SLOT]
    if not heads:
        return None
    counts: Counter[ScopeKey] = Counter()
    uses = context.once(scope_uses)
    total, least = sum(each.running for each in uses), context.thresholds.dominance
    for each in uses:
        if each.place is not None:
            for part in each.place.levels:
                counts[part] += each.running
    most = [(place, count) for place, count in counts.items() if total and count >= least * total]
    if not most:
        return None
    place, count = max(most, key=lambda pair: (pair[0].level, pair[1]))
    return (place, count, total) if any(not place.has(row) for row in heads) else None


def _blocked_since(context: CheckContext, row: Row) -> datetime | None:
    """Return since when a head waits for its resource; the server restarts the duration at each new head."""
    duration = row.get(_DURATIONS.get(row["blocked_on"], ""))
    return timestamp_of(row["waiting_since"]) if pd.isna(duration) else context.clock - pd.Timedelta(duration)


def _is_starved(context: CheckContext, place: ScopeKey, uses: Sequence[Use]) -> bool:
    """Return whether nothing of exactly this scope and limit key has started or ended lately."""
    return not any(each.place == place and _is_recent(context, each.last_at) for each in uses)


def _moves(context: CheckContext, use: Use) -> bool:
    return use.running > 0 or _is_recent(context, use.last_at)


def _is_recent(context: CheckContext, at: datetime | None) -> bool:
    return at is not None and context.now - at < context.thresholds.waiting


def _is_busy(context: CheckContext, holders: Sequence[Use], heads: Sequence[Row]) -> bool:
    """Return whether the running calls usually take so long that the wait is normal, as far as it is not long."""
    waited = context.age(earliest(heads, "since"))
    if waited >= context.thresholds.waiting_long:
        return False
    ids = [each.holder for each in holders if each.holder]
    medians = [
        context.outcomes[each].median_ms
        for each in map(handler_of, context.details_of(ids).values())
        if each in context.outcomes
    ]
    longest = max((each for each in medians if each is not None), default=0.0)
    return waited < _USUAL * timedelta(milliseconds=longest)


def dominant_part(context: CheckContext, wait: LimitWait) -> tuple[ScopeKey, int] | None:
    """Return the part of a counter that has most of its places, unless it is the one that waits."""
    (place, taken), *_ = wait.shares().most_common(1) or [(wait.place, 0)]
    is_most = wait.taken and place != wait.place and taken >= context.thresholds.dominance * wait.taken
    return (place, taken) if is_most and not any(place.has(row) for row in wait.heads) else None
