"""The arguments of plots, checked: a frame with the required columns, its numbers, and a time zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from restate_lab.errors import ArgumentError

__all__ = ["RequiredColumns", "numbers", "zone"]


@dataclass(frozen=True, slots=True)
class RequiredColumns:
    """The columns that a plot reads, with its name and the call whose frame it takes."""

    plot: str
    call: str
    columns: tuple[str, ...]

    def check(self, frame: object) -> pd.DataFrame:
        """Return the rows, numbered anew, or say which call gives such a frame.

        Raises:
            ArgumentError: it is no frame, or lacks columns.
        """
        if not isinstance(frame, pd.DataFrame):
            raise ArgumentError(f"{self.plot} takes the frame that {self.call} gives; this is {_describe_type(frame)}.")
        lacking = [name for name in self.columns if name not in frame.columns]
        if lacking:
            origin = f" (the answer to {frame.attrs['question']!r})" if frame.attrs.get("question") else ""
            raise ArgumentError(
                f"{self.plot} reads {', '.join(self.columns)}, and this frame{origin} lacks {', '.join(lacking)}: "
                f"{self.call} gives one that has them."
            )
        double = [name for name in self.columns if list(frame.columns).count(name) > 1]
        if double:
            raise ArgumentError(f"{self.plot} cannot tell which column is meant: this frame has {double[0]!r} twice.")
        kept = frame.reset_index(drop=True)
        kept.attrs = dict(frame.attrs)
        return kept


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as floats, NaN for what is missing.

    Raises:
        ArgumentError: there is something else than numbers in it.
    """
    try:
        return pd.to_numeric(frame[column]).to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"the column {column!r} has to hold numbers: {error}.") from error


def zone(tz: str | tzinfo) -> tzinfo:
    """Return the time zone that is meant.

    Raises:
        ArgumentError: there is no such zone.
    """
    if isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(tz)
    except (KeyError, OSError, TypeError, ValueError) as error:
        raise ArgumentError(f"tz is {tz!r}: give a zone such as 'UTC' or 'Europe/Paris', or a tzinfo.") from error


def _describe_type(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[:1] in 'AEIOUaeiou' else 'a'} {name}"
