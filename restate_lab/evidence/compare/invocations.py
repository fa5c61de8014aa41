"""Compare the invocations of two sources: created, removed and changed ones.

Workflows and calls with an idempotency key get the same id again after a purge or expiry, so the comparison is by run:
(id, created_at). If an id has another run, the old run counts as removed, and the new run as created. A history has its
earlier runs under ids with their time, such as ``inv_…@2026-11-20T03:00:00.123Z``; ``own_id`` is the id without it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from restate_lab._text import plural
from restate_lab.evidence.compare.sides import ComparedSource, Limitation, Sides, merge
from restate_lab.server import has_vqueues
from restate_lab.status import STATUS_SQL

_S, _R, _Q = "sys_invocation_status", "sys_invocation_state", "sys_vqueue_entry_status"
NEEDS = (f"{_S}.id", f"{_S}.status", f"{_S}.completion_result")
COLUMNS = (
    *("id", "target", "change", "status_before", "status_after"),
    *("retry_count_before", "retry_count_after", "more_retries", "retries_at_least"),
    *("journal_size_before", "journal_size_after", "more_entries"),
    *("pinned_deployment_id_before", "pinned_deployment_id_after", "created_at", "past_retention"),
)
_OPTIONAL = {
    "target": ((f"{_S}.target",), "s.target", "VARCHAR"),
    "journal_size": ((f"{_S}.journal_size",), "CAST(s.journal_size AS BIGINT)", "BIGINT"),
    "pinned_deployment_id": ((f"{_S}.pinned_deployment_id",), "s.pinned_deployment_id", "VARCHAR"),
    "created_at": ((f"{_S}.created_at",), "s.created_at", "TIMESTAMP"),
    "expires_at": (
        (f"{_S}.completed_at", f"{_S}.completion_retention"),
        "s.completed_at + s.completion_retention",
        "TIMESTAMP",
    ),
}
_RETRYING = (f"{_R}.id", f"{_R}.in_flight", f"{_R}.retry_count")
_QUEUED = (f"{_Q}.entry_id", f"{_Q}.status", f"{_Q}.retry_attempts")
_FAILURE = f"{_S}.completion_failure"
# If completion_failure cannot be read on both sides, the kinds of failure are not distinguished on either side.
_ENDS = "CASE WHEN completion_result = 'success' THEN 'succeeded' ELSE 'failed' END"
# The join begins with the few retrying entries, because the server keeps the first table in memory.
_QUEUES = f"""(SELECT entry_id, CAST(retry_attempts AS BIGINT) AS retry_attempts, status = 'backing-off' AS waits
  FROM {_Q} WHERE status = 'backing-off' OR retry_attempts > 0) q RIGHT JOIN {_S} s ON s.id = q.entry_id"""  # noqa: S608
_COUNT = f"SELECT count(*) AS invocations, count(*) FILTER (WHERE status <> 'completed') AS open FROM {_S}"  # noqa: S608
_FIRST = f"SELECT id FROM {_S} WHERE status <> 'completed' ORDER BY id LIMIT :limit"  # noqa: S608
_PASSED = f"SELECT count(*) AS invocations FROM {_S} WHERE status = 'completed' AND created_at > :then"  # noqa: S608
_OPEN, _SLICE = "s.status <> 'completed'", "s.status <> 'completed' AND s.id <= :last"
_IDS, _IDS_OF_HISTORY = "s.id IN :ids", "split_part(s.id, '@', 1) IN :ids"
_NOT_BEGUN = ("pending", "scheduled")


def compare_invocations(sides: Sides) -> tuple[pd.DataFrame, list[Limitation]]:
    """Return one row per invocation that differs, and the limitations; needs ``NEEDS`` on both sides."""
    before, after, notes = _read(sides)
    frame = _differences(before, after, sides.after)
    frame.attrs = {
        "in_before": len(before),
        "in_after": len(after),
        "in_both": int(before["run"].isin(after["run"]).sum()),
    }
    return frame, [*notes, *_limitations(sides)]


def _read(sides: Sides) -> tuple[pd.DataFrame, pd.DataFrame, list[Limitation]]:
    if sides.before.part or sides.after.part:
        return _read_parts(sides)
    counts = [side.rows(_COUNT).iloc[0] for side in sides]
    if not any(sides.exceeds_limit(int(count["invocations"])) for count in counts):
        return _read_all(sides, sides.before), _read_all(sides, sides.after), []
    notes = [_without_completed(sides, [int(count["invocations"]) for count in counts])]
    most, busier = max(zip((int(count["open"]) for count in counts), sides, strict=True), key=lambda pair: pair[0])
    last = None
    if sides.exceeds_limit(most):
        last = busier.rows(_FIRST, limit=sides.limit)["id"].max()
        text = (
            f"of {most:,} invocations that are not completed, only the {sides.limit:,} with the first ids are compared "
            f"(an even sample of keys); pass a higher limit="
        )
        notes.append(Limitation(text, cut=True))
    where, values = (_OPEN, {}) if last is None else (_SLICE, {"last": last})
    frames = [_runs(side.rows(_statement(sides, side, where), **values)) for side in sides]
    before = _with_runs_of(sides, sides.before, frames[0], frames[1])
    return before, _with_runs_of(sides, sides.after, frames[1], before), notes


def _read_parts(sides: Sides) -> tuple[pd.DataFrame, pd.DataFrame, list[Limitation]]:
    first, other = (sides.before, sides.after) if sides.before.part else (sides.after, sides.before)
    mine = _read_all(sides, first)
    theirs = _with_runs_of(sides, other, mine.iloc[:0], mine)
    if first.part and other.part:
        everything, mine = len(mine), mine[mine["own_id"].isin(theirs["own_id"])]
        only = everything - len(mine)
        reason = (
            f"both sides contain only a part of the cluster ({first.part}; {other.part}), so created and removed "
            f"invocations are unknown"
        )
        return mine, theirs, [Limitation(f"{reason}; {plural(only, 'invocation')} only in before's part excluded")]
    role, change = ("before", "created") if first is sides.before else ("after", "removed")
    limitation = Limitation(
        f"{role} contains only a part of the cluster ({first.part}), so {change} invocations, and invocations outside "
        f"of this part, are excluded"
    )
    return (mine, theirs, [limitation]) if first is sides.before else (theirs, mine, [limitation])


def _read_all(sides: Sides, side: ComparedSource) -> pd.DataFrame:
    return _runs(side.rows(_statement(sides, side, "TRUE")))


def _runs(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with ``own_id``, and with ``run``, which is unique: that id and the time of ``created_at``.

    If ``created_at`` is unknown, each id counts as one run.
    """
    created = _times(rows["created_at"])
    own = rows["id"].astype("object").str.replace("@.*", "", regex=True)
    run = own + "@" + created.astype("int64").astype(str).astype("object")
    runs = rows.assign(own_id=own, created_at=created, run=run)
    runs = runs.drop_duplicates("run", keep="last", ignore_index=True)
    if runs["own_id"].duplicated().any():  # attempts have only an id, and belong to its newest run
        newest = runs.sort_values("created_at", kind="stable").drop_duplicates("own_id", keep="last").index
        runs["retry_count"] = runs["retry_count"].where(runs.index.isin(newest))
    return runs


