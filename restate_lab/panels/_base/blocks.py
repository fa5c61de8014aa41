"""Blocks of text and code under titles, shown as plain text; code has a copy button."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from typing import Any, Literal

import anywidget
import traitlets

from restate_lab._cells import FULL
from restate_lab._text import escape_invisible, truncate
from restate_lab.panels._assets import read_assets
from restate_lab.tokens import INLINE

_TEXT = f"font:{INLINE['f3']}/1.5 {INLINE['sans']};margin:4px 0"
_PRE = "white-space:pre-wrap;overflow-wrap:anywhere;max-height:260px;overflow:auto;margin:2px 0"

_LONGEST_TITLE = 1_000

Tone = Literal["plain", "good", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Block:
    """One text: ``is_code`` uses the code font with a copy button, ``is_value`` uses the code font without one."""

    title: str
    text: str
    tone: Tone = "plain"
    is_code: bool = False
    is_value: bool = False


class Blocks(anywidget.AnyWidget):
    """Show blocks of text; safe from any thread. ``side_by_side`` shows values next to each other if there is room."""

    _esm = read_assets("_assets/elements.js", "_base/blocks.js")
    _css = read_assets("_base/blocks.css")

    blocks = traitlets.List(traitlets.Dict()).tag(sync=True)
    side_by_side = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, *blocks: Block, side_by_side: bool = False) -> None:
        super().__init__(side_by_side=side_by_side)
        self.show(*blocks)

    def show(self, *blocks: Block) -> None:
        """Show these blocks instead of the previous ones; invisible characters are made visible."""
        self.blocks = [
            {
                "title": escape_invisible(truncate(block.title, _LONGEST_TITLE), lines=False),
                "text": _truncate(block.text),
                "tone": block.tone,
                "code": block.is_code,
                "value": block.is_value,
            }
            for block in blocks
        ]

    @property
    def text(self) -> str:
        """Return all blocks as one text."""
        return "\n".join(f"{block['title']}\n{block['text']}".strip() for block in self.blocks)

    def static_html(self) -> str:
        """Return the blocks as escaped HTML, for pages without widgets."""
        return "".join(_static(block) for block in self.blocks)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Ignore the data: a view only shows the blocks."""

    def __repr__(self) -> str:
        return f"<Blocks: {', '.join(block['title'] for block in self.blocks) or 'none'}>"


def _truncate(text: str) -> str:
    shown = escape_invisible(text[:FULL])
    return shown if len(text) <= FULL else f"{shown}…\n({len(text):,} characters in all)"


def _static(block: dict[str, Any]) -> str:
    tag, style = ("pre", _PRE) if block["code"] or block["value"] else ("div", _PRE + ";font:inherit")
    title = f"<b>{escape(block['title'])}</b>" if block["title"] else ""
    return f'<div style="{_TEXT}">{title}<{tag} style="{style}">{escape(block["text"])}</{tag}></div>'
