"""The views of a panel: how each is made, and how it takes the state of the panel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.analysis.invocations.filters import ALL
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.view import UnavailableView, View
from restate_lab.panels.deployments import DeploymentsView
from restate_lab.panels.invocation import InvocationView
from restate_lab.panels.invocations import InvocationsView
from restate_lab.panels.overview import OverviewView
from restate_lab.panels.panel.state import VIEWS, WITHOUT_OPEN, PanelState, StatePlace
from restate_lab.panels.queues import QueuesView
from restate_lab.panels.state import StateView
from restate_lab.panels.waits import WaitsView

DETAIL = "open"
"""The name of the view of an open invocation."""


@dataclass(frozen=True, slots=True)
class ViewActs:
    """The acts of a panel that its views start.

    ``change`` takes fields of the panel's state. ``open_item`` takes an id, ``show_waits`` the ids of a part of
    the wait-for graph, and ``show_list`` filters of the list.
    ``show_ids`` takes ids and the name of this filter, and returns the list. ``take_from_list`` reads filters that the
    user changed in the list, ``fill`` counts, and ``note_selection`` notes which rows are selected.
    """

    change: Callable[..., object]
    open_item: Callable[[str], object]
    show_waits: Callable[[Sequence[str]], object]
    show_list: Callable[..., object]
    show_ids: Callable[..., InvocationsView]
    take_from_list: Callable[[], object]
    fill: Callable[[], object]
    note_selection: Callable[[], object]


def build_view(name: str, panel: LivePanel, state: PanelState, acts: ViewActs, *, tz: str) -> View:
    """Return a new view; for a source without open invocations, some are one line of text."""
    if name in WITHOUT_OPEN and not panel.source.coverage.open_invocations:
        return UnavailableView(panel, title=VIEWS[name], reason=WITHOUT_OPEN[name])
    build: dict[str, Callable[[], View]] = {
        "overview": lambda: OverviewView(
            panel, state.filters, tz=tz, open_list=acts.show_list, changed=lambda filters: acts.change(filters=filters)
        ),
        "waits": lambda: WaitsView(
            panel, state.part, tz=tz, open_item=acts.open_item, list_ids=acts.show_ids,
            changed=acts.show_waits,
        ),
        "queues": lambda: QueuesView(
            panel, tz=tz, list_ids=acts.show_ids, opened=lambda pattern: acts.change(open=pattern)
        ),
        "state": lambda: StateView(
            panel, tz=tz, changed=lambda *place: acts.change(place=StatePlace(*place)),
            open_list=lambda service, key: acts.show_list(status=ALL, service=service, key=key),
        ),
        "deployments": lambda: DeploymentsView(
            panel, tz=tz, opened=lambda id_: acts.change(open=id_), show=acts.show_list,
            plan=lambda action, ids: acts.show_ids(ids).plan(action, ids),
        ),
        DETAIL: lambda: InvocationView(
            panel, tz=tz, opened=acts.open_item, show_waits=acts.show_waits, list_ids=acts.show_ids
        ),
    }  # fmt: skip
    return build[name]() if name in build else _build_list(panel, state, acts, tz)


def set_state(view: View, state: PanelState, row_of: Callable[[str], dict[Any, Any] | None]) -> None:
    """Show the part of the state that belongs to a view; ``row_of`` returns the row of an id in the list."""
    if isinstance(view, InvocationsView):
        view.filters, view.group = state.filters, state.group
    elif isinstance(view, OverviewView):
        view.filters = state.filters
    elif isinstance(view, StateView):
        view.open_object(state.place.service, state.place.key, state.place.scope)
    elif isinstance(view, WaitsView):
        view.part = state.part
    elif isinstance(view, DeploymentsView | QueuesView):
        view.opened = state.open
    elif isinstance(view, InvocationView) and state.open is not None:
        view.show_invocation(state.open, row=row_of(state.open))


def _build_list(panel: LivePanel, state: PanelState, acts: ViewActs, tz: str) -> InvocationsView:
    view = InvocationsView(
        panel, state.filters, group=state.group, tz=tz,
        open_item=acts.open_item, changed=acts.take_from_list, fill=acts.fill,
    )  # fmt: skip
    view.grid.on_select(lambda _: acts.note_selection())
    return view
