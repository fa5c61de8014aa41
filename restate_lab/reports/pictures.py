"""The pictures of a report. They need matplotlib; without it a report has none, and one line of it says so."""

from __future__ import annotations

from datetime import tzinfo
from typing import TYPE_CHECKING, Any

from restate_lab.errors import MissingExtra
from restate_lab.reports.parts import DrawnPicture, OmittedPicture

if TYPE_CHECKING:
    from restate_lab.plots import PlotKind

try:  # now, and not at the first picture: an interrupt could break the import of matplotlib
    from restate_lab import plots
    from restate_lab.reports import figures
except MissingExtra:
    CAN_DRAW = False
else:
    CAN_DRAW = True


def plot_of(kind: PlotKind, result: Any, zone: tzinfo, alt: str) -> DrawnPicture | OmittedPicture:
    """Draw a result as a plot of this kind; ``alt`` describes it in a sentence."""
    if not CAN_DRAW:
        return OmittedPicture(alt)
    return figures.render_figure(plots.KINDS[kind], result, zone, alt)


def drawing_of(content: object) -> tuple[str, DrawnPicture] | None:
    """Return the title and the picture of Axes or a Figure; None for another value."""
    if not CAN_DRAW or not figures.is_drawing(content):
        return None
    title = figures.title_of(content)
    return title, figures.picture(content, title)
