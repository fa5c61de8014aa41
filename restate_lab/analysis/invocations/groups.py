"""Group invocations that fail in the same way or wait for the same key, so that a list shows each cause once."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from restate_lab.analysis.invocations.filters import RETRYING
from restate_lab.analysis.patterns import elide_data, message_kinds, step_patterns
from restate_lab.frames import records
from restate_lab.status import STATUSES

_COLUMNS = (
    "target_service_name", "target_handler_name", "target_service_key", "status", "retry_count", "error_code",
    "failure", "step",
)  # fmt: skip
_RANKS = {"paused": 0, "backing-off": 1, "running": 4, "pending": 2, "suspended": 3, "scheduled": 6, "failed": 7}
_ENDED_RANK, _OTHER_RANK = 8, 5
STUCK = _RANKS["backing-off"]  # what is paused shares this place in a list
_Row = Mapping[str, Any]


def group_invocations(frame: pd.DataFrame, *, is_sorted: bool = False) -> pd.DataFrame:
    """Return the rows of a list with two more columns: ``group`` (an id per group) and ``group_label`` (its reason).

    Two failures are equal if their handler, step pattern and normalized message are equal. Both columns are null for a
    row without an equal row. By default the order is like the doctor's: what is paused or retried comes first, and the
    largest group of it leads; ``is_sorted`` keeps the order of the frame.
    """
    rows = records(frame[list(_COLUMNS)])
    keys = _group_keys(rows)
    sizes: Counter[tuple[Any, ...] | None] = Counter(key for key in keys if key is not None)
    groups = [key if key is not None and sizes[key] > 1 else None for key in keys]
    labels = [None if key is None else ("same key" if key[0] == "key" else "same step, same error") for key in groups]
    grouped = frame.assign(
        group=pd.Series(
            [None if key is None else "\x1f".join(map(str, key)) for key in groups], index=frame.index, dtype="object"
        ),
        group_label=pd.Series(labels, index=frame.index, dtype="object"),
    )
    if is_sorted:
        return grouped
    ranks = [max(STUCK, status_rank(row["status"], row["retry_count"])) for row in rows]
    best: dict[tuple[Any, ...] | None, int] = {}
    for key, rank in zip(groups, ranks, strict=True):
        if key is not None:
            best[key] = min(rank, best.get(key, rank))
    order = sorted(
        range(len(rows)),
        key=lambda at: (best.get(groups[at], ranks[at]), -sizes[groups[at]], str(groups[at]), at),
    )
    return grouped.iloc[order].reset_index(drop=True)


def status_rank(status: str, retry_count: int | None = None) -> int:
    """Return the position of a status in the order "worst first"."""
    if status == "running" and (retry_count or 0) > 1:
        return _RANKS["backing-off"]
    if status in _RANKS:
        return _RANKS[status]
    return _ENDED_RANK if status in STATUSES and STATUSES[status].ended else _OTHER_RANK


def _group_keys(rows: Sequence[_Row]) -> list[tuple[Any, ...] | None]:
    patterns = _patterns(rows)
    failures = [_failure_of(row, patterns) if row["failure"] is not None else None for row in rows]
    messages: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    for each in filter(None, failures):
        messages[each.cause].add(each.message)
    kinds = {cause: message_kinds(texts) for cause, texts in messages.items()}
    keys: list[tuple[Any, ...] | None] = []
    for row, failure in zip(rows, failures, strict=True):
        handler = (row["target_service_name"], row["target_handler_name"])
        if failure is not None:
            keys.append(("failure", *failure.cause, kinds[failure.cause][failure.message]))
        elif row["status"] == "pending" and row["target_service_key"] is not None:
            keys.append(("key", *handler, row["target_service_key"]))
        else:
            keys.append(None)
    return keys


class _Failure(NamedTuple):
    """The handler, kind of status and step pattern of a failing row, and its message without the data of the step."""

    cause: tuple[Any, ...]
    message: str


def _failure_of(row: _Row, patterns: Mapping[tuple[Any, Any], Mapping[str, str]]) -> _Failure:
    handler, step, message = (row["target_service_name"], row["target_handler_name"]), row["step"], str(row["failure"])
    pattern = patterns[handler, row["error_code"]].get(step, step)
    return _Failure(
        (*handler, _kind(row), pattern), elide_data(message, step, pattern) if step and pattern else message
    )


def _kind(row: _Row) -> str:
    """Return the status of a failing row; rows that alternate between attempts and back-offs are all "retrying"."""
    status = str(row["status"])
    return RETRYING if status in {"backing-off", "running", "ready"} else status


def _patterns(rows: Iterable[_Row]) -> dict[tuple[Any, Any], dict[str, str]]:
    names: dict[tuple[Any, Any], set[str]] = defaultdict(set)
    for row in rows:
        if row["failure"] is not None:
            steps = names[(row["target_service_name"], row["target_handler_name"]), row["error_code"]]
            if row["step"] is not None:
                steps.add(row["step"])
    return {cause: step_patterns(steps) for cause, steps in names.items()}
