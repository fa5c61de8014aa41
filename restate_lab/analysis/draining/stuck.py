"""The open calls that would be stuck without a deployment; the question ``stuck_without``.

Observed on 1.7.12 when a deployment is removed with force: a call that is pinned to it fails on every attempt
(RT0011). A call without a pin runs on the deployment with the next lower revision of its service, and if there is none,
it waits. The key that such a call holds stays held.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._text import plural
from restate_lab.analysis.questions import ALL_ROWS
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.client.models import Deployment
from restate_lab.errors import ArgumentError
from restate_lab.frames import rows_to_table, to_frame
from restate_lab.reads import Reads, Row

_COLUMNS: Mapping[str, pa.DataType] = {
    **dict.fromkeys(("id", "target", "service", "status", "cause", "reason"), pa.string()),
    "created_at": pa.timestamp("ms", "UTC"),
}
_REASONS: Mapping[str, str] = {
    "pinned": "pinned to it",
    "service": "no other deployment has the service",
    "handler": "the next deployment of the service does not have the handler",
    "key": "waits for the key {key}, which {holder_id} holds",
}
"""Why calls would be stuck, by ``cause``."""


def read_stuck_without(reads: Reads, values: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of the question ``stuck_without``; ``attrs["not_read"]`` has what they do not show.

    Raises:
        ArgumentError: the deployment does not exist.
    """
    deployment, limit = values["deployment"], values["limit"]
    if unknown := unknown_names(reads, deployment=deployment):
        raise ArgumentError(unknown[0].message)
    served = {
        row["id"]: set(() if row["services"] is None else row["services"]) for row in reads.rows("draining/served")
    }
    own = served.pop(deployment, set())
    elsewhere = own & set().union(*served.values())
    handlers, unread = _lost_handlers(reads, deployment, elsewhere)
    rows = reads.rows(
        "draining/stuck",
        deployment=deployment,
        services=sorted(own - elsewhere) or [""],
        handlers=sorted(handlers) or [""],
        service=values["service"],
        limit=ALL_ROWS if limit is None else limit + 1,
    )
    found = [row | {"reason": _REASONS[row["cause"]].format(**row)} for row in rows]
    frame = to_frame(rows_to_table(found, _COLUMNS))
    frame.attrs = {"not_read": [*unread, *_callers(reads, rows)]}
    return frame


def _lost_handlers(reads: Reads, deployment: str, services: set[str]) -> tuple[set[str], list[str]]:
    """Return the handlers of these services that are gone with the deployment, although the service is not."""
    latest = {row["name"] for row in reads.rows("draining/latest") if row["deployment_id"] == deployment}
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
    waiting = sum(1 for _ in reads.rows_of("draining/open_of", callers)) if callers else 0
    return [f"{plural(waiting, 'open caller')} of these calls, which may wait for them"] if waiting else []
