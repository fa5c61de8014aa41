"""The table of checks: the name, description, cost and function of each."""

from restate_lab.analysis.doctor.checks.agents import agent_models, agent_tokens, agent_tools, agent_waits
from restate_lab.analysis.doctor.checks.deployments import old_deployments, old_protocols, registered_services
from restate_lab.analysis.doctor.checks.failures import (
    expiring_evidence,
    paused_invocations,
    restarts,
    reused_keys,
    terminal_failures,
)
from restate_lab.analysis.doctor.checks.faults import (
    late_cleanup,
    queued_changes,
    refused_protocols,
    scheduler_gaps,
    stale_timers,
)
from restate_lab.analysis.doctor.checks.limits import dominant_scopes, starved_scopes
from restate_lab.analysis.doctor.checks.outliers import large_states, long_journals, slow_handlers
from restate_lab.analysis.doctor.checks.queues import (
    backlog,
    blocked_queues,
    late_starts,
    long_attempts,
    sampled_backlog,
)
from restate_lab.analysis.doctor.checks.retries import (
    journal_mismatches,
    removed_deployments,
    retry_storm,
    unreachable_deployments,
)
from restate_lab.analysis.doctor.checks.waits import awakeables, blocked_keys, deadlocks, promises, suspended_on_run
from restate_lab.analysis.doctor.context import Check

_CHECKS = (
    Check("services", "whether any service is registered", 0.2, registered_services),
    Check("old_protocols", "deployments with an old service protocol or SDK", 0.3, old_protocols),
    Check(
        "retry_storm",
        "handlers whose attempts fail repeatedly, by step and code",
        0.5,
        retry_storm,
        needs_open=True,
        is_compared=True,
    ),
    Check(
        "unreachable_deployments",
        "deployments that do not respond, or not to all attempts",
        0.5,
        unreachable_deployments,
        needs_open=True,
        is_compared=True,
    ),
    Check(
        "long_attempts", "attempts that have been running for more than an hour", 0.6, long_attempts, needs_open=True
    ),
    Check(
        "journal_mismatches",
        "open invocations whose code has changed (RT0016)",
        0.5,
        journal_mismatches,
        needs_open=True,
    ),
    Check(
        "removed_deployments",
        "invocations pinned to a deployment that was removed",
        1.6,
        removed_deployments,
        needs_open=True,
    ),
    Check(
        "stale_timers",
        "invocations that fail because a timer of an earlier one with their id fired",
        1.6,
        stale_timers,
        needs_open=True,
    ),
    Check(
        "refused_protocols",
        "invocations that failed because their deployment speaks an old service protocol (RT0020)",
        1.6,
        refused_protocols,
        is_about_ended=True,
    ),
    Check(
        "late_cleanup",
        "completed invocations that are kept much longer than their retention",
        1.6,
        late_cleanup,
        needs_open=True,
    ),
    Check(
        "paused",
        "paused invocations, with their cause",
        1.6,
        paused_invocations,
        needs_open=True,
        is_compared=True,
    ),
    Check("backlog", "ready invocations that wait for a free slot", 1.6, backlog, needs_open=True),
    Check("late_starts", "scheduled invocations that should have started", 1.6, late_starts, needs_open=True),
    Check(
        "old_deployments",
        "old deployments that can be removed or are still in use",
        1.6,
        old_deployments,
        needs_open=True,
    ),
    Check("long_journals", "journals that are much longer than others", 1.6, long_journals),
    Check(
        "expiring_evidence",
        "failed invocations whose journal or record expires soon",
        1.6,
        expiring_evidence,
        needs_open=True,
        is_about_ended=True,
    ),
    Check(
        "sampled_backlog",
        "invocations that were paused, or queued or running for long, at the last visit",
        0.1,
        sampled_backlog,
        needs_samples=True,
    ),
    Check("restarts", "invocations that were restarted as new", 1.6, restarts),
    Check("slow_handlers", "handlers whose own steps are much slower than other handlers", 1.6, slow_handlers),
    Check(
        "terminal_failures",
        "handlers that fail permanently too often, by kind of message",
        2.5,
        terminal_failures,
        is_compared=True,
        is_about_ended=True,
    ),
    Check(
        "starved_scopes",
        "scopes and limit keys that a rule keeps from starting anything",
        2.0,
        starved_scopes,
        is_for_vqueues=True,
        needs_open=True,
    ),
    Check(
        "dominant_scopes",
        "a scope or limit key with most slots or places, while others wait",
        2.0,
        dominant_scopes,
        is_for_vqueues=True,
        needs_open=True,
    ),
    Check(
        "blocked_queues",
        "vqueues that are paused or have waited long for a resource",
        2.0,
        blocked_queues,
        is_for_vqueues=True,
        needs_open=True,
    ),
    Check(
        "scheduler_gaps",
        "invocations that are ready and that the scheduler does not count",
        2.0,
        scheduler_gaps,
        is_for_vqueues=True,
        needs_open=True,
        compares_times=True,
    ),
    Check(
        "queued_changes",
        "changes of state that wait for a key",
        2.0,
        queued_changes,
        is_for_vqueues=True,
        needs_open=True,
    ),
    Check("deadlocks", "invocations that wait for each other in a cycle", 3.0, deadlocks, needs_open=True),
    Check(
        "blocked_keys",
        "keys with a queue and a holder that makes no progress",
        3.0,
        blocked_keys,
        needs_open=True,
    ),
    Check(
        "suspended_on_run",
        "invocations suspended on their own step, which does not wake them",
        3.0,
        suspended_on_run,
        needs_open=True,
    ),
    Check("awakeables", "awakeables that are not resolved", 3.0, awakeables, needs_open=True),
    Check("promises", "promises that are not completed", 3.0, promises, needs_open=True),
    Check("reused_keys", "idempotency keys that one handler used for several objects", 3.5, reused_keys),
    Check(
        "agent_models",
        "agents that retry a journaled response or an unjournaled model, and long calls of models",
        2.8,
        agent_models,
        needs_payloads=True,
        needs_open=True,
    ),
    Check(
        "agent_tools",
        "agents that repeat tool calls or failures of tools",
        2.8,
        agent_tools,
        needs_payloads=True,
        is_about_ended=True,
    ),
    Check(
        "agent_tokens",
        "agents with many more tokens than usual",
        2.8,
        agent_tokens,
        needs_payloads=True,
        is_about_ended=True,
    ),
    Check(
        "agent_waits",
        "agents that have waited for a person for long",
        2.8,
        agent_waits,
        needs_payloads=True,
        needs_open=True,
    ),
    Check("large_states", "keys with a very large state", 4.0, large_states, needs_open=True),
)

# Every check by name, cheapest first; data that several checks share is read by the first one.
CHECKS = {check.name: check for check in sorted(_CHECKS, key=lambda check: check.cost)}

UPGRADE_GROUP = "upgrade"  # the name of the group ``UPGRADE``, which ``doctor`` does not run by default
