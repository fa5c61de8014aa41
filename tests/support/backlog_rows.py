"""Calls of a service that wait, and calls that ended in each of the last minutes."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from typing import Any

from support.sample_rows import NOW, invocation

_NUMBERS = count(20_001)


def backlog(waiting: int, *, ended: int, begun: int = 0, service: str = "Svc") -> list[dict[str, Any]]:
    """Return calls that are ready and wait for a slot, of which ``begun`` began in each of the last 60 minutes.

    ``ended`` others ended in each minute; they began before the last hour.
    """
    kept = {"service": service, "completion_retention": timedelta(days=1), "created_at": NOW - timedelta(hours=5)}
    times = [NOW - timedelta(minutes=minute, seconds=20) for minute in range(60)]
    rows = [invocation(next(_NUMBERS), "succeeded", **kept, completed_at=at) for at in times for _ in range(ended)]
    rows += [invocation(next(_NUMBERS), "invoked", **kept | {"created_at": at}) for at in times for _ in range(begun)]
    return rows + [invocation(next(_NUMBERS), "invoked", **kept) for _ in range(waiting - 60 * begun)]
