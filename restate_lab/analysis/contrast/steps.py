"""The steps that an invocation took: which of them count as taken, and the step at which a failing one stopped.

What happens after a failure is its consequence, such as the steps that undo others. So of a failing invocation, only
steps count that ended before the first result that is a failure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from restate_lab.reads import Row

_RUN = "Command: Run"
_FAILURE = "Failure"


def steps_taken(journal: Iterable[Row], *, is_failing: bool = False) -> frozenset[str]:
    """Return the names of the steps that succeeded; of a failing invocation, only those before its first failure.

    ``journal`` has the rows of ``steps.sql`` of one invocation, in order.
    """
    rows = list(journal)
    end = _first_failure(rows) if is_failing else len(rows)
    succeeded = {row["completion_id"] for row in rows[:end] if _is_result(row) and row["result"] != _FAILURE}
    return frozenset(
        row["name"]
        for row in rows[:end]
        if row["entry_type"] == _RUN and row["name"] and row["completion_id"] in succeeded
    )


def step_at_failure(journal: Iterable[Row]) -> str:
    """Return the name of the first step that failed or did not end; "" without such a step."""
    rows = list(journal)
    end = _first_failure(rows) + 1
    succeeded = {row["completion_id"] for row in rows[:end] if _is_result(row) and row["result"] != _FAILURE}
    steps = (row for row in rows[:end] if row["entry_type"] == _RUN)
    return next((row["name"] or "" for row in steps if row["completion_id"] not in succeeded), "")


def steps_of_rows(
    journals: Mapping[str, Sequence[Row]], failing: Collection[str], *, is_slow: bool
) -> dict[str, frozenset[str]]:
    """Return id → the steps that it took, for invocations with a journal; slow ones did not fail."""
    return {id_: steps_taken(journal, is_failing=id_ in failing and not is_slow) for id_, journal in journals.items()}


def _is_result(row: Row) -> bool:
    return str(row["entry_type"]).startswith("Notification:")


def _first_failure(rows: Sequence[Row]) -> int:
    """Return the position of the first result that is a failure; the number of rows if there is none."""
    return next((at for at, row in enumerate(rows) if _is_result(row) and row["result"] == _FAILURE), len(rows))
