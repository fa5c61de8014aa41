"""The page of a story: everything that belongs to one invocation, to a key, or to a trace."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from restate_lab._text import one_line
from restate_lab.analysis.ids import invocation_id_in
from restate_lab.analysis.story import Story, story
from restate_lab.analysis.story.text import title_of
from restate_lab.errors import ArgumentError
from restate_lab.result import Result
from restate_lab.serve.page import PageRequest, WebPage, data_of
from restate_lab.serve.rendering import part_of
from restate_lab.source import Source

_LONGEST = 120  # characters of a title
_SINCE = "24h"
_YES, _NO = "yes", "no"


async def story_page(request: PageRequest) -> WebPage:
    """Return the story of an invocation, or of ``?key=`` or ``?trace=``; ``?search=yes`` searches all journals.

    ``?id=`` is any text with an id, such as a log line. ``?since=`` is the start of the time for a key. No payload is
    shown.
    """
    request.check_params("id", "key", "trace", "since", "search", argument=bool(request.argument))
    about = _about(request)
    search = _search(request)
    name = next(str(each) for each in about.values() if each is not None)
    result = await request.try_to_read("story", story_of, **about, search=search, timeout=request.timeout)
    title = title_of(result) if isinstance(result, Story) else f"Story of {name}"
    return WebPage(
        one_line(title, _LONGEST), [_links(request, about, search=search), result], data_of(result, Result.to_json)
    )


def story_of(
    source: Source,
    *,
    id_: str | None,
    key: str | None,
    trace: str | None,
    since: str | None,
    search: bool,
    timeout: float,
) -> Story:
    """Return the story of an invocation, a key or a trace."""
    return story(source, id_, key=key, trace=trace, since=since or _SINCE, search=search, timeout=timeout)


def _about(request: PageRequest) -> Mapping[str, str | None]:
    """Return what the story is about; exactly one of the id, the key and the trace is not None."""
    text = request.argument or request.text("id")
    key, trace, since = (request.text(name) for name in ("key", "trace", "since"))
    if sum(each is not None for each in (text, key, trace)) != 1:
        raise ArgumentError(
            "the address needs one id, key or trace; use /story/inv_…, /story?id= with any text that has an id, "
            "/story?key=Service/key, or /story?trace=."
        )
    if since is not None and key is None:
        raise ArgumentError("since is only for a key; use /story?key=Service/key&since=24h.")
    return {"id_": None if text is None else invocation_id_in(text), "key": key, "trace": trace, "since": since}


def _search(request: PageRequest) -> bool:
    text = request.text("search") or _NO
    if text not in {_YES, _NO}:
        raise ArgumentError(f"search is {text[:40]!r}; choose from {_YES}, {_NO}.")
    return text == _YES


def _links(request: PageRequest, about: Mapping[str, str | None], *, search: bool) -> Any:
    """Return the links to the invocation, and to the same story with or without a search of all journals."""
    links = [("The invocation", request.link(f"/invocation/{about['id_']}"))] if about["id_"] else []
    if search:
        links.append(("Without the search of all journals", request.link_here(search=None)))
    else:
        links.append(("Search all journals for members", request.link_here(search=_YES)))
    return part_of("links", links=links)
