"""Convert an executed notebook to sections of a report: its text, the outputs of its cells, and their folded code."""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from nbformat import NotebookNode

from restate_lab._text import escape_invisible
from restate_lab.reports.masking import Masker
from restate_lab.reports.notebook.masking import join_streams, render_terminal_text
from restate_lab.reports.notebook.sanitizer import render_markdown, sanitize
from restate_lab.reports.parts import Card, Code, Notice, Part, Picture, Section

_HEADING = re.compile(r"\s*#{1,2}[ \t]+(?P<title>[^\n]+)(?:\n|\Z)")
_MARKS = re.compile(r"[`*]|(?<!\w)_|_(?!\w)|\[([^\[\]]*)\]\([^)\[]*\)")
_PREFERRED = ("text/html", "image/svg+xml", "image/png", "image/jpeg", "text/markdown", "text/latex", "text/plain")
_ALT_TEXT = "a picture from a notebook cell"


@dataclass
class _Chapter:
    title: str
    parts: list[Part] = field(default_factory=list)


def title_of(content: NotebookNode) -> str:
    """Return the first heading of a notebook, or "" if it has none."""
    for cell in content.cells:
        if cell.cell_type == "markdown" and (match := _HEADING.match(cell.source)):
            return _plain_heading(match["title"])
    return ""


def sections_of(content: NotebookNode, masker: Masker) -> tuple[Section, ...]:
    """Return one section for each heading of level 1 or 2, and one for the cells before the first heading."""
    chapters = [_Chapter("")]
    number = 0
    for cell in content.cells:
        if cell.cell_type == "markdown":
            source = masker.text(cell.source)
            match = _HEADING.match(source)
            if match:
                chapters.append(_Chapter(_plain_heading(match["title"])))
            rest = source[match.end() :] if match else source
            if rest.strip():
                chapters[-1].parts.append(Card(render_markdown(rest, cell.get("attachments")), is_text=True))
        elif cell.cell_type == "code" and cell.source.strip():
            number += 1
            chapters[-1].parts += _code_parts(cell, number, masker)
    whole = title_of(content)
    return tuple(
        Section("" if at < 2 and each.title == whole else each.title, tuple(each.parts), is_notebook=True)
        for at, each in enumerate(chapters)
        if each.parts or (each.title and each.title != whole)
    )


def _code_parts(cell: NotebookNode, number: int, masker: Masker) -> Iterator[Part]:
    label = f"Code of cell {number}"
    if "injected-parameters" in cell.metadata.get("tags", ()):
        label += " (parameters of this report)"
    yield Code(escape_invisible(masker.text(cell.source)), folded=label)
    for output in join_streams(cell.outputs):
        yield from _output_parts(output, masker)


def _output_parts(output: Any, masker: Masker) -> Iterator[Part]:
    if output.output_type == "stream":
        text = render_terminal_text(str(output.text)).rstrip()
        if text:
            yield Code(escape_invisible(masker.text(text)))
    elif output.output_type == "error":
        text = render_terminal_text("\n".join(output.traceback)) or f"{output.ename}: {output.evalue}"
        yield Code(escape_invisible(masker.text(text)), is_error=True)
    else:
        yield from _data_parts(output.data, output.get("metadata", {}), masker)


def _data_parts(data: Mapping[str, Any], metadata: Mapping[str, Any], masker: Masker) -> Iterator[Part]:
    kind = next((each for each in _PREFERRED if data.get(each)), "")
    value = data.get(kind, "")
    text = "".join(value) if isinstance(value, list) else str(value)
    is_widget = "application/vnd.jupyter.widget-view+json" in data
    if is_widget and data.get("text/html") == "":  # the output before it has its content
        return
    if is_widget and kind in {"", "text/plain"}:
        yield Notice("An interactive widget was here; a report cannot show it.")
    elif kind == "text/html":
        html = sanitize(masker.text(text))
        yield Card(html) if html.strip() else _unsupported_notice(data)
    elif kind == "text/markdown":
        yield Card(render_markdown(masker.text(text)), is_text=True)
    elif kind.startswith("image/"):
        yield _picture(kind, text, metadata.get(kind, {}), masker)
    elif text.strip():
        yield Code(escape_invisible(masker.text(render_terminal_text(text))))
    elif any(data.values()):  # a finished progress bar has only empty texts
        yield _unsupported_notice(data)


def _unsupported_notice(data: Mapping[str, Any]) -> Notice:
    return Notice(f"An output was here that needs scripts, so a report cannot show it ({', '.join(sorted(data))}).")


def _picture(kind: str, text: str, size: Mapping[str, Any], masker: Masker) -> Picture:
    if kind == "image/svg+xml":  # in an <img>, an SVG cannot run scripts
        content = base64.b64encode(masker.text(text).encode()).decode()
        return Picture(f"data:{kind};base64,{content}", _ALT_TEXT, None)
    content = "".join(text.split())
    width = size.get("width") or (_png_width(content) if kind == "image/png" else None)
    return Picture(f"data:{kind};base64,{content}", _ALT_TEXT, int(width) if width else None)


def _png_width(content: str) -> int | None:
    head = base64.b64decode(content[:64] + "=" * (-len(content[:64]) % 4))
    return int(struct.unpack(">I", head[16:20])[0]) if len(head) >= 20 else None


def _plain_heading(heading: str) -> str:
    heading = heading.rstrip(" \t#") or heading
    return escape_invisible(_MARKS.sub(r"\1", heading).strip())
