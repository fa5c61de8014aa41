"""The templates of served pages: their values are text, and no tag or attribute comes from a value."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import restate_lab
from restate_lab._html import linked_ids, render
from support.sample_rows import sample_id

SERVE = Path(restate_lab.__file__).parent / "serve"
ID = sample_id(1)
MARKUP = "</title></style><script>alert(1)</script><b onload='x'> \"' autofocus onfocus=alert(1) & &lt; {{ 7 * 7 }}"
HOSTILE = f"{MARKUP} \u202etxt.exe\x1b[31m"
SEEN = f"{MARKUP} ‹U+202E›txt.exe‹U+001B›[31m"
LINKS = [(HOSTILE, HOSTILE, True), (HOSTILE, HOSTILE, False)]
CHIP = {"label": HOSTILE, "address": HOSTILE, "is_current": True, "colour": "red", "count": 1_200}
FINDING = dict.fromkeys(("severity", "mark", "title", "details", "share"), HOSTILE) | {
    "colour": "red",
    "sources": [(HOSTILE, HOSTILE)],
}
AROUND: dict[str, Any] = {
    **dict.fromkeys(("title", "where", "here", "data", "download", "at", "present"), HOSTILE),
    "hidden": [(HOSTILE, HOSTILE)],
    "times": (HOSTILE, [(HOSTILE, HOSTILE)]),
    "pages": LINKS,
    "sources": LINKS,
    "read": (HOSTILE, HOSTILE, HOSTILE, 7),
    "css": "",
    "parts": [HOSTILE],
}
HEAD = {"name": HOSTILE, "address": HOSTILE, "order": "ascending", "is_number": True}
COLUMNS = ("status", "target", "retry_count", "step", "failure", "created_at", "next_retry_at", "completed_at", "id")
ROW = dict.fromkeys(
    (
        *("status", "target", "attempts", "step", "error", "code", "age", "created", "next", "ended", "id", "group"),
        "group_address",
    ),
    HOSTILE,
) | {"colour": "red"}
FIELD = dict.fromkeys(("name", "label", "value", "example", "tip"), HOSTILE) | {"is_required": True}
PAGES: dict[str, dict[str, Any]] = {
    "page": AROUND,
    "bar": AROUND,
    "refused": {"text": HOSTILE, "loads_again": True},
    "pages/counts": {"statuses": [CHIP]},
    "pages/links": {"links": [(HOSTILE, HOSTILE)]},
    "pages/filters": {
        **{name: [CHIP] for name in ("presets", "statuses", "services")},
        "more_services": 1_200,
        "applied": [(HOSTILE, HOSTILE)],
        "clear": HOSTILE,
        "fields": [("service", HOSTILE, HOSTILE, HOSTILE)],
        "names": [HOSTILE],
        "hidden": [(HOSTILE, HOSTILE)],
        "is_open": True,
    },
    "pages/invocations": {
        "summary": HOSTILE,
        "now": HOSTILE,
        "group": (HOSTILE, HOSTILE),
        "heads": [HEAD],
        "rows": [ROW],
        "columns": COLUMNS,
        "pager": LINKS,
    },
    "pages/form": {
        "action": HOSTILE,
        "hidden": [(HOSTILE, HOSTILE)],
        "fields": [FIELD | {"choices": [HOSTILE]}, FIELD | {"choices": []}],
        "button": HOSTILE,
        "note": HOSTILE,
    },
    "pages/questions": {"questions": [dict.fromkeys(("address", "name", "question", "cost"), HOSTILE)]},
    "pages/changes": {
        "since": HOSTILE,
        "rows": [dict.fromkeys(("at", "then", "time", "event", "what", "id"), HOSTILE) | {"times": 1_200}],
        "more": 1_200,
    },
    "pages/clusters": {
        **{name: [FINDING] for name in ("causes", "others", "notes")},
        "unread": HOSTILE,
        "number": HOSTILE,
    },
    "pages/states": {
        "rows": [dict.fromkeys(("name", "address", "version", "verdict", "text"), HOSTILE) | {"colour": "red"}]
    },
}
"""Each template with all its values, all of them hostile."""
TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "nav", "main", "section", "a", "div"),
    *("span", "p", "b", "br", "h1", "h2", "form", "label", "input", "select", "option", "datalist", "button", "time"),
    *("table", "thead", "tbody", "tr", "th", "td", "details", "summary", "link", "code"),
}


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_every_template_is_tried() -> None:
    there = {each.relative_to(SERVE).as_posix().removesuffix(".html.j2") for each in SERVE.rglob("*.j2")}
    assert there == {*PAGES, "pages/chips"}  # macros of the others


@pytest.mark.parametrize("template", PAGES)
def test_hostile_values_of_a_template_are_shown_unchanged_as_text(template: str) -> None:
    page = Tags(render(f"serve/{template}.html.j2", **PAGES[template]))
    assert {tag for tag, _ in page.found} <= TAGS
    for tag, attributes in page.found:
        assert not [name for name in attributes if name.startswith("on") or name == "autofocus"]
        assert tag != "script" or attributes == {"src": "/page.js", "defer": None}
        for name, value in attributes.items():
            assert "alert" not in (value or "") or MARKUP in str(value), (tag, name)
    hostile = [each for each in page.texts if "alert" in each]
    assert hostile
    assert all(SEEN in each for each in hostile)


def test_ids_of_a_page_are_links() -> None:
    with linked_ids(lambda id_: f"/invocation/{id_}"):
        page = Tags(
            render("serve/pages/invocations.html.j2", **PAGES["pages/invocations"] | {"rows": [ROW | {"id": ID}]})
        )
    assert f"/invocation/{ID}" in [attributes.get("href") for tag, attributes in page.found if tag == "a"]
