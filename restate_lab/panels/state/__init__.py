"""``StatePanel``: find a virtual object or workflow, look at its state, and change one key with care."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab._text import format_time
from restate_lab.actions.state import State, set_state, state as read_state
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, OutcomeUnknown, StateConflict
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.panel import Panel, why_read_only
from restate_lab.panels._base.worker import Apart
from restate_lab.panels.grid import Grid
from restate_lab.panels.state.edit import Edit, in_words, why_not_here
from restate_lab.panels.state.editor import StateEditor
from restate_lab.panels.state.search import Objects, Search, SearchBar, find_objects, stateful_services
from restate_lab.source import Source

__all__ = ["StatePanel"]

ROW = "row"
"""The column with the ids of the list: which object a row is, as JSON."""
_TIMEOUT = "4s"  # shorter than close() waits for a thread; what comes later is seen by the next reads


def object_rows(frame: pd.DataFrame) -> list[str]:
    """Return the id of each object in the list: the same object has the same one after every read."""
    return [
        json.dumps({"service": row[0], "key": row[1], "scope": None if pd.isna(row[2]) else row[2]})
        for row in frame.itertuples(index=False)
    ]


def listed(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the objects as the list shows them, with their ids in front."""
    shown = frame.rename(columns={"service_name": "service", "service_key": "key"})
    shown.insert(0, ROW, pd.Series(object_rows(frame), dtype="str"))
    return shown


def values(state: State | None) -> pd.DataFrame:
    """Return one row per key of a state, secrets masked; none where no object is open."""
    if state is None:
        empty = {"key": "str", "value": "str", "encoding": "str", "size": "int64"}
        return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in empty.items()})
    return state.frame()


def heading(state: State | None) -> Block:
    """Return whose state it is, and of when."""
    if state is None:
        return Block("No object is open", "Click one in the list; or choose its service, type its key, and open it.")
    empty = "" if state else "It has no state. "
    return Block(state.where, f"{empty}Read at {format_time(state.read_at)}.")


@dataclass(frozen=True, slots=True)
class _Opened:
    service: str
    key: str
    scope: str | None = None

    @property
    def arguments(self) -> str:
        scope = "" if self.scope is None else f", scope={self.scope!r}"
        return f"{self.service!r}, {self.key!r}{scope}"


@dataclass(frozen=True)
class _StateData:
    search: Search
    objects: Objects | None = None
    services: tuple[str, ...] = ()
    state: State | None = None
    problem: Exception | None = None


