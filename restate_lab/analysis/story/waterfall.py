"""The waterfall of a story: one row per member or group of equal siblings, on a common time axis from 0 to 1.

``waterfall`` only computes. ``waterfall.html.j2`` draws the result in notebooks, reports, panels and pages, and
``text.py`` writes its rows for terminals.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pandas as pd

from restate_lab.analysis.story.model import EDGE_KINDS
from restate_lab.analysis.story.waterfall_axis import StoryAxis, axis_of, seconds_of
from restate_lab.analysis.story.waterfall_tree import TreeRow, limit_rows, tree_rows
from restate_lab.frames import records
from restate_lab.status import ENDED

MOST_ROWS = 60
"""Rows of a waterfall; the frames of the story have all members."""
_LEAST_WIDTH = 0.0025  # of the axis; shorter phases are drawn together
_BINS = 64  # of the profile of equal siblings
_MOST_DEPARTURES = 24  # lines of one-way calls; with more of them the rows are hard to read
_SAME_PLACE = 0.004  # of the axis
_DEPARTING = ("one-way call", "restart")


class DrawnStory(Protocol):
    """What is drawn of a story; see ``Story``."""

    @property
    def members(self) -> pd.DataFrame: ...  # noqa: D102 - as in Story
    @property
    def edges(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def path(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def phases(self) -> pd.DataFrame: ...  # noqa: D102
    @property
    def started(self) -> datetime: ...  # noqa: D102
    @property
    def ended(self) -> datetime | None: ...  # noqa: D102
    @property
    def read_at(self) -> datetime: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a bar: one phase, or ``count`` short ones of which ``kind`` takes most time. Times are in seconds.

    ``offset`` is its start after the beginning of the story. ``is_open`` marks the phase that has not ended.
    """

    kind: str
    left: float
    width: float
    offset: float
    seconds: float
    label: str = ""
    count: int = 1
    is_open: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class WaterfallRow:
    """One member, or equal siblings with their ids; times are in seconds, positions from 0 to 1.

    ``shortest`` and ``longest`` are durations, ``offset`` is the creation after the beginning of the story. ``profile``
    of equal siblings has the share of them that is alive, in equal intervals of the axis. ``critical_parts`` are the
    intervals on the critical path. ``departures`` are the times of one-way calls and restarts, ``arrival`` is the time
    of its own, and ``passing`` the times of those that lead to lower rows. An unknown value of an agent
    has the value None; with ``is_partial``, some of the equal siblings have none.
    """

    ids: tuple[str, ...]
    target: str
    status: str
    depth: int
    below: int
    is_open: bool
    offset: float
    shortest: float
    longest: float
    left: float
    width: float
    critical: float
    found_by: str
    relation: str
    origin: str | None
    failure: str | None
    failed_attempts: int | None
    model_calls: int | None
    tokens: int | None
    cost: float | None
    is_partial: bool = False
    segments: tuple[Segment, ...] = ()
    profile: tuple[float, ...] = ()
    critical_parts: tuple[tuple[float, float], ...] = ()
    departures: tuple[float, ...] = ()
    passing: tuple[float, ...] = ()
    arrival: float | None = None

    @property
    def count(self) -> int:
        """Return the number of members of the row."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Waterfall:
    """The rows and the axis; ``hidden`` members have no row."""

    rows: tuple[WaterfallRow, ...]
    axis: StoryAxis
    hidden: int
    has_agents: bool


def waterfall(story: DrawnStory, *, most: int = MOST_ROWS) -> Waterfall:
    """Return the rows of a story, parents before children, at most ``most``."""
    members = story.members
    chosen = limit_rows(tree_rows(members), members, most)
    axis = axis_of(story.started, story.ended, story.read_at, story.members, story.path, story.phases)
    builder = _WaterfallBuilder(story, axis, chosen)
    rows = builder.with_departures([builder.row(each) for each in chosen])
    shown = sum(len(each.at) + each.below for each in chosen)
    has_agents = bool(members[["model_calls", "tokens", "cost"]].notna().any(axis=None))
    return Waterfall(tuple(rows), axis, len(members) - shown, has_agents)


def relations(story: DrawnStory, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return how each of these members was found, as a sentence with the target of the other member; "" for the start.

    "it" is the member itself: "it completed an awakeable of Order/4711/place".
    """
    targets = dict(zip(story.members["id"], story.members["target"], strict=True))
    wanted = {row["id"] for row in rows}
    edges = story.edges[story.edges["source"].isin(wanted)]
    as_source = set(zip(edges["source"], edges["target"], edges["kind"], strict=True))
    texts = []
    for row in rows:
        other, kind = row["found_from"], row["found_by"]
        if kind not in EDGE_KINDS:
            texts.append("")
            continue
        ends = {"source": targets.get(other, "another member"), "target": "it"}
        if (row["id"], other, kind) in as_source:
            ends = {"source": "it", "target": ends["source"]}
        texts.append(EDGE_KINDS[kind].format(**ends))
    return texts


