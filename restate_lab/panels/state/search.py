"""The fields by which an object with state is looked for: a service, and a key or a part of one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.client.schema import check_columns, tables_of, translate_errors
from restate_lab.panels._base.submit import Submit
from restate_lab.source import Source

__all__ = ["Objects", "Search", "SearchBar", "find_objects", "stateful_services"]

LIMIT = 1_000  # objects
_SERVICES = "SELECT name FROM sys_service WHERE ty <> 'service'"
_UNSCOPED = "SELECT DISTINCT service_name, service_key, CAST(NULL AS VARCHAR) AS scope FROM state"
_SCOPED = "SELECT DISTINCT service_name, service_key, scope FROM state"
_BY_SERVICE = "service_name = :service"
# Not LIKE: a key may have its wildcards in it.
_BY_KEY = "strpos(service_key, :key) > 0"
_NAMES = ["service_name", "service_key", "scope"]
_ALL = ("all", "")  # a Dropdown takes None for nothing chosen


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for: objects of a service (None: of all), with this text somewhere in their key ("": any)."""

    service: str | None = None
    key: str = ""


@dataclass(frozen=True)
class Objects:
    """The objects that were found, one row each, and the statement that found them."""

    frame: pd.DataFrame = field(default_factory=lambda: pd.DataFrame({name: [] for name in _NAMES}, dtype="str"))
    sql: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    is_cut: bool = False

    @property
    def note(self) -> str:
        """Return what is to say of objects that are not in the frame."""
        if self.is_cut:
            return f"These are {len(self.frame):,} objects in no order, and there are more: name a service or a key."
        return ""


@translate_errors
def stateful_services(source: Source) -> list[str]:
    """Return the virtual objects and workflows that are registered, sorted."""
    services = check_columns(source.arrow(_SERVICES, progress=False), _SERVICES, source)
    return sorted(str(name) for name in services["name"].to_pylist())


@translate_errors
def find_objects(source: Source, search: Search, *, limit: int = LIMIT) -> Objects:
    """Return the objects that have state and meet the search, at most ``limit``, sorted by service and key.

    A scan of the keys of every state, which ends as soon as there are enough.
    """
    tables = tables_of(source)
    has_scope = bool((tables["table"].eq("state") & tables["column"].eq("scope")).any())
    params: dict[str, Any] = {}
    conditions = []
    if search.service is not None:
        conditions.append(_BY_SERVICE)
        params["service"] = search.service
    if search.key:
        conditions.append(_BY_KEY)
        params["key"] = search.key
    where = f"\nWHERE {' AND '.join(conditions)}" if conditions else ""
    sql = f"{_SCOPED if has_scope else _UNSCOPED}{where}\nLIMIT :limit"
    params["limit"] = limit + 1  # whether one more comes tells a whole answer from a cut one
    rows = check_columns(source.sql(sql, params=params, progress=False), sql, source)
    frame = rows.iloc[:limit].sort_values(_NAMES, ignore_index=True)
    return Objects(frame, sql, params, is_cut=len(rows) > limit)


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
