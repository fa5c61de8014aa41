"""A page as HTML: its parts as cards with links, below the navigation and the time at which they were read.

Only ids in our own markup become links, where the templates write them: no finished HTML is searched for ids.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from restate_lab._html import linked_ids, render, stylesheet
from restate_lab._html.table import frame_html
from restate_lab._text import format_ago, format_timestamp, shorten_id
from restate_lab.analysis.ids import invocation_of_awakeable
from restate_lab.calls import Step, Value
from restate_lab.serve.page import AT, Missing, PageRequest, WebPage

NAVIGATION: Mapping[str, str] = {
    "": "Overview",
    "invocations": "Invocations",
    "waits": "Waits",
    "queues": "Queues",
    "contrast": "Contrast",
    "agents": "Agents",
    "questions": "Questions",
    "report": "Report",
}
"""The pages in the navigation → their labels; the other pages are about one thing."""
_PARENTS = {"invocation": "invocations", "story": "invocations", "question": "questions"}
_PAGES = {"ask": "/question", "journal": "/invocation", "story": "/story", "waits": "/waits", "why": "/invocation"}
"""The verb of a call → the page with its result, before its arguments."""
_LABELS = {
    "ask": "Question {}",
    "journal": "Journal of {}",
    "story": "Story of {}",
    "waits": "Waits",
    "why": "Invocation {}",
}
"""The verb of a call → the text of the link."""
_ROWS = 250  # of a frame without a template of its own
_OK = 200
_EMPTY: Mapping[str, Any] = {
    **dict.fromkeys(("where", "here", "data", "at", "present", "read", "times")),
    "sources": [],
    "hidden": [],
}
"""The values of a page that is not about a source."""


def render_page(page: WebPage, *, name: str) -> str:
    """Return a page as HTML; ``name`` is its name in the path."""
    if page.document is not None:
        return _with_bar(page, name)
    request = page.request
    with linked_ids(functools.partial(address_of, request), functools.partial(page_of, request)):
        parts = [part_html(each) for each in page.parts]
    return render("serve/page.html.j2", parts=parts, css=stylesheet("serve/page.css"), **_context(page, name))


def _with_bar(page: WebPage, name: str) -> str:
    """Return a document with links to the other pages in its header; a file to download has none."""
    document = page.document or Markup()
    if page.file or page.request is None:
        return document
    download = page.request.link_here(download="yes")
    bar = Markup(render("serve/bar.html.j2", download=download, **_context(page, name)))  # noqa: S704 - our template
    end = Markup("</header>")
    return document.replace(end, bar + end, 1)  # the first one is ours: all texts before it are escaped


def part_html(part: Any) -> Markup | str:
    """Return a part of a page: Markup, the card of a result, a frame as a table, or a text."""
    if isinstance(part, Missing):
        return f"Not read: {part.reason}"
    if isinstance(part, Markup | str):
        return part
    html = part._repr_html_() if hasattr(part, "has_card") or not hasattr(part, "columns") else table_html(part)
    return Markup(html)  # noqa: S704 - the template of the card has escaped all texts


def table_html(frame: Any) -> str:
    """Return the first rows of a frame as a table."""
    return frame_html(frame, rows=_ROWS, advice="; the data has all of them")


@dataclass(frozen=True, slots=True)
class TemplatePart:
    """A part that is a template of the pages with its values; it is rendered with the links of its page."""

    template: str
    values: Mapping[str, Any]

    def _repr_html_(self) -> str:
        return render(f"serve/pages/{self.template}.html.j2", **self.values)


def part_of(template: str, **values: Any) -> TemplatePart:
    """Return a template of the pages as a part."""
    return TemplatePart(template, values)


def address_of(request: PageRequest | None, id_: str) -> str:
    """Return the address of the page of an id; "" if it has none, or the page does not tell the source of the id."""
    if request is None or request.is_about_all:
        return ""
    if id_.startswith("dp_"):
        return request.link("/invocations", deployment=id_, status="all")
    invocation = id_ if id_.startswith("inv_") else invocation_of_awakeable(id_)
    return request.link(f"/invocation/{invocation}") if invocation else ""


def page_of(request: PageRequest | None, step: Step) -> tuple[str, str]:
    """Return the label and the address of the page that shows the result of a step; "" without another page."""
    call = step.calls[0]
    if request is None or request.is_about_all or len(step.calls) > 1 or call.verb not in _PAGES or call.result:
        return "", ""
    path = "/".join([_PAGES[call.verb], *map(str, call.arguments)])
    if path == f"/{request.name}/{request.argument}":
        return "", ""  # it is this page
    texts = {name: _text(each) for name, each in call.options.items()}
    return _LABELS[call.verb].format(*map(shorten_id, map(str, call.arguments))), request.link(path, **texts)


def _text(value: Value) -> Value:
    """Return the value of an option as a parameter of an address."""
    if isinstance(value, tuple):
        return ",".join(value)
    return "yes" if value is True else value


def _context(page: WebPage, name: str) -> dict[str, Any]:
    """Return the values of the templates around the parts."""
    request = page.request
    if request is None:
        navigation = [(label, f"/{each}", False) for each, label in NAVIGATION.items()]
        return {**_EMPTY, "title": page.title, "pages": navigation}
    current, is_about_all = _PARENTS.get(name, name), request.is_about_all
    has_several = len(request.all_readings) > 1
    return {
        "title": page.title,
        "where": "all clusters" if is_about_all else request.readings.name,
        "pages": [
            (label, request.link(f"/{each}"), each == current and not is_about_all)
            for each, label in NAVIGATION.items()
        ],
        "sources": list(_sources(request)) if has_several else [],
        "hidden": list(request.source_params.items()),
        "at": format_timestamp(request.readings.time, exact=True) if request.readings.time else "",
        "present": request.link_here(at=None),
        "times": _times(request),
        "here": request.link_here(),
        "data": _data_address(request) if page.status == _OK else "",
        "read": _read(request),
    }


def _sources(request: PageRequest) -> Iterator[tuple[str, str, bool]]:
    """Yield the sources with the address of the same page about them, and whether it is the current one."""
    path = f"/{request.name}" if request.name in NAVIGATION else "/"
    yield "All", "/", request.is_about_all
    for name, readings in request.all_readings.items():
        is_current = not request.is_about_all and name == request.readings.name
        yield name, request.of_source(readings).link(path), is_current


def _times(request: PageRequest) -> tuple[str, list[tuple[str, str]]] | None:
    """Return the address of the page and the hidden fields of the form for a time; None if the source has one time."""
    if request.is_about_all or not (request.at or request.readings.has_times):
        return None
    params = {**request.params, **{name: [value] for name, value in request.source_params.items() if name != AT}}
    path = request.link_here().partition("?")[0]
    return path, [(name, value) for name, values in params.items() for value in values]


def _data_address(request: PageRequest) -> str:
    path, mark, query = request.link_here().partition("?")
    return f"{'/index' if path == '/' else path}.json{mark}{query}"


def _read(request: PageRequest) -> tuple[str, str, str, int] | None:
    """Return when the oldest part of a page was read: as ISO text, for people, as an age, and as its seconds."""
    if not request.read_at:
        return None
    at, now = min(request.read_at), datetime.now(UTC)
    return at.isoformat(), format_timestamp(at), format_ago(at, now), int((now - at).total_seconds())


@functools.cache
def asset(name: str) -> Markup:
    """Return the text of a file of this package."""
    return Markup(files("restate_lab.serve").joinpath(name).read_text("utf-8"))  # noqa: S704 - a file of the package
