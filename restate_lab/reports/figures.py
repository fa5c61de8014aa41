"""A matplotlib figure as a picture in the page: in lines where there are few marks, in dots where there are many."""

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

__all__ = ["drawn", "figure_of", "picture"]

_MARKS = 200  # above that lines weigh more than dots
_HATCH = 50  # marks that one hatched area is worth: printed as lines, six of them made a PDF of 1.2 MB
_LARGEST = 400_000  # bytes of a drawing in lines; letters weigh, too
_DOTS = 192  # per inch: two on a common screen's one, and enough for paper
_PIXELS = 96  # CSS pixels per inch


def picture(drawn: Axes | Figure, alt: str) -> Picture:
    """Return the whole figure; ``alt`` is what it shows, in words."""
    figure = figure_of(drawn)
    width = round(figure.get_figwidth() * _PIXELS)
    if sum(1 for _ in _marks(figure)) <= _MARKS:
        content = _written(figure, "svg")
        if len(content) <= _LARGEST:
            # In an image nothing of an SVG can act, and its names are its own.
            return Picture(_uri("image/svg+xml", content), alt, width)
    return Picture(_uri("image/png", _written(figure, "png")), alt, width)


def figure_of(drawn: Axes | Figure) -> Figure:
    """Return the whole figure that something was drawn on."""
    if isinstance(drawn, Figure):
        return drawn
    figure = drawn.figure
    return figure if isinstance(figure, Figure) else figure.figure


def _written(figure: Figure, kind: str) -> bytes:
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
            yield from (None for _ in range(_size(each) * (_HATCH if each.get_hatch() else 1)))


def _size(collection: Collection) -> int:
    return max(len(collection.get_paths()), len(collection.get_offsets()))  # type: ignore[arg-type]


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def drawn(plot: Callable[..., Axes], of: Any, zone: tzinfo, alt: str) -> Picture:
    """Return the picture that a ``plot_…`` function makes, in the size that it chooses itself, on a light ground."""
    with plt.style.context("default"), plt.ioff():
        drawing = plot(of, tz=zone)
        try:
            return picture(drawing, alt)
        finally:
            plt.close(figure_of(drawing))
