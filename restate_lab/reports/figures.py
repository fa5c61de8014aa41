"""A matplotlib figure as a picture in the page: SVG where there are few marks, PNG where there are many."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Any

import matplotlib as mpl
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg  # these two are loaded by the first picture, where an interrupt reaches them
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import Collection
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase

from restate_lab.reports.parts import Picture

__all__ = ["figure_of", "picture", "render_figure"]

_MARKS = 200  # above that lines weigh more than dots
_HATCH = 50  # marks that one hatched area is worth: printed as lines, six of them made a PDF of 1.2 MB
_LARGEST = 400_000  # bytes of a drawing in lines; letters weigh, too
_DOTS = 192  # per inch: two on a common screen's one, and enough for paper
_PIXELS = 96  # CSS pixels per inch
_MARGIN = 0.1  # inches
_OPTIONS: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}},  # 6 takes a third longer for a tenth
}
_SETTINGS: dict[Any, str] = {
    "svg.fonttype": "path",  # letters as outlines: the reader's machine need not have the fonts
    "svg.hashsalt": "restate_lab",
    "text.hinting": "none",  # as in an SVG: fitting letters to dots takes time, and is not seen at this resolution
}


def render_figure(plot: Callable[..., Axes], of: Any, zone: tzinfo, alt: str) -> Picture:
    """Return the picture that a ``plot_…`` function draws, in the size that it chooses itself, on a light ground."""
    with plt.style.context("default"), plt.ioff():
        figure = figure_of(plot(of, tz=zone))
        try:
            return _picture(figure, alt, _lay_out(figure))
        finally:
            plt.close(figure)


def picture(drawing: Axes | Figure, alt: str) -> Picture:
    """Return the whole figure; ``alt`` is what it shows, in words."""
    return _picture(figure_of(drawing), alt, None)


def figure_of(drawing: Axes | Figure) -> Figure:
    """Return the whole figure of Axes, or the Figure itself."""
    if isinstance(drawing, Figure):
        return drawing
    figure = drawing.figure
    return figure if isinstance(figure, Figure) else figure.figure


def _picture(figure: Figure, alt: str, box: BboxBase | None) -> Picture:
    width = round(figure.get_figwidth() * _PIXELS)
    if sum(1 for _ in _marks(figure)) <= _MARKS:
        content = _save_figure(figure, "svg", box)
        if len(content) <= _LARGEST:
            # In an image nothing of an SVG can act, and its names are its own.
            return Picture(_data_uri("image/svg+xml", content), alt, width)
    return Picture(_data_uri("image/png", _save_figure(figure, "png", box)), alt, width)


def _lay_out(figure: Figure) -> BboxBase:
    """Lay a figure out for good, and return the box of what is in it, in inches.

    ``savefig`` draws a whole figure twice to find that out by itself.
    """
    FigureCanvasAgg(figure)  # it becomes the figure's own
    figure.set_dpi(_DOTS)
    layout = figure.get_layout_engine()
    with mpl.rc_context(_SETTINGS):
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)
        return figure.get_tightbbox().padded(_MARGIN)


def _save_figure(figure: Figure, kind: str, box: BboxBase | None) -> bytes:
    """Return the part of a figure that is in the box, None for all that is drawn."""
    file = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(file, format=kind, dpi=_DOTS, bbox_inches=box or "tight", pad_inches=_MARGIN, **_OPTIONS[kind])
    return file.getvalue()


def _marks(figure: Figure) -> Iterator[None]:
    for ax in figure.get_axes():
        yield from (None for _ in (*ax.patches, *ax.lines, *ax.images, *ax.texts))
        yield from (None for each in ax.patches if each.get_hatch() for _ in range(_HATCH))
        for each in ax.collections:
            yield from (None for _ in range(_mark_count(each) * (_HATCH if each.get_hatch() else 1)))


def _mark_count(collection: Collection) -> int:
    return max(len(collection.get_paths()), len(collection.get_offsets()))  # type: ignore[arg-type]


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
