"""A page as parts of HTML and as data, and what its function gets: the source, the parameters, and the readings."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from markupsafe import Markup

from restate_lab._public import did_you_mean, nearest_names
from restate_lab.errors import ArgumentError, RestateLabError
from restate_lab.serve.readings import Readings, TooManyReadings

SOURCE = "source"
_MOST_VALUES = 50  # of one parameter
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Missing:
    """A part of a page that could not be read, with the reason; its JSON is ``{"not_read": reason}``."""

    reason: str


@dataclass(frozen=True, slots=True)
class WebPage:
    """One page: its title, its parts as HTML in order, and the same as data for ``.json``.

    A part that is not Markup is text. Data has JSON values, and frames, which become lists of rows.
    """

    title: str
    parts: Sequence[Markup | str]
    data: Mapping[str, Any]
    status: int = 200


@dataclass(frozen=True, slots=True)
class PageRequest:
    """What a page is about: its source, its parameters, and whether payloads are shown.

    ``all_readings`` are those of each source by name, the default one first. ``is_named`` is whether the URL names the
    source. ``argument`` is the part of the path after the name of the page, such as an id.
    """

    readings: Readings
    all_readings: Mapping[str, Readings]
    params: Mapping[str, Sequence[str]]
    argument: str = ""
    payloads: bool = False
    is_named: bool = False
    timeout: float = 30.0
    not_read: list[str] = field(default_factory=list)

    def check_params(self, *known: str) -> None:
        """Refuse parameters that the page does not have.

        Raises:
            ArgumentError: a parameter is unknown, or has too many values.
        """
        for name, values in self.params.items():
            if name not in known:
                hint = did_you_mean(nearest_names(name, known, 1)) or f"Choose from {', '.join(known) or 'none'}."
                raise ArgumentError(f"unknown parameter {name[:100]!r}. {hint}")
            if len(values) > _MOST_VALUES:
                raise ArgumentError(f"{name} has {len(values):,} values; the maximum is {_MOST_VALUES}.")

    def text(self, name: str) -> str | None:
        """Return the value of a parameter; None if it is missing or empty.

        Raises:
            ArgumentError: it has several values.
        """
        values = [each for each in self.params.get(name, ()) if each]
        if len(values) > 1:
            raise ArgumentError(f"{name} has {len(values)} values; pass one.")
        return values[0] if values else None

    async def read(self, what: str, function: Callable[..., T], /, **arguments: Any) -> T:
        """Return ``function(source, **arguments)``, shared with other viewers; ``what`` names the reading."""
        key = (what, repr(sorted(arguments.items())))
        return await self.readings.read(key, function, **arguments)

    async def try_to_read(self, what: str, function: Callable[..., T], /, **arguments: Any) -> T | Missing:
        """Return the same, or why this part of the page is missing."""
        return await missing_if_unread(self.read(what, function, **arguments))

    def link(self, path: str, **params: Any) -> str:
        """Return the address of a page about the same source; parameters with None are omitted."""
        named = {SOURCE: self.readings.name} if len(self.all_readings) > 1 else {}
        query = urlencode({name: value for name, value in (named | params).items() if value is not None}, doseq=True)
        return quote(path) + (f"?{query}" if query else "")


PageFunction = Callable[[PageRequest], Awaitable[WebPage]]


async def missing_if_unread(reading: Awaitable[T]) -> T | Missing:
    """Return the result of a reading, or why it is missing."""
    try:
        return await reading
    except (RestateLabError, TooManyReadings) as error:
        return Missing(" ".join(str(error).split()))


async def together(*readings: Awaitable[Any]) -> list[Any]:
    """Return the results of several readings at the same time."""
    return list(await asyncio.gather(*readings))
