"""A page as parts of HTML and as data, and what its function gets: the source, the parameters, and the readings."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from markupsafe import Markup

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.calls import without_options
from restate_lab.errors import ArgumentError, NotFound, RestateLabError
from restate_lab.serve.readings import Readings
from restate_lab.source import Source

SOURCE = "source"
AT = "at"
"""The parameters that every page has: the name of the source, and its time."""
_MOST_VALUES = 50  # of one parameter
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a page that could not be read, with the reason; its JSON is ``{"not_read": reason}``."""

    reason: str


@dataclass(frozen=True, slots=True)
class WebPage:
    """One page: its title, its parts in order, and the same as data for ``.json``.

    A part is Markup, a result or frame with a card, ``Missing``, or a text, which is shown as a notice. Data has JSON
    values, and frames, which become lists of rows. ``document`` is a whole HTML document of ours instead of parts;
    with ``file`` a browser saves it under this name. ``request`` is set by the server.
    """

    title: str
    parts: Sequence[Any]
    data: Mapping[str, Any]
    status: int = 200
    document: Markup | None = None
    file: str = ""
    request: PageRequest | None = None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page is about: its source, its parameters, and whether payloads are shown.

    ``all_readings`` are those of each source by name, the default one first. ``is_named`` is whether the URL names
    the source. ``argument`` is the part of the path after the name of the page, such as an id. ``timeout`` is the limit
    of a reading in seconds. At ``ends``, as of ``time.monotonic()``, the page is shown without the parts that are not
    read. ``name`` is the name of the page. ``read_at`` gets the time at which each reading began, by the clock of this
    machine.
    """

    readings: Readings
    all_readings: Mapping[str, Readings]
    params: Mapping[str, Sequence[str]]
    argument: str = ""
    payloads: bool = False
    is_named: bool = False
    timeout: float = 30.0
    ends: float = math.inf
    name: str = ""
    read_at: list[datetime] = field(default_factory=list)

    def check_params(self, *known: str, argument: bool = False) -> None:
        """Refuse parameters that the page does not have, and a path with an ``argument`` if it has none, or without.

        Raises:
            ArgumentError: a parameter is unknown, or has too many values.
            NotFound: the page does not have this path.
        """
        if bool(self.argument) != argument:
            raise NotFound("there is no such page.", status=404)
        for name, values in self.params.items():
            if name not in known:
                hint = did_you_mean(nearest_names(name, known, 1)) or f"Choose from {', '.join(known) or 'none'}."
                raise ArgumentError(f"unknown parameter {name[:100]!r}. {hint}")
            if len(values) > _MOST_VALUES:
                raise ArgumentError(f"{name} has {len(values):,} values; the maximum is {_MOST_VALUES}.")

    def values(self, name: str) -> list[str]:
        """Return the values of a parameter that are not empty."""
        return [each for each in self.params.get(name, ()) if each]

    def text(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is missing or empty.

        Raises:
            ArgumentError: it has several values.
        """
        values = self.values(name)
        if len(values) > 1:
            raise ArgumentError(f"{name} has {len(values)} values; pass one.")
        return values[0] if values else None

    def number(self, name: str, default: int | None = None) -> int | None:
        """Return the value of a parameter as a whole number of 1 or more; the default if it is missing or empty.

        Raises:
            ArgumentError: it is not such a number.
        """
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text)):
            raise ArgumentError(f"{name} is {text[:40]!r}; use a whole number, 1 or more.")
        return int(text)

    async def read(self, what: str, function: Callable[..., T], /, **arguments: Any) -> T:
        """Return ``function(source, **arguments)``, shared with other viewers; ``what`` names the reading."""
        key = (what, repr(sorted(arguments.items())))
        call = {"function": function, "arguments": arguments}
        began, result = await self.readings.read(key, _read_at, call, within=self.ends - time.monotonic())
        self.read_at.append(began)
        value: T = result
        return value

    async def try_to_read(self, what: str, function: Callable[..., T], /, **arguments: Any) -> T | Missing:
        """Return the same, or why this part of the page is missing."""
        return await missing_if_unread(self.read(what, function, **arguments))

    def of_source(self, readings: Readings) -> PageRequest:
        """Return the request of the same page about another source."""
        return replace(self, readings=readings, is_named=True)

    def of_page(self, name: str) -> PageRequest:
        """Return the request of another page about the same source, without parameters."""
        return replace(self, name=name, argument="", params={}, is_named=True)

    @property
    def at(self) -> str:
        """Return the time of the source in ISO form; "" is the present."""
        return "" if self.readings.time is None else exact_time(self.readings.time)

    @property
    def source_params(self) -> dict[str, str]:
        """Return the parameters of the source and of its time: a link and a form need them to keep both."""
        named = {SOURCE: self.readings.name} if len(self.all_readings) > 1 else {}
        return named | ({AT: self.at} if self.at else {})

    @property
    def is_about_all(self) -> bool:
        """Return whether it is the first page of several sources."""
        return self.name == "" and not self.is_named and len(self.all_readings) > 1

    def link(self, path: str, **params: Any) -> str:
        """Return the address of a page about the same source; parameters with None are omitted."""
        return _address(path, self.source_params | params)

    def link_here(self, **params: Any) -> str:
        """Return the address of this page with some parameters changed; those with None are omitted."""
        path = f"/{self.name}" + (f"/{self.argument}" if self.argument else "")
        values = {**{name: self.values(name) for name in self.params}, **params}
        return _address(path, values) if self.is_about_all else self.link(path, **values)


def _address(path: str, params: Mapping[str, Any]) -> str:
    query = urlencode({name: value for name, value in params.items() if value not in (None, "", (), [])}, doseq=True)
    return quote(path) + (f"?{query}" if query else "")


def exact_time(time: datetime) -> str:
    """Return a time as it is in the address of a page."""
    return time.isoformat(timespec="milliseconds")


PageFunction = Callable[[PageRequest], Awaitable[WebPage]]


def _read_at(source: Source, function: Callable[..., T], arguments: Mapping[str, Any]) -> tuple[datetime, T]:
    """Return when a reading began, and its result."""
    began = datetime.now(UTC)
    return began, function(source, **arguments)


async def missing_if_unread(reading: Awaitable[T]) -> T | Missing:
    """Return the result of a reading, or why it is missing.

    Raises:
        ArgumentError, NotFound: the address is wrong, so that the whole page has no content.
        TooManyReadings: the whole page must be loaded again later.
    """
    try:
        return await reading
    except (ArgumentError, NotFound):
        raise
    except RestateLabError as error:
        return Missing(without_options(" ".join(str(error).split())))


async def together(*readings: Awaitable[Any]) -> list[Any]:
    """Return the results of several readings at the same time."""
    return list(await asyncio.gather(*readings))


def data_of(result: T | Missing, to_json: Callable[[T], Any]) -> Any:
    """Return a result as data, or why it is missing."""
    return {"not_read": result.reason} if isinstance(result, Missing) else to_json(result)
