"""Which values of virtual objects and workflows differ between two sources: by sha256, or by length alone."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from restate_lab._text import plural
from restate_lab.evidence.compare_sides import Note, Side, Sides, merged

__all__ = ["COLUMNS", "NEEDS", "compare_state"]

NEEDS = ("state.service_name", "state.service_key", "state.key", "state.value_length")
MOST_BYTES = 256 << 20
"""Bytes of values that are read for their sha256, on each side."""
COLUMNS = (
    *("service_name", "service_key", "scope", "key", "change"),
    *("bytes_before", "bytes_after", "sha256_before", "sha256_after"),
)
_WORDS = {"left_only": "removed", "right_only": "added", "both": "changed"}
_OBJECT = ["service_name", "service_key", "scope"]
_KEY = [*_OBJECT, "key"]
_TOTALS = "SELECT count(*) AS n, CAST(coalesce(sum(value_length), 0) AS BIGINT) AS bytes FROM state"
_SERVICES = """SELECT service_name, count(*) AS n, CAST(coalesce(sum(value_length), 0) AS BIGINT) AS bytes
FROM state GROUP BY service_name"""
_IN_SCOPES = "SELECT count(*) AS n FROM state WHERE scope IS NOT NULL"
_VALUE, _SCOPE = "state.value", "state.scope"


def compare_state(sides: Sides) -> tuple[pd.DataFrame | None, list[Note]]:
    """Return one row per value that differs, and what was not compared; None where there are too many values.

    Needs ``NEEDS`` on both sides.
    """
    totals = [side.rows(_TOTALS).iloc[0] for side in sides]
    if any(sides.beyond(int(total["n"])) for total in totals):
        return None, [Note(_by_service(sides, max(int(total["n"]) for total in totals)), cut=True)]
    lacking = sides.lack(_VALUE)
    most = max(int(total["bytes"]) for total in totals)
    if not lacking and most > MOST_BYTES:
        lacking = f"{most:,} bytes of state are more than are read"
    before, after = (_rows(sides, side, by_value=not lacking) for side in sides)
    notes = list(_scoped(sides))
    for side, mine in ((sides.before, before), (sides.after, after)):
        if side.part:
            before, after = _of_objects(before, mine), _of_objects(after, mine)
            notes.append(Note(f"{side.role} holds only a part ({side.part}): objects without state in it"))
    both = merged(before, after, _KEY)
    both["change"] = both["found"].astype(str).map(_WORDS)
    changed = both[~_same(both)].sort_values(_KEY)[list(COLUMNS)].reset_index(drop=True)
    if lacking and (alike := len(both) - len(changed)):
        notes.append(Note(f"{plural(alike, 'value')} of equal length, which may differ all the same: {lacking}"))
    return changed, notes


def _rows(sides: Sides, side: Side, *, by_value: bool) -> pd.DataFrame:
    value = "encode(sha256(value), 'hex')" if by_value else "CAST(NULL AS VARCHAR)"
    scope, where = "CAST(NULL AS VARCHAR) AS scope", ""
    if sides.has(_SCOPE):
        scope = "scope"
    elif _tells_scopes(side):
        where = " WHERE scope IS NULL"  # of several scopes the same key would be there several times
    statement = (
        f"SELECT service_name, service_key, {scope}, key, CAST(value_length AS BIGINT) AS bytes, {value} AS sha256 "  # noqa: S608 - constants
        f"FROM state{where}"
    )
    # one type on both sides, also where a column is null throughout
    return side.rows(statement).astype({"sha256": "string", "bytes": "Int64"})


def _scoped(sides: Sides) -> Iterator[Note]:
    """Say what is in a scope, where one side does not know of scopes."""
    for side in sides:
        if not sides.has(_SCOPE) and _tells_scopes(side):
            count = int(side.rows(_IN_SCOPES)["n"].iloc[0])
            if count:
                yield Note(f"{plural(count, 'value')} of {side.role} that are in a scope: {sides.lack(_SCOPE)}")


def _tells_scopes(side: Side) -> bool:
    """Tell whether the column is there; masked, it still tells what is in no scope."""
    return _SCOPE in side.columns or _SCOPE in side.reasons


def _of_objects(frame: pd.DataFrame, of: pd.DataFrame) -> pd.DataFrame:
    return frame.merge(of[_OBJECT].drop_duplicates(), on=_OBJECT)


def _same(both: pd.DataFrame) -> pd.Series:
    """Tell which values are the same as before; where both have no sha256, only lengths can differ."""
    same = (both["found"] == "both") & (both["bytes_before"] == both["bytes_after"]).fillna(value=False)
    return same & (both["sha256_before"] == both["sha256_after"]).fillna(value=True)


def _by_service(sides: Sides, count: int) -> str:
    """Say which services have more or less state than before, where single values are too many."""
    before, after = (side.rows(_SERVICES).set_index("service_name") for side in sides)
    more = after.sub(before, fill_value=0).fillna(0).astype("int64")
    more = more[(more["n"] != 0) | (more["bytes"] != 0)].sort_values("bytes", key=abs, ascending=False)
    told = [f"{name} {row['n']:+,} values, {row['bytes']:+,} bytes" for name, row in more.head(3).iterrows()]
    total = "; ".join(told) if told else "equal numbers and bytes in every service"
    return f"single values: {count:,} are more than limit={sides.limit:,}. By service: {total}"
