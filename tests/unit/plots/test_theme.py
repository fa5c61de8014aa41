"""A plot in a notebook: an SVG in the colors of the page, and a PNG where SVG is removed."""

from __future__ import annotations

import base64
import io
import re

import matplotlib.pyplot as plt
import pytest
from IPython import display
from matplotlib.text import Text

from restate_lab import plots
from restate_lab.plots.colours import DARK_INK, FIXED_COLOURS, LARGEST_TINT
from restate_lab.plots.theme import NotebookFigure, figure_html
from restate_lab.status import STATUSES
from support.pictures import PLOTS, contrast, every_plot

NAMES = ("Cart", "Orders", "agent")
COLOUR = re.compile(r"(?:fill|stroke)(?:: |=\")(#[0-9a-f]{6})")


@every_plot
def test_a_plot_has_the_text_color_of_its_page_and_no_background(name: str) -> None:
    """Gray lines and text follow the text color of the page; each other color fits a white and a black page."""
    plot, made = PLOTS[name]
    html = figure_html(plot(made(NAMES)).figure, "<b>")
    svg = html[html.index("<svg") : html.index("</svg>")]
    assert "currentColor 100%" in svg
    assert 'aria-label="&lt;b&gt;"' in svg
    left = set(COLOUR.findall(svg)) - FIXED_COLOURS
    assert not {"#ffffff", DARK_INK} & left
    assert all(contrast(colour, "#000000") < 10 for colour in left), left
    assert max(len(svg), len(html) - len(svg)) < 700_000


def test_a_status_has_its_own_color_in_each_theme() -> None:
    plot, made = PLOTS["status"]
    svg = figure_html(plot(made(NAMES)).figure, "status")
    assert {STATUSES[status].colour for status in ("pending", "backing-off")} <= set(COLOUR.findall(svg))
    assert LARGEST_TINT < 0.6, "a strong color would become transparent"


def test_text_of_the_wait_graph_has_11_pixels_or_more_on_a_narrow_page() -> None:
    plot, made = PLOTS["waits"]
    figure = plot(made(NAMES)).figure
    html = figure_html(figure, "waits")
    shrunk = int(re.findall(r"min-width:(\d+)px", html)[0]) / (figure.get_figwidth() * 96)
    texts = [text for text in figure.findobj(Text) if "\n" in text.get_text()]
    assert min(text.get_fontsize() for text in texts) * 96 / 72 * shrunk >= 11


def test_a_page_that_removes_svg_shows_the_png() -> None:
    """A notebook that is not trusted removes the SVG together with the style that hides the PNG."""
    plot, made = PLOTS["waits"]
    html = figure_html(plot(made(NAMES)).figure, "waits")
    clean = re.sub(r"<svg.*?</svg>|<style.*?</style>", "", html, flags=re.DOTALL)
    assert "display" not in clean
    png = base64.b64decode(re.findall(r'src="data:image/png;base64,([^"]+)"', clean)[0])
    pixels = plt.imread(io.BytesIO(png))
    assert pixels[..., 3].min() == 1, "the PNG is opaque, so that it is readable on each page"


def test_a_notebook_gets_html_and_the_title_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(display, "publish_display_data", shown.append)
    plot, made = PLOTS["backlog"]
    figure = plot(made(NAMES)).figure
    assert isinstance(figure, NotebookFigure)
    figure._ipython_display_()
    (bundle,) = shown
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == "[picture: Calls that wait for a key]"


def test_a_chosen_style_sheet_and_given_axes_are_not_replaced_by_the_theme() -> None:
    plot, made = PLOTS["backlog"]
    with plt.style.context("dark_background"):
        assert not isinstance(plot(made(NAMES)).figure, NotebookFigure)
    _, ax = plt.subplots()
    assert not isinstance(plots.plot_backlog(made(NAMES), ax=ax).figure, NotebookFigure)


def test_a_saved_file_keeps_the_colors_of_the_style_sheet() -> None:
    plot, made = PLOTS["backlog"]
    file = io.StringIO()
    plot(made(NAMES)).figure.savefig(file, format="svg")
    assert {"#ffffff", DARK_INK} <= set(COLOUR.findall(file.getvalue()))
