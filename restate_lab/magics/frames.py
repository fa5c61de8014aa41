"""Show frames of restate_lab as readable tables in the notebook of one shell; all other frames look as in pandas.

A frame of restate_lab is recognized by its ``attrs``: the statement, the source with its version and a time, or
``made_by``. pandas keeps them in ``head()``, filters and selections of columns, and drops them where rows are combined,
as in ``groupby``. Only the display changes, never the frame.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from IPython.core.interactiveshell import InteractiveShell

from restate_lab._html.table import frame_html
from restate_lab.frames import CardFrame

ROWS = 25
_ADVICE = "; rl.show(frame, rows=…) shows more"
_STATEMENT = {"sql", "params"}
_ORIGIN = {"source", "version"}
_TIMES = {"read_at", "asked_at"}


class FrameFormatter:
    """The HTML of the frames of one shell; ``switch`` turns it on and off."""

    def __init__(self, ip: InteractiveShell) -> None:
        self._formatter: Any = ip.display_formatter.formatters["text/html"]  # type: ignore[union-attr]
        self._before: Callable[[pd.DataFrame], str | None] | None = None
        self.is_on = False

    def switch(self, *, on: bool) -> None:
        """Show frames of restate_lab as tables, or as before; another formatter of the user stays in use for others."""
        if on and not self.is_on:
            self._before = self._formatter.for_type(pd.DataFrame, self._html_of)
        elif self.is_on and not on and self._formatter.for_type(pd.DataFrame) == self._html_of:
            self._formatter.pop(pd.DataFrame)
            if self._before is not None:
                self._formatter.for_type(pd.DataFrame, self._before)
        self.is_on = on

    def _html_of(self, frame: pd.DataFrame) -> str | None:
        if self.is_on and pd.get_option("display.notebook_repr_html") and is_readable(frame):
            return frame_html(frame, rows=ROWS, advice=_ADVICE)
        html: str | None = frame._repr_html_() if self._before is None else self._before(frame)  # type: ignore[operator]
        return html


def is_readable(frame: pd.DataFrame) -> bool:
    """Return whether a frame is one of restate_lab, or rows and columns of one, and has no card of its own.

    Names of rows, or several levels of columns, show that a frame was computed from it.
    """
    if type(frame) not in {pd.DataFrame, CardFrame} or (isinstance(frame, CardFrame) and frame.has_card):
        return False
    is_numbered = pd.api.types.is_integer_dtype(frame.index.dtype) and frame.index.name is None
    names = frame.attrs.keys()
    is_read = names >= _STATEMENT or (names >= _ORIGIN and not names.isdisjoint(_TIMES))
    is_ours = is_read or frame.attrs.get("made_by") == "restate_lab"
    return is_ours and is_numbered and frame.columns.nlevels == 1 and frame.columns.name is None
