"""What a report says of its source: which cluster, when, whether it could be changed, and what it was frozen as."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from restate_lab.client.lab import is_lab
from restate_lab.source import Source

__all__ = ["About", "about"]


@dataclass(frozen=True, slots=True)
class About:
    """``address`` is "" where there is none, ``evidence`` the sha256 of its manifest or "", ``mode`` words."""

    name: str
    version: str
    address: str
    now: datetime
    mode: str
    evidence: str

    @property
    def is_evidence(self) -> bool:
        """Tell whether it was frozen."""
        return bool(self.evidence)


def about(source: Source) -> About:
    """Return what a source says of itself, now."""
    digest = str(getattr(source, "digest", "") or "")
    vqueues = ", vqueues" if source.features.get("vqueues") else ""
    return About(
        name=source.name,
        version=f"{source.version}{vqueues}",
        address=source.address,
        now=pd.Timestamp(source.now).floor("us").to_pydatetime().astimezone(UTC),
        mode=_mode(source, is_frozen=bool(digest)),
        evidence=digest + (" (not verified)" if digest and not getattr(source, "verified", True) else ""),
    )


def _mode(source: Source, *, is_frozen: bool) -> str:
    if is_frozen:
        return "frozen evidence: nothing can be changed through it"
    if not is_lab(source):
        return "not known"
    if source.read_only:
        return "read-only: this connection could change nothing"
    return "changes were allowed on this connection"
