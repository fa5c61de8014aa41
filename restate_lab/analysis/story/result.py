"""The result of ``story()``: its members, edges, phases and critical path as frames and as a document."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, tzinfo
from typing import Any, Final, Self

import pandas as pd

from restate_lab._public import public
from restate_lab.analysis.story.drawing import path_texts, picture_of, statuses_of, tone_of
from restate_lab.analysis.story.model import Member, Phase, StoryEdge
from restate_lab.analysis.story.text import agents_line, origin_line, state_of, title_of
from restate_lab.analysis.suggestions import why_call
from restate_lab.calls import Step, SuggestedCall
from restate_lab.document import Calls, Document, Gaps, Picture, Text
from restate_lab.result import ORIGIN, Result

NOT_SEARCHED = (
    "completions of awakeables, signals and attachments from outside of the story: other journals were not searched"
)
"""The reason in ``not_read`` without a search."""
_TIME = "datetime64[ms, UTC]"
_SPAN: Final = "timedelta64[ms]"
_KINDS = {
    **dict.fromkeys(("created_at", "started_at", "ended_at", "at", "done_at", "started", "ended", "completed"), _TIME),
    **dict.fromkeys(("depth",), "int64"),
    **dict.fromkeys(("index", "failed_attempts", "model_calls", "tokens"), "Int64"),
    "critical": _SPAN,
    "duration": _SPAN,
    "cost": "Float64",
}
_ENTRY_COLUMNS = ("id", "index", "entry_type", "name", "status", "started", "completed")


def entry_frame(**columns: Any) -> pd.DataFrame:
    """Return the frame ``entries`` with these columns; without columns it is empty."""
    return pd.DataFrame(
        {name: pd.Series(columns.get(name, []), dtype=_KINDS.get(name, "object")) for name in _ENTRY_COLUMNS}
    )


@public
@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Story(Result):
    """The invocations that belong together, and how they are connected; ``story()`` returns it.

    - ``members``: one row per run of an invocation, parents before children, siblings by their creation. ``id, target,
      service, handler, key, status``; ``created_at, started_at, ended_at`` (UTC; None if it has not begun or ended);
      ``found_by``: "start" for the requested ones, otherwise the kind of the edge, and ``found_from``: the id of the
      member with this edge. ``parent``: the id of the member that called it first, or that it was restarted from; None
      for a root, whose ``depth`` is 0. ``critical``: its time on the critical path (a timedelta). ``failed_attempts``,
      ``failure`` (of the last attempt, or the final one). For an agent ``model_calls, tokens, cost`` (US dollars), None
      if unknown. ``origin``: "server" or "archive" on a history with ``live=``, otherwise None.
    - ``edges``: one row per relation, by time. ``source, target`` (ids of members), ``kind`` ("call", "one-way call",
      "invoked" if the journal of the caller is gone, "attach", "output", "awakeable", "signal", "cancel", "promise",
      "restart", "trace", "key"), ``index`` of the entry in the journal of the source, ``at`` and ``done_at`` (UTC),
      ``known_from`` ("journal", "row" or "search").
    - ``path``: the critical path, one row per interval, oldest first: what the story waited for from its beginning to
      its end, without gaps. ``id, kind, started, ended, duration, index, label``; ``kind`` is "running", "retrying",
      "queued", "sleeping" or "waiting" (for an answer from outside of the story, such as a person, or paused).
    - ``phases``: the same columns and ``other`` for the whole time of each member. It also has "calling": the member
      waits for the member ``other``.
    - ``entries``: one row per entry of the members' journals: ``id, index, entry_type, name, status, started,
      completed`` (UTC), as in ``journal()``. ``rl.export_spans`` sends them as spans.

    ``started`` is the creation of the first member, ``ended`` the end of the last one, or None if a member is open.
    ``searched``: whether the journals of all invocations were searched for edges. ``not_read``: the parts that are not
    complete, with the reasons.
    """

    _json = (*ORIGIN, "started", "ended", "searched", "not_read", "members", "edges", "path", "phases")
    members: pd.DataFrame
    edges: pd.DataFrame
    path: pd.DataFrame
    phases: pd.DataFrame
    started: datetime
    ended: datetime | None
    searched: bool = False
    entries: pd.DataFrame = field(default_factory=entry_frame)

    @classmethod
    def of(
        cls,
        members: Sequence[Member],
        edges: Iterable[StoryEdge],
        path: Iterable[Phase],
        phases: Iterable[Phase],
        **more: Any,
    ) -> Self:
        """Return the story with these parts; ``more`` are the fields of every result."""
        ends = [each.ended_at for each in members]
        known = [end for end in ends if end is not None]
        return cls(
            members=_frame(Member, members),
            edges=_frame(StoryEdge, edges),
            path=_frame(Phase, path).drop(columns="other"),
            phases=_frame(Phase, phases),
            started=min(each.created_at for each in members),
            ended=max(known) if len(known) == len(ends) else None,
            **more,
        )

    @property
    def ids(self) -> list[str]:
        """Return the ids of the members, parents before children."""
        return list(self.members["id"])

    @property
    def summary(self) -> str:
        """Return the first root, the number of the other members, the duration and the state, on one line."""
        return f"{title_of(self)}, {state_of(self)}"

    @property
    def _search(self) -> Step:
        call = SuggestedCall("story", (str(self.members["id"].iloc[0]),), {"search": True})
        return Step((call,), "search all journals")

    def document(self, zone: tzinfo = UTC, /, *, picture: Picture | None = None) -> Document:
        """Return the critical path, the waterfall, the agents and the gaps; ``picture`` is that of a panel."""
        is_open = self.ended is None and len(self.path)
        blocks = (
            statuses_of(self),
            *path_texts(self),
            picture or picture_of(self, zone),
            *(Text(line) for line in (origin_line(self), agents_line(self)) if line),
            Gaps(self.reasons),
            *((Calls(self._search),) if NOT_SEARCHED in self.not_read["reason"].tolist() else ()),
            *((Calls(Step((why_call(self.path["id"].iloc[-1]),))),) if is_open else ()),
        )
        return replace(super().document(zone), blocks=blocks, tone=tone_of(self))


def _frame(kind: type, parts: Iterable[Any]) -> pd.DataFrame:
    rows = list(parts)
    columns = {
        each.name: pd.Series([getattr(row, each.name) for row in rows], dtype=_KINDS.get(each.name, "object"))
        for each in fields(kind)
    }
    frame = pd.DataFrame(columns)
    if kind is Phase:
        frame.insert(4, "duration", (frame["ended"] - frame["started"]).astype(_SPAN))
    return frame
