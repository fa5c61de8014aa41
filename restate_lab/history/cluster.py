"""The identity of an archived cluster, and what a visit records about it: schema, retention, deployments, services."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pyarrow as pa

from restate_lab._text import join
from restate_lab.client.lab import Lab
from restate_lab.client.models import Handler, Service
from restate_lab.errors import ArgumentError
from restate_lab.evidence.tables import SourceSchema, SourceTable, SourceView
from restate_lab.history.tables import TABLES

VIEWS = ("sys_invocation", "sys_invocation_state")
"""The view over two tables that questions read, and the second of these tables, which is empty in an archive."""
NAME = re.compile(r"\w[\w. -]{0,99}", re.ASCII)
"""The names of clusters and shards in an archive."""
_DAY = timedelta(days=1)
_FEW = 3


def name_of_cluster(lab: Lab, cluster_name: str | None) -> str:
    """Return the name of the cluster in the archive: the argument, or else the name of the CLI's environment.

    Raises:
        ArgumentError: the name is malformed, or is needed because the environment does not identify the cluster.
    """
    name: object = lab.name if cluster_name is None else cluster_name
    if not isinstance(name, str) or not NAME.fullmatch(name):
        if cluster_name is None:
            raise ArgumentError(_no_name(f"{lab.name} is an address"))
        raise ArgumentError(
            f"cluster_name {cluster_name!r} is not valid; use at most 100 ASCII letters, digits, '_', '-', '.' and "
            f"spaces, beginning with a letter or a digit."
        )
    if cluster_name is None and name in {"local", "default"}:
        raise ArgumentError(_no_name(f"the environment {name!r} can be any cluster"))
    return name


def _no_name(reason: str) -> str:
    return f"pass cluster_name=, the name of the cluster in the archive: {reason}. Use the same name at each visit."


def other_cluster(name: str, lab: Lab, addresses: Iterable[str], where: str) -> ArgumentError:
    """Return the error that an archive has another cluster under this name."""
    known = join(sorted(addresses), _FEW) or "an unknown address"
    return ArgumentError(
        f"{where} has another cluster under the name {name!r}: its visits were made to {known}, and {lab.address} has "
        f"none of its deployments. Pass another cluster_name=; or, if it is the same cluster with a new address and "
        f"new deployments, same_cluster=True (--same-cluster) for one visit."
    )


def changed_rows(table: str, archived: Sequence[Mapping[str, Any]], rows: pa.Table) -> pa.Table:
    """Return the deployments or services, with the archive's types, that the archive has not or with other values."""
    key = "id" if table == "deployments" else "name"
    latest = {row[key]: row for row in sorted(archived, key=lambda row: row["first_seen_at"])}
    is_new = [
        any(_in_order(row[name]) != _in_order(latest.get(row[key], {}).get(name, row)) for name in rows.schema.names)
        for row in rows.to_pylist()
    ]
    return rows.filter(pa.array(is_new, pa.bool_()))


def _in_order(value: Any) -> Any:
    return sorted(value) if isinstance(value, list) else value


def schema_json(schema: SourceSchema) -> str:
    """Return the server's columns of the archived tables and of ``VIEWS``, and the definitions of the views."""
    names = {table.copies for table in TABLES.values() if table.copies} | set(VIEWS)
    served: Mapping[str, SourceTable | SourceView] = {**schema.tables, **schema.views}
    columns = {name: table.columns for name, table in served.items() if name in names}
    return _json(
        {
            "tables": {name: [[each.name, each.type, each.nullable] for each in columns[name]] for name in columns},
            "views": {name: view.definition for name, view in schema.views.items() if name in names},
        }
    )


def retention_json(services: Iterable[Service]) -> str:
    """Return how long the server keeps the runs of each handler, in milliseconds.

    If it depends on the call, this is the shortest: for a call from another handler, ``completion_retention`` is the
    journal's. A journal is kept no longer than its run (observed on 1.7.12).
    """
    return _json([_retention(service, handler) for service in services for handler in service.handlers or ()])


def open_retention_json(open_runs: Iterable[Mapping[str, Any]], retention: str | None) -> str:
    """Return the handlers of which an open invocation is kept for less than ``retention`` has, in milliseconds.

    Retention is fixed when an invocation is created, so that open ones keep the one before a change.
    """
    handlers = json.loads(retention or "[]")
    kept = {(each["service"], each["handler"]): each["completion_retention_ms"] for each in handlers}
    shortest: dict[tuple[str, str], int] = {}
    for row in open_runs:
        key, milliseconds = (row["service"], row["handler"]), row["shortest_retention_ms"]
        if milliseconds is not None and milliseconds < kept.get(key, math.inf):
            shortest[key] = min(milliseconds, shortest.get(key, milliseconds))
    return _json(
        [
            {"service": service, "handler": handler, "completion_retention_ms": milliseconds}
            for (service, handler), milliseconds in sorted(shortest.items())
        ]
    )


def _retention(service: Service, handler: Handler) -> dict[str, Any]:
    journal = _first(handler.journal_retention, service.journal_retention, timedelta(0))
    if handler.ty == "Workflow":
        completion = _first(service.workflow_completion_retention, _DAY)
    else:
        completion = min(journal, _first(handler.idempotency_retention, service.idempotency_retention, _DAY))
    return {
        "service": service.name,
        "handler": handler.name,
        "completion_retention_ms": round(completion.total_seconds() * 1000),
        "journal_retention_ms": round(min(journal, completion).total_seconds() * 1000),
    }


def _first(*values: timedelta | None) -> timedelta:
    return next(value for value in values if value is not None)


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
