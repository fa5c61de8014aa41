"""Check the arguments of plots: the columns of the frame and its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from restate_lab.errors import ArgumentError


@dataclass(frozen=True, slots=True)
class RequiredColumns:
    """The columns that a plot needs, with the name of the plot and the call that returns such a frame."""

    plot: str
    call: str
    columns: tuple[str, ...]

    def check(self, frame: object) -> pd.DataFrame:
        """Return the rows with a new index.

        Raises:
            ArgumentError: the argument is not a frame, or columns are missing.
        """
        if not isinstance(frame, pd.DataFrame):
            raise ArgumentError(f"{self.plot} needs the frame from {self.call}, not {type(frame).__name__!r}.")
        lacking = [name for name in self.columns if name not in frame.columns]
        if lacking:
            origin = f" (the result of {frame.attrs['question']!r})" if frame.attrs.get("question") else ""
            raise ArgumentError(
                f"{self.plot} needs the columns {', '.join(self.columns)}; not in this frame{origin}: "
                f"{', '.join(lacking)}. Use the frame from {self.call}."
            )
        kept = frame.reset_index(drop=True)
        kept.attrs = dict(frame.attrs)
        return kept


def numbers(frame: pd.DataFrame, column: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a column as floats, with NaN for missing values.

    Raises:
        ArgumentError: the column has values that are not numbers.
    """
    try:
        return pd.to_numeric(frame[column]).to_numpy(dtype="float64", na_value=np.nan)
    except (TypeError, ValueError) as error:
        raise ArgumentError(f"column {column!r} must contain only numbers: {error}.") from error
