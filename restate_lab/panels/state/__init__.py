"""State: find a virtual object or workflow, view its state, and safely change one key."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import format_time
from restate_lab.actions.state import State, set_state, state as read_state
from restate_lab.actions.state.reader import StatefulObjects, find_objects, stateful_services
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, OutcomeUnknown, StateConflict, TimedOut
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.content import close_all
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.source import why_read_only
from restate_lab.panels._base.submit import fields_row
from restate_lab.panels._base.view import View
from restate_lab.panels._base.worker import BackgroundAction
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.export import offer_export
from restate_lab.panels.state.edit import Edit, readable_value, why_not_here
from restate_lab.panels.state.editor import StateEditor
from restate_lab.panels.state.search import Search, SearchBar

ROW = "row"
"""The column with the ids of the list: the service, key and scope of a row as JSON."""
_TIMEOUT = "4s"  # shorter than the wait of close() for a thread; the next reads show later results
_CHEAP, _SHARE = 0.25, 20  # seconds; reading a slower list takes at most a twentieth of the time
_HEADS = {"service_name": "service", "service_key": "key", "scope": "scope", "preview": "state"}
"""Column of the list → its header."""


@dataclass(frozen=True, slots=True)
class OpenObject:
    """The object whose state is shown."""

    service: str
    key: str
    scope: str | None = None


@dataclass(frozen=True)
class _ObjectList:
    """The objects that match a search, and the available services; ``note`` describes missing objects."""

    search: Search
    objects: StatefulObjects
    services: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class _StateData:
    """The data of one read; a ``listing`` of None means that the list was not due."""

    opened: OpenObject | None
    state: State | None = None
    problem: Exception | None = None
    listing: _ObjectList | None = None


def object_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the objects for the list, with their ids as the first column."""
    table = frame.copy()
    ids = [
        json.dumps({"service": service, "key": key, "scope": None if pd.isna(scope) else scope})
        for service, key, scope in frame[["service_name", "service_key", "scope"]].itertuples(index=False)
    ]
    table.insert(0, ROW, pd.Series(ids, dtype="str"))
    return table


def value_table(state: State | None) -> pd.DataFrame:
    """Return one row per key of a state, with secrets masked; empty if no object is open."""
    if state is None:
        empty = {"key": "str", "value": "str", "encoding": "str", "size": "int64"}
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in empty.items()})
    return state.frame


def heading(state: State | None) -> Block:
    """Return the owner of the state and the time of the read."""
    if state is None:
        return Block("No object is open", "Click an object in the list to see its state.")
    empty = "" if state else "It has no state. "
    return Block(state.object, f"{empty}Read at {format_time(state.read_at)}.")