class _WaterfallBuilder:
    """Builds the rows from columns, because the frames can have 10,000 members and many more phases."""

    def __init__(self, story: DrawnStory, axis: StoryAxis, chosen: Sequence[TreeRow]) -> None:
        self._members, self._axis, self._edges = story.members, axis, story.edges
        self._created, ends = seconds_of(story.members["created_at"]), seconds_of(story.members["ended_at"])
        self._ended = np.where(np.isnan(ends), axis.first + axis.seconds, ends)
        first = records(self._members.iloc[[each.at[0] for each in chosen]])
        texts = relations(story, first)
        self._first = {row["id"]: (row, text) for row, text in zip(first, texts, strict=True)}
        self._ids = self._members["id"].to_numpy()
        single = {str(self._ids[each.at[0]]) for each in chosen if len(each.at) == 1}
        self._phases = _by_id(story.phases[story.phases["id"].isin(single)])
        self._path = _by_id(story.path)

    def row(self, tree_row: TreeRow) -> WaterfallRow:
        at = list(tree_row.at)
        ids = tuple(map(str, self._ids[at]))
        first, relation = self._first[ids[0]]
        created, ended = self._created[at], self._ended[at]
        lengths = np.maximum(ended - created, 0.0)
        left, right = self._axis.positions(np.array([created.min(), max(ended.max(), created.min())]))
        group = self._members.iloc[at] if len(at) > 1 else None
        return WaterfallRow(
            ids=ids,
            target=first["target"] if group is None else _common_target(group),
            **{name: first[name] for name in ("status", "found_by", "origin", "failure", "failed_attempts")},
            relation=relation,
            depth=tree_row.depth,
            below=tree_row.below,
            is_open=first["status"] not in ENDED,
            offset=max(float(created.min()) - self._axis.first, 0.0),
            shortest=float(lengths.min()),
            longest=float(lengths.max()),
            left=float(left),
            width=float(right - left),
            critical=float(self._members["critical"].iloc[at].dt.total_seconds().sum()),
            **_agent_values(first, group),
            segments=() if group is not None else tuple(self._segments(ids[0], is_open=first["status"] not in ENDED)),
            profile=_profile(*map(self._axis.positions, (created, ended))) if group is not None else (),
            critical_parts=self._critical_parts(ids),
        )

    def _segments(self, id_: str, *, is_open: bool) -> Iterator[Segment]:
        rows = self._phases.get(id_, ())
        parts: list[Segment] = []
        for kind, started, ended, label in rows:
            left, right = map(float, self._axis.positions(np.array([started, ended])))
            offset = max(started - self._axis.first, 0.0)
            parts.append(Segment(kind, left, right - left, offset, max(ended - started, 0.0), label))
        if is_open and parts:
            parts[-1] = replace(parts[-1], is_open=True)
        return _join_short(parts)

    def _critical_parts(self, ids: Iterable[str]) -> tuple[tuple[float, float], ...]:
        times = sorted((started, ended) for id_ in ids for _, started, ended, _ in self._path.get(id_, ()))
        parts: list[tuple[float, float]] = []
        for started, ended in times:
            left, right = map(float, self._axis.positions(np.array([started, ended])))
            if parts and left - parts[-1][1] < _LEAST_WIDTH / 2:
                parts[-1] = (parts[-1][0], max(parts[-1][1], right))
            else:
                parts.append((left, right))
        return tuple(parts)

    def with_departures(self, rows: Sequence[WaterfallRow]) -> list[WaterfallRow]:
        """Add the lines of one-way calls and restarts, each from its caller's row down to the row of its callee."""
        place = {id_: number for number, row in enumerate(rows) for id_ in row.ids}
        edges = self._edges[self._edges["kind"].isin(_DEPARTING)].sort_values("at")
        known, result = dict[tuple[int, int], float](), list(rows)
        positions = self._axis.positions(np.nan_to_num(seconds_of(edges["at"])))
        for source, target, position in zip(edges["source"], edges["target"], positions, strict=True):
            above, below = place.get(source, -1), place.get(target, -1)
            if not 0 <= above < below or (above, below) in known or len(known) == _MOST_DEPARTURES:
                continue
            known[above, below] = at = float(position)
            if all(abs(at - each) > _SAME_PLACE for each in result[above].departures):
                result[above] = replace(result[above], departures=(*result[above].departures, at))
            for between in range(above + 1, below):
                result[between] = replace(result[between], passing=(*result[between].passing, at))
            result[below] = replace(result[below], arrival=at)
        return result


