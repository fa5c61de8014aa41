"""Rows of the questions ``queues`` and ``limits`` as ``read_queues`` completes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.queues import Queues
from support.sample_rows import NOW, sample_id

ID = sample_id(1)


def queue(**columns: Any) -> dict[str, Any]:
    """Return a row of the questions ``queues``, completed as the reader does."""
    row: dict[str, Any] = {
        "target_service_name": "Item", "scope": None, "limit_key": None, "lock_name": "Item/k", "vqueues": 1,
        "waiting": 4, "backing_off": 0, "next_attempt_at": None, "scheduled": 0, "running": 1, "suspended": 0,
        "paused": 0, "is_paused": False, "paused_vqueue_id": None, "blocked_on": "lock", "blocked_rule": None,
        "oldest_runnable_at": NOW, "oldest_wait": timedelta(minutes=2), "oldest_id": ID, "queue": "Item/k",
        "waits_for": "its turn", "rule": None, "used": None, "limit": None,
    }  # fmt: skip
    return (
        row
        | {f"{name}_share": None for name in ("lock", "rules", "slots", "memory", "deployment", "throttling")}
        | columns
    )


def counter(**columns: Any) -> dict[str, Any]:
    """Return a row of the question ``limits``, completed as the reader does."""
    row: dict[str, Any] = {
        "rule": "blue", "scope": "blue", "l1": None, "l2": None, "usage": 2, "concurrency_limit": 2, "usage_share": 1.0,
        "waiting": 6, "waiting_queues": 2, "blocked_for": None, "description": "at most 2", "disabled": False,
        "rule_version": 3, "last_modified": NOW, "counted": "blue", "mark": "▲ full",
    }  # fmt: skip
    return row | columns


def queues_of(rows: Sequence[dict[str, Any]], *, hidden: int = 0) -> Queues:
    """Return a result with these rows of queues, one full rule, and a number of queues that are not in it."""
    return Queues(
        queues=pd.DataFrame(rows),
        limits=pd.DataFrame([counter()]),
        hidden={"queues": hidden, "waiting": hidden, "waiting_queues": hidden},
        source="made",
        version="1.8.1",
        read_at=NOW,
    )
