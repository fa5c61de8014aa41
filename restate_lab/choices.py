"""The names that a user types most, as types: an editor completes them, and a type checker finds a wrong one.

The tables of actions, views, statuses and checks define what they mean; a test compares them with these types.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

ActionName: TypeAlias = Literal[
    "cancel", "kill", "pause", "resume", "purge", "purge_journal", "restart_as_new", "move_to"
]
ViewName: TypeAlias = Literal["overview", "invocations", "waits", "queues", "state", "deployments"]
StatusName: TypeAlias = Literal[
    "scheduled",
    "pending",
    "ready",
    "backing-off",
    "yielded",
    "running",
    "in-progress",
    "suspended",
    "paused",
    "unknown",
    "succeeded",
    "failed",
    "cancelled",
    "killed",
    "retrying",
    "attention",
    "in-flight",
    "ended",
    "all",
]
"""A status, the group "retrying", or a preset of the panel."""
CheckName: TypeAlias = Literal[
    "sampled_backlog",
    "services",
    "old_protocols",
    "retry_storm",
    "unreachable_deployments",
    "journal_mismatches",
    "long_attempts",
    "removed_deployments",
    "stale_timers",
    "refused_protocols",
    "late_cleanup",
    "paused",
    "backlog",
    "late_starts",
    "old_deployments",
    "long_journals",
    "expiring_evidence",
    "restarts",
    "slow_handlers",
    "starved_scopes",
    "dominant_scopes",
    "blocked_queues",
    "scheduler_gaps",
    "queued_changes",
    "terminal_failures",
    "agent_models",
    "agent_tools",
    "agent_tokens",
    "agent_waits",
    "deadlocks",
    "blocked_keys",
    "suspended_on_run",
    "awakeables",
    "promises",
    "reused_keys",
    "large_states",
    "upgrade",
    "upgrade_version",
    "upgrade_migration",
    "upgrade_settings",
    "upgrade_running",
    "upgrade_state_changes",
    "upgrade_protocols",
]
"""A check of the doctor, or the group "upgrade"."""
