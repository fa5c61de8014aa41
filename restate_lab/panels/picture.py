"""A plot as a picture for a panel: a Figure of its own, no pyplot, one at a time."""

from __future__ import annotations

import io
import threading

import pandas as pd

from restate_lab.interrupts import Shield

__all__ = ["journal_picture"]

_DRAWING = threading.Lock()  # matplotlib's fonts and styles are the process's
_WIDTH, _DPI = 6.4, 160


def journal_picture(frame: pd.DataFrame, *, tz: str) -> bytes:
    """Return the timeline of a journal as a PNG; matplotlib is loaded for the first one."""
    with Shield():
        import matplotlib.backends.backend_agg  # noqa: F401, PLC0415 - savefig would load it without a Shield
        from matplotlib.figure import Figure  # noqa: PLC0415 - a second that only a reader of timelines pays

        from restate_lab.plots import plot_journal  # noqa: PLC0415

    with _DRAWING:
        figure = Figure(figsize=(_WIDTH, _height(len(frame))), layout="constrained", dpi=_DPI)
        plot_journal(frame, ax=figure.add_subplot(), tz=tz)
        into = io.BytesIO()
        figure.savefig(into, format="png")
    return into.getvalue()


def _height(rows: int) -> float:
    return min(max(2.4, 1.5 + 0.22 * rows), 11.0)
