"""Compare the state, deployments and backlog of two sources.

Values of state are compared by sha256, or only by length if values cannot be read on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from restate_lab._text import plural
from restate_lab.analysis.questions import run_question
from restate_lab.evidence.compare.sides import ComparedSource, Limitation, Sides, merge
from restate_lab.redaction import mask_user_info

STATE_NEEDS = ("state.service_name", "state.service_key", "state.key", "state.value_length")
MOST_BYTES = 256 << 20
"""The maximum number of bytes of values per side that are compared by sha256."""
STATE_COLUMNS = (
    *("service_name", "service_key", "scope", "key", "change"),
    *("bytes_before", "bytes_after", "sha256_before", "sha256_after"),
)
_CHANGES = {"left_only": "removed", "right_only": "added", "both": "changed"}
_OBJECT = ["service_name", "service_key", "scope"]
_VALUE_KEY = [*_OBJECT, "key"]
_TOTALS = "SELECT count(*) AS entries, CAST(coalesce(sum(value_length), 0) AS BIGINT) AS bytes FROM state"
_SERVICES = """SELECT service_name, count(*) AS entries, CAST(coalesce(sum(value_length), 0) AS BIGINT) AS bytes
FROM state GROUP BY service_name"""
_VALUE, _SCOPE = "state.value", "state.scope"
DEPLOYMENT_NEEDS = ("sys_deployment.id", "sys_service.name", "sys_service.deployment_id")
DEPLOYMENT_COLUMNS = ("kind", "name", "change", "field", "before", "after")
_KINDS = {
    "deployment": (
        *("sys_deployment", "id"),
        ("endpoint", "ty", "min_service_protocol_version", "max_service_protocol_version"),
    ),
    "service": ("sys_service", "name", ("deployment_id", "revision", "public", "ty")),
}
BACKLOG_NEEDS = ("sys_invocation_status.target_service_name", "sys_invocation_status.target_service_key")
BACKLOG_COLUMNS = (
    *("target_service_name", "target_service_key", "scope", "waiting_before", "waiting_after", "more"),
    *("oldest_wait_before", "oldest_wait_after"),
)
_KEY_COLUMNS = ("sys_inbox.service_name", "sys_inbox.service_key", "sys_vqueue_meta.lock_name")
_QUEUE_KEY = ["target_service_name", "target_service_key", "scope"]


def compare_state(sides: Sides) -> tuple[pd.DataFrame | None, list[Limitation]]:
    """Return one row per value that differs, and the limitations; None if there are too many values.

    Needs ``STATE_NEEDS`` on both sides.
    """
    totals = [side.rows(_TOTALS).iloc[0] for side in sides]
    if any(sides.exceeds_limit(int(total["entries"])) for total in totals):
        return None, [Limitation(_totals_by_service(sides, max(int(total["entries"]) for total in totals)), cut=True)]
    lacking = sides.missing(_VALUE)
    most = max(int(total["bytes"]) for total in totals)
    if not lacking and most > MOST_BYTES:
        lacking = f"{most:,} bytes of state are more than the maximum of {MOST_BYTES:,}"
    before, after = (_rows(sides, side, by_value=not lacking) for side in sides)
    notes = list(_scope_limitations(sides))
    for side, mine in ((sides.before, before), (sides.after, after)):
        if side.part:
            before, after = _restrict_to(before, mine), _restrict_to(after, mine)
            notes.append(
                Limitation(
                    f"{side.role} contains only a part of the cluster ({side.part}), so objects without state in this "
                    f"part are excluded"
                )
            )
    both = merge(before, after, _VALUE_KEY)
    both["change"] = both["found"].astype(str).map(_CHANGES)
    # Without sha256 on both sides, only lengths are compared.
    same = (both["found"] == "both") & (both["bytes_before"] == both["bytes_after"]).fillna(value=False)
    same &= (both["sha256_before"] == both["sha256_after"]).fillna(value=True)
    changed = both[~same].sort_values(_VALUE_KEY)[list(STATE_COLUMNS)].reset_index(drop=True)
    if lacking and (alike := len(both) - len(changed)):
        notes.append(Limitation(f"{plural(alike, 'value')} of equal length, whose content may differ: {lacking}"))
    return changed, notes


def _rows(sides: Sides, side: ComparedSource, *, by_value: bool) -> pd.DataFrame:
    value = "encode(sha256(value), 'hex')" if by_value else "CAST(NULL AS VARCHAR)"
    scope, where = "CAST(NULL AS VARCHAR) AS scope", ""
    if sides.has(_SCOPE):
        scope = "scope"
    elif _knows_scopes(side):
        where = " WHERE scope IS NULL"  # with several scopes, the same key would occur several times
    statement = (
        f"SELECT service_name, service_key, {scope}, key, CAST(value_length AS BIGINT) AS bytes, {value} AS sha256 "  # noqa: S608 - constants
        f"FROM state{where}"
    )
    # the same type on both sides, also if all values of a column are null
    return side.rows(statement).astype({"sha256": "string", "bytes": "Int64"})


def _scope_limitations(sides: Sides) -> Iterator[Limitation]:
    for side in sides:
        if not sides.has(_SCOPE) and _knows_scopes(side):
            count = int(side.rows("SELECT count(*) AS entries FROM state WHERE scope IS NOT NULL")["entries"].iloc[0])
            if count:
                yield Limitation(
                    f"{plural(count, 'value')} of {side.role} in a scope cannot be compared: {sides.missing(_SCOPE)}"
                )


def _knows_scopes(side: ComparedSource) -> bool:
    """Return whether the column exists, also if it is masked: it is still null for values outside of scopes."""
    return _SCOPE in side.columns or _SCOPE in side.reasons


def _restrict_to(frame: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    return frame.merge(objects[_OBJECT].drop_duplicates(), on=_OBJECT)


def _totals_by_service(sides: Sides, count: int) -> str:
    before, after = (side.rows(_SERVICES).set_index("service_name") for side in sides)
    more = after.sub(before, fill_value=0).fillna(0).astype("int64")
    more = more[(more["entries"] != 0) | (more["bytes"] != 0)].sort_values("bytes", key=abs, ascending=False)
    changes = [f"{name} {row['entries']:+,} values, {row['bytes']:+,} bytes" for name, row in more.head(3).iterrows()]
    total = "; ".join(changes) if changes else "equal numbers and bytes in every service"
    return f"{count:,} values are more than limit={sides.limit:,}. Changes by service: {total}"


def compare_deployments(sides: Sides) -> tuple[pd.DataFrame, list[Limitation]]:
    """Return one row per changed field of a deployment or service, and the limitations."""
    rows: list[dict[str, Any]] = []
    notes: list[Limitation] = []
    for kind, (table, key, fields) in _KINDS.items():
        names = [field for field in fields if sides.has(f"{table}.{field}")]
        notes += [Limitation(sides.missing(f"{table}.{field}")) for field in fields if field not in names]
        before, after = (_read(side, table, key, names) for side in sides)
        rows += _changed_fields(kind, before, after, names)
    return pd.DataFrame(rows, columns=list(DEPLOYMENT_COLUMNS), dtype=object), notes


def _read(side: ComparedSource, table: str, key: str, fields: list[str]) -> dict[str, dict[str, str]]:
    frame = side.rows(f"SELECT {', '.join([key, *fields])} FROM {table}")  # noqa: S608 - constants
    return {row[key]: {field: _text(row[field]) for field in fields} for row in frame.to_dict("records")}


def _changed_fields(
    kind: str, before: Mapping[str, dict[str, str]], after: Mapping[str, dict[str, str]], fields: list[str]
) -> Iterator[dict[str, Any]]:
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        change = "added" if old is None else "removed" if new is None else "changed"
        for field in fields if change == "changed" else fields[:1]:
            was, is_ = (old or {}).get(field), (new or {}).get(field)
            if change != "changed" or was != is_:
                yield {"kind": kind, "name": name, "change": change, "field": field, "before": was, "after": is_}


def _text(value: Any) -> str:
    # as in evidence: the user and password of an address are always masked
    return "" if pd.isna(value) else mask_user_info(str(value))


def compare_backlog(sides: Sides) -> tuple[pd.DataFrame | None, list[Limitation]]:
    """Return one row per key with waiting calls on either side, the largest change first; None if it is unknown.

    If a side has more keys than ``limit``, the number of waiting calls of the other keys is unknown (null).
    """
    for side in sides:
        if side.part:
            return None, [
                Limitation(
                    f"{side.role} contains only a part of the cluster ({side.part}), so it has not all waiting calls"
                )
            ]
        masked = [name for name in _KEY_COLUMNS if name in side.reasons and name not in side.columns]
        if masked:
            return None, [Limitation(f"{side.role} has no {masked[0]} (masked when it was frozen)")]
    frames, notes = [], []
    for side in sides:
        frame = run_question(side.source, "backlog_by_key", limit=sides.limit, now=side.now)
        if "truncated" in frame.attrs:
            notes.append(
                Limitation(
                    f"{side.role} has more than {sides.limit:,} keys with waiting calls, so only those with the most "
                    f"are compared",
                    cut=True,
                )
            )
        frames.append((frame, "truncated" in frame.attrs))
    return _differences(*frames), notes


def _differences(old: tuple[pd.DataFrame, bool], new: tuple[pd.DataFrame, bool]) -> pd.DataFrame:
    frames = [frame[[*_QUEUE_KEY, "waiting", "oldest_wait"]] for frame, _ in (old, new)]
    both = merge(frames[0], frames[1], _QUEUE_KEY)
    for name, (_, was_cut) in (("waiting_before", old), ("waiting_after", new)):
        both[name] = pd.to_numeric(both[name]).astype("Int64")
        if not was_cut:
            both[name] = both[name].fillna(0)
    both["more"] = both["waiting_after"] - both["waiting_before"]
    order = both.assign(size=both["more"].abs()).sort_values(["size", *_QUEUE_KEY], ascending=[False, True, True, True])
    return order[list(BACKLOG_COLUMNS)].reset_index(drop=True)
