"""The table without a kernel: the first rows of a grid as plain, escaped HTML, which says how much it leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from restate_lab._cells import MISSING, Cell, Kind, cell
from restate_lab._text import escape_invisible
from restate_lab.panels.grid.model import GridModel
from restate_lab.status import STATUSES

__all__ = ["static_table"]

ROWS = 100

_BOX = "max-width:100%;overflow-x:auto;border:1px solid var(--jp-border-color2,#8886);border-radius:4px"
# Set again what pages set for tables: numbers stay right, and text keeps its colour in a dark page.
_TABLE = "border-collapse:collapse;font:12px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);color:inherit;margin:0"
_LINE = "border:0;border-bottom:1px solid var(--jp-border-color2,#8884);padding:3px 10px;vertical-align:top"
_CELL = f"{_LINE};white-space:nowrap;max-width:340px;overflow:hidden;text-overflow:ellipsis"
_SAID = "font:12px/1.6 var(--jp-ui-font-family,system-ui,sans-serif);margin:4px 0"
_DOT = "display:inline-block;width:8px;height:8px;border-radius:50%;margin-right:6px;background:"


def static_table(model: GridModel, said: Sequence[str]) -> str:
    """Return the first 100 rows in their present order, under lines of text; selected rows bear a ✓."""
    names = model.shown
    kinds = [model.table.kinds[name] for name in names]
    zone = f" ({model.zone})"
    head = "".join(
        _head(escape_invisible(name, lines=False) + (zone if kind == "time" else ""), kind)
        for name, kind in zip(names, kinds, strict=True)
    )
    rows = "".join(_row(model, position, names, kinds) for position in model.order[:ROWS].tolist())
    more = [f"The first {ROWS} of {len(model.order):,} are below."] if len(model.order) > ROWS else []
    lines = "".join(f'<div style="{_SAID}">{escape(line)}</div>' for line in [*said, *more])
    return (
        f'<div>{lines}<div style="{_BOX}"><table style="{_TABLE}">'
        f'<thead><tr><th style="{_LINE}"></th>{head}</tr></thead><tbody>{rows}</tbody></table></div></div>'
    )


def _head(name: str, kind: Kind) -> str:
    return f'<th scope="col" style="{_LINE};{_side(kind)};font-weight:600;white-space:nowrap">{escape(name)}</th>'


def _row(model: GridModel, position: int, names: Sequence[str], kinds: Sequence[Kind]) -> str:
    mark = "✓" if model.selection.has(position) else ""
    cells = (
        _cell(cell(model.table.value(position, name), model.zone), kind)
        for name, kind in zip(names, kinds, strict=True)
    )
    return f'<tr><td style="{_LINE}">{mark}</td>{"".join(cells)}</tr>'


def _cell(shown: Cell, kind: Kind) -> str:
    if shown.text is None:
        return f'<td style="{_CELL};{_side(kind)};opacity:.55">{MISSING}</td>'
    dot = ""
    if kind == "status" and shown.text in STATUSES:
        dot = f'<span style="{_DOT}{escape(STATUSES[shown.text].colour)}"></span>'
    title = f' title="{escape(shown.more)}"' if shown.more else ""
    return f'<td style="{_CELL};{_side(kind)}"{title}>{dot}{escape(shown.text)}</td>'


def _side(kind: Kind) -> str:
    return "text-align:right" if kind in {"number", "duration"} else "text-align:left"
