"""Take out of HTML that others made whatever acts or loads: a notebook's Markdown and what its cells gave."""

from __future__ import annotations

import re
from collections.abc import Mapping

from bleach.css_sanitizer import CSSSanitizer  # type: ignore[import-untyped]  # it comes with nbconvert
from bleach.sanitizer import Cleaner  # type: ignore[import-untyped]
from markupsafe import Markup
from nbconvert.filters.markdown import markdown2html

__all__ = ["cleaned", "from_markdown"]

_TAGS = (
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del", "details", "div", "dl"),
    *("dt", "em", "figcaption", "figure", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "mark"),
    *("ol", "p", "pre", "s", "section", "small", "span", "strong", "sub", "summary", "sup", "table", "tbody", "td"),
    *("tfoot", "th", "thead", "tr", "u", "ul"),
)
_ATTRIBUTES = {"alt", "class", "colspan", "dir", "height", "open", "rowspan", "scope", "style", "title", "width"}
_STYLES = (
    *("align-items", "background", "background-color", "border", "border-bottom", "border-collapse", "border-color"),
    *("border-left", "border-radius", "border-right", "border-spacing", "border-style", "border-top", "border-width"),
    *("box-sizing", "color", "column-gap", "cursor", "display", "flex", "flex-wrap", "font", "font-family"),
    *("font-size", "font-style", "font-variant-numeric", "font-weight", "gap", "grid-template-columns", "height"),
    *("justify-content", "letter-spacing", "line-height", "list-style", "margin", "margin-bottom", "margin-left"),
    *("margin-right", "margin-top", "max-height", "max-width", "min-height", "min-width", "opacity", "overflow"),
    *("overflow-wrap", "overflow-x", "overflow-y", "padding", "padding-bottom", "padding-left", "padding-right"),
    *("padding-top", "row-gap", "table-layout", "text-align", "text-decoration", "text-transform", "vertical-align"),
    *("white-space", "width", "word-break"),
)
# Their content is no text to be read: without this it would stand on the page.
_UNREAD = re.compile(r"(?is)<(style|script|template|noscript|iframe|object)\b.*?(?:</\1\s*>|\Z)")
_LOADS = re.compile(r"(?i)url\s*\(|image-set|expression|@import|\\")
_NO_PICTURE = re.compile(r"<img(?![^<>]*\ssrc=)[^<>]*>")
_SAID = '<span class="quiet">[a picture that is not in this file]</span>'
_PICTURE = re.compile(r"data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]+")
_LINK = re.compile(r"(?i)(?:https?://|mailto:|#)")


def cleaned(html: str) -> Markup:
    """Return HTML that runs nothing and loads nothing: pictures are data in it, and links lead away when followed."""
    without = _UNREAD.sub("", html)
    clean = _cleaner().clean(without)
    return Markup(_NO_PICTURE.sub(_SAID, clean))  # noqa: S704 - that is what the cleaner is for


def from_markdown(source: str, attachments: Mapping[str, Mapping[str, str]] | None = None) -> Markup:
    """Return Markdown as clean HTML, with the cell's attached pictures in it."""
    for name, bundle in (attachments or {}).items():
        for kind, content in bundle.items():
            source = source.replace(f"attachment:{name}", f"data:{kind};base64,{''.join(content.split())}")
    return cleaned(markdown2html(source))


def _cleaner() -> Cleaner:
    return Cleaner(
        tags=_TAGS,
        attributes=_may_stay,
        protocols={"http", "https", "mailto", "data"},  # which of them where, _may_stay knows
        strip=True,
        css_sanitizer=CSSSanitizer(allowed_css_properties=_STYLES),
    )


def _may_stay(tag: str, name: str, value: str) -> bool:
    if name == "src":
        return tag == "img" and _PICTURE.fullmatch(value) is not None
    if name == "href":
        return tag == "a" and _LINK.match(value) is not None
    if name == "style":
        return _LOADS.search(value) is None
    return name in _ATTRIBUTES
