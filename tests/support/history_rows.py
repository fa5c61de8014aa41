"""Weeks of invocations in the server's tables, generated with a seed and queried with DataFusion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from restate_lab.source import Coverage, CoverageGap
from support.table_source import TableSource, table_of

AT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
"""When the deployment in the middle was registered."""
DEPLOYMENT, OLD_DEPLOYMENT = "dp_1" + "b" * 20, "dp_1" + "a" * 20
_TEXT, _TIME, _NUMBER = pa.large_string(), pa.timestamp("ms", "+00:00"), pa.uint32()
_SCHEMAS: Mapping[str, Mapping[str, pa.DataType]] = {
    "sys_invocation_status": {
        **dict.fromkeys(("id", "status", "target_service_name", "target_handler_name", "target"), _TEXT),
        **dict.fromkeys(("completion_result", "completion_failure", "pinned_deployment_id"), _TEXT),
        **dict.fromkeys(("created_at", "completed_at", "scheduled_at", "scheduled_start_at"), _TIME),
        **dict.fromkeys(("completion_retention", "journal_retention"), pa.duration("ms")),
        **dict.fromkeys(("journal_size", "journal_commands_size"), _NUMBER),
    },
    "sys_journal": {
        **dict.fromkeys(("id", "entry_type", "name", "entry_lite_json"), _TEXT),
        "index": _NUMBER,
        "appended_at": _TIME,
        "raw_length": pa.uint64(),
    },
    "sys_journal_events": {**dict.fromkeys(("id", "event_type", "event_json"), _TEXT), "appended_at": _TIME},
    "sys_deployment": {**dict.fromkeys(("id", "endpoint"), _TEXT), "created_at": _TIME, "services": pa.list_(_TEXT)},
    "sys_service": {**dict.fromkeys(("name", "deployment_id"), _TEXT)},
    "visits": {"started_at": pa.timestamp("us", "UTC")},
    "agent_steps": {
        "day": pa.date32(),
        "service": pa.string(),
        **dict.fromkeys(("input_tokens", "output_tokens"), pa.int64()),
    },
}
ARCHIVE = ("visits", "agent_steps")


class WeekTables(TableSource):
    """A source with rows per table; the tables of an archive exist only if they are passed."""

    name = "weeks"
    gaps: tuple[CoverageGap, ...] = ()

    @property
    def coverage(self) -> Coverage:
        return Coverage(gaps=self.gaps)

    def __init__(self, now: datetime, **tables: list[dict[str, Any]]) -> None:
        names = [name for name in _SCHEMAS if name not in ARCHIVE or name in tables]
        super().__init__({name: table_of(pa.schema(_SCHEMAS[name]), tables.get(name, [])) for name in names}, now=now)


@dataclass
class Weeks:
    """Invocations of Shop/checkout with two steps, from ``days`` before the deployment to ``days`` after.

    ``slower`` multiplies the step "charge card" after the deployment, and ``failing`` the failures "out of stock".
    ``drift`` is the standard deviation of the logarithm of each day's durations.
    """

    seed: int
    days: int = 7
    per_day: int = 100
    slower: float = 1.0
    failing: float = 1.0
    drift: float = 0.15
    rate: float = 0.02
    retention: timedelta = timedelta(days=30)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def source(self, *, now: datetime | None = None, **more: list[dict[str, Any]]) -> WeekTables:
        """Return the tables; invocations that end after ``now`` are open."""
        rng = np.random.default_rng(self.seed)
        now = now or AT + timedelta(days=self.days, minutes=10)
        self.tables = {name: [] for name in ("sys_invocation_status", "sys_journal", "sys_journal_events")}
        for day in range(-self.days, self.days):
            drift = float(np.exp(rng.normal(0, self.drift)))
            for minute in np.sort(rng.uniform(0, 1440, self.per_day)):
                self._add(rng, AT + timedelta(days=day, minutes=float(minute)), drift, now)
        deployed = [(OLD_DEPLOYMENT, AT - timedelta(days=60)), (DEPLOYMENT, AT)]
        deployments = [{"id": id_, "endpoint": "x", "created_at": at, "services": ["Shop"]} for id_, at in deployed]
        return WeekTables(now, **self.tables, sys_deployment=deployments, **more)

    def _add(self, rng: np.random.Generator, start: datetime, drift: float, now: datetime) -> None:
        is_after = start >= AT
        ms = {"charge card": 200.0 * (self.slower if is_after else 1), "write order 17": 100.0}
        ms = {name: typical * drift * float(np.exp(rng.normal(0, 0.3))) for name, typical in ms.items()}
        end = start + timedelta(milliseconds=sum(ms.values()) + 5)
        if end > now and start > now:
            return
        number = len(self.tables["sys_invocation_status"])
        failed = rng.random() < self.rate * (self.failing if is_after else 1)
        row = {
            "id": f"inv_1{number:033}",
            "status": "completed" if end <= now else "invoked",
            "target_service_name": "Shop",
            "target_handler_name": "checkout",
            "target": "Shop/checkout",
            "completion_result": "failure" if failed else "success",
            "completion_failure": f"[409] out of stock: item {number}" if failed else None,
            "pinned_deployment_id": DEPLOYMENT if is_after else OLD_DEPLOYMENT,
            "created_at": start,
            "completed_at": end if end <= now else None,
            "completion_retention": self.retention,
            "journal_retention": self.retention,
            "journal_size": 6,
            "journal_commands_size": 4,
        }
        self.tables["sys_invocation_status"].append(row)
        at = start
        for step, (name, long) in enumerate(ms.items(), 1):
            self._add_entry(row["id"], "Command: Run", name, at, {"Command": {"Run": {"completion_id": step}}})
            at += timedelta(milliseconds=long)
            if at <= now:
                ended = {"Notification": {"ty": {"Completion": "Run"}, "id": {"CompletionId": step}}}
                self._add_entry(row["id"], "Notification: Run", None, at, ended)
        if rng.random() < 0.05:
            event = {"restate_doc_error_code": "RT0007", "error_message": f"timeout after {number} ms\nmore"}
            text = json.dumps(event)
            event_row = {"id": row["id"], "event_type": "TransientError", "event_json": text, "appended_at": start}
            self.tables["sys_journal_events"].append(event_row)

    def _add_entry(self, id_: str, kind: str, name: str | None, at: datetime, lite: dict[str, Any]) -> None:
        entry = {"id": id_, "entry_type": kind, "name": name, "appended_at": at, "raw_length": 10}
        self.tables["sys_journal"].append({**entry, "entry_lite_json": json.dumps(lite), "index": 1})
