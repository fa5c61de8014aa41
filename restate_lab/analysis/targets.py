"""The targets of a verb: ids, and the runs that a frame selects with its column ``created_at``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from restate_lab.analysis.ids import check_invocation_id, creation_times_by_id
from restate_lab.errors import ArgumentError

_ID_COLUMNS = ("id", "invocation_id")


def parse_ids(targets: Any) -> tuple[list[str], int]:
    """Return the ids in order, without duplicates, and the number of duplicates.

    ``targets``: one id, a list of ids, a Series, an Arrow column, or a frame or table with a column ``id`` or
    ``invocation_id``. Invalid ids stay in the list; a plan excludes them with a reason.

    Raises:
        ArgumentError: ``targets`` has another type, or the column with the ids is ambiguous or missing.
    """
    values = list(_values_of(targets))
    unique = list(dict.fromkeys(value if isinstance(value, str) else repr(value) for value in values))
    return unique, len(values) - len(unique)


def parse_created(targets: Any) -> dict[str, frozenset[datetime]]:
    """Return the selected runs: for each id the values of ``created_at`` in its rows of a frame or table.

    Empty if ``targets`` has no such column: then the ids select the runs that exist now.

    Raises:
        ArgumentError: a value is not a timestamp, or there is more than one such column.
    """
    names = _column_names(targets)
    if names is None or "created_at" not in names:
        return {}
    if names.count("created_at") > 1:
        raise ArgumentError("the frame has more than one column created_at: keep only that of the invocations.")
    return creation_times_by_id(_values_of(targets), _column_values(targets["created_at"]), name="the frame")


def is_invocation_id(value: Any) -> bool:
    """Return whether a value has the form of an invocation id."""
    try:
        check_invocation_id(value)
    except ArgumentError:
        return False
    return True


def _values_of(targets: Any) -> Iterable[Any]:
    if isinstance(targets, str):
        return [targets]
    names = _column_names(targets)
    if names is not None:
        targets = targets[_id_column(names)]
    if isinstance(targets, Mapping | bytes) or not hasattr(targets, "__iter__"):
        raise ArgumentError(
            f"targets is a {type(targets).__name__}: pass one invocation id, a list or Series of ids, or a frame with "
            f"a column id."
        )
    return _column_values(targets)


def _column_values(column: Any) -> Iterable[Any]:
    values: Iterable[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column
    return values


def _column_names(targets: Any) -> list[str] | None:
    """Return the names of a frame's or table's columns; None for other values."""
    if isinstance(targets, str):
        return None
    names = getattr(targets, "column_names", None) or getattr(targets, "columns", None)
    return None if names is None else [str(name) for name in names]


def _id_column(names: list[str]) -> str:
    found = [name for name in names if name in _ID_COLUMNS]
    if len(found) == 1:
        return found[0]
    if not found:
        others = [name for name in names if name.endswith("id")] or names
        raise ArgumentError(
            f"the frame has no column id or invocation_id; it has {', '.join(names)}. "
            f"Pass the column with the ids, such as frame[{others[0] if others else 'id'!r}]."
        )
    raise ArgumentError(
        f"the frame has both columns {' and '.join(found)}: pass either frame[{found[0]!r}] or frame[{found[-1]!r}]."
    )
