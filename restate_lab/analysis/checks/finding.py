"""What a check hands back: findings, each with who suffers, since when, why, and what to do next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from restate_lab.analysis.checks.look import Look

__all__ = ["IDS", "Check", "Finding", "Severity", "Victims", "ranked"]

IDS = 1_000  # ids that a finding holds; its count has all


class Severity(StrEnum):
    """How much it matters: from what suffers now and does not mend, to what is worth knowing."""

    CRITICAL = "critical"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Victims:
    """Who waits behind a cause, directly or through others; ``count`` may be more than the ids that were read."""

    ids: tuple[str, ...] = ()
    count: int = 0

    def __bool__(self) -> bool:
        return self.count > 0


NOBODY = Victims()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One cause. ``ids`` are those of who or what is wrong (deployments for some checks), ``IDS`` at most.

    ``count`` is how many there are of them, ``since`` (UTC) the earliest trace of it, None where none is known.
    ``why`` is a line that shows the rows behind it, ``next_step`` one to go on with: both for ``lab``, to paste.
    """

    severity: Severity
    what: str
    where: str
    count: int
    ids: tuple[str, ...]
    why: str
    next_step: str
    since: datetime | None = None
    victims: Victims = NOBODY
    check: str = ""

    @property
    def suffer(self) -> int:
        """Return how many invocations suffer: those that are stuck, and who waits for them."""
        return self.count + self.victims.count


@dataclass(frozen=True, slots=True)
class Check:
    """One question that the doctor asks, the cheap ones first.

    ``cost`` orders them: about so many counts over the status table, where nothing is found. ``is_for_vqueues`` tells
    that it makes no sense on other servers.
    """

    name: str
    looks_at: str
    cost: float
    look: Callable[[Look], Sequence[Finding]]
    is_for_vqueues: bool = False


_ORDER = tuple(Severity)


def ranked(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Return the findings, worst first: by severity, then by how many suffer, then the oldest."""
    return tuple(
        sorted(
            findings,
            key=lambda each: (
                _ORDER.index(each.severity),
                -each.suffer,
                each.since.timestamp() if each.since else float("inf"),
                each.check,
                each.what,
            ),
        )
    )