class StateView(View):
    """The objects that have state, and the state of one; a click on a key shows its value and starts an edit.

    The host calls ``open_object`` before a read. ``changed`` is called with a service, a key and a scope when the user
    opens an object, and with only a service when the user selects another service. ``open_list`` gets the service and
    the key of the open object, to list its invocations. Every read includes the open object,
    and also the list, unless that would take more than a twentieth of the time. A change needs the new text, a
    comparison of both values, and a reason. If the state has changed in the meantime, the change is a conflict, and all
    three values are shown.

    ``frame`` is the list of objects (``service_name, service_key, scope, preview``); ``state`` is the State of the open
    object, or None if none is open.
    """

    title = "State"

    def __init__(
        self,
        host: LivePanel,
        *,
        tz: str,
        changed: Callable[[str | None, str | None, str | None], object],
        open_list: Callable[[str, str], object],
    ) -> None:
        super().__init__(host)
        self._changed, self._open_list = changed, open_list
        self._search = Search()
        self._listing: _ObjectList | None = None
        self._listed_at = self._listing_took = 0.0
        self._opened: OpenObject | None = None
        self._state: State | None = None
        self._problem: Exception | None = None
        self._whole_key: str | None = None
        self._why_not = why_read_only(self.source)
        self._sender = BackgroundAction()
        self._make_parts(tz)
        self.object_grid.on_open(host.guard(lambda row: self._open_row(**json.loads(row))))
        self.value_grid.on_open(host.guard(self._open_key))
        tables = widgets.HBox([self.object_grid, self._right], layout={"flex_flow": "row wrap", "grid_gap": "8px 14px"})
        why_not = [self.why_not] if self._why_not else []
        self.children = (self.bar, *why_not, tables)

    @property
    def sql(self) -> str:
        """Return the statement that found the objects of ``frame``."""
        return self._objects.sql

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return self._objects.params

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per object in the list."""
        return self._objects.frame

    @property
    def state(self) -> State | None:
        """Return the last read state of the open object; None if none is open."""
        return self._state

    def open_object(self, service: str | None, key: str | None, scope: str | None) -> None:
        """Show an object with the next read, or only the list (``key`` None); ``service`` None lists all services.

        While an edit is not finished, the open object stays: the panel reports this, and ``changed`` is called with it.
        Without a service, ``key`` is a text that the keys in the list contain.
        """
        wanted = None if service is None or key is None else OpenObject(service, key, scope)
        text = key if wanted is None else None
        has_other_search = service != self._search.service or text is not None
        if has_other_search and (wanted is None or self._listing is None):
            self.bar.search = self._search = Search(service, text or "")
        if wanted == self._opened:
            return
        self.host.guard(self._open)(wanted)
        if self._opened != wanted and self._opened is not None:
            self._changed(self._opened.service, self._opened.key, self._opened.scope)

    def edit(self, name: str, /) -> None:
        """Start editing a key of the open object in the panel.

        Raises:
            ArgumentError: no object is open, the source is read-only, or the value cannot be edited as text.
        """
        if self._state is None:
            raise ArgumentError("no object is open; click one in the list first.")
        if self._why_not:
            raise ArgumentError(self._why_not)
        self.editor.begin(self._state, name)

    def _make_parts(self, tz: str) -> None:
        self.bar = SearchBar(guard=self.host.guard, on_search=self._search_by_hand, on_open=self._open_exact_key)
        self.object_grid = Grid(
            object_table(self._objects.frame),
            key=ROW,
            noun="objects with state",
            one="object with state",
            columns=["service_name", "service_key", "preview"],
            height=300,
            tz=tz,
            is_read=False,
            heads=_HEADS,
            flex="preview",
            compact=True,
        )
        self.value_grid = Grid(
            value_table(None), key="key", noun="keys", height=300, tz=tz, is_read=False, flex="value", empty="No keys.",
            compact=True,
        )  # fmt: skip
        offer_export(self.object_grid, self.host, "objects-with-state", helpers=(ROW,), has_ids=False)
        offer_export(self.value_grid, self.host, self._export_name, has_ids=False)
        self.owner, self.whole = Blocks(heading(None)), Blocks()
        self.list_button = widgets.Button(description="Invocations of this object", layout={"display": "none"})
        self.list_button.on_click(self.host.guard(lambda _: self._list_invocations()))
        self.why_not = Blocks(Block("", self._why_not or "", "warning"))
        self.editor = StateEditor(
            where=self.source.name,
            guard=self.host.guard,
            send=lambda *edit: self._sender.run(self.host.guard(lambda: self._set(*edit), by_reader=False)),
            closed=self._show_whole,
        )
        self.value_grid.layout.display = "none"
        self._right = widgets.VBox(
            [fields_row(self.owner, self.list_button), self.value_grid, self.whole, self.editor.box]
        )
        _flex(self.object_grid, "1 1 420px")
        _flex(self._right, "1 1 420px")

    # Actions of the user

    def _search_by_hand(self, search: Search) -> None:
        is_other_service = search.service != self._search.service
        if is_other_service:
            try:
                self.editor.check_free()
            except ArgumentError:
                self.bar.search = self._search
                raise
        self._search = search
        self._listing_took = 0.0  # the list is due, even if it is slow
        if is_other_service:
            self._changed(search.service, None, None)
        self.host.ask()

    def _clear_search(self) -> None:
        self.bar.search = Search()
        self._search_by_hand(Search())

    def _export_name(self) -> str:
        opened = self._opened
        return f"state-{opened.service}-{opened.key or ''}" if opened else "state"

    def _open_exact_key(self, search: Search) -> None:
        if search.service is None or not search.key:
            raise ArgumentError("to open an object by its exact key, choose a service and enter the complete key.")
        self._open_row(search.service, search.key, None)

    def _open_row(self, service: str, key: str, scope: str | None) -> None:
        self.editor.check_free()
        self._changed(service, key, scope)

    def _list_invocations(self) -> None:
        if self._opened is not None:
            self._open_list(self._opened.service, self._opened.key)

    def _open_key(self, name: str) -> None:
        """Show one full value, and open the editor if the value can be edited."""
        self.editor.check_free()
        self.editor.cancel()
        self._whole_key = name
        self._show_whole()
        state = self._state
        if state is not None and name in state and not self._why_not and not why_not_here(state, name):
            self.editor.begin(state, name)
            self.editor.text.focus()
            self.whole.show()

    # Content

    @property
    def _objects(self) -> StatefulObjects:
        return StatefulObjects() if self._listing is None else self._listing.objects

    def _open(self, wanted: OpenObject | None) -> None:
        self.editor.check_free()
        self.editor.cancel()
        self._opened, self._state, self._whole_key = wanted, None, None
        self.list_button.layout.display = "none" if wanted is None else ""
        self.value_grid.layout.display = "none"
        self.whole.show()

    # A change

    def _set(self, edit: Edit, reason: str) -> None:
        before = edit.before
        try:
            now = set_state(
                self.source,  # type: ignore[arg-type] # checked there, with an error message
                before.service,
                before.key,
                edit.values,
                delete=edit.delete,
                state=before,
                scope=before.scope,
                reason=reason,
                timeout=_TIMEOUT,
            )
        except StateConflict as error:
            self.editor.conflict(error)
        except OutcomeUnknown as error:
            self.editor.unknown(error)
        except BaseException:
            self.editor.enter("reviewing")
            raise
        else:
            self.editor.cancel()
            done = "deleted" if edit.text is None else "set"
            self.host.say(f"{edit.name!r} of {before.object} was {done}; read back at {format_time(now.read_at)}.")
        self.host.ask()

    # Reading

    def read(self) -> _StateData:
        """Read the open object, and the list if it is due."""
        opened, search = self._opened, self._search
        state, problem = self._read_state(opened)
        return _StateData(opened, state, problem, self._read_list(search, is_open=opened is not None))

    def _read_state(self, opened: OpenObject | None) -> tuple[State | None, Exception | None]:
        if opened is None:
            return None, None
        try:
            return read_state(self.reads, opened.service, opened.key, scope=opened.scope), None
        except (ArgumentError, NotFound, NotOnThisServer) as error:
            return None, error

    def _read_list(self, search: Search, *, is_open: bool) -> _ObjectList | None:
        started, listing = time.monotonic(), self._listing
        is_due = self._listing_took < _CHEAP or started - self._listed_at >= _SHARE * self._listing_took
        if listing is not None and listing.search == search and not is_due:
            return None
        try:
            objects = find_objects(self.reads, service=search.service, key=search.key)
            services = tuple(stateful_services(self.reads))
        except TimedOut as error:
            if not is_open:
                raise
            objects = listing.objects if listing is not None and listing.search == search else StatefulObjects()
            return _ObjectList(search, objects, note=f"The list was not read: {error}")
        finally:
            self._listed_at = time.monotonic()
            self._listing_took = self._listed_at - started
        return _ObjectList(search, objects, services, _note(objects))

    def show(self, content: _StateData) -> None:
        """Show the list and the open object."""
        if content.listing is not None:
            self._show_list(content.listing)
        if content.opened == self._opened:
            self._show_object(content.state, content.problem)

    def _show_list(self, listing: _ObjectList) -> None:
        is_new = self._listing is None or self._listing.search != listing.search
        self._listing = listing
        self.bar.offer(listing.services)
        table = object_table(listing.objects.frame)
        is_narrowed = listing.search != Search()
        text = "No object matches the search." if is_narrowed else "No virtual object and no workflow has state."
        self.object_grid.set_empty(text, "Clear search" if is_narrowed else "", self.host.guard(self._clear_search))
        self.object_grid.refresh(table, note=listing.note, sort=is_new)
        columns = [name for name in _HEADS if name != "scope" or table["scope"].notna().any()]
        if columns != self.object_grid.columns:
            self.object_grid.columns = columns

    def _show_object(self, state: State | None, problem: Exception | None) -> None:
        if problem is not None:
            self.host.fail(problem)
        elif self._problem is not None:
            self.host.guard(lambda: None)()  # removes the error
        self._state, self._problem = state, problem
        is_choice = state is not None or len(self._objects.frame) > 0
        self.owner.show(*([heading(state)] if is_choice else []))
        self.value_grid.refresh(value_table(state))
        self.value_grid.layout.display = "" if state else "none"
        if state is not None:
            self.editor.watch(state)
            if self._whole_key is None and len(state) == 1:
                self._whole_key = next(iter(state))
        self._show_whole()

    def _show_whole(self) -> None:
        state, name = self._state, self._whole_key
        if state is None or name is None or self.editor.stage != "closed":
            self.whole.show()  # the editor also shows the value
            return
        why = why_not_here(state, name) if name in state and not self._why_not else ""
        in_code = f"rl.set_state(lab, {state.service!r}, {state.key!r}, {{{name!r}: …}}, reason=…, state=…)"
        self.whole.show(
            Block(f"{name or '(empty)'} of {state.object}", readable_value(state.shown, name), is_value=True),
            *([Block("This value cannot be edited here", f"{why}. In code: {in_code}", "warning")] if why else []),
        )

    def wait_for_action(self, within: float, /) -> bool:
        """Wait for the change in progress."""
        return self._sender.wait(within)

    def static(self) -> Iterable[str]:
        """Yield the list and the state of the open object."""
        if self._why_not:
            yield self.why_not.static_html()
        yield self.object_grid.static_html()
        if self._state is not None:
            yield self.owner.static_html()
            yield self.value_grid.static_html()
            yield self.whole.static_html()

    def close_parts(self) -> None:
        """Stop a change in progress."""
        self._sender.close()
        close_all(self.why_not)


def _note(objects: StatefulObjects) -> str:
    """Return a note about objects that are not in the list, or ""."""
    if not objects.is_cut:
        return ""
    return (
        f"The list shows only {len(objects.frame):,} objects, in no particular order; choose a service or enter part "
        "of a key."
    )


def _flex(part: widgets.Widget, flex: str) -> None:
    part.layout.flex, part.layout.min_width = flex, "0"
