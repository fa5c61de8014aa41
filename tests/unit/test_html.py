"""The templates of cards: their values are text, nothing in them runs, and nothing is hidden."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
import pytest
from markupsafe import Markup

import restate_lab
from restate_lab._html import render
from restate_lab._html.table import TableCell, TableColumn, show
from restate_lab._text import shorten_id
from restate_lab.analysis.waits.picture import WaitPicture
from restate_lab.document import words_of
from restate_lab.document.html import draw, draw_bars, is_short_cell
from restate_lab.errors import ArgumentError
from restate_lab.status import COLOURS, OUTCOMES
from support.documents import hostile_bars, hostile_document
from support.sample_rows import sample_id

PACKAGE = Path(restate_lab.__file__).parent
MARKUP = "<script>alert(1)</script><b onload='x'> \"' style=\"x\" & &lt; {{ 7 * 7 }} {% raw %}"
HOSTILE = f"{MARKUP} \u202etxt.exe\u200b\x1b[31m"
SEEN = f"{MARKUP} ‹U+202E›txt.exe‹U+200B›‹U+001B›[31m"
PAGE = {"page": "https://lab.example.com/invocations?text=%3Cb%3E"}
CARD: dict[str, Any] = {"title": HOSTILE, "place": HOSTILE, "lines": [HOSTILE], "accent": "red"} | PAGE
BADGES: dict[str, Any] = {"badges": [(HOSTILE, HOSTILE, "red")], "facts": [(HOSTILE, HOSTILE)], "place_tip": HOSTILE}
PARTS: dict[str, Any] = {"parts": [(HOSTILE, 1_200, "red"), (HOSTILE, 0, "blue")]}
BOX: dict[str, Any] = {"x": 1, "y": 2, "width": 3, "height": 4, "times": 1_200, "folded": "", "colour": "red"}
PICTURE = WaitPicture(
    width=9,
    text_width=9,
    height=9,
    boxes=(
        BOX
        | dict.fromkeys(("target", "label", "id", "status"), HOSTILE)
        | {"lines": [HOSTILE], "text_x": 5, "anchor": "a"},
        BOX | {"folded": HOSTILE, "lines": []},
    ),
    arrows=({"points": ((0, 0), (9, 9)), "tip": ((0, 0),), "kind": HOSTILE, "dashes": "1 2", "red": True},),
    cycles=({"x": 1, "y": 2, "width": 3, "height": 4, "certain": False, "label": HOSTILE},),
    notes=(HOSTILE,),
    kinds=((HOSTILE, "1 2"),),
)
CELL = TableCell(HOSTILE, HOSTILE, "red", is_missing=True)
TABLE: dict[str, Any] = {"title": HOSTILE, "name": HOSTILE, "summary": HOSTILE, "heads": [HOSTILE], "rows": [[HOSTILE]]}
BARS = hostile_bars(HOSTILE)
BAR = (HOSTILE, 50.0, "red", HOSTILE, (40.0, 60.0))
STORY_ROW: dict[str, Any] = (
    dict.fromkeys(("target", "status", "failure", "duration", "about", "agent"), HOSTILE)
    | {"id": HOSTILE, "first": HOSTILE, "times": 0, "colour": "red", "notes": [HOSTILE], "indent": 14, "depth": 1_200}
    | {"segments": [dict.fromkeys(("kind", "about"), HOSTILE) | {"colour": "red", "left": 1, "width": 2, "is_open": 1}]}
    | {"profile": [(1, 2, 3)], "critical": [(1, 2)], "is_critical": True, "is_plain": True, "left": 1, "width": 2}
    | {"departures": [1], "passing": [2], "arrival": 3}
)
WATERFALL: dict[str, Any] = (
    {"ticks": [{"label": HOSTILE, "width": 1}] * 2, "rows": [STORY_ROW, STORY_ROW | {"id": "", "times": 1_200}]}
    | {"legend": [(HOSTILE, "red", HOSTILE)], "breaks": [(1, 2, HOSTILE)], "started": HOSTILE}
    | dict.fromkeys(("has_agents", "has_critical", "has_departures", "has_groups", "is_open"), True)
    | {"hidden": 1_200}
    | {"is_live": False, "selected": HOSTILE}
)
CARDS: dict[str, dict[str, Any]] = {
    "analysis/story/waterfall.html.j2": WATERFALL,
    "_html/bar.html.j2": PARTS,
    "_html/card.html.j2": CARD | PARTS | BADGES,
    "_html/table.html.j2": {
        "lines": [HOSTILE],
        "columns": [TableColumn(HOSTILE, "number")],
        "rows": [[CELL]],
        "marks": [HOSTILE],
    },
    "analysis/questions/card.html.j2": {
        "questions": [dict.fromkeys(("name", "question", "own", "row", "cost"), HOSTILE)],
        "note": HOSTILE,
    },
    "analysis/contrast/bars.html.j2": {"bars": [BAR, BAR]},
    "analysis/waits/picture.html.j2": {"picture": PICTURE, "is_live": False},
    "reports/templates/written.html.j2": CARD | {"path": HOSTILE, "href": "#a", "size": HOSTILE, "lead": [HOSTILE] * 2},
    "document/card.html.j2": {"document": hostile_document(HOSTILE, page=PAGE["page"])}
    | {"draw": draw, "draw_bars": draw_bars, "words_of": words_of, "is_short_cell": is_short_cell}
    | {"links": {0: [(HOSTILE, "#a")]}, "blocks": hostile_document(HOSTILE).blocks}
    | {"is_report": False, "is_short": False},
    "document/bars.html.j2": {"bars": BARS, "below": {None: BARS.rows[:1], HOSTILE: BARS.rows[1:]}, "unfolded": ()}
    | {"outcomes": OUTCOMES},
    "client/models/model.html.j2": CARD | TABLE | {"remark": HOSTILE},
}
"""Each template of a card with all its values, all of them hostile."""
TAGS = {
    *("div", "span", "b", "br", "code", "details", "summary", "dl", "dt", "dd"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}
DRAWN = {"svg", "rect", "path", "polygon", "text", "foreignobject", "a"}
SHAPES = {
    *("x", "y", "width", "height", "rx", "d", "points", "fill", "fill-opacity", "stroke", "stroke-opacity"),
    *("stroke-width", "stroke-dasharray", "font-weight", "font-size"),
}
ATTRIBUTES = {
    "style",
    "title",
    "open",
    "role",
    "aria-label",
    "aria-hidden",
    "aria-level",
    "tabindex",
    "scope",
    "colspan",
    "id",
    "href",
    "target",
    "rel",
    "data-turn",
}


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_template_is_tried() -> None:
    """A new template of a card gets hostile values here; reports, the panel and pages have their own tests."""
    there = {str(each.relative_to(PACKAGE)) for each in PACKAGE.rglob("*.j2") if "serve" not in each.parts}
    reports = {f"reports/templates/{name}.html.j2" for name in ("report", "parts", "first_page")}
    others = {"_html/macros.html.j2", "panels/invocation/title.html.j2", *reports}
    assert there == {*CARDS, *others}


@pytest.mark.parametrize("template", CARDS)
def test_hostile_values_of_a_template_are_shown_unchanged_as_text(template: str) -> None:
    page = Page(render(template, **CARDS[template]))
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= TAGS | DRAWN
    assert {name for _, attributes in page.tags for name in attributes} <= ATTRIBUTES | SHAPES
    assert {attributes["href"] for _, attributes in page.tags if "href" in attributes} <= {"#a", PAGE["page"]}
    titles = [attributes["title"] or "" for _, attributes in page.tags if "title" in attributes]
    hostile = [each for each in [*page.texts, *titles] if "alert" in each]
    assert hostile
    assert all(SEEN in each for each in hostile)
    assert not [each for each in page.texts if "\u202e" in each or "1200" in each]


def test_a_template_does_not_omit_a_missing_value() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render(
            "_html/card.html.j2", **{name: value for name, value in (CARD | PARTS | BADGES).items() if name != "title"}
        )


def test_a_bar_without_counts_is_nothing() -> None:
    """Nothing to show gives no element, and each count has its share of the width."""
    assert render("_html/bar.html.j2", parts=[]).strip() == ""
    page = Page(render("_html/bar.html.j2", parts=[("a", 1, "red"), ("b", 3, "blue")]))
    styles = [attributes.get("style") or "" for _, attributes in page.tags]
    assert [each.partition(";")[0] for each in styles if "min-width" in each] == ["width:25.00%", "width:75.00%"]


def test_markup_passes_unchanged_and_text_is_escaped() -> None:
    made = render("_html/card.html.j2", **CARD | PARTS | BADGES | {"lines": [Markup("<i>a</i>"), "<i>b</i>"]})
    assert "<i>a</i>" in made
    assert "&lt;i&gt;b&lt;/i&gt;" in made


def test_ids_are_short_and_whole() -> None:
    """The kind and the end of an id are drawn, and the text has all of it, in one piece for a click."""
    id_ = "inv_10VxIBLqnLEz12xdlk263JMVdBOdv5dZJ2"
    html = render("_html/card.html.j2", **CARD | PARTS | BADGES | {"lines": [f"waits for {id_}, which failed"]})
    assert re.search(rf'user-select:all" title="{id_}">', html)
    assert f"waits for {id_}, which failed" in re.sub("<[^>]*>", "", html)
    assert shorten_id(f"of {id_}.") == "of inv_…dZJ2."
    assert re.search(r"max-width:5\.1ch[^>]*>inv_10VxIBLqnLEz12xdlk263JMVdBOdv5</span>dZJ2</span>", html)
    assert shorten_id("Orders/inv_1/place dp_12") == "Orders/inv_1/place dp_12"


def test_a_click_selects_the_code_of_a_card_to_copy_it() -> None:
    """A card has no script, so it has no button for that; a tooltip tells it."""
    page = Page(render("document/card.html.j2", **CARDS["document/card.html.j2"]))
    whole = [attributes for _, attributes in page.tags if "selects all of this code" in str(attributes.get("title"))]
    assert len(whole) == 39
    assert all(";user-select:all" in str(attributes["style"]) for attributes in whole)


def test_any_frame_is_a_readable_table() -> None:
    """Ids are short, times are ages with UTC in the tooltip, statuses have dots, numbers are right-aligned."""
    read_at = pd.Timestamp("2026-11-25T03:00:00Z")
    frame = pd.DataFrame(
        {
            "id": [sample_id(number) for number in range(120)],
            "status": "paused",
            "at": [read_at - pd.Timedelta("3h 5m"), read_at + pd.Timedelta("4s"), *[pd.NaT] * 118],
            "n": range(120),
        }
    ).set_index("id")
    frame.attrs["read_at"] = read_at.isoformat()
    html = show(frame)._repr_html_()
    assert html.count("<tr>") == 101
    assert "The first 100 of 120 rows." in html
    for text in (f'title="{sample_id(7)}"', ">3h 5m ago<", ">in 4s<", 'title="2026-11-24 23:55:00.000 UTC"', "#c98500"):
        assert text in html
    assert re.search(r"text-align:right[^>]*>99</td>", html)
    frame.attrs.clear()
    assert ">at (UTC)<" in show(frame)._repr_html_()
    assert repr(show(frame)) == repr(frame)
    with pytest.raises(ArgumentError, match="needs a DataFrame; got 'list'"):
        show([1])  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="rows is 0"):
        show(frame, rows=0)


def test_a_long_text_of_a_table_has_a_tooltip_and_a_short_text_has_none() -> None:
    html = show(pd.DataFrame({"message": ["x" * 60, "short"]}))._repr_html_()
    assert f'title="{"x" * 60}"' in html
    assert 'title="short"' not in html


def test_templates_and_scripts_take_colors_from_the_table() -> None:
    files = [*PACKAGE.rglob("*.j2"), *PACKAGE.rglob("*.js")]
    assert len(files) > 20
    for path in files:
        assert not set(COLOURS.values()) & set(re.findall("#[0-9a-f]{6}", path.read_text("utf-8"))), path


def test_importing_the_verbs_loads_no_template_engine() -> None:
    code = (
        "import sys, restate_lab, restate_lab.client.lab, restate_lab.analysis.doctor, restate_lab.analysis.why, "
        "restate_lab.analysis.waits, restate_lab.actions.plan, restate_lab._html as html; "
        "assert 'jinja2' not in sys.modules; html.render('_html/bar.html.j2', parts=[]); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
