"""The templates of cards: what they are given is text, nothing in it acts, and nothing of it is hidden."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jinja2
import pytest
from markupsafe import Markup

import restate_lab
from restate_lab._html import render

PACKAGE = Path(restate_lab.__file__).parent
MARKUP = "<script>alert(1)</script><b onload='x'> \"' style=\"x\" & &lt; {{ 7 * 7 }} {% raw %}"
HOSTILE = f"{MARKUP} \u202etxt.exe\u200b\x1b[31m"
SEEN = f"{MARKUP} ‹U+202E›txt.exe‹U+200B›‹U+001B›[31m"
CARD: dict[str, Any] = {"title": HOSTILE, "place": HOSTILE, "lines": [HOSTILE], "accent": "red"}
PARTS: dict[str, Any] = {"parts": [(HOSTILE, 1_200, "red"), (HOSTILE, 0, "blue")]}
FINDING = dict.fromkeys(("severity", "summary", "context", "suggested_code", "evidence_code"), HOSTILE) | {
    "colour": "red"
}
TABLE: dict[str, Any] = {"title": HOSTILE, "name": HOSTILE, "summary": HOSTILE, "heads": [HOSTILE], "rows": [[HOSTILE]]}
CARDS: dict[str, dict[str, Any]] = {
    "_html/bar.html.j2": PARTS,
    "_html/card.html.j2": CARD | PARTS,
    "analysis/doctor/card.html.j2": CARD
    | {"causes": [FINDING], "notes": [FINDING], "more_causes": 1_200, "note_count": 1_200, "not_checked": [HOSTILE]}
    | {"incomplete": "red", "checks": [(HOSTILE, HOSTILE), ("x", "")], "is_healthy": True},
    "analysis/why/card.html.j2": CARD
    | {"summary": HOSTILE, "options": [dict.fromkeys(("action", "description", "code"), HOSTILE)]}
    | {"chain": [dict.fromkeys(("step", "target", "id", "status", "waits", "since"), HOSTILE)]},
    "analysis/waits/card.html.j2": CARD
    | {"deadlocks": [dict.fromkeys(("heading", "description", "resolution_code"), HOSTILE) | {"colour": "red"}]}
    | {"more_deadlocks": HOSTILE, "tables": [TABLE | {"more": HOSTILE}, TABLE | {"rows": [], "more": ""}]},
    "actions/plan/card.html.j2": CARD
    | PARTS
    | {"heading": HOSTILE, "warnings": [HOSTILE], "warning": "red"}
    | {"tables": [TABLE | {"more": 1_200, "rows": [[f"{HOSTILE}\n{HOSTILE}"]]}]},
    "actions/state/card.html.j2": CARD
    | {"rows": [dict.fromkeys(("key", "text", "encoding"), HOSTILE) | {"letters": 24, "size": 1_200}]},
    "client/models/model.html.j2": CARD | TABLE | {"remark": HOSTILE},
    "evidence/compare/card.html.j2": CARD | {"parts": [TABLE | {"more": 1_200}, TABLE | {"rows": [], "more": -1}]},
}
"""Each template of a card with all that it can show, and all of it hostile."""
TAGS = {"div", "span", "b", "br", "code", "details", "summary", "table", "tr", "th", "td"}


class Page(HTMLParser):
    """The tags and the text of a page."""

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
    """A new template of a card gets hostile values here; those of a report are tried with the report."""
    there = {str(each.relative_to(PACKAGE)) for each in PACKAGE.rglob("*.j2")}
    others = {"_html/macros.html.j2", "reports/templates/report.html.j2", "reports/templates/parts.html.j2"}
    assert there == {*CARDS, *others}


@pytest.mark.parametrize("template", CARDS)
def test_what_is_given_is_text(template: str) -> None:
    """Markup, quotes and code of a template are shown as they are, and invisible characters as codes."""
    page = Page(render(template, **CARDS[template]))
    assert page.open == []
    assert {tag for tag, _ in page.tags} <= TAGS
    assert {name for _, attributes in page.tags for name in attributes} <= {"style", "title", "open"}
    titles = [attributes["title"] or "" for _, attributes in page.tags if "title" in attributes]
    hostile = [each for each in [*page.texts, *titles] if "alert" in each]
    assert hostile
    assert all(SEEN in each for each in hostile)
    assert not [each for each in page.texts if "\u202e" in each or "1200" in each]


def test_a_missing_value_is_an_error() -> None:
    """A template does not leave out in silence what it was not given."""
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        render("_html/card.html.j2", **{name: value for name, value in (CARD | PARTS).items() if name != "title"})


def test_a_bar_without_counts_is_nothing() -> None:
    """Nothing to show is no element, and each count has its share of the width."""
    assert render("_html/bar.html.j2", parts=[]).strip() == ""
    page = Page(render("_html/bar.html.j2", parts=[("a", 1, "red"), ("b", 3, "blue")]))
    styles = [attributes.get("style") or "" for _, attributes in page.tags]
    assert [each.partition(";")[0] for each in styles if "min-width" in each] == ["width:25.00%", "width:75.00%"]


def test_only_markup_is_html() -> None:
    """HTML that was made and escaped here passes as it is."""
    made = render("_html/card.html.j2", **CARD | PARTS | {"lines": [Markup("<i>a</i>"), "<i>b</i>"]})
    assert "<i>a</i>" in made
    assert "&lt;i&gt;b&lt;/i&gt;" in made


def test_jinja_loads_with_the_first_card() -> None:
    """Importing restate_lab, a Lab, the verbs and their results costs no template engine."""
    code = (
        "import sys, restate_lab, restate_lab.client.lab, restate_lab.analysis.doctor, restate_lab.analysis.why, "
        "restate_lab.analysis.waits, restate_lab.actions.plan, restate_lab._html as html; "
        "assert 'jinja2' not in sys.modules; html.render('_html/bar.html.j2', parts=[]); assert 'jinja2' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
