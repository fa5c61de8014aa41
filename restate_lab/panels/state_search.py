"""The fields by which an object with state is looked for: a service, and a key or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from restate_lab.panels.state_objects import Search
from restate_lab.panels.submit import Submit

__all__ = ["SearchBar"]

_ALL = ("all", "")  # a Dropdown takes None for nothing chosen


class SearchBar(widgets.Box):  # type: ignore[misc] # ipywidgets has no types
    """The fields; ``on_find`` and ``on_open`` are called with the Search that they say.

    A service that is chosen and a key that is entered find at once; "Find" finds again, "Open this key" takes the key
    as all of it. ``handled`` wraps the handlers.
    """

    def __init__(self, search: Search, handled: Callable[..., Callable[..., None]]) -> None:
        self.on_find: Callable[[Search], object] = _nothing
        self.on_open: Callable[[Search], object] = _nothing
        self._is_filling = False
        auto = {"description_width": "auto"}
        self._service = widgets.Dropdown(description="service", options=[_ALL], style=auto)
        self._key = widgets.Text(
            description="key", placeholder="a part of it, or all", continuous_update=False, style=auto
        )
        fields = [self._service, self._key]
        self.find_button = Submit(
            "Find", handled(self._find), fields=fields, tooltip="List the objects that have this in their key"
        )
        self.open_button = Submit(
            "Open this key",
            handled(lambda: self.on_open(self.search)),
            fields=fields,
            tooltip="Open the object of exactly this key",
        )
        super().__init__([self._service, self._key, self.find_button, self.open_button])
        self.add_class("rl-fields")
        self.search = self._last = search
        find = handled(lambda _: self._changed())
        self._service.observe(find, "value")
        self._key.observe(find, "value")

    @property
    def search(self) -> Search:
        """Return what the fields say; setting it fills them, and calls nobody."""
        return Search(self._service.value or None, self._key.value)

    @search.setter
    def search(self, search: Search) -> None:
        self._last = search
        self._offer([] if search.service is None else [search.service], chosen=search.service or "")
        self._key.value, self._is_filling = search.key, False

    def offer(self, services: Sequence[str]) -> None:
        """Offer these services too; what is chosen and typed stays."""
        self._offer(services, chosen=self._service.value)
        self._is_filling = False

    def _offer(self, services: Sequence[str], *, chosen: str) -> None:
        self._is_filling = True
        known = {name for _, name in self._service.options if name}
        if not known.issuperset(services):
            self._service.options = [_ALL, *((name, name) for name in sorted(known | set(services)))]
        self._service.value = chosen

    def _changed(self) -> None:
        # What was entered is found once: pressing "Find" leaves the field, which finds already.
        if not self._is_filling and self.search != self._last:
            self._find()

    def _find(self) -> None:
        self._last = self.search
        self.on_find(self._last)


def _nothing(_: Any) -> None:
    return
