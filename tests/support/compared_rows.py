"""Failing invocations of a handler between healthy ones of it, which other callers called."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from support.sample_rows import NOW, invocation, sample_id

CALLER = "Backfill"


def charge(number: int, *, failed: bool, caller: str | None = None) -> dict[str, Any]:
    """Return an ended invocation; ``number`` is also the second at which it was created."""
    created = NOW - timedelta(minutes=30) + timedelta(seconds=number)
    result = {"completion_result": "failure", "completion_failure": "[500] refused"} if failed else {}
    return invocation(
        number,
        "failed" if failed else "succeeded",
        service="Payments",
        handler="charge",
        target_service_key=None,
        invoked_by="service" if caller else "ingress",
        invoked_by_target=f"{caller}/run" if caller else None,
        invoked_by_service_name=caller,
        invoked_by_id=sample_id(10_000 + number) if caller else None,
        created_at=created,
        running_at=created,
        completed_at=created + timedelta(seconds=1),
        completion_retention=timedelta(days=1),
        journal_retention=timedelta(days=1),
        journal_size=3,
        pinned_deployment_id="dp_1",
        **result,
    )


def charges(failing: int, *, caller: str | None = CALLER) -> list[dict[str, Any]]:
    """Return failing invocations of one caller, each before three healthy ones that came through the ingress."""
    rows = [charge(4 * at, failed=True, caller=caller) for at in range(failing)]
    return rows + [charge(4 * at + more, failed=False) for at in range(failing) for more in (1, 2, 3)]
