"""Read an InvocationsPanel's rows: one statement, a count where it was cut, the reasons that events alone have."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd

from restate_lab._text import format_duration
from restate_lab.client.schema import check_columns, check_rows, translate_errors
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.panels.filters import Filters, InvocationQuery, errors_sql
from restate_lab.source import Source
from restate_lab.status import STATUSES

__all__ = ["Rows", "read_rows", "without_prefix"]

_COUNT_WITHIN = 5.0  # seconds; a count is worth no more
_PREFIX = r"^\[\d[^\]]*\] "  # of a failure that is tried again: "[500 Internal] "


@dataclass(frozen=True, slots=True)
class Rows:
    """What was read: ``total`` is how many there are, None where nobody counted; ``note`` what is to be known."""

    frame: pd.DataFrame
    statement: InvocationQuery
    total: int | None
    note: str = ""


@translate_errors
def read_rows(source: Source, filters: Filters) -> Rows:
    """Read what the filters leave, newest first; one that has gone on between two statements is as the first saw it."""
    has_vqueues = source.features.get("vqueues", False)
    now = source.now if filters.needs_now else datetime.now(UTC)
    statement = filters.statement(now=now, has_vqueues=has_vqueues)
    frame = check_columns(source.sql(statement.sql, params=statement.params), statement.sql, source)
    total, note = len(frame), ""
    counted: int | None = total
    if total >= filters.limit:
        counted, note = _count(source, statement)
    going = ~frame["status"].isin([word for word, status in STATUSES.items() if status.ended])
    frame.loc[going, "failure"] = frame.loc[going, "failure"].str.replace(_PREFIX, "", regex=True)
    frame, older = _newest_runs(frame)
    counted = None if counted is None else counted - (total - len(frame))
    note = " ".join(filter(None, (note, older, _add_reasons(source, frame))))
    return Rows(frame, statement, counted, note)


def _newest_runs(frame: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Return the newest run of each id, and what is left out: a source that keeps ended runs may have more of one."""
    older = frame["id"].duplicated()  # the newest stands first
    if not older.any():
        return frame, ""
    words = f"{int(older.sum()):,} older runs with the same id as a newer one are not shown."
    return frame[~older].reset_index(drop=True), words


def without_prefix(failure: str) -> str:
    """Return the failure of one that is tried again without what the server puts before it."""
    return re.sub(_PREFIX, "", failure)


def _count(source: Source, statement: InvocationQuery) -> tuple[int | None, str]:
    counting = statement.counting
    try:
        rows = check_columns(
            source.sql(counting.sql, params=counting.params, timeout=_COUNT_WITHIN), counting.sql, source
        )
    except TimedOut:
        limit, within = statement.params["limit"], format_duration(_COUNT_WITHIN)
        return None, f"These are the newest {limit:,}; how many there are was not counted within {within}."
    check_rows(rows, counting.sql, source)
    return int(rows["n"].iloc[0]), ""


def _add_reasons(source: Source, frame: pd.DataFrame) -> str:
    """Fill in the failures of the paused ones and of long back-offs, which stand in their journals' events alone."""
    lacking = frame["failure"].isna() & frame["status"].isin(["paused", "backing-off"])
    if not lacking.any():
        return ""
    try:
        rows = source.sql(errors_sql(), ids=list(frame.loc[lacking, "id"]))
        found = check_columns(rows, errors_sql(), source).set_index("id")
    except RestateLabError as error:
        return f"Why {int(lacking.sum()):,} of them failed could not be read: {error}"
    for name in ("failure", "error_code"):
        frame.loc[lacking, name] = frame.loc[lacking, "id"].map(found[name]).astype(frame[name].dtype)
    return ""
