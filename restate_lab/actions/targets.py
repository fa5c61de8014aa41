"""Who is meant, and what they do at this moment: ids from whatever a notebook holds, and their rows in chunks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.analysis.ids import check_invocation_id, created_by_id
from restate_lab.client.schema import checked, translated
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import ArgumentError
from restate_lab.source import Source
from restate_lab.status import STATUS_SQL

__all__ = ["CHUNK", "is_invocation_id", "read_created", "read_ids", "read_states"]

CHUNK = 10_000  # ids in a statement; a body of 2 MB has room for four times as many
_ID_COLUMNS = ("id", "invocation_id")
_STATES = f"""
SELECT id, {STATUS_SQL} AS status, target, target_service_name, target_handler_name, target_service_key,
  target_service_ty AS service_type, created_at, modified_at, completed_at, invoked_by_id, pinned_deployment_id,
  CAST(pinned_service_protocol_version AS BIGINT) AS protocol, CAST(journal_size AS BIGINT) AS journal_size
FROM sys_invocation WHERE id IN :ids"""  # noqa: S608 - constants
# With vqueues a long back-off shows as ready in sys_invocation.
_BACKING_OFF = "SELECT entry_id AS id FROM sys_vqueue_entry_status WHERE entry_id IN :ids AND status = 'backing-off'"


def read_ids(targets: Any) -> tuple[list[str], int]:
    """Return what is meant, in order and each once, and how many were there more than once.

    ``targets``: one id, any list of them, a Series, an Arrow column, or a frame or table with a column ``id`` or
    ``invocation_id``. What is no id stays in the list: a plan says so for each.

    Raises:
        ArgumentError: it is none of these, or which column is meant cannot be told.
    """
    values = list(_values(targets))
    unique = list(dict.fromkeys(value if isinstance(value, str) else repr(value) for value in values))
    return unique, len(values) - len(unique)


def read_created(targets: Any) -> dict[str, frozenset[datetime]]:
    """Return which runs are meant: for each id the ``created_at`` that a frame or table has beside it.

    Empty where ``targets`` has no such column: the ids then mean the runs that exist now.

    Raises:
        ArgumentError: a value is not a timestamp, or the column is there more than once.
    """
    names = _column_names(targets)
    if names is None or "created_at" not in names:
        return {}
    if names.count("created_at") > 1:
        raise ArgumentError("the frame has more than one column created_at: keep the one that tells the runs apart.")
    return created_by_id(_values(targets), _listed(targets["created_at"]), name="the frame")


@translated
def read_states(lab: Source, ids: Sequence[str]) -> pd.DataFrame:
    """Read what each of these invocations does now: one row per id, in the order of ``ids``, which is the index.

    Columns: ``status`` (a word of STATUSES, None where there is no such invocation), ``target, target_service_name,
    target_handler_name, target_service_key, service_type`` ("service", "virtual_object", "workflow"), ``created_at,
    modified_at, completed_at`` (UTC), ``invoked_by_id, pinned_deployment_id, protocol`` (that it is bound to) and
    ``journal_size`` (entries; None where it has not begun). Point reads in chunks of CHUNK ids, right on servers with
    vqueues and without; the rows of one chunk are of one moment, and those of several are not.

    Raises:
        RestateLabError: what ``lab.sql`` raises; an id that is none is refused by the server.
    """
    tables = [checked(lab.arrow(_STATES, ids=chunk, progress=False), _STATES, lab) for chunk in chunks(ids, CHUNK)]
    if not tables:
        tables = [checked(lab.arrow(_STATES, ids=[_NOBODY], progress=False), _STATES, lab)]
    frame = _frame(pa.concat_tables(tables))
    if lab.features.get("vqueues", False):
        ready = list(frame.index[frame["status"] == "ready"])
        answers = (lab.arrow(_BACKING_OFF, ids=chunk, progress=False) for chunk in chunks(ready, CHUNK))
        found = [checked(answer, _BACKING_OFF, lab)["id"].to_pylist() for answer in answers]
        frame.loc[[id_ for part in found for id_ in part], "status"] = "backing-off"
    return frame.reindex(pd.Index(ids, name="id"))


_NOBODY = "inv_1" + "0" * 33  # well-formed, and no invocation's: IN () is not SQL


def is_invocation_id(value: Any) -> bool:
    """Tell whether this is the id of an invocation, as far as can be told without asking."""
    try:
        check_invocation_id(value)
    except ArgumentError:
        return False
    return True


def _values(targets: Any) -> Iterable[Any]:
    if isinstance(targets, str):
        return [targets]
    names = _column_names(targets)
    if names is not None:
        targets = targets[_id_column(names)]
    if isinstance(targets, Mapping | bytes) or not hasattr(targets, "__iter__"):
        raise ArgumentError(
            f"targets is a {type(targets).__name__}: give one invocation id, a list or Series of them, or a frame with "
            f"a column id."
        )
    return _listed(targets)


def _listed(column: Any) -> Iterable[Any]:
    values: Iterable[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column
    return values


def _column_names(targets: Any) -> list[str] | None:
    """Return the names of a frame's or table's columns; None for what has no columns."""
    if isinstance(targets, str):
        return None
    names = getattr(targets, "column_names", None) or getattr(targets, "columns", None)
    return None if names is None else [str(name) for name in names]


def _id_column(names: list[str]) -> str:
    """Return which column of a frame has the ids."""
    found = [name for name in names if name in _ID_COLUMNS]
    if len(found) == 1:
        return found[0]
    if not found:
        others = [name for name in names if name.endswith("id")] or names
        raise ArgumentError(
            f"the frame has no column id or invocation_id; it has {', '.join(names)}. "
            f"Give the column that is meant, such as frame[{others[0] if others else 'id'!r}]."
        )
    raise ArgumentError(
        f"the frame has {' and '.join(found)}, and which is meant cannot be told: give frame[{found[0]!r}] or "
        f"frame[{found[-1]!r}]."
    )


def _frame(table: pa.Table) -> pd.DataFrame:
    frame: pd.DataFrame = table.to_pandas(types_mapper=lambda kind: pd.Int64Dtype() if kind == pa.int64() else None)
    texts = [name for name in frame.columns if name not in _OTHER_TYPES]
    frame[texts] = frame[texts].astype("object").where(frame[texts].notna(), None)
    return frame.drop_duplicates("id").set_index("id")


_OTHER_TYPES = {"created_at", "modified_at", "completed_at", "protocol", "journal_size"}
