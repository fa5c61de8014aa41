"""The checks before an upgrade to Restate 1.8: what to do first, what the migration moves, and what SQL cannot show.

They are a group of their own, which ``doctor`` runs only if it is asked for. On a server that already has 1.8, only the
checks of the version and of the migration apply.
"""

from __future__ import annotations

from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.doctor.upgrade.changes import replica_notes, upgrade_state_changes
from restate_lab.analysis.doctor.upgrade.migration import upgrade_migration
from restate_lab.analysis.doctor.upgrade.reader import BEFORE, RUNNING, TARGET, has_legacy
from restate_lab.analysis.doctor.upgrade.work import finding, upgrade_protocols, upgrade_running
from restate_lab.analysis.suggestions import SuggestedCall, ask_call
from restate_lab.server import is_older


def upgrade_version(context: CheckContext) -> list[Finding]:
    """Find a version that cannot be upgraded directly."""
    version, part = context.source.version, context.source.coverage.part
    if part:
        context.excluded.append(f"{context.source.name} has only {part}, so that the rest of the cluster is unknown")
    call = SuggestedCall("lab.admin.version")
    if is_older(version, BEFORE):
        title = f"restate {version} cannot be upgraded to {TARGET} directly"
        return [finding(Severity.CRITICAL, title, call, subject="version", details=_ONE_BY_ONE)]
    if is_older(version, TARGET):
        return []
    is_complete = not any(row["legacy"] for row in context.rows("upgrade_rows"))
    title = f"this cluster already has restate {version}{': no preparation is needed' if is_complete else ''}"
    return [finding(Severity.NOTE, title, call, subject="version")]


def upgrade_settings(context: CheckContext) -> list[Finding]:
    """Name what SQL cannot show: the limit of the invokers, the effect of a pause, and replicas without a change."""
    limit = finding(
        Severity.NOTE,
        "the limit of concurrent invocations becomes one per node and defaults to 24,000",
        SuggestedCall("lab.sql", (RUNNING,), comment="the invocations that run now"),
        subject="concurrency",
        details=_LIMIT,
    )
    title = "a pause of a running invocation takes effect at once"
    pause = finding(Severity.NOTE, title, ask_call("overview"), subject="pause", details=_PAUSE)
    return [limit, *([pause] if has_legacy(context) else []), *replica_notes(context)]


# docs.restate.dev/server/upgrading
_ONE_BY_ONE = (
    f"Restate supports an upgrade from one minor version to the next only. Upgrade all nodes to the latest {BEFORE}, "
    f"run this check again, and then upgrade to {TARGET}."
)
_LIMIT = (
    "It was one per partition, 1,000 by default. SQL does not show the setting. On each node, look for "
    "worker.invoker.concurrent-invocations-limit in the output of `restate-server --dump-config`, and set the limit "
    "that your services can serve."
)
_PAUSE = (
    "Without vqueues, it waits until the attempt ends. With vqueues, the interrupted step is executed again when the "
    "invocation is resumed, also if the service is still executing it."
)
_CHECKS = (
    (upgrade_version, "the version, and whether it can be upgraded directly", None),
    (upgrade_migration, "the invocations that the migration to vqueues moves", None),
    (upgrade_settings, "settings and changes of state that SQL does not show", TARGET),
    (upgrade_running, "paused invocations and long steps", TARGET),
    (upgrade_state_changes, "changes of state that the migration drops", TARGET),
    (upgrade_protocols, "invocations and deployments with an old service protocol", TARGET),
)
UPGRADE = {
    run.__name__: Check(run.__name__, description, 1.6, run, needs_open=True, until=until)
    for run, description, until in _CHECKS
}
"""Every check of the group ``upgrade`` by name; none of them is part of an ordinary diagnosis."""
