"""The result of a check: findings, each with the affected invocations, since when, its evidence and the next step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from restate_lab.analysis.suggestions import SuggestedCall

if TYPE_CHECKING:
    from restate_lab.analysis.checks.look import Look

__all__ = ["IDS", "Blocked", "Check", "Finding", "Severity", "ranked"]

IDS = 1_000  # ids that a finding holds; its count has all


class Severity(StrEnum):
    """How much a finding matters: from work that is blocked now and does not recover, to what is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Blocked:
    """The invocations that a cause blocks, directly or through others; ``count`` may exceed the ids that were read."""

    ids: tuple[str, ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


NONE_BLOCKED = Blocked()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause. ``ids`` are the invocations that are wrong (deployments for some checks), ``IDS`` at most.

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
    def affected(self) -> int:
        """Return how many invocations are affected: those that are stuck, and those that they block."""
        return self.count + self.blocked.count


@dataclass(frozen=True, slots=True)
class Check:
    """One question that the doctor asks, the cheap ones first.

    ``cost`` orders them: about so many counts over the status table, where nothing is found. ``is_for_vqueues`` tells
    that it makes no sense on other servers.
    """

    name: str
    description: str
    cost: float
    look: Callable[[Look], Sequence[Finding]]
    is_for_vqueues: bool = False


_ORDER = tuple(Severity)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first: by severity, then by how many are affected, then the oldest."""
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                _ORDER.index(each.severity),
                -each.affected,
                each.since.timestamp() if each.since else float("inf"),
                each.check,
                each.summary,
            ),
        )
    )
