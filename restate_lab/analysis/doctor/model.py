"""The values of a diagnosis: findings with their severity, and the deployments and invocations they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import Any

from restate_lab.analysis.doctor.reader import timestamp_of
from restate_lab.analysis.records import none_if_missing
from restate_lab.analysis.suggestions import SuggestedCall

__all__ = [
    "MAX_IDS",
    "NONE_BLOCKED",
    "Blocked",
    "DeploymentInfo",
    "FailureReason",
    "Finding",
    "RetryingInvocation",
    "Severity",
    "failure_reason",
    "rank_findings",
    "retrying_invocation",
]

MAX_IDS = 1_000  # ids that a finding holds; its count has all


class Severity(StrEnum):
    """How much a finding matters: from work that is blocked now and does not recover, to what is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


_SEVERITIES = tuple(Severity)


@dataclass(frozen=True, slots=True)
class Blocked:
    """The invocations that a cause blocks, directly or through others; ``count`` may exceed the ids that were read.

    ``label`` is their number with their handlers, "3 Orders/place"; "" where a check describes them in its summary.
    """

    ids: tuple[str, ...] = ()
    count: int = 0
    label: str = ""

    def __bool__(self) -> bool:
        return self.count > 0


NONE_BLOCKED = Blocked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause. ``ids`` are the invocations that are wrong (deployments for some checks), ``MAX_IDS`` at most.

    ``count`` is their number, ``since`` (UTC) the earliest trace of it, None where none is known. ``evidence`` is the
    call that shows the rows behind it, ``suggested`` the next step: one call or several, one after another.
    """

    severity: Severity
    summary: str
    where: str
    count: int
    ids: tuple[str, ...]
    evidence: SuggestedCall
    suggested: tuple[SuggestedCall, ...]
    since: datetime | None = None
    blocked: Blocked = NONE_BLOCKED
    check: str = ""

    @property
    def text(self) -> str:
        """Return the summary, followed by what it blocks."""
        return f"{self.summary}; blocks {self.blocked.label}" if self.blocked.label else self.summary

    @property
    def affected(self) -> int:
        """Return how many invocations are affected: those that are stuck, and those that they block."""
        return self.count + self.blocked.count


def rank_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first: by severity, then by how many are affected, then the oldest."""
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                _SEVERITIES.index(each.severity),
                -each.affected,
                each.since.timestamp() if each.since else float("inf"),
                each.check,
                each.text,
            ),
        )
    )


@dataclass(frozen=True, slots=True)
class DeploymentInfo:
    """One registered deployment: its address, its creation time, and the services whose latest revision it has."""

    id: str
    endpoint: str
    created_at: datetime | None
    latest_of: tuple[str, ...]


class FailureReason(Enum):
    """Why attempts fail, as far as that decides what to do."""

    REMOVED = "its deployment was removed"
    UNREACHABLE = "its deployment does not answer"
    MISMATCH = "its code does not fit its journal"
    HANDLER = "its handler fails"


# RT0023: the deployment answers 429 or 503, RT0012: with another status, or not as an SDK does.
_REASONS = {
    "RT0010": FailureReason.UNREACHABLE,
    "RT0012": FailureReason.UNREACHABLE,
    "RT0016": FailureReason.MISMATCH,
    "RT0023": FailureReason.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class RetryingInvocation:
    """One invocation whose attempts fail; ``since`` is its last progress, ``next_at`` its next attempt."""

    id: str
    service: str
    handler: str
    attempts: int
    code: str | None
    step: str | None
    message: str
    deployment: str | None
    since: datetime | None
    next_at: datetime | None

    @property
    def target(self) -> str:
        """Return the handler as "service/handler"."""
        return f"{self.service}/{self.handler}"


def retrying_invocation(row: Mapping[Any, Any], details: Mapping[Any, Any]) -> RetryingInvocation:
    """Return the invocation of a row of ``attempts.sql``, with its row of ``invocations.sql``."""
    return RetryingInvocation(
        id=row["id"],
        service=details["target_service_name"],
        handler=details["target_handler_name"],
        attempts=int(none_if_missing(row["retry_count"]) or 0),
        code=none_if_missing(row["error_code"]),
        step=none_if_missing(row["step"]) or None,
        message=none_if_missing(row["message"]) or "",
        deployment=none_if_missing(row["deployment_id"]) or none_if_missing(details["pinned_deployment_id"]),
        since=timestamp_of(details["modified_at"]) or timestamp_of(details["created_at"]),
        next_at=timestamp_of(row["next_retry_at"]),
    )


def failure_reason(code: str | None, *, is_deployed: bool) -> FailureReason:
    """Return why attempts fail with that error code, on a deployment that is registered or not."""
    if not is_deployed:
        return FailureReason.REMOVED
    return _REASONS.get(code or "", FailureReason.HANDLER)
