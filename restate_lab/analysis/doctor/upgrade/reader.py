"""Read what the checks of an upgrade share: which invocations are in vqueues, and which changes of state were sent.

The statements are those that a finding suggests; the checks themselves read those in ``doctor/sql``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from restate_lab.analysis.doctor.context import CheckContext
from restate_lab.analysis.doctor.reader import Row, timestamp_of
from restate_lab.server import has_vqueues, is_older

# The only minor version that can be upgraded to the next, and the version for which the checks prepare a cluster.
BEFORE, TARGET = "1.7", "1.8"
OLD_PROTOCOL = 3  # the newest version of the service protocol that ``TARGET`` does not support
KINDS = (
    "SELECT vqueue_id IS NULL AS legacy, status = 'completed' AS ended, count(*) AS invocations "
    "FROM sys_invocation_status GROUP BY 1, 2"
)
PINNED = (
    "SELECT id, target, status, pinned_deployment_id FROM sys_invocation_status "
    "WHERE pinned_service_protocol_version <= 3 AND status <> 'completed'"
)
DEPLOYMENTS = (
    "SELECT id, endpoint, max_service_protocol_version, services FROM sys_deployment "
    "WHERE max_service_protocol_version <= 3"
)
CHANGES = (
    "SELECT v.entry_id, m.scope, m.lock_name, v.created_at FROM sys_vqueues v JOIN sys_vqueue_meta m ON m.id = v.id "
    "WHERE v.entry_kind = 'state-mutation' AND v.stage <> 'finished'"
)
HELD = "SELECT service_name, service_key, invocation_id FROM sys_keyed_service_status"
RUNNING = "SELECT count(*) AS running FROM sys_invocation_state WHERE in_flight"


@dataclass(frozen=True, slots=True)
class MigrationProgress:
    """How many invocations are in vqueues (``moved``), and how many are not: open ones and completed ones.

    ``expires_at`` is when the last of these completed ones expires. ``is_before`` is whether the server is older than
    ``TARGET``.
    """

    moved: int
    still_open: int
    ended: int
    expires_at: datetime | None
    is_before: bool

    @property
    def left(self) -> int:
        """Return the number of invocations that are not in vqueues."""
        return self.still_open + self.ended

    @property
    def is_halfway(self) -> bool:
        """Return whether some partitions are migrated and others are not."""
        return bool(self.moved and self.still_open)


def read_progress(context: CheckContext) -> MigrationProgress:
    """Return how many invocations are in vqueues."""
    rows = context.rows("upgrade_rows")
    counts = {(bool(row["legacy"]), bool(row["ended"])): int(row["invocations"]) for row in rows}
    expiries = (timestamp_of(row["last_expires_at"]) for row in rows if row["legacy"])
    return MigrationProgress(
        moved=sum(n for (legacy, _), n in counts.items() if not legacy),
        still_open=counts.get((True, False), 0),
        ended=counts.get((True, True), 0),
        expires_at=max((at for at in expiries if at), default=None),
        is_before=is_older(context.source.version, TARGET),
    )


def uses_vqueues(context: CheckContext) -> bool:
    """Return whether invocations are in vqueues; the flag alone can be wrong after a roll-back."""
    return has_vqueues(context.source) or bool(read_progress(context).moved)


def has_legacy(context: CheckContext) -> bool:
    """Return whether open invocations are in no vqueue, or would be."""
    return bool(read_progress(context).still_open) or not uses_vqueues(context)


def state_changes(context: CheckContext) -> list[Row]:
    """Return the records of changes of state of this cluster that the server may have accepted."""
    actions, not_accepted = {"modify_service_state", "set_state"}, {"refused", "not sent"}
    records = context.audit_records or ()
    return [each for each in records if each["action"] in actions and each["outcome"] not in not_accepted]
