"""The phrases that explanations are made of: moments, lengths, entries and failures in words."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab.analysis.error_codes import code_words
from restate_lab.analysis.journal_errors import Event
from restate_lab.analysis.wait_words import age

__all__ = ["ago", "entry_words", "failure_words", "first_line", "moment", "span", "times"]

_LONGEST = 300  # characters of a failure
_BEGINNING = datetime(2000, 1, 1)  # noqa: DTZ001 - only for differences


def moment(value: datetime | None) -> str:
    """Return "2026-11-25 03:00:00 UTC"; "an unknown time" for None."""
    return f"{value:%Y-%m-%d %H:%M:%S} UTC" if value is not None else "an unknown time"


def ago(value: datetime | None, now: datetime) -> str:
    """Return how long before ``now`` that is, "2 h 13 min"."""
    return age(pd.Timestamp(value), now) if value is not None else "an unknown time"


def span(length: timedelta) -> str:
    """Return a length in its two largest units; below a second in milliseconds."""
    seconds = length.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 10 else age(pd.Timestamp(_BEGINNING), _BEGINNING + length)


def times(count: int, word: str) -> str:
    """Return "1 attempt", "2 attempts"."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def first_line(text: str | None) -> str:
    """Return what a failure says first, cut where it is long."""
    line = (text or "").strip().partition("\n")[0].strip()
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


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
