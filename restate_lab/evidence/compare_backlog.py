"""How many calls wait for which key, before and after."""

from __future__ import annotations

import pandas as pd

from restate_lab.analysis.questions import answer
from restate_lab.evidence.compare_sides import Note, Side, Sides, merged

__all__ = ["COLUMNS", "NEEDS", "compare_backlog"]

NEEDS = ("sys_invocation_status.target_service_name", "sys_invocation_status.target_service_key")
COLUMNS = (
    *("target_service_name", "target_service_key", "scope", "waiting_before", "waiting_after", "more"),
    *("oldest_wait_before", "oldest_wait_after"),
)
_KEY = ["target_service_name", "target_service_key", "scope"]


def compare_backlog(sides: Sides) -> tuple[pd.DataFrame | None, list[Note]]:
    """Return one row per key on which calls wait on either side, most change first; None where it is not told.

    Where a side has more keys than ``limit``, how many wait for one that it does not show is unknown (null).
    """
    for side in sides:
        if side.part:
            return None, [Note(f"{side.role} holds only a part ({side.part}), so not all who wait for a key")]
        if lacking := _masked(side):
            return None, [Note(f"{side.role} has no {lacking} (masked when it was frozen)")]
    frames, notes = [], []
    for side in sides:
        frame = answer(side.source, "backlog_by_key", limit=sides.limit, now=side.now)
        if "truncated" in frame.attrs:
            notes.append(Note(f"keys of {side.role} beyond the {sides.limit:,} on which most calls wait", cut=True))
        frames.append((frame, "truncated" in frame.attrs))
    return _differences(*frames), notes


def _masked(side: Side) -> str:
    """Return a column of a key that is masked, where all keys would look like one; "" where none is."""
    names = ("sys_inbox.service_name", "sys_inbox.service_key", "sys_vqueue_meta.lock_name")
    return next((name for name in names if name in side.reasons and name not in side.columns), "")


def _differences(old: tuple[pd.DataFrame, bool], new: tuple[pd.DataFrame, bool]) -> pd.DataFrame:
    frames = [frame[[*_KEY, "waiting", "oldest_wait"]] for frame, _ in (old, new)]
    both = merged(frames[0], frames[1], _KEY)
    for name, (_, was_cut) in (("waiting_before", old), ("waiting_after", new)):
        both[name] = pd.to_numeric(both[name]).astype("Int64")
        if not was_cut:
            both[name] = both[name].fillna(0)
    both["more"] = both["waiting_after"] - both["waiting_before"]
    order = both.assign(size=both["more"].abs()).sort_values(["size", *_KEY], ascending=[False, True, True, True])
    return order[list(COLUMNS)].reset_index(drop=True)
