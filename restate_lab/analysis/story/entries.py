"""The entries of all journals of a story as one frame; an awaited signal without an entry is not in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from restate_lab.analysis.journal.entries import DONE, FAILED, OPEN
from restate_lab.analysis.story.discovery import Discovery
from restate_lab.analysis.story.result import entry_frame

_NO_TIME = np.iinfo(np.int64).min  # numpy's NaT


def entries_of(found: Discovery, ids: Iterable[str]) -> pd.DataFrame:
    """Return the frame ``entries`` of a story, in the order of these members."""
    columns = [*zip(*_rows(found, ids), strict=True)] or [()] * 7
    ids, numbers, types, names, statuses, started, completed = columns
    return entry_frame(
        id=ids,
        index=numbers,
        entry_type=types,
        name=names,
        status=statuses,
        started=_times(started),
        completed=_times(completed),
    )


def _rows(found: Discovery, ids: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    for id_ in ids:
        for entry in found.journals[id_].entries:
            if entry.number is not None:
                status = OPEN if entry.completed is None else DONE if entry.is_success else FAILED
                name = entry.label or None
                yield id_, entry.number, entry.type, name, status, entry.started, entry.completed


def _times(milliseconds: tuple[int | None, ...]) -> pd.Series[Any]:
    values = np.array([_NO_TIME if each is None else each for each in milliseconds], np.int64)
    return pd.Series(values.view("datetime64[ms]")).dt.tz_localize("UTC")
