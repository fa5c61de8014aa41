"""The table of checks: the name, description, cost and function of each."""

from __future__ import annotations

from restate_lab.analysis.doctor.checks.deployments import old_deployments, old_protocols
from restate_lab.analysis.doctor.checks.failures import (
    expiring_evidence,
    paused_invocations,
    restarts,
    reused_keys,
    terminal_failures,
)
from restate_lab.analysis.doctor.checks.outliers import large_states, long_journals, slow_handlers
from restate_lab.analysis.doctor.checks.queues import backlog, blocked_queues, late_starts, long_attempts
from restate_lab.analysis.doctor.checks.retries import (
    journal_mismatches,
    removed_deployments,
    retry_storms,
    unreachable_deployments,
)
from restate_lab.analysis.doctor.checks.waits import awakeables, blocked_keys, deadlocks, promises, suspended_on_run
from restate_lab.analysis.doctor.context import Check

__all__ = ["CHECKS"]

_CHECKS = (
    Check("old_protocols", "service protocols and SDKs that are behind the others", 0.3, old_protocols),
    Check("retry_storms", "handlers whose attempts fail again and again, by step and code", 0.5, retry_storms),
    Check("unreachable_deployments", "deployments that do not answer", 0.5, unreachable_deployments),
    Check("long_attempts", "attempts that have been running for longer than an hour", 0.6, long_attempts),
    Check("journal_mismatches", "invocations whose code changed below them (RT0016)", 0.5, journal_mismatches),
    Check("removed_deployments", "invocations pinned to a deployment that was removed", 1.6, removed_deployments),
    Check("paused", "paused invocations, with their cause", 1.6, paused_invocations),
    Check("backlog", "invocations that are ready and get no slot", 1.6, backlog),
    Check("late_starts", "scheduled invocations that should have started", 1.6, late_starts),
    Check("old_deployments", "deployments that could be removed, and what pins the others", 1.6, old_deployments),
    Check("long_journals", "journals far longer than the others", 1.6, long_journals),
    Check("expiring_evidence", "failures that will soon leave no trace", 1.6, expiring_evidence),
    Check("restarts", "invocations that were restarted as new", 1.6, restarts),
    Check("slow_handlers", "handlers far slower than the others, by their own steps", 1.6, slow_handlers),
    Check("terminal_failures", "handlers that fail for good too often, by kind of message", 2.5, terminal_failures),
    Check("blocked_queues", "vqueues that are paused or wait for a resource", 2.0, blocked_queues, is_for_vqueues=True),
    Check("deadlocks", "invocations that wait for each other in a circle", 3.0, deadlocks),
    Check("blocked_keys", "keys with a queue whose holder does not go on", 3.0, blocked_keys),
    Check("suspended_on_run", "invocations suspended on their own step, which nobody wakes", 3.0, suspended_on_run),
    Check("awakeables", "awakeables that nobody resolves", 3.0, awakeables),
    Check("promises", "promises that workflows wait for", 3.0, promises),
    Check("reused_keys", "idempotency keys used for several objects of one handler", 3.5, reused_keys),
    Check("large_states", "states far larger than is good for a call", 4.0, large_states),
)

CHECKS = {check.name: check for check in sorted(_CHECKS, key=lambda check: check.cost)}
"""Every check by name, cheapest first; the first check that needs a shared read makes it."""
