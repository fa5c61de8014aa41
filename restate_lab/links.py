"""Links to the pages of ``restate-lab serve``: addresses that a colleague can open, without a token.

The address of the server is in the variable RESTATE_LAB_SERVE. Without it there are no links. Names of the cluster
enter a link only percent-encoded.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import PurePath
from typing import Any
from urllib.parse import quote, urlencode

from restate_lab._text import format_duration
from restate_lab.errors import SettingsWarning
from restate_lab.source import Source

VARIABLE = "RESTATE_LAB_SERVE"
NOT_AN_ADDRESS = (
    "is not the address of restate-lab serve. A valid address is for example http://127.0.0.1:9180 or "
    "https://lab.example.com/restate, without a user name, a password, a query and a fragment"
)
_HOST = r"([\w.-]+|\[[0-9A-Fa-f:.]+\])"
_ADDRESS = re.compile(rf"https?://{_HOST}(:(?P<port>\d{{1,5}}))?(/[\w.~!$&'()*+,;=:@%/-]*)?", re.ASCII)
_MOST_VALUES = 50  # of one parameter, as the pages accept
_LONGEST = 6_000  # characters that browsers, proxies and chats keep


def serve_address() -> str:
    """Return the address of RESTATE_LAB_SERVE; "" without it. An invalid one is "" with one warning."""
    return _checked_variable(os.environ.get(VARIABLE, ""))


@functools.cache
def _checked_variable(text: str) -> str:
    address = parse_serve_address(text)
    if text.strip() and not address:
        warnings.warn(f"{VARIABLE} {NOT_AN_ADDRESS}. There are no links.", SettingsWarning, stacklevel=2)
    return address


def parse_serve_address(text: str) -> str:
    """Return ``http(s)://host[:port][/path]`` without a trailing slash; "" if the text is not such an address."""
    clean = text.strip()
    match = _ADDRESS.fullmatch(clean)
    return clean.rstrip("/") if match and int(match["port"] or 0) < 2**16 else ""


def page_link(source: Source, page: str = "", argument: str = "", params: Mapping[str, Any] | None = None) -> str:
    """Return the link to a page about a source, or "" without RESTATE_LAB_SERVE.

    The server names evidence and an archive by their file. A source without an address has no link.
    """
    base = serve_address()
    name = _served_name(source) if base else ""
    return build_link(base, name, page, argument, params) if name else ""


def build_link(
    base: str, source: str, page: str = "", argument: str = "", params: Mapping[str, Any] | None = None
) -> str:
    """Return the link to a page about the source with this name; "" if a page would refuse its length.

    ``page`` is "" for the first page. ``argument`` is the next part of the path, such as an id. A parameter with a list
    is repeated, one with None is omitted.
    """
    path = "/".join(quote(each, safe="", errors="replace") for each in (page, argument) if each)
    pairs = [(name, text) for name, value in (params or {}).items() for text in _texts(value)]
    names = [name for name, _ in pairs]
    query = urlencode([*pairs, ("source", source)], errors="replace")
    link = f"{base}/{path}?{query}"
    is_refused = len(link) > _LONGEST or any(names.count(each) > _MOST_VALUES for each in set(names))
    return "" if is_refused else link


def _served_name(source: Source) -> str:
    if source.live:  # the address of an archive with its cluster is a path, and no server has both as one source
        return source.name if source.address.startswith("http") else ""
    return "" if "://" in source.address else PurePath(source.address).stem


def _texts(value: Any) -> Iterator[str]:
    """Yield the texts of a parameter's value."""
    if isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, timedelta):
        yield format_duration(value, exact=True)
    elif isinstance(value, datetime):
        yield value.isoformat()
    elif isinstance(value, bool):
        yield str(value).lower()
    elif value is not None:
        yield str(value)
