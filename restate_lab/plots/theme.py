"""Show a figure in a notebook in the colors of the notebook's theme: a transparent SVG inside of the page.

Gray lines and text become the text color of the page, light tints become transparent, and the colors of statuses stay.
If the page shows no SVG, as an untrusted notebook does not, the same figure as an opaque PNG appears.
"""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import Any

from matplotlib import rc_context
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from restate_lab.plots.colours import DARK_INK, FIXED_COLOURS, LARGEST_TINT

_COLOUR = re.compile(r"(?P<name>(?:fill|stroke): |(?:fill|stroke)=\")(?P<colour>#[0-9a-f]{6})")
_GRAY = 0.05  # largest difference of the channels of a gray
_LARGEST = 600_000  # bytes of an SVG
_DOTS = 144  # per inch, of the PNG
_PIXELS = 96  # CSS pixels per inch
_LEAST = 0.92  # share of its size to which a narrow page shrinks a figure, so that text of 9 points has 11 pixels
_PAGE = "var(--jp-layout-color0,var(--vscode-editor-background,transparent))"
_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
_SETTINGS: dict[Any, Any] = {"svg.fonttype": "path", "text.hinting": "none"}


class NotebookFigure(Figure):
    """A figure that a notebook shows in the colors of its theme; files have its own colors."""

    def _ipython_display_(self) -> None:
        from IPython.display import publish_display_data  # noqa: PLC0415 - only a notebook calls this

        titles = [axes.get_title(loc="left") for axes in self.get_axes()]
        name = next(filter(None, titles), "a plot")
        bundle = {"text/html": figure_html(self, name), "text/plain": f"[picture: {name}]"}
        publish_display_data(bundle)  # type: ignore[no-untyped-call] # IPython has no types for it


def figure_html(figure: Figure, name: str) -> str:
    """Return a figure as HTML: an SVG in the colors of the page, and a PNG that is shown if there is no SVG."""
    svg = _save(figure, "svg", transparent=True, metadata=_METADATA).decode()
    svg = _COLOUR.sub(_themed, svg[svg.index("<svg") :])
    label = escape(name)
    width = round(figure.get_figwidth() * _PIXELS)
    size = f"max-width:100%;min-width:{width * _LEAST:.0f}px;height:auto"
    start = f'<svg style="{size}" role="img" aria-label="{label}"'
    png = base64.b64encode(_save(figure, "png", dpi=_DOTS)).decode()
    # A page that removes SVG removes the style, too; then the PNG is visible.
    drawing = f"<style>.rl-plot > svg + img {{ display: none; }}</style>{svg.replace('<svg', start, 1)}"
    return (
        '<div class="rl-plot" style="overflow-x:auto;color:var(--jp-ui-font-color1,inherit)">'
        f"{drawing if len(svg) <= _LARGEST else ''}"
        f'<img alt="{label}" width="{width}" style="max-width:100%" src="data:image/png;base64,{png}">'
        "</div>"
    )


def _save(figure: Figure, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    with rc_context(_SETTINGS):
        figure.savefig(file, format=kind, bbox_inches="tight", pad_inches=0.1, **options)
    return file.getvalue()


def _themed(found: re.Match[str]) -> str:
    """Return a color of an SVG as one that fits a light and a dark page."""
    colour = found["colour"]
    red, green, blue = to_rgb(colour)
    least = min(red, green, blue)
    if colour in FIXED_COLOURS:
        return found[0]
    if max(red, green, blue) - least <= _GRAY:
        share = (1 - red) / (1 - to_rgb(DARK_INK)[0])
        mixed = f"color-mix(in srgb,currentColor {100 * min(share, 1):.0f}%,transparent)"
        return f"{found['name']}{mixed if share > 0 else _PAGE}"
    if least < 1 - LARGEST_TINT:
        return found[0]
    # The color that gives this one on white if it covers white with this share.
    share = 1 - least
    parts = (255 * (part - least) / share for part in (red, green, blue))
    return f"{found['name']}rgb({' '.join(f'{part:.0f}' for part in parts)} / {share:.2f})"
