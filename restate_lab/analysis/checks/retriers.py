"""What is being tried again, told apart by the reason: the code of the handler, its journal, or its deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import pandas as pd

from restate_lab.analysis.records import given

__all__ = ["Reason", "Retrier", "reason_of", "retrier"]


class Reason(Enum):
    """Why attempts fail, as far as that decides what to do."""

    REMOVED = "its deployment was removed"
    UNREACHABLE = "its deployment does not answer"
    MISMATCH = "its code does not fit its journal"
    HANDLER = "its handler fails"


# RT0023: the deployment answers 429 or 503, RT0012: with another status, or not as an SDK does.
_REASONS = {
    "RT0010": Reason.UNREACHABLE,
    "RT0012": Reason.UNREACHABLE,
    "RT0016": Reason.MISMATCH,
    "RT0023": Reason.UNREACHABLE,
}


@dataclass(frozen=True, slots=True)
class Retrier:
    """One invocation that is being tried again; ``since`` is when it last went on, ``next_at`` its next attempt."""

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
        """Return the handler as people write it."""
        return f"{self.service}/{self.handler}"


def retrier(row: Mapping[Any, Any], moved_at: datetime | None) -> Retrier:
    """Return the retrier of a row of ``retry_storm_ids``."""
    created, next_at = given(row["created_at"]), given(row["next_retry_at"])
    return Retrier(
        id=row["id"],
        service=row["target_service_name"],
        handler=row["target_handler_name"],
        attempts=int(given(row["retry_count"]) or 0),
        code=given(row["error_code"]),
        step=given(row["step"]) or None,
        message=given(row["message"]) or "",
        deployment=given(row["deployment_id"]),
        since=moved_at or (pd.Timestamp(created).to_pydatetime() if created is not None else None),
        next_at=pd.Timestamp(next_at).to_pydatetime(warn=False) if next_at is not None else None,
    )


def reason_of(code: str | None, *, is_deployed: bool) -> Reason:
    """Return why attempts fail: with that code, on a deployment that is registered or not."""
    if not is_deployed:
        return Reason.REMOVED
    return _REASONS.get(code or "", Reason.HANDLER)