class StatePanel(Panel):
    """Show which objects have state, and the state of one; a click on a key shows its value, and lets it be edited.

    ``service`` and ``key`` open that object; ``service`` alone lists its objects. An object without state is not in
    the list, and can be opened by its key. While an object is open it is read again as ``refresh`` says; the list is
    read when asked for. A change is made of a text, a look at both values and a reason; what somebody else has changed
    in between is a conflict, with all three values in view.

    ``frame`` is the list of objects (``service_name, service_key, scope``), ``selected`` its selected rows, ``state``
    the State of the open object, None where none is open.
    """

    def __init__(
        self,
        source: Source,
        service: str | None = None,
        key: str | None = None,
        /,
        *,
        scope: str | None = None,
        refresh: DurationInput | None = "5s",
        tz: str = "UTC",
    ) -> None:
        if key is not None and service is None:
            raise ArgumentError("key needs service: an object is named by both.")
        self._search = Search(service)
        self._searched: Search | None = None
        self._objects = Objects()
        self._opened = _Opened(service, key, scope) if service is not None and key is not None else None
        self._state: State | None = None
        self._looked_at: str | None = None
        self._why_not = why_read_only(source)
        self._make_parts(tz)
        super().__init__(source, title="state", refresh=refresh)
        self._sender = Apart()
        self._editor = StateEditor(
            where=source.name, handled=self.handled, send=self._ask_to_set, closed=self._show_whole
        )
        self._connect()
        for part in (self._sender, self._editor, self._of, self._list, self._values):
            self.ends_with(part)
        self.refresh()

    @property
    def code(self) -> str:
        """Return the line that gives ``state``, or, where no object is open, the line that makes this panel."""
        if self._opened is not None:
            return f"rl.state(lab, {self._opened.arguments})"
        return f"rl.StatePanel(lab{'' if self._search.service is None else f', {self._search.service!r}'})"

    @property
    def sql(self) -> str:
        """Return the statement of ``frame``, which runs as it stands with ``params``."""
        return self._objects.sql

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's parameters."""
        return self._objects.params

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per object that was found."""
        return self._objects.frame

    @property
    def selected(self) -> pd.DataFrame:
        """Return the rows of ``frame`` that are selected."""
        chosen = set(self._list.selected)
        return self.frame[[row in chosen for row in object_rows(self.frame)]].reset_index(drop=True)

    @property
    def state(self) -> State | None:
        """Return the state of the open object as it was read last; None where none is open."""
        return self._state

    def find(self, service: str | None = None, key: str = "", /) -> pd.DataFrame:
        """List the objects of a service (None: of all) that have this text in their key, and return ``frame``."""
        self._search = Search(service, key)
        self._searched = None
        self._bar.search = self._search
        self.refresh()
        return self.frame

    def look_at(self, service: str, key: str, /, *, scope: str | None = None) -> State | None:
        """Open an object, and return its state; None where that failed, see ``error``."""
        self._open(_Opened(service, key, scope))
        self.refresh()
        return self.state

    def edit(self, name: str, /) -> None:
        """Start to edit a key of the open object, in the panel.

        Raises:
            ArgumentError: no object is open, nothing can be changed, or the value cannot be edited as text.
        """
        if self._state is None:
            raise ArgumentError("no object is open: click one, or call look_at().")
        if self._why_not:
            raise ArgumentError(self._why_not)
        self._editor.begin(self._state, name)

    def _make_parts(self, tz: str) -> None:
        self._bar = SearchBar(self._search, self.handled)
        self._list = Grid(
            listed(self._objects.frame),
            key=ROW,
            noun="objects with state",
            one="object with state",
            height=300,
            tz=tz,
            is_read=False,
        )
        self._list.columns = ["service", "key"]
        self._values = Grid(values(None), key="key", noun="keys", height=300, tz=tz, is_read=False)
        self._of = Blocks()
        self._why = Blocks(Block("", self._why_not or "", "warning"))
        self._whole = Blocks()
        _flex(self._list, "1 1 300px")
        self._right = widgets.VBox([self._of, self._values])
        _flex(self._right, "2 1 420px")

    def _connect(self) -> None:
        self._bar.on_find, self._bar.on_open = self._ask_for_list, self._open_typed
        self._list.on_open(self.handled(lambda row: self._open_and_ask(_Opened(**json.loads(row)))))
        self._values.on_open(self.handled(self._look_at_key))
        self._head.on_refresh = self.handled(self._ask_for_all)
        tables = widgets.HBox([self._list, self._right], layout={"flex_flow": "row wrap", "grid_gap": "8px 14px"})
        why_not = [self._why] if self._why_not else []
        self.body = (self._bar, *why_not, tables, self._whole, self._editor.box)

    # What a reader does

    def _ask_for_list(self, search: Search) -> None:
        self._search = search
        self._ask_for_all()

    def _ask_for_all(self) -> None:
        self._searched = None
        self.ask()

    def _open_typed(self, search: Search) -> None:
        if search.service is None or not search.key:
            raise ArgumentError("choose a service and type the whole key, to open an object that is not in the list.")
        self._open_and_ask(_Opened(search.service, search.key))

    def _open_and_ask(self, opened: _Opened) -> None:
        self._open(opened)
        self.ask()

    def _open(self, opened: _Opened) -> None:
        self._editor.check_free()
        self._editor.cancel()
        self._tell_error("handler", "")
        self._opened, self._state, self._looked_at = opened, None, None
        self._whole.show()

    def _look_at_key(self, name: str) -> None:
        """Show one value whole, and open the editor where it can be edited."""
        self._editor.check_free()
        self._editor.cancel()
        self._looked_at = name
        self._show_whole()
        state = self._state
        if state is not None and name in state and not self._why_not and not why_not_here(state, name):
            self._editor.begin(state, name)
            self._whole.show()

    # A change

    def _ask_to_set(self, edit: Edit, reason: str) -> None:
        self._sender.run(self.handled(lambda: self._set(edit, reason), by_reader=False))

    def _set(self, edit: Edit, reason: str) -> None:
        before = edit.before
        try:
            now = set_state(
                self.source,  # type: ignore[arg-type] # checked there, with words
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
            self._editor.conflict(error)
        except OutcomeUnknown as error:
            self._editor.unknown(error)
        except BaseException:
            self._editor.failed()
            raise
        else:
            self._editor.cancel()
            done = "deleted" if edit.text is None else "set"
            self.say(f"{edit.name!r} of {before.where} was {done}; read back at {format_time(now.read_at)}.")
        self.ask()

    # Reading

    def _read(self) -> _StateData:
        search, opened = self._search, self._opened
        if search is self._searched:
            return self._with_state(_StateData(search), opened)
        found = _StateData(search, find_objects(self.reads, search), tuple(stateful_services(self.reads)))
        return self._with_state(found, opened)

    def _with_state(self, found: _StateData, opened: _Opened | None) -> _StateData:
        if opened is None:
            return found
        try:
            state = read_state(self.reads, opened.service, opened.key, scope=opened.scope)
        except (ArgumentError, NotFound, NotOnThisServer) as error:
            return replace(found, problem=error)
        return replace(found, state=state)

    def _show(self, found: _StateData) -> None:
        if found.objects is not None:
            self._searched, self._objects = found.search, found.objects
            self._bar.offer(found.services)
            self._list.refresh(listed(found.objects.frame), note=found.objects.note)
        self._state = found.state
        if found.problem is not None:
            self._opened = None
            self.fail(found.problem)
        self._of.show(heading(found.state))
        self._values.refresh(values(found.state))
        if found.state is not None:
            self._editor.watch(found.state)
        self._show_whole()

    def _show_whole(self) -> None:
        state, name = self._state, self._looked_at
        if state is None or name is None or self._editor.stage != "closed":
            self._whole.show()  # the editor shows the value, too
            return
        why = why_not_here(state, name) if name in state and not self._why_not else ""
        in_code = f"rl.set_state(lab, {state.service!r}, {state.key!r}, {{{name!r}: …}}, reason=…, state=…)"
        self._whole.show(
            Block(f"{name or '(empty)'} of {state.where}", in_words(state.raw, name), is_value=True),
            *([Block("Not to be edited here", f"{why}. In code: {in_code}", "warning")] if why else []),
        )

    def _static(self) -> Iterable[str]:
        if self._why_not:
            yield self._why.static_html()
        yield self._list.static_html()
        if self._state is not None:
            yield self._values.static_html()
            yield self._whole.static_html()


def _flex(part: widgets.Widget, flex: str) -> None:
    part.layout.flex, part.layout.min_width = flex, "0"
