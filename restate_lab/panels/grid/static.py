"""A grid without a kernel: its first rows as a static table with the number of rows."""

from __future__ import annotations

from collections.abc import Sequence

from restate_lab._html.table import ROWS, TableColumn, render_table
from restate_lab.panels.grid.model import GridModel


def static_table(model: GridModel, notes: Sequence[str]) -> str:
    """Return the first 100 rows in their current order as HTML, below lines of text; selected rows have a ✓."""
    positions = model.order[:ROWS].tolist()
    more = [f"Showing the first {ROWS} of {len(model.order):,} rows."] if len(model.order) > ROWS else []
    return render_table(
        [TableColumn(model.layout.styles.head(name), model.table.kinds[name]) for name in model.shown],
        ([model.table.value(position, name) for name in model.shown] for position in positions),
        zone=model.zone,
        lines=[*notes, *more],
        marks=["✓" if model.selection.has(position) else "" for position in positions],
    )
