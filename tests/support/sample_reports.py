"""A source for reports without a server, and a page read as a browser would read it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from types import SimpleNamespace
from typing import Any

from restate_lab.redaction import Secret

NOW = datetime(2026, 11, 25, 4, 0, tzinfo=UTC)
_LOADS = ("src", "srcset", "href", "action", "data", "poster", "background", "formaction", "ping", "manifest")


def report_source(**more: Any) -> Any:
    """Return a source with a name, a version and a time; live by default."""
    settings = SimpleNamespace(admin_url="http://127.0.0.1:1", ingress_url=None, token=Secret("s3cret-of-made"))
    facts = {"name": "made", "version": "1.7.12", "features": {}, "now": NOW, "settings": settings, "read_only": False}
    facts |= {"address": settings.admin_url, "live": True}
    facts["transport"] = SimpleNamespace(audit=SimpleNamespace(folder=None))
    ingress = SimpleNamespace(address="http://127.0.0.1:2")
    return SimpleNamespace(**{**facts, "ingress": ingress, **more})


class Page(HTMLParser):
    """The tags of a page, its text, and every address in it that a browser would load."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.html = html
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._texts: list[str] = []
        self._style = False
        self.styles = ""
        self.feed(html)
        self.close()

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self._texts))

    def loaded_addresses(self) -> Iterator[str]:
        """Return every address that is neither a link to follow, nor a place in the page, nor data."""
        for tag, attributes in self.tags:
            for name, value in attributes.items():
                if name in _LOADS and not (tag == "a" and name == "href") and not value.startswith("data:"):
                    yield f"{tag} {name}={value[:80]}"
                if name == "style":
                    yield from re.findall(r"url\([^)]*\)", value)
        yield from re.findall(r"url\([^)]*\)|@import[^;]*", self.styles)

    def active_parts(self) -> Iterator[str]:
        """Yield every tag and attribute that would run something, or navigate away by itself."""
        for tag, attributes in self.tags:
            if tag in {"script", "iframe", "object", "embed", "link", "base", "form", "frame", "applet"}:
                yield tag
            yield from (f"{tag} {name}" for name in attributes if name.startswith("on"))
            if attributes.get("href", "").strip().lower().startswith(("javascript:", "vbscript:")):
                yield f"{tag} {attributes['href']}"
            if attributes.get("http-equiv", "").lower() == "refresh":
                yield "refresh"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._style = tag == "style"

    def handle_endtag(self, tag: str) -> None:
        self._style = False

    def handle_data(self, data: str) -> None:
        if self._style:
            self.styles += data
        else:
            self._texts.append(data)
