"""The phrases that explanations are made of: moments, lengths, entries and failures in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from restate_lab._text import format_age, format_timestamp, truncate
from restate_lab.analysis.error_codes import code_words
from restate_lab.analysis.journal_errors import Event

__all__ = ["ago", "entry_words", "failure_words", "first_line", "moment"]

_LONGEST = 300  # characters of a failure


def moment(value: datetime | None) -> str:
    """Return "2026-11-25 03:00:00 UTC"; "an unknown time" for None."""
    return format_timestamp(value, missing="an unknown time")


def ago(value: datetime | None, now: datetime) -> str:
    """Return how long before ``now`` that is, "2h 13m"."""
    return format_age(value, now, missing="an unknown time")


def first_line(text: str | None) -> str:
    """Return what a failure says first, cut where it is long."""
    line = (text or "").strip().partition("\n")[0].strip()
    return truncate(line, _LONGEST)


def failure_words(error: Event) -> str:
    """Return an attempt's error: its code with the code's meaning, and the first line of what was said."""
    code = code_words(error.code)
    return f"[{code}] {first_line(error.message)}" if code else first_line(error.message)


def entry_words(entry: Mapping[Any, Any]) -> str:
    """Return a row of ``journal`` in words: 'its step “charge card” (Run)', 'its Call of Payments/charge'."""
    names = (entry[column] for column in ("name", "promise", "state_key"))
    name = next((str(each) for each in names if isinstance(each, str) and each), "")
    if entry["entry_type"] == "Run":
        return f"its step “{name}” (Run)" if name else "a step without a name (Run)"
    target = entry["callee_target"]
    of = f" of {target}" if isinstance(target, str) and target else ""
    return f"its {entry['entry_type']}{f' “{name}”' if name else ''}{of}"
