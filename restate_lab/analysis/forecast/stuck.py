"""The open calls that would be stuck without a deployment: counted and listed, not simulated.

Observed on 1.7.12 when a deployment is removed with force: a call that is pinned to it fails on every attempt
(RT0011). A call without a pin runs on the deployment with the next lower revision of its service, and if there is none,
it waits. The key that such a call holds stays held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from restate_lab._text import plural
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.client.models import Deployment
from restate_lab.errors import ArgumentError
from restate_lab.reads import Reads, Row

MOST_LISTED = 1_000
"""The listed calls of each service, status and cause; all are counted."""
STUCK = ("id", "target", "service", "status", "cause", "reason", "created_at")
COUNTS = ("service", "status", "cause", "calls")
REASONS: Mapping[str, str] = {
    "pinned": "pinned to it",
    "service": "no other deployment has the service",
    "handler": "the next deployment of the service does not have the handler",
    "key": "waits for the key of a call that would be stuck",
}
"""Why calls would be stuck, by ``cause``."""


@dataclass(frozen=True, slots=True)
class StuckCalls:
    """The calls that would be stuck, how many they are, and what this does not show."""

    rows: pd.DataFrame
    counts: pd.DataFrame
    limitations: tuple[str, ...] = ()


def find_stuck(reads: Reads, deployment: str, service: str | None) -> StuckCalls:
    """Read the open calls that would be stuck without a deployment; ``service`` None means all services.

    Raises:
        ArgumentError: the deployment does not exist.
    """
    if unknown := unknown_names(reads, deployment=deployment):
        raise ArgumentError(unknown[0].message)
    served = {
        row["id"]: set() if row["services"] is None else set(row["services"]) for row in reads.rows("forecast/served")
    }
    own = served.pop(deployment, set())
    elsewhere = own & set().union(*served.values())
    handlers, limitations = _lost_handlers(reads, deployment, elsewhere)
    rows = reads.rows(
        "forecast/stuck",
        deployment=deployment,
        services=sorted(own - elsewhere) or [""],
        handlers=sorted(handlers) or [""],
        service=service,
        most=MOST_LISTED,
    )
    counts = _count(rows)
    hidden = int(counts["calls"].sum()) - len(rows)
    if hidden:
        limitations.append(
            f"{hidden:,} more calls are counted and not listed: only the first {MOST_LISTED:,} of each service, status "
            f"and cause are"
        )
    return StuckCalls(_to_frame(rows), counts, (*limitations, *_callers(reads, rows)))


def _lost_handlers(reads: Reads, deployment: str, services: set[str]) -> tuple[set[str], list[str]]:
    """Return the handlers of these services that are gone with the deployment, although the service is not."""
    latest = {row["name"] for row in reads.rows("forecast/latest") if row["deployment_id"] == deployment}
    moved = services & latest
    connection = innermost_source(reads)
    if not moved:
        return set(), []
    if not is_lab(connection):
        return set(), ["handlers that the next deployment of a service does not have: only a live cluster has them"]
    with time_limit(reads.seconds_left):
        listed = {each.id: each for each in connection.admin.list_deployments()}
        nexts = {name: _next_deployment(listed, name, deployment) for name in moved}
        ids = {deployment, *nexts.values()}
        handlers = {id_: _handlers_of(connection.admin.get_deployment(id_)) for id_ in ids}
    lost = {
        f"{name}/{handler}"
        for name, id_ in nexts.items()
        for handler in handlers[deployment].get(name, set()) - handlers[id_].get(name, set())
    }
    return lost, []


def _next_deployment(deployments: Mapping[str, Deployment], service: str, without: str) -> str:
    """Return the deployment that has the latest revision of a service if another one is gone."""
    revisions = {
        id_: each.revision or 0
        for id_, deployment in deployments.items()
        for each in deployment.services or ()
        if each.name == service and id_ != without
    }
    return max(revisions, key=revisions.__getitem__)


def _handlers_of(deployment: Deployment) -> dict[str, set[str]]:
    return {each.name: {handler.name for handler in each.handlers or ()} for each in deployment.services or ()}


def _callers(reads: Reads, rows: list[Row]) -> list[str]:
    """Return how many open calls called these and may wait for them."""
    listed = {row["id"] for row in rows}
    callers = sorted({row["invoked_by_id"] for row in rows if row["invoked_by_id"]} - listed)
    waiting = sum(1 for _ in reads.rows_of("forecast/open_of", callers)) if callers else 0
    return [f"{plural(waiting, 'open caller')} of these calls, which may wait for them"] if waiting else []


def _count(rows: list[Row]) -> pd.DataFrame:
    totals = {(row["service"], row["status"], row["cause"]): row["total"] for row in rows}
    counts = pd.DataFrame([(*group, total) for group, total in totals.items()], columns=list(COUNTS))
    by = ["calls", "service", "status", "cause"]
    return counts.astype({"calls": "int64"}).sort_values(by, ascending=[False, True, True, True], ignore_index=True)


def _to_frame(rows: list[Row]) -> pd.DataFrame:
    reasons = [REASONS[row["cause"]] if row["cause"] != "key" else _wait(row) for row in rows]
    values = [{**row, "reason": reason} for row, reason in zip(rows, reasons, strict=True)]
    frame = pd.DataFrame(values, columns=list(STUCK), dtype="object")
    return frame.assign(created_at=pd.to_datetime(frame["created_at"], utc=True))


def _wait(row: Row) -> str:
    return f"waits for the key {row['key']}, which {row['holder_id']} holds"
