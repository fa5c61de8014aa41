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
from matplotlib.collections import Collection
from matplotlib.figure import Figure

from restate_lab.reports.parts import Picture

__all__ = ["figure_of", "picture", "render_figure"]

_MARKS = 200  # above that lines weigh more than dots
_HATCH = 50  # marks that one hatched area is worth: printed as lines, six of them made a PDF of 1.2 MB
_LARGEST = 400_000  # bytes of a drawing in lines; letters weigh, too
_DOTS = 192  # per inch: two on a common screen's one, and enough for paper
_PIXELS = 96  # CSS pixels per inch


def render_figure(plot: Callable[..., Axes], of: Any, zone: tzinfo, alt: str) -> Picture:
    """Return the picture that a ``plot_…`` function draws, in the size that it chooses itself, on a light ground."""
    with plt.style.context("default"), plt.ioff():
        axes = plot(of, tz=zone)
        try:
            return picture(axes, alt)
        finally:
            plt.close(figure_of(axes))


def picture(drawing: Axes | Figure, alt: str) -> Picture:
    """Return the whole figure; ``alt`` is what it shows, in words."""
    figure = figure_of(drawing)
    width = round(figure.get_figwidth() * _PIXELS)
    if sum(1 for _ in _marks(figure)) <= _MARKS:
        content = _save_figure(figure, "svg")
        if len(content) <= _LARGEST:
            # In an image nothing of an SVG can act, and its names are its own.
            return Picture(_data_uri("image/svg+xml", content), alt, width)
    return Picture(_data_uri("image/png", _save_figure(figure, "png")), alt, width)


def figure_of(drawing: Axes | Figure) -> Figure:
    """Return the whole figure of Axes, or the Figure itself."""
    if isinstance(drawing, Figure):
        return drawing
    figure = drawing.figure
    return figure if isinstance(figure, Figure) else figure.figure


def _save_figure(figure: Figure, kind: str) -> bytes:
    file = io.BytesIO()
    metadata = {"Date": None, "Creator": None} if kind == "svg" else {"Software": None}
    # Letters as outlines: the reader's machine need not have the fonts.
    with mpl.rc_context({"svg.fonttype": "path", "svg.hashsalt": "restate_lab"}):
        figure.savefig(file, format=kind, dpi=_DOTS, bbox_inches="tight", pad_inches=0.1, metadata=metadata)
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
