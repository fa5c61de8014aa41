"""Compare the recorded commands of an invocation with what the new code does, one row per command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.analysis.replay.recording import FITS, RecordedCommand
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT
from restate_lab.frames import rows_to_table

AFTER, NOT_KNOWN = "after the recorded commands", "not known"
_TYPES: dict[str, pa.DataType] = {
    "journal_index": pa.int64(),
    "command_index": pa.int64(),
    "recorded": pa.string(),
    "now": pa.string(),
    "difference": pa.string(),
    "divergence": pa.bool_(),
}
_NULLABLE: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype()}
_DIVERGING = frozenset({DIVERGES, FAILS, OTHER_RESULT})
_ENDS_THERE = "The check stops the code there, so what it would do next is not known."
_PLACE_UNKNOWN = "The response does not show at which command, so how far the code follows the journal is not known."

_Row = Mapping[str, Any]


def diff_frame(outcome: _Row, commands: Sequence[RecordedCommand]) -> pd.DataFrame:
    """Return the diff of one row of ``Replay.rows``, with its recorded commands."""
    at = outcome["command_index"]
    rows = list(_rows(outcome, commands))
    table = rows_to_table(rows, _TYPES)
    frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    parting = next((number for number, each in enumerate(rows) if each["divergence"]), None)
    frame.attrs |= {
        "id": outcome["id"],
        "verdict": outcome["verdict"],
        "summary": _summarize(outcome, is_last=at is not None and at == len(commands) - 1),
        "divergence": parting,
    }
    return frame


def _rows(outcome: _Row, commands: Sequence[RecordedCommand]) -> Iterator[dict[str, Any]]:
    at, verdict = outcome["command_index"], outcome["verdict"]
    followed = len(commands) if verdict == FITS else at or 0
    for number, command in enumerate(commands):
        cells = {"journal_index": command.index, "command_index": number, "recorded": str(command)}
        if number < followed:
            yield _row(**cells, now=str(command))
        elif number == at:
            yield _row(**cells, now=outcome["now"], difference=outcome["reason"], divergence=True)
        else:
            yield _row(**cells, difference=NOT_KNOWN)
    if verdict == FITS and outcome["continues_with"] is not None:
        yield _row(now=outcome["continues_with"], difference=AFTER)
    elif verdict != FITS and at is None:
        yield _row(now=outcome["now"], difference=outcome["reason"], divergence=verdict in _DIVERGING)


def _row(**cells: Any) -> dict[str, Any]:
    return {**dict.fromkeys(_TYPES), "divergence": False, **cells}


def _summarize(outcome: _Row, *, is_last: bool) -> str:
    """Return the verdict with its reason, and how far the new code is known."""
    parts = [f"{outcome['target']} ({outcome['id']}), {outcome['verdict']}: {outcome['reason']}."]
    if outcome["command_index"] is not None:
        parts += [] if is_last else [_ENDS_THERE]
    elif outcome["verdict"] == DIVERGES:
        parts.append(_PLACE_UNKNOWN)
    return " ".join(parts)
