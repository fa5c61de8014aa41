"""Which invocations wait for which, in a panel: the picture, the deadlocks, and the root blockers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

import networkx as nx
import pandas as pd
from pydantic import Field, TypeAdapter

from restate_lab._html import render
from restate_lab._text import join, one_line
from restate_lab.analysis.waits import Waits, find_waits
from restate_lab.analysis.waits.picture import WaitPicture, draw_picture, part_of
from restate_lab.panels._assets import read_assets
from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.content import ContentWidget, ViewMessage
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.source import LIMIT
from restate_lab.panels._base.view import View
from restate_lab.panels.grid import Grid
from restate_lab.panels.grid.export import offer_export

MOST_LISTED = 1_000
"""Waiting invocations that a folded box of the picture lists."""
_NOTHING = "Nothing waits: no invocation waits for another one."
_MOST_DRAWN = 10_000  # invocations in the graph of a picture; it then takes one or two seconds
_WORST = 5  # deadlocks, and root blockers
_FIRST_DRAWN = f"The picture has the {_WORST} worst deadlocks and root blockers; both lists are complete."
_ALONE = "It waits for no other invocation, and no other one waits for it."
_LONGEST_PLACE = 60  # characters
_HEADS = {"total_waiting": "waiting", "waits_for": "waits for", "resolution": "to break it"}
_DEADLOCK_COLUMNS = ("kind", "members", "waiting", "age", "resolution")
_BLOCKER_COLUMNS = ("status", "target", "total_waiting", "waits_for", "age", "id")


class _BoxClick(ViewMessage):
    type: Literal["open", "list"]
    id: Annotated[str, Field(max_length=200)]


class _WholeGraph(ViewMessage):
    type: Literal["whole"]


_PictureMessage: TypeAlias = _BoxClick | _WholeGraph


class WaitsPicture(ContentWidget):
    """Show a picture whose boxes are buttons; ``deliver`` gets the messages about boxes that are in the picture."""

    _esm = read_assets("_assets/elements.js", "_assets/roving.js", "waits/waits.js")
    _css = read_assets("waits/waits.css")
    messages = TypeAdapter(Annotated[_PictureMessage, Field(discriminator="type")])

    def __init__(self, deliver: Callable[[_PictureMessage], object]) -> None:
        self._clicks: dict[str, set[str]] = {}
        super().__init__(deliver)

    def draw(self, picture: WaitPicture | None, *, about: str, selected: str, is_part: bool) -> None:
        """Show this picture, or only the text ``about`` without one; the box of the ``selected`` id is marked."""
        boxes = picture.boxes if picture else ()
        self._clicks = {
            "open": {box["id"] for box in boxes if not box["folded"]},
            "list": {box["blocker"] for box in boxes if box["folded"] and box["blocker"]},
        }
        html = ""
        if picture:
            html = render("analysis/waits/picture.html.j2", picture=picture, is_live=True, selected=selected)
        self.show({"html": html, "about": about, "is_part": is_part})

    def controls(self, row: Any, /) -> dict[str, dict[str, Any]]:
        """Return the message of a click: "open box" or "list waiting" with an id, or "Show the whole graph"."""
        if row is None:
            return {"Show the whole graph": {"type": "whole"}} if self.content.get("is_part") else {}
        names = {"open": "open box", "list": "list waiting"}
        return {names[kind]: {"type": kind, "id": row} for kind, ids in self._clicks.items() if row in ids}

    def handle(self, message: _PictureMessage, /) -> None:
        """Deliver the message; an id that is not in the picture does nothing."""
        if isinstance(message, _WholeGraph) or message.id in self._clicks.get(message.type, ()):
            super().handle(message)


@dataclass(frozen=True)
class _WaitsData:
    """The result of one read with its graph, and the picture of ``part``."""

    waits: Waits
    graph: nx.DiGraph
    part: tuple[str, ...]
    picture: WaitPicture | None

    @classmethod
    def of(cls, waits: Waits, graph: nx.DiGraph, part: tuple[str, ...]) -> _WaitsData:
        shown = part_of(graph, part or _worst(waits)) if part or len(graph) > _MOST_DRAWN else graph
        blockers = waits.blockers[waits.blockers["id"].isin(set(shown))]
        is_shown = [all(id_ in shown for id_ in ids) for ids in waits.deadlocks["members"]]
        deadlocks = waits.deadlocks[pd.Series(is_shown, dtype="bool")]
        return cls(waits, graph, part, draw_picture(shown, blockers, deadlocks, anchors={}))

    def target_of(self, id_: str) -> str:
        """Return the target of an invocation in the graph, or its id if the graph does not have it."""
        return str(self.graph.nodes.get(id_, {}).get("target") or id_)


class WaitsView(View):
    """The wait-for graph as a picture, with the lists of deadlocks and root blockers.

    A click on a box opens its invocation with ``open_item``. A click on a box with a number of waiting invocations
    lists them: ``list_ids`` gets their ids and a name. A click on a deadlock shows its part of the graph: ``changed``
    gets its members, and () for the whole graph. ``part`` has the ids whose part is shown. ``waits`` is the result of
    the last read, None before it, and ``frame`` has its edges.
    """

    title = "Waits"

    def __init__(
        self,
        host: LivePanel,
        part: tuple[str, ...],
        *,
        tz: str,
        open_item: Callable[[str], object],
        list_ids: Callable[[Sequence[str], str], object],
        changed: Callable[[tuple[str, ...]], object],
    ) -> None:
        super().__init__(host)
        self._content: _WaitsData | None = None
        self._part = part
        self._open_item, self._list_ids, self._changed = open_item, list_ids, changed
        self.summary = Blocks()
        self.picture = WaitsPicture(host.guard(self._act))
        options: dict[str, Any] = {
            "tz": tz, "is_read": False, "heads": _HEADS, "ages": ["age"], "ids": ["id"], "height": 260,
            "frozen_at": None if self.source.live else self.source.now,
        }  # fmt: skip
        self.deadlock_grid = Grid(
            noun="deadlocks", flex="resolution", narrow={"resolution": "", "age": "", "kind": "members"}, **options
        )
        self.blocker_grid = Grid(
            noun="root blockers", flex="waits_for", narrow=dict.fromkeys(["id", "age", "status"], ""), **options
        )
        self.deadlock_grid.on_open(host.guard(self._open_deadlock))
        self.blocker_grid.on_open(host.guard(open_item))
        offer_export(self.deadlock_grid, host, "deadlocks", helpers=("id", "age"), has_ids=False)
        offer_export(self.blocker_grid, host, "root-blockers", helpers=("age",))
        self.children = (self.summary, self.picture, self.deadlock_grid, self.blocker_grid)

    @property
    def waits(self) -> Waits | None:
        """Return the result of the last read, or None before it."""
        return self._content.waits if self._content else None

    @property
    def part(self) -> tuple[str, ...]:
        """Return the ids whose part of the graph is shown; () for the whole graph."""
        return self._part

    @part.setter
    def part(self, ids: tuple[str, ...]) -> None:
        if ids != self._part:
            self._part = ids
            if self._content is not None:
                self.show(self._content)

    @property
    def frame(self) -> pd.DataFrame:
        """Return one row per wait, as ``rl.waits(lab).edges``."""
        return self.waits.edges if self.waits else pd.DataFrame()

    def read(self) -> _WaitsData:
        """Read the waits within the time limit of a panel, and draw the picture."""
        waits = find_waits(self.reads, timeout=LIMIT)
        return _WaitsData.of(waits, waits.graph(), self._part)

    def show(self, content: _WaitsData) -> None:
        """Show the picture and both lists."""
        if content.part != self._part:  # chosen during the read
            content = _WaitsData.of(content.waits, content.graph, self._part)
        self._content, waits = content, content.waits
        self.summary.show(Block("", waits.summary), *(Block("", reason, "warning") for reason in waits.reasons))
        part = content.part
        selected = part[0] if len(part) == 1 else ""
        self.picture.draw(content.picture, about=self._about(content), selected=selected, is_part=bool(part))
        deadlocks, blockers = _deadlock_table(waits.deadlocks), _blocker_table(waits.blockers)
        for grid, table, columns in (
            (self.deadlock_grid, deadlocks, _DEADLOCK_COLUMNS),
            (self.blocker_grid, blockers, _BLOCKER_COLUMNS),
        ):
            is_first = grid.frame.shape[1] < len(columns)
            grid.refresh(table)
            grid.layout.display = "" if len(table) else "none"
            if is_first:
                grid.columns = columns

    def static(self) -> Iterable[str]:
        """Yield the card of the waits."""
        if self._content is not None:
            yield self._content.waits._repr_html_()

    def close_parts(self) -> None:
        """Close the widgets."""
        for part in (self.summary, self.picture, self.deadlock_grid, self.blocker_grid):
            part.close()

    def _about(self, content: _WaitsData) -> str:
        if not content.part and len(content.graph) > _MOST_DRAWN:
            return f"{len(content.graph):,} invocations wait or block. {_FIRST_DRAWN}"
        if not content.part:
            return "" if content.picture else _NOTHING
        text = f"Only the part of the graph with {join(map(content.target_of, content.part), 3)}."
        return text if content.picture else f"{text} {_ALONE}"

    def _open_deadlock(self, row: str) -> None:
        table = self.deadlock_grid.frame
        self._changed(tuple(table.loc[table["id"] == row, "ids"].iloc[0]))

    def _act(self, message: _PictureMessage) -> None:
        if isinstance(message, _WholeGraph):
            self._changed(())
        elif message.type == "open":
            self._open_item(message.id)
        elif self._content is not None:
            waiting = sorted(nx.ancestors(self._content.graph, message.id))
            first = f"first {MOST_LISTED:,} of " if len(waiting) > MOST_LISTED else ""
            target = one_line(self._content.target_of(message.id), _LONGEST_PLACE)
            self._list_ids(waiting[:MOST_LISTED], f"waiting for {target} ({first}{len(waiting):,})")


def _worst(waits: Waits) -> list[str]:
    """Return members of the worst deadlocks, and the worst root blockers."""
    return [ids[0] for ids in waits.deadlocks["members"].head(_WORST)] + list(waits.blockers["id"].head(_WORST))


def _deadlock_table(deadlocks: pd.DataFrame) -> pd.DataFrame:
    """Return one row per deadlock, certain ones first; ``id`` is the first of its ``ids``."""
    members = list(deadlocks["members"])
    columns = {
        "id": [ids[0] for ids in members],
        "kind": ["deadlock" if certain else "possible deadlock" for certain in deadlocks["certain"]],
        "members": [" → ".join(str(name) for name in names) for names in deadlocks["targets"]],
        "resolution": list(deadlocks["reason"]),
    }
    frame = pd.DataFrame({name: pd.Series(values, dtype="str") for name, values in columns.items()})
    numbers = {name: deadlocks[name].reset_index(drop=True) for name in ("waiting", "since")}
    return frame.assign(**numbers, age=numbers["since"], ids=pd.Series(members, dtype="object"))


def _blocker_table(blockers: pd.DataFrame) -> pd.DataFrame:
    """Return one row per root blocker, most waiters first."""
    return blockers.drop(columns="examples").assign(age=blockers["since"])