def _by_id(phases: pd.DataFrame) -> dict[str, list[tuple[str, float, float, str]]]:
    """Return the kind, start, end and label of phases by the id of their member."""
    result: dict[str, list[tuple[str, float, float, str]]] = {}
    starts, ends = seconds_of(phases["started"]).tolist(), seconds_of(phases["ended"]).tolist()
    for id_, *rest in zip(phases["id"], phases["kind"], starts, ends, phases["label"], strict=True):
        result.setdefault(id_, []).append((rest[0], rest[1], rest[2], rest[3] or ""))
    return result


def _join_short(parts: Iterable[Segment]) -> Iterator[Segment]:
    """Yield the segments, with those that are too short to be seen as one segment of the kind that takes most time."""
    short: list[Segment] = []
    for part in parts:
        if part.width >= _LEAST_WIDTH:
            yield from _joined(short)
            short = []
            yield part
            continue
        short.append(part)
        if part.left + part.width - short[0].left >= _LEAST_WIDTH:
            yield from _joined(short)
            short = []
    yield from _joined(short)


def _joined(parts: Sequence[Segment]) -> Iterator[Segment]:
    if len(parts) < 2:
        yield from parts
        return
    times: dict[str, float] = {}
    for each in parts:
        times[each.kind] = times.get(each.kind, 0.0) + each.seconds
    kind = max(times, key=times.__getitem__)
    yield replace(
        parts[0],
        kind=kind,
        width=parts[-1].left + parts[-1].width - parts[0].left,
        seconds=sum(each.seconds for each in parts),
        label="",
        count=len(parts),
        is_open=parts[-1].is_open,
    )


def _profile(lefts: Any, rights: Any) -> tuple[float, ...]:
    """Return the share of bars that cover each of some equal intervals of the axis."""
    bins = np.zeros(_BINS + 1)
    np.add.at(bins, np.minimum((lefts * _BINS).astype(int), _BINS - 1), 1)
    np.add.at(bins, np.minimum((rights * _BINS).astype(int), _BINS - 1) + 1, -1)
    return tuple((np.cumsum(bins)[:_BINS] / len(lefts)).tolist())


def _common_target(group: pd.DataFrame) -> str:
    targets = group["target"].unique()
    first = group.iloc[0]
    return str(targets[0]) if len(targets) == 1 else f"{first['service']}/{first['handler']}"


def _agent_values(first: Mapping[str, Any], group: pd.DataFrame | None) -> dict[str, Any]:
    names = ("model_calls", "tokens", "cost")
    if group is None:
        return {name: first[name] for name in names}
    known = group[list(names)].notna()
    sums = {name: group[name].sum() if known[name].any() else None for name in names}
    return {**sums, "is_partial": bool((known.any() & ~known.all()).any())}
