"""Embed matplotlib figures in the page: as SVG if they have few marks, as PNG if they have many."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from datetime import tzinfo
from typing import Any, TypeGuard

import matplotlib as mpl
import matplotlib.backends.backend_agg
import matplotlib.backends.backend_svg  # import both now: an interrupt could break the import during the first picture
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import BboxBase

from restate_lab.reports.parts import DrawnPicture

_MARKS = 200  # with more marks, an SVG is larger than a PNG
_HATCH = 50  # one hatched area counts as this many marks: six hatched areas as SVG made a PDF of 1.2 MB
_LARGEST = 400_000  # bytes of an SVG; its text is large, too
_DOTS = 192  # pixels per inch: twice the resolution of a common screen, and enough for paper
_PIXELS = 96  # CSS pixels per inch
_MARGIN = 0.1  # inches
_OPTIONS: dict[str, dict[str, Any]] = {
    "svg": {"metadata": {"Date": None, "Creator": None}},
    "png": {"metadata": {"Software": None}, "pil_kwargs": {"compress_level": 3}},  # 6: 1/3 slower, 1/10 smaller
}
_SETTINGS: dict[Any, str] = {
    "svg.fonttype": "path",  # text as outlines: the reader's machine may not have the fonts
    "svg.hashsalt": "restate_lab",
    "text.hinting": "none",  # as in an SVG: hinting takes time and is not visible at this resolution
}


def render_figure(plot: Callable[..., Axes], of: Any, zone: tzinfo, alt: str) -> DrawnPicture:
    """Call a ``plot_…`` function and return its picture, in its default size, on a light background."""
    with plt.style.context("default"), plt.ioff():
        figure = figure_of(plot(of, tz=zone))
        try:
            return _picture(figure, alt, _lay_out(figure))
        finally:
            plt.close(figure)


def picture(drawing: Axes | Figure, alt: str) -> DrawnPicture:
    """Return the whole figure as a picture; ``alt`` describes it in a sentence.

    The figure is closed, because a notebook also shows each figure that is still open at the end of a cell.
    """
    figure = figure_of(drawing)
    plt.close(figure)
    return _picture(figure, alt, None)


def figure_of(drawing: Axes | Figure) -> Figure:
    """Return the top-level figure of Axes, or the Figure itself."""
    if isinstance(drawing, Figure):
        return drawing
    figure = drawing.figure
    return figure if isinstance(figure, Figure) else figure.figure


def is_drawing(content: object) -> TypeGuard[Axes | Figure]:
    """Return whether a value is Axes or a Figure."""
    return isinstance(content, Axes | Figure)


def title_of(drawing: Axes | Figure) -> str:
    """Return the title that Axes or a Figure show; "Picture" without one."""
    axes = [drawing] if isinstance(drawing, Axes) else drawing.get_axes()
    titles = [each.get_title(loc=place) for each in axes for place in ("left", "center", "right")]
    suptitle = "" if isinstance(drawing, Axes) else drawing.get_suptitle()
    return next((each for each in (suptitle, *titles) if each), "Picture")


def _picture(figure: Figure, alt: str, box: BboxBase | None) -> DrawnPicture:
    width = round(figure.get_figwidth() * _PIXELS)
    if sum(1 for _ in _marks(figure)) <= _MARKS:
        content = _save_figure(figure, "svg", box)
        if len(content) <= _LARGEST:
            # In an <img>, an SVG cannot run scripts, and its ids cannot conflict with others.
            return DrawnPicture(_data_uri("image/svg+xml", content), alt, width)
    return DrawnPicture(_data_uri("image/png", _save_figure(figure, "png", box)), alt, width)


def _lay_out(figure: Figure) -> BboxBase:
    """Fix the layout of a figure and return the bounding box of its content, in inches.

    Without this box, ``savefig`` draws the whole figure twice to compute it.
    """
    FigureCanvasAgg(figure)  # this sets figure.canvas
    figure.set_dpi(_DOTS)
    layout = figure.get_layout_engine()
    with mpl.rc_context(_SETTINGS):
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine(None)
        return figure.get_tightbbox().padded(_MARGIN)


def _save_figure(figure: Figure, kind: str, box: BboxBase | None) -> bytes:
    """Return the part of a figure that is in the box; None means everything."""
    file = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        figure.savefig(file, format=kind, dpi=_DOTS, bbox_inches=box or "tight", pad_inches=_MARGIN, **_OPTIONS[kind])
    return file.getvalue()


def _marks(figure: Figure) -> Iterator[None]:
    for ax in figure.get_axes():
        yield from (None for _ in (*ax.patches, *ax.lines, *ax.images, *ax.texts))
        yield from (None for each in ax.patches if each.get_hatch() for _ in range(_HATCH))
        for each in ax.collections:
            marks = max(len(each.get_paths()), len(each.get_offsets()))  # type: ignore[arg-type]
            yield from (None for _ in range(marks * (_HATCH if each.get_hatch() else 1)))


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
