"""The state of a panel as one value: you can read, set and compare it, and convert it to code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from restate_lab._public import nearest_names
from restate_lab._text import format_duration
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.invocations.filters import Filters
from restate_lab.errors import ArgumentError
from restate_lab.links import page_link
from restate_lab.source import Source

VIEWS: Mapping[str, str] = {
    "overview": "Overview",
    "invocations": "Invocations",
    "waits": "Waits",
    "queues": "Queues",
    "state": "State",
    "deployments": "Deployments",
}
"""Name of a view → its label in the panel."""
WITHOUT_OPEN: Mapping[str, str] = {
    "overview": "The overview counts open invocations. A history has only those that have ended: see Invocations.",
    "waits": "A history has only invocations that have ended, and these wait for nothing.",
    "queues": "A history has only invocations that have ended, and these are in no queue.",
    "state": "A history has no state of objects. A live cluster and frozen evidence have it.",
    "deployments": (
        "This view counts the open invocations of each deployment, and a history has only invocations that have ended."
    ),
}
"""Name of a view → the text that replaces it for a source without open invocations."""
_DEFAULT_VIEW = "invocations"
_FILTERS = frozenset(each.name for each in fields(Filters))
_ALL_FILTERS = frozenset({"overview", "invocations"})
WITH_DETAIL = _ALL_FILTERS | {"waits"}
"""The views whose ``open`` is an invocation, which replaces the view."""


@dataclass(frozen=True, slots=True)
class StatePlace:
    """What the view "state" shows: an object, or its list; without a key, all objects of the service."""

    service: str | None = None
    key: str | None = None
    scope: str | None = None


@dataclass(frozen=True, slots=True)
class PanelState:
    """A view with its filters and its open item.

    ``open`` is the id of an invocation (in "overview", "invocations" and "waits") or of a deployment, or the pattern of
    a rule (in "queues"). ``place`` is the
    object of the view "state", and ``part`` has the ids whose part of the wait graph the view "waits" shows (() for the
    whole graph). Neither filters another view.
    """

    view: str = _DEFAULT_VIEW
    filters: Filters = field(default_factory=Filters)
    group: bool = True
    open: str | None = None
    place: StatePlace = field(default_factory=StatePlace)
    part: tuple[str, ...] = ()

    @classmethod
    def of(cls, keywords: Mapping[str, Any]) -> PanelState:
        """Return the state for keyword arguments of ``rl.Panel``; None means the default of an argument.

        Raises:
            ArgumentError: a keyword is unknown or a value is invalid.
        """
        values = {name: value for name, value in keywords.items() if value is not None}
        known = {*_FILTERS, "view", "group", "open", "scope"}
        for name in values:
            if name not in known:
                nearest = nearest_names(name, known, 1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"choose from {', '.join(sorted(known))}."
                raise ArgumentError(f"unknown keyword {name!r} for the panel state; {hint}")
        view = values.get("view", _DEFAULT_VIEW)
        if view not in VIEWS:
            raise ArgumentError(f"unknown view {view!r}; choose from {', '.join(VIEWS)}.")
        opened = values.get("open")
        if opened is not None and view in WITH_DETAIL:
            check_invocation_id(opened)
        filters = Filters(**{name: value for name, value in values.items() if name in _FILTERS})
        place, part = StatePlace(), tuple[str, ...]()
        if view == "state":
            place = StatePlace(next(iter(filters.service), None), filters.key, values.get("scope"))
            filters = filters.without("service", "key")
        elif view == "waits":
            part, filters = filters.id, filters.without("id")
        return cls(view, filters, bool(values.get("group", True)), opened, place, part)

    @property
    def keywords(self) -> dict[str, Any]:
        """Return the keyword arguments of ``rl.Panel`` that differ from their defaults."""
        changed: dict[str, Any] = {} if self.view == _DEFAULT_VIEW else {"view": self.view}
        if self.view in _ALL_FILTERS:
            changed |= self.filters.changed
        elif self.view == "state":
            changed |= {name: value for name, value in asdict(self.place).items() if value is not None}
        elif self.view == "waits" and self.part:
            changed["id"] = list(self.part)
        if not self.group and self.view in _ALL_FILTERS:
            changed["group"] = False
        return changed if self.open is None else {**changed, "open": self.open}

    @property
    def code(self) -> str:
        """Return the code that creates a panel with this state."""
        return f"rl.Panel(lab{''.join(f', {name}={_literal(value)}' for name, value in self.keywords.items())})"

    def link_for(self, source: Source) -> str:
        """Return the link to the page that shows the same content; "" if there is none.

        The first page has no filters, so an overview with filters is the list. The list has its own pages instead of a
        limit. The page of waits always has the whole graph.
        """
        if self.view == "queues":
            return page_link(source, "queues")
        if self.view not in WITH_DETAIL:
            return ""
        if self.open is not None:
            return page_link(source, "invocation", self.open)
        if self.view == "waits":
            return page_link(source, "waits")
        filters = self.filters.without("limit").changed
        is_first_page = self.view == "overview" and not filters
        return page_link(source) if is_first_page else page_link(source, "invocations", params=filters)

    def with_(self, **changes: Any) -> PanelState:
        """Return a copy with these fields changed."""
        return replace(self, **changes)


def _literal(value: Any) -> str:
    if isinstance(value, timedelta):
        return repr(format_duration(value, exact=True))
    return repr(value.isoformat()) if isinstance(value, datetime) else repr(value)


def state_for(source: Source, state: PanelState) -> PanelState:
    """Return the state with the ended invocations if it has no status, and the source has no open ones."""
    if state.filters.status or source.coverage.open_invocations:
        return state
    return state.with_(filters=replace(state.filters, status=("ended",)))
