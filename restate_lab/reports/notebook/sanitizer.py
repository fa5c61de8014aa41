"""Sanitize untrusted HTML from a notebook's Markdown and cell outputs: remove everything that runs or loads something.

nh3 parses and writes the HTML like a browser. Inline styles are checked here, because the style filter of nh3 0.3.8
checks only the names of properties. It also decodes escapes after ``_filter_attribute`` has seen the value, and loses
arguments of nested functions: ``calc(1px + max(2px, 3px))`` becomes ``calc(1px + max()``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import nh3
from markupsafe import Markup
from nbconvert.filters.markdown import markdown2html

_TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl"),
    *("dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "mark"),
    *("ol", "p", "pre", "s", "section", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
    *("tfoot", "th", "thead", "tr", "u", "ul"),
}
_ATTRIBUTES = {"alt", "class", "colspan", "dir", "height", "open", "rowspan", "scope", "style", "title", "width"}
_STYLES = {
    *("align-items", "background", "background-color", "border", "border-bottom", "border-collapse", "border-color"),
    *("border-left", "border-radius", "border-right", "border-spacing", "border-style", "border-top", "border-width"),
    *("box-sizing", "color", "column-gap", "cursor", "display", "flex", "flex-wrap", "font", "font-family"),
    *("font-size", "font-style", "font-variant-numeric", "font-weight", "gap", "grid-template-columns", "height"),
    *("justify-content", "letter-spacing", "line-height", "list-style", "margin", "margin-bottom", "margin-left"),
    *("margin-right", "margin-top", "max-height", "max-width", "min-height", "min-width", "opacity", "overflow"),
    *("overflow-wrap", "overflow-x", "overflow-y", "padding", "padding-bottom", "padding-left", "padding-right"),
    *(
        "padding-top",
        "row-gap",
        "table-layout",
        "text-align",
        "text-decoration",
        "text-overflow",
        "text-transform",
        "user-select",
    ),
    *("vertical-align", "white-space", "width", "word-break"),
}
# A value may call only these functions: ``url``, ``image-set``, ``src`` and some others load something.
_FUNCTIONS = {
    *("", "calc", "clamp", "color", "color-mix", "conic-gradient", "fit-content", "hsl", "hsla", "hwb", "lab", "lch"),
    *("light-dark", "linear-gradient", "max", "min", "minmax", "oklab", "oklch", "radial-gradient", "repeat"),
    *("repeating-conic-gradient", "repeating-linear-gradient", "repeating-radial-gradient", "rgb", "rgba", "var"),
}
_COMMENT = re.compile(r"(?s)/\*.*?(?:\*/|\Z)")
# The pattern excludes backslash, colon, at sign and braces, so a value has no escapes, URLs, rules or blocks.
_VALUE = re.compile(r"""(?:[A-Za-z0-9_\s.,%#/+*()!-]|"[\w ,.-]*"|'[\w ,.-]*')+""")
_CALL = re.compile(r"(?<![\w-])([\w-]*)\(")
# The content of these elements is not text for readers; otherwise it would be visible on the page.
_UNREAD = {"iframe", "noscript", "object", "script", "style", "svg", "template"}
_TAG = re.compile(r"""<[a-z][^<>"]*(?:"[^"]*"[^<>"]*)*>""")
_MISSING_PICTURE = '<span class="quiet">[picture not included in this file]</span>'
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_LINK = re.compile(r"(?i)(?:https?://|mailto:|#)")


def sanitize(html: str) -> Markup:
    """Return HTML that runs nothing and loads nothing; pictures must be data URIs, and links are kept."""
    clean = _CLEANER.clean(html.encode(errors="replace").decode())  # nh3 rejects unpaired surrogates
    return Markup(_TAG.sub(_replace_missing_picture, clean))  # noqa: S704 - sanitized


def render_markdown(source: str, attachments: Mapping[str, Mapping[str, str]] | None = None) -> Markup:
    """Render Markdown as sanitized HTML, with the cell's attached pictures embedded."""
    for name, bundle in (attachments or {}).items():
        for kind, content in bundle.items():
            source = source.replace(f"attachment:{name}", f"data:{kind};base64,{''.join(content.split())}")
    return sanitize(markdown2html(source))


def _filter_attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if tag == "img" and _PICTURE.fullmatch(value) else None
    if name == "href":
        return value if tag == "a" and _LINK.match(value) else None
    if name == "style":
        return "; ".join(_declarations(value)) or None
    return value


def _declarations(style: str) -> Iterator[str]:
    for each in _COMMENT.sub(" ", style).split(";"):
        name, _, value = (part.strip() for part in each.partition(":"))
        calls = {call.lower() for call in _CALL.findall(value)}
        if name.lower() in _STYLES and _VALUE.fullmatch(value) and calls <= _FUNCTIONS:
            yield f"{name}: {value}"


def _replace_missing_picture(tag: re.Match[str]) -> str:
    """Return the tag, or a placeholder text for a picture that a browser would have to load."""
    is_missing = tag[0].startswith("<img") and ' src="data:' not in tag[0]
    return _MISSING_PICTURE if is_missing else tag[0]


_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    clean_content_tags=_UNREAD,
    attributes={"*": _ATTRIBUTES, "a": {"href"}, "img": {"src"}},
    attribute_filter=_filter_attribute,
    url_schemes={"http", "https", "mailto", "data"},  # _filter_attribute restricts each of them further
)