def _with_runs_of(sides: Sides, side: ComparedSource, frame: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with the rows of the runs in ``others``; if a run does not exist, the newest run of its id."""
    missing = others[~others["run"].isin(frame["run"])]
    # in a history, the id of an earlier run also has the time of its creation
    where = _IDS_OF_HISTORY if "visits.started_at" in side.columns else _IDS
    parts = list(side.rows_of(_statement(sides, side, where), missing["own_id"].unique()))
    if not parts:
        return frame
    runs = _runs(pd.concat(parts, ignore_index=True)).sort_values("created_at", kind="stable")
    same = runs[runs["run"].isin(missing["run"])]
    newest = runs.drop_duplicates("own_id", keep="last")
    more = pd.concat([same, newest[~newest["own_id"].isin(same["own_id"])]])
    frames = [each for each in (frame, more) if len(each)]
    return pd.concat(frames).drop_duplicates("run", ignore_index=True) if frames else frame


def _statement(sides: Sides, side: ComparedSource, where: str) -> str:
    retrying, queued = sides.has(*_RETRYING), side.columns.issuperset(_QUEUED)
    ends = STATUS_SQL if sides.has(_FAILURE) else _ENDS
    waits = " OR q.waits" if queued else ""
    active = f"WHEN r.in_flight THEN 'running' WHEN r.retry_count > 0{waits} THEN 'backing-off' ELSE 'ready'"
    count = "CAST(r.retry_count AS BIGINT)"
    if queued:
        count = f"CASE WHEN q.retry_attempts > coalesce({count}, 0) THEN q.retry_attempts ELSE {count} END"
    fields = [
        f"{text if sides.has(*needs) else f'CAST(NULL AS {kind})'} AS {name}"
        for name, (needs, text, kind) in _OPTIONAL.items()
    ]
    source = _QUEUES if queued and retrying else f"{_S} s"
    return f"""SELECT s.id, CASE WHEN s.status = 'completed' THEN {ends} WHEN s.status = 'inboxed' THEN 'pending'
  WHEN s.status <> 'invoked' THEN s.status {active if retrying else "ELSE 'invoked'"} END AS status,
  {count if retrying else "CAST(NULL AS BIGINT)"} AS retry_count, {", ".join(fields)}
FROM {source}{f" LEFT JOIN {_R} r ON r.id = s.id" if retrying else ""} WHERE {where}"""  # noqa: S608 - constants


def _without_completed(sides: Sides, totals: Sequence[int]) -> Limitation:
    text = (
        f"{max(totals):,} invocations are more than limit={sides.limit:,}, so those that are completed on both sides "
        f"are excluded"
    )
    if not sides.has(f"{_S}.created_at"):
        return Limitation(text, cut=True)
    passed = sides.after.rows(_PASSED, then=sides.before.now)["invocations"].iloc[0]
    return Limitation(f"{text}; {passed:,} excluded ones were created and completed between the two times", cut=True)


def _limitations(sides: Sides) -> list[Limitation]:
    needed = (
        ((_FAILURE,), "failed, cancelled and killed are not distinguished"),
        (_RETRYING, "retries are not compared; running, backing-off and ready are not distinguished"),
        ((f"{_S}.journal_size",), "journal sizes are not compared"),
        ((f"{_S}.pinned_deployment_id",), "pinned deployments are not compared"),
        ((f"{_S}.created_at",), "runs with the same id are not distinguished"),
    )
    notes = [Limitation(f"{what}: {lacking}") for needs, what in needed if (lacking := sides.missing(*needs))]
    return notes + [
        Limitation(f"long back-offs of {side.role} are shown as ready, because it has no {_Q}")
        for side in sides
        if has_vqueues(side.source) and not side.columns.issuperset(_QUEUED)
    ]


def _differences(before: pd.DataFrame, after: pd.DataFrame, later: ComparedSource) -> pd.DataFrame:
    both = merge(before, after, ["run"])
    both["id"] = both["id_after"].fillna(both["id_before"])
    both["target"] = both["target_after"].fillna(both["target_before"])
    both["created_at"] = _times(both["created_at_after"]).fillna(_times(both["created_at_before"]))
    for name in ("retry_count", "journal_size"):
        for side in ("before", "after"):
            both[f"{name}_{side}"] = pd.to_numeric(both[f"{name}_{side}"]).astype("Int64")
    is_created, is_removed = both["found"] == "right_only", both["found"] == "left_only"
    both["more_entries"] = _more_entries(both, is_created).mask(is_removed)
    both["more_retries"], both["retries_at_least"] = _more_retries(both, is_created)
    expires = _times(both["expires_at_before"])
    both["past_retention"] = (expires <= later.now).astype("boolean").mask(~is_removed | expires.isna())
    moved = both["pinned_deployment_id_before"].notna() & both["pinned_deployment_id_after"].notna()
    moved &= both["pinned_deployment_id_before"] != both["pinned_deployment_id_after"]
    changes = {
        "created": is_created,
        "removed": is_removed,
        "status": both["status_before"] != both["status_after"],
        "retries": _true(both["more_retries"] > 0),
        "journal": _true(both["more_entries"] != 0),
        "deployment": moved,
    }
    both["change"] = np.select([each.to_numpy(dtype=bool) for each in changes.values()], list(changes), default="")
    changed = both[both["change"] != ""]
    order = pd.Categorical(changed["change"], list(changes), ordered=True)
    return changed.assign(order=order).sort_values(["order", "id", "created_at"])[list(COLUMNS)].reset_index(drop=True)


def _more_entries(both: pd.DataFrame, is_created: pd.Series) -> pd.Series:
    sizes = {}
    for side in ("before", "after"):
        size = both[f"journal_size_{side}"]
        sizes[side] = size.mask(size.isna() & both[f"status_{side}"].isin(_NOT_BEGUN), 0)
    return sizes["after"] - sizes["before"].mask(is_created, 0)


def _more_retries(both: pd.DataFrame, is_created: pd.Series) -> tuple[pd.Series, pd.Series]:
    """Return the number of new attempts of each invocation, and whether this is a lower bound.

    The first attempt counts as one. The server restarts its count after progress, a suspension, or a move of the
    partition, and deletes the count when there is no attempt.
    """
    count_before, count_after = both["retry_count_before"], both["retry_count_after"]
    fresh = (is_created | both["status_before"].isin(_NOT_BEGUN)) & count_before.isna()
    anew = count_before.isna() | _true(count_after < count_before)
    more = (count_after - count_before.mask(anew, 1)).clip(lower=0)
    at_least = (anew & ~fresh) | _true(both["more_entries"] > 0) | more.isna()
    return more, at_least & (count_before.notna() | count_after.notna())


def _times(column: pd.Series) -> pd.Series:
    return pd.to_datetime(column, utc=True).dt.as_unit("ms")


def _true(flags: pd.Series) -> pd.Series:
    return flags.fillna(value=False).astype(bool)
