"""A grid without a kernel: its first rows as a static table with the number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from restate_lab._html.table import ROWS, TableColumn, render_table
from restate_lab.panels.grid.model import GridModel


def static_table(model: GridModel, notes: Sequence[str], *, now: datetime) -> str:
    """Return the first 100 rows in their current order as HTML, below lines of text; selected rows have a ✓.

    A grid with ages shows its times as ages at the time ``now``, with a line that has this time.
    """
    positions = model.order[:ROWS].tolist()
    more = [f"Showing the first {ROWS} of {len(model.order):,} rows."] if len(model.order) > ROWS else []
    return render_table(
        [TableColumn(model.layout.styles.head(name), model.table.kinds[name]) for name in model.shown],
        ([model.table.value(position, name) for name in model.shown] for position in positions),
        zone=model.zone,
        now=now if model.layout.styles.ages else None,
        lines=[*notes, *more],
        marks=["✓" if model.selection.has(position) else "" for position in positions],
    )
