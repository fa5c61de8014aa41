"""Export buttons: the rows of a grid as a file beside the notebook, or their ids on the clipboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from restate_lab.panels._base.files import ExportedRows, ExportForm
from restate_lab.panels._base.panel import LivePanel

if TYPE_CHECKING:
    from restate_lab.panels.grid import Grid


def offer_export(
    grid: Grid, host: LivePanel, name: str | Callable[[], str], *, helpers: tuple[str, ...] = (), has_ids: bool = True
) -> None:
    """Offer to export the rows of a grid: the selected ones, or all that match its filter, in their order.

    ``name`` begins the name of the file. ``helpers`` are columns that only arrange the table. ``has_ids`` is whether
    the keys of the rows are ids that are useful outside of the table.
    """

    def write(form: ExportForm) -> None:
        frame, is_selection = grid.exported
        text = name if isinstance(name, str) else name()
        host.files.write(
            ExportedRows(
                frame.drop(columns=list(helpers), errors="ignore"),
                f"{text}-selected" if is_selection else text,
                key=grid.key,
                missing="" if is_selection else grid.note,
            ),
            form,
        )

    grid.on_export(host.guard(write), has_ids=has_ids)
