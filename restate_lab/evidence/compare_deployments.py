"""Which deployments came and went between two sources, and which services go elsewhere than before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab.evidence.compare_sides import Note, Side, Sides
from restate_lab.redact import without_user_info

__all__ = ["COLUMNS", "NEEDS", "compare_deployments"]

NEEDS = ("sys_deployment.id", "sys_service.name", "sys_service.deployment_id")
COLUMNS = ("kind", "name", "change", "what", "before", "after")
_KINDS = {
    "deployment": (
        *("sys_deployment", "id"),
        ("endpoint", "ty", "min_service_protocol_version", "max_service_protocol_version"),
    ),
    "service": ("sys_service", "name", ("deployment_id", "revision", "public", "ty")),
}


def compare_deployments(sides: Sides) -> tuple[pd.DataFrame, list[Note]]:
    """Return one row per thing that differs of a deployment or service, and what was not compared."""
    rows: list[dict[str, Any]] = []
    notes: list[Note] = []
    for kind, (table, key, fields) in _KINDS.items():
        names = [field for field in fields if sides.has(f"{table}.{field}")]
        notes += [Note(sides.lack(f"{table}.{field}")) for field in fields if field not in names]
        before, after = (_read(side, table, key, names) for side in sides)
        rows += _differences(kind, before, after, names)
    return pd.DataFrame(rows, columns=list(COLUMNS), dtype=object), notes


def _read(side: Side, table: str, key: str, fields: list[str]) -> dict[str, dict[str, str]]:
    frame = side.rows(f"SELECT {', '.join([key, *fields])} FROM {table}")  # noqa: S608 - constants
    return {row[key]: {field: _text(row[field]) for field in fields} for row in frame.to_dict("records")}


def _differences(
    kind: str, before: Mapping[str, dict[str, str]], after: Mapping[str, dict[str, str]], fields: list[str]
) -> Iterator[dict[str, Any]]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        change = "added" if old is None else "removed" if new is None else "changed"
        for field in fields if change == "changed" else fields[:1]:
            was, is_ = (old or {}).get(field), (new or {}).get(field)
            if change != "changed" or was != is_:
                row = {"kind": kind, "name": name, "change": change, "what": field, "before": was, "after": is_}
                yield row


def _text(value: Any) -> str:
    # as evidence has it: what a user gave as user and password of an address is shown nowhere
    return "" if pd.isna(value) else without_user_info(str(value))
