"""The search bar for objects with state: a service, and a text that the key contains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import ipywidgets as widgets

from restate_lab.panels._base.submit import Submit

_ALL = ("all", "")  # a Dropdown treats None as no choice


@dataclass(frozen=True, slots=True)
class Search:
    """Objects of a service (None: all services) whose key contains a text ("": any key)."""

    service: str | None = None
    key: str = ""


class SearchBar(widgets.Box):  # type: ignore[misc] # ipywidgets has no types
    """The search bar; ``on_search`` and ``on_open`` are called with its Search.

    Choosing a service or entering a text searches at once; "Search" searches again, and "Open exact key" uses the text
    as the complete key. ``guard`` wraps the handlers.
    """

    def __init__(
        self,
        *,
        guard: Callable[..., Callable[..., None]],
        on_search: Callable[[Search], object],
        on_open: Callable[[Search], object],
    ) -> None:
        self._on_search = on_search
        self._is_filling = False
        self._last = Search()
        auto = {"description_width": "auto"}
        self.service = widgets.Dropdown(description="service", options=[_ALL], style=auto)
        self.key = widgets.Text(description="key", placeholder="contains …", continuous_update=False, style=auto)
        fields = [self.service, self.key]
        self.search_button = Submit(
            "Search", guard(self._search), fields=fields, tooltip="List the objects whose key contains this text"
        )
        self.open_button = Submit(
            "Open exact key",
            guard(lambda: on_open(self.search)),
            fields=fields,
            tooltip="Open the object with exactly this key, which is fast in clusters with many objects",
        )
        super().__init__([self.service, self.key, self.search_button, self.open_button])
        self.add_class("rl-fields")
        self.add_class("rl-searchbar")
        search = guard(lambda _: self._search_if_changed())
        self.service.observe(search, "value")
        self.key.observe(search, "value")

    @property
    def search(self) -> Search:
        """Return the search in the fields; setting it fills the fields without a callback."""
        return Search(self.service.value or None, self.key.value)

    @search.setter
    def search(self, search: Search) -> None:
        self._last = search
        self._fill([] if search.service is None else [search.service], search.service or "", search.key)

    def offer(self, services: Sequence[str]) -> None:
        """Also offer these services; the fields stay unchanged."""
        self._fill(services, self.service.value, self.key.value)

    def _fill(self, services: Sequence[str], chosen: str, key: str) -> None:
        self._is_filling = True
        try:
            known = {name for _, name in self.service.options if name}
            if not known.issuperset(services):
                self.service.options = [_ALL, *((name, name) for name in sorted(known | set(services)))]
            self.service.value, self.key.value = chosen, key
        finally:
            self._is_filling = False

    def _search_if_changed(self) -> None:
        # A text is searched once, because pressing "Search" leaves the field, which already searches.
        if not self._is_filling and self.search != self._last:
            self._search()

    def _search(self) -> None:
        self._last = self.search
        self._on_search(self._last)
