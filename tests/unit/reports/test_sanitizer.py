"""Foreign HTML, without parts that run or load."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
from hypothesis import given, settings, strategies as st

from restate_lab.reports.notebook.sanitizer import render_markdown, sanitize
from support.hostile_html import HOSTILE_HTML, HOSTILE_STYLES

DOT = "data:image/png;base64,iVBORw0KGgo="
TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl"),
    *("dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "mark"),
    *("ol", "p", "pre", "s", "section", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
    *("tfoot", "th", "thead", "tr", "u", "ul"),
}
ATTRIBUTES = {
    *("alt", "class", "colspan", "dir", "height", "href", "open", "rel", "rowspan", "scope", "src", "style", "title"),
    "width",
}
LOADS = re.compile(r"(?i)url|image|src|expression|element|paint|attr\(|binding|behavior|@|\\|[:;{}<>&]|/\*|position")


class Dangers(HTMLParser):
    def __init__(self, clean: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(clean)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"<{tag}>"] * (tag not in TAGS)
        self.found += [f"{tag} {name}={value}" for name, value in attrs if not _is_harmless(tag, name, value or "")]

    def handle_comment(self, data: str) -> None:
        self.found.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.found.append(f"<!{decl}>")

    def unknown_decl(self, data: str) -> None:
        self.found.append(f"<![{data}]>")

    def handle_pi(self, data: str) -> None:
        self.found.append(f"<?{data}>")


def _is_harmless(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and re.fullmatch(r"data:image/[a-z+]+;base64,[A-Za-z0-9+/=\s]+", value) is not None
    if name == "href":
        return tag == "a" and value.lower().startswith(("https://", "http://", "mailto:", "#"))
    if name == "style":
        declarations = [each.partition(":")[::2] for each in value.split(";")]
        return not any(LOADS.search(part) for each in declarations for part in each)
    return name in ATTRIBUTES and (name != "rel" or value == "noopener noreferrer")


def test_cleaned_html_has_only_allowed_elements_attributes_and_addresses() -> None:
    dangers = {html: found for html in HOSTILE_HTML if (found := Dangers(sanitize(html)).found)}
    assert dangers == {}


def test_the_content_of_scripts_styles_frames_and_templates_is_removed() -> None:
    for tag in ("script", "style", "template", "noscript", "iframe", "object", "svg"):
        assert sanitize(f"a<{tag}>secret</{tag}>b") == "ab"
        assert sanitize(f"a<{tag}>secret") == "a"


def test_a_hostile_declaration_is_removed_and_the_others_of_its_style_stay() -> None:
    for style in HOSTILE_STYLES:
        if "'" not in style and "\\" not in style and "/*" not in style and "{" not in style:
            quoted = style.replace('"', "&quot;")
            assert "margin: 1px" in sanitize(f'<p style="{quoted};margin:1px">x</p>'), style
    assert sanitize("<p style='position:fixed'>x</p>") == "<p>x</p>"
    assert sanitize("<p style='COLOR: RED;/* c */margin:0'>x</p>") == '<p style="COLOR: RED; margin: 0">x</p>'


_NAMES = st.sampled_from(
    (
        *("href", "src", "style", "onerror", "title", "class", "id", "srcset", "xlink:href", "srcdoc", "action"),
        *("background", "OnClick", "/src", "style\n", "href\x00", "open"),
    )
)
_VALUES = st.lists(
    st.sampled_from(
        (
            *(
                "javascript:",
                "data:",
                "image/png;base64,",
                "https://",
                "//e.example",
                "url(",
                ")",
                "\\",
                "/*",
                "*/",
                ";",
            ),
            *("background", ":", "color", "'", "&quot;", "<img>", "-->", "</style>", "&#106;", "\n", "\t", "\x00", "#"),
            *("position", "fixed", "expression(", "ur", "l(", "@import", "image-set(", "calc(", "1px", "=", "`", "e"),
        )
    ),
    max_size=6,
).map("".join)
_ATTRIBUTES = st.builds("{0}={1}{2}{1}".format, _NAMES, st.sampled_from(("'", '"', "")), _VALUES)
_ELEMENTS = st.sampled_from(
    (
        *(
            "a",
            "img",
            "p",
            "b",
            "table",
            "td",
            "svg",
            "math",
            "mtext",
            "mglyph",
            "style",
            "script",
            "title",
            "xmp",
            "form",
        ),
        *(
            "foreignObject",
            "annotation-xml",
            "noscript",
            "template",
            "iframe",
            "select",
            "textarea",
            "desc",
            "plaintext",
        ),
    )
)
_PIECES = st.one_of(
    st.builds(lambda tag, attributes: f"<{tag} {' '.join(attributes)}>", _ELEMENTS, st.lists(_ATTRIBUTES, max_size=3)),
    _ELEMENTS.map("</{}>".format),
    st.sampled_from(
        ("<!--", "-->", "--!>", "<![CDATA[", "]]>", "<?x", "<!x", "<", ">", "text", "&lt;", "\x00", "\ud800")
    ),
)


@settings(max_examples=300)
@given(st.lists(_PIECES, max_size=12).map("".join))
def test_any_markup_has_nothing_forbidden_after_cleaning_and_parsing_again(html: str) -> None:
    clean = sanitize(html)
    assert Dangers(clean).found == []
    assert Dangers(sanitize(clean)).found == []


def test_tables_plain_styles_embedded_pictures_and_links_stay() -> None:
    html = (
        f'<div style="color: red; border-left: 4px solid"><b>x</b><img alt="a" src="{DOT}">'
        '<table class="dataframe"><tr><td>1</td></tr></table><a href="https://docs.example/">d</a>'
        "<details open><summary>s</summary>t</details></div>"
    )
    clean = str(sanitize(html))
    for each in (
        "color: red",
        "border-left: 4px solid",
        DOT,
        'class="dataframe"',
        "https://docs.example/",
        "<summary>",
    ):
        assert each in clean


def test_a_plain_frame_and_the_cells_of_a_styler_are_unchanged() -> None:
    plain = pd.DataFrame({"id": ["<b>", "y&z"], "n": [1, 2]}).to_html(border=0)
    assert sanitize(plain) == plain.replace(' border="0"', "").replace("right;", "right")
    style = "background: linear-gradient(90deg, rgba(1, 2, 3, .5) 10%, #d65f5f 20.5%)"
    font = "font: bold 12px/1.4 'Fira Code', monospace; width: calc(100% - max(2px, 1em)); color: red !important"
    cell = f'<td style="{style}; {font}" class="col0 row1">1</td>'
    assert cell in sanitize(f"<table><tr>{cell}</tr></table>")


def test_a_picture_that_would_be_loaded_is_replaced_by_a_note() -> None:
    assert "picture not included in this file" in sanitize("<img src='https://e.example/x.png'>")


def test_markdown_is_rendered_with_its_html_cleaned_and_its_pictures_attached() -> None:
    clean = str(
        render_markdown("**b** <i onclick=x>i</i> ![p](attachment:a.png)", {"a.png": {"image/png": "iVBO\nRw=="}})
    )
    assert "<strong>b</strong>" in clean
    assert "onclick" not in clean
    assert "data:image/png;base64,iVBORw==" in clean
