"""The checks before an upgrade to Restate 1.8: what to do first, what the migration moves, and what SQL cannot show.

They are a group of their own, which ``doctor`` runs only if it is asked for. On a server that already has 1.8, only the
checks of the version and of the migration apply.
"""

from __future__ import annotations

from datetime import timedelta

from restate_lab._text import format_age, format_duration, plural, sentences, verb_form
from restate_lab.analysis.doctor.context import Check, CheckContext
from restate_lab.analysis.doctor.model import Finding, Severity
from restate_lab.analysis.doctor.upgrade.reader import (
    BEFORE,
    KINDS,
    RUNNING,
    TARGET,
    MigrationProgress,
    has_legacy,
    read_progress,
)
from restate_lab.analysis.doctor.upgrade.work import (
    finding,
    replica_notes,
    upgrade_protocols,
    upgrade_running,
    upgrade_state_changes,
)
from restate_lab.analysis.suggestions import ask_call
from restate_lab.calls import SuggestedCall
from restate_lab.server import is_older

_REPORTED, _IN = 140_000_000, timedelta(minutes=15)  # Restate pull request 5138
_FASTER, _SLOWER = 0.5, 2.0
_MANY = 10_000_000  # completed invocations from which the release note of 1.8.0 advises to migrate in two stages
_SECOND, _LONG = timedelta(seconds=1), timedelta(minutes=1)
_SOURCE = "is half to twice that of one report: 140 million invocations in about 15 minutes (Restate pull request 5138)"
_UNFINISHED = (
    "A partition migrates when its leader is elected on a node with vqueues: look for partitions without a leader, and "
    "for nodes with an older version, with `restatectl status`"
)
_FEWER = (
    "To migrate fewer, shorten the retention of completed invocations and wait, purge them, or migrate in two stages: "
    "on 1.7.10 or newer with experimental-enable-vqueues-migration-skip-completed, and to 1.8 when they have expired"
)
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


def upgrade_migration(context: CheckContext) -> list[Finding]:
    """Report how many invocations are in vqueues already, and how many the migration moves, with its time."""
    progress = read_progress(context)
    if not progress.left and not (progress.moved and progress.is_before):
        return []
    call = SuggestedCall("lab.sql", (KINDS,))
    if not progress.left:
        title = f"the upgrade has nothing to migrate: {_are(progress.moved)} in vqueues already"
        return [finding(Severity.NOTE, title, call, subject="migration", count=progress.moved)]
    is_serious = progress.is_halfway or not progress.is_before or progress.ended >= _MANY
    severity = Severity.WARNING if is_serious else Severity.NOTE
    details = sentences(*_details(progress), *_duration_details(context, progress))
    return [finding(severity, _title(progress), call, subject="migration", details=details, count=progress.left)]


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


def _title(progress: MigrationProgress) -> str:
    kinds = [f"{n:,} {kind}" for n, kind in ((progress.still_open, "open"), (progress.ended, "completed")) if n]
    rest = f"{' and '.join(kinds)} {verb_form(progress.left, 'invocation', 'invocations')}"
    if progress.is_before and not progress.moved:
        return f"the upgrade migrates {rest} to vqueues, in {_time_range(progress.left)}"
    return f"{rest} {verb_form(progress.left, 'is', 'are')} not migrated to vqueues yet; {_are(progress.moved)}"


def _are(count: int) -> str:
    return f"{plural(count, 'invocation')} {verb_form(count, 'is', 'are')}"


def _details(progress: MigrationProgress) -> tuple[str, ...]:
    if progress.is_halfway or not progress.is_before:
        return (_UNFINISHED,)
    skipped = f"The migration skipped completed invocations, and {TARGET} migrates them" if progress.moved else ""
    return (skipped, "A partition migrates when its leader is elected, and has no leader meanwhile")


def _duration_details(context: CheckContext, progress: MigrationProgress) -> list[str]:
    if not progress.is_before:
        return []
    is_long = progress.ended and _IN * (progress.left / _REPORTED) * _SLOWER >= _LONG
    expiry = format_age(context.now, progress.expires_at) if progress.expires_at else ""
    return [
        f"The time, {_time_range(progress.left)}, {_SOURCE}",
        _largest_partition(context) if progress.ended else "",
        f"The last completed one expires in {expiry}" if expiry else "",
        _FEWER if is_long else "",
    ]


def _largest_partition(context: CheckContext) -> str:
    partitions = context.partitions
    rows = [] if partitions is None else context.rows("upgrade_partitions", partitions=partitions)
    if not rows:  # without their number, or if the last completed ones have expired since they were counted
        return ""
    largest, time = rows[0], _time_range(int(rows[0]["invocations"]))
    return (
        f"Of {partitions} partitions, number {largest['partition']} has the most completed ones: "
        f"{largest['invocations']:,}, or {time}"
    )


def _time_range(count: int) -> str:
    """Return how long the migration of so many invocations may take: "8m to 30m"."""
    shortest, longest = (_IN * (count / _REPORTED) * factor for factor in (_FASTER, _SLOWER))
    if longest < _SECOND:
        return "less than 1s"
    return f"{format_duration(max(shortest, _SECOND))} to {format_duration(longest)}"


_CHECKS = (
    (upgrade_version, "the version, and whether it can be upgraded directly", None),
    (upgrade_migration, "the invocations that the migration to vqueues moves", None),
    (upgrade_settings, "settings and changes of state that SQL does not show", TARGET),
    (upgrade_running, "paused invocations and long steps", TARGET),
    (upgrade_state_changes, "changes of state that the migration drops", TARGET),
    (upgrade_protocols, "invocations and deployments with an old service protocol", TARGET),
)
# Every check of the group ``upgrade`` by name; none of them is part of an ordinary diagnosis.
UPGRADE = {
    run.__name__: Check(
        run.__name__, description, 1.6, run, needs_open=True, until=until, is_for_every_version=run is upgrade_version
    )
    for run, description, until in _CHECKS
}
