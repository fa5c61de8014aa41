"""Escaped HTML for notebooks: a card with a heading, facts and a bar. What came from a cluster is text, never HTML.

Colours follow the page: JupyterLab's variables where they exist, inherited ones elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["bar", "card"]

_BOX = (
    "border:1px solid var(--jp-border-color2,#8884);border-left:6px solid {accent};border-radius:4px;"
    "padding:10px 14px;margin:4px 0;max-width:760px;font-family:var(--jp-ui-font-family,system-ui,sans-serif);"
    "font-size:13px;line-height:1.45;color:var(--jp-ui-font-color1,inherit)"
)
_QUIET = "color:var(--jp-ui-font-color2,inherit)"


def card(title: str, subtitle: str, lines: Iterable[str], *, accent: str, body: str = "") -> str:
    """Return a card: a large title, an address below it, ``body`` (HTML made here), and lines of text."""
    rows = "".join(f'<div style="{_QUIET}">{escape(line)}</div>' for line in lines)
    return (
        f'<div style="{_BOX.format(accent=escape(accent))}">'
        f'<div style="font-size:19px;font-weight:600">{escape(title)}</div>'
        f'<div style="font-family:var(--jp-code-font-family,monospace);{_QUIET}">{escape(subtitle)}</div>'
        f"{body}{rows}</div>"
    )


def bar(parts: Sequence[tuple[str, int, str]]) -> str:
    """Return a stacked bar with a legend; ``parts`` are (word, count, colour), drawn in their order."""
    total = sum(count for _, count, _ in parts)
    if not total:
        return ""
    pieces = "".join(
        f'<div style="width:{100 * count / total:.2f}%;min-width:3px;background:{escape(colour)}" '
        f'title="{escape(word)} {count:,}"></div>'
        for word, count, colour in parts
    )
    legend = "".join(
        f'<span style="margin-right:14px;white-space:nowrap"><span style="display:inline-block;width:10px;height:10px;'
        f'border-radius:2px;background:{escape(colour)};margin-right:5px"></span>{escape(word)} <b>{count:,}</b></span>'
        for word, count, colour in parts
    )
    return (
        f'<div style="display:flex;height:10px;border-radius:3px;overflow:hidden;margin:8px 0 6px">{pieces}</div>'
        f'<div style="margin-bottom:6px">{legend}</div>'
    )
