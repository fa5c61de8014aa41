"""JSON for programs, as ``--json`` writes it: of results, and of frames with their facts.

All values are JSON values, except frames: they can be long, so ``rows_of`` returns their rows where they are written.
"""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible
from restate_lab.analysis.invocations.reader import Rows
from restate_lab.analysis.journal.payloads import mask_payloads
from restate_lab.export.columns import to_table
from restate_lab.export.files import json_rows

_QUESTION_FACTS = ("question", "params", "source", "version", "read_at", "truncated", "not_read")
_RUNS_FACTS = ("source", "version", "read_at", "truncated", "cost_note")
_JOURNAL_FACTS = (
    *("id", "target", "status", "failed_attempts", "source", "version", "read_at", "note", "truncated"),
    *("suspensions", "events"),
)


def rows_of(frame: pd.DataFrame) -> list[Any]:
    """Return the rows as JSON values."""
    return [json.loads(row) for row in json_rows(to_table(frame, for_json=True))] if len(frame) else []


def json_text(value: Any) -> str:
    """Return a result as JSON, with frames as lists of rows.

    Control characters and invisible characters are escape codes; the value stays the same.
    """
    return escape_json(json.dumps(value, ensure_ascii=False, indent=1, default=rows_of))


def escape_json(text: str) -> str:
    """Return JSON with control characters and invisible characters as escape codes; the value stays the same."""
    return escape_invisible(text, escape=lambda character: json.dumps(character)[1:-1])


def journal_json(frame: pd.DataFrame, *, is_data: bool = False) -> dict[str, Any]:
    """Return the entries of a journal, with the facts about its invocation; ``is_data`` leaves fields unmasked."""
    entries = frame if is_data else mask_payloads(frame)
    return {name: frame.attrs.get(name) for name in _JOURNAL_FACTS} | {"entries": entries}


def question_json(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the rows of a named question, with its parameters and the parts that were not read."""
    return {name: frame.attrs[name] for name in _QUESTION_FACTS if name in frame.attrs} | {"rows": frame}


def agent_runs_json(frame: pd.DataFrame) -> dict[str, Any]:
    """Return the runs of agents, and why costs are missing."""
    return {name: frame.attrs[name] for name in _RUNS_FACTS if frame.attrs.get(name)} | {"rows": frame}


def invocations_json(rows: Rows) -> dict[str, Any]:
    """Return a list of invocations with its filters; without ``total`` the rows could not be counted."""
    return {"filters": rows.filters.changed, "total": rows.total, "note": rows.note, "rows": rows.frame}
