"""The chain as a frame: one row per link, and at its end what the root blocker itself waits for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from restate_lab.analysis.wait_rows import Edge
from restate_lab.analysis.why_case import Case
from restate_lab.analysis.why_reading import Row, has_ended

__all__ = ["link_frame"]

_COLUMNS = ("step", "id", "target", "status", "waits_for", "what", "blocker", "since")
_NAMES = ("name", "promise", "callee_target")
_WAITS = {"paused": "resume", "scheduled": "start", "ready": "slot", "pending": "turn"}


def link_frame(edges: Sequence[Edge], rows: Mapping[str, Row], root: Case | None) -> pd.DataFrame:
    """Return the links; ``root`` is None where nobody stands at the end, as in a deadlock."""
    links = [_link(step, edge, rows) for step, edge in enumerate(edges, 1)]
    if root is not None:
        links += [_row(len(edges) + 1, root.row) | own for own in _own(root)]
    columns = {name: pd.Series([link[name] for link in links], dtype="object") for name in _COLUMNS}
    frame = pd.DataFrame(columns).astype({"step": "int64"})
    frame["since"] = pd.to_datetime(frame["since"], utc=True).dt.as_unit("ms")
    return frame


def _link(step: int, edge: Edge, rows: Mapping[str, Row]) -> dict[str, Any]:
    blocker = rows.get(edge.blocker or "")
    what = edge.what or (blocker["target"] if blocker else None)
    more = {"waits_for": edge.kind, "what": what, "blocker": edge.blocker, "since": edge.since}
    return _row(step, rows[edge.waiter]) | more


def _row(step: int, row: Row) -> dict[str, Any]:
    return {"step": step, "id": row["id"], "target": row["target"], "status": row["status"], "blocker": None}


def _own(root: Case) -> Iterator[dict[str, Any]]:
    """Give what a root waits for, at least one row."""
    if root.status == "suspended" and root.edges:
        for edge in root.edges:
            yield {"waits_for": edge.kind, "what": edge.what, "since": edge.since, "blocker": edge.blocker}
        return
    if root.status in {"running", "backing-off"} or root.is_failing:
        entries = root.open_entries
        for entry in entries:
            name = next(
                (entry[each] for each in ("name", "promise", "callee_target") if isinstance(entry[each], str)), None
            )
            yield {"waits_for": "step", "what": name or entry["entry_type"], "since": entry["started"]}
        if entries:
            return
    yield {"waits_for": _WAITS.get(root.status) or _fallback(root), "what": None, "since": _since(root.row)}


def _fallback(root: Case) -> str | None:
    return None if has_ended(root.row) else "step"


def _since(row: Row) -> Any:
    return row["completed_at"] or row["modified_at"]
