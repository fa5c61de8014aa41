"""A plot drawn for a report: on a figure of its own, which no backend and no notebook gets to see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import tzinfo
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from restate_lab.reports.parts import Picture
from restate_lab.reports.pictures import figure_of, picture

__all__ = ["drawn"]


def drawn(plot: Callable[..., Axes], of: Any, zone: tzinfo, alt: str) -> Picture:
    """Return the picture that a ``plot_…`` function makes, in the size that it chooses itself, on a light ground."""
    with plt.style.context("default"), plt.ioff():
        drawing = plot(of, tz=zone)
        try:
            return picture(drawing, alt)
        finally:
            plt.close(figure_of(drawing))
