"""Draw a story: its statuses, its critical path, and the waterfall of its members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, tzinfo
from functools import cache, partial
from types import MappingProxyType
from typing import Any

from restate_lab._text import format_duration, format_timestamp, one_line, plural
from restate_lab.analysis.story.model import PHASES
from restate_lab.analysis.story.text import (
    agent_text,
    duration_text,
    failure_line,
    found_text,
    name_of,
    path_parts,
    path_time,
    tree_lines,
)
from restate_lab.analysis.story.waterfall import DrawnStory, Segment, Waterfall, WaterfallRow, waterfall
from restate_lab.document import Picture, Text, Word
from restate_lab.status import COLOURS, STATUSES

_TONES: Mapping[str, str] = MappingProxyType(
    {
        "running": "running",
        "retrying": "backing-off",
        "queued": "pending",
        "sleeping": "suspended",
        "waiting": "waiting",
        "calling": "scheduled",
        "other": "unknown",
    }
)
"""A kind of a phase → its tone, as in journals and lists."""
PHASE_COLOURS = {kind: COLOURS[_TONES[kind]] for kind in PHASES}
_LABEL, _LONGEST_TARGET, _FULL_TARGET = 80, 120, 400  # characters
_MOST_INDENT = 10  # levels; a deeper row has its depth as a number
_WORST = ("failed", "killed", "paused", "backing-off", "cancelled")


def picture_of(
    story: DrawnStory,
    zone: tzinfo = UTC,
    *,
    is_live: bool = False,
    selected: str = "",
    drawing: Waterfall | None = None,
) -> Picture:
    """Return the waterfall of a story, with the tree of its members as text.

    With ``is_live``, each target is a button of a panel, and the one of the ``selected`` id is marked. ``drawing`` is
    the waterfall of the story, if the caller has it.
    """

    def draw() -> Mapping[str, Any]:
        return {**_drawing_values(drawing or waterfall(story), story, zone), "is_live": is_live, "selected": selected}

    return Picture("analysis/story/waterfall.html.j2", draw, cache(partial(tree_lines, story)))


def statuses_of(story: DrawnStory) -> Text:
    """Return the number of members by status."""
    counts = Counter(story.members["status"])
    words = (Word(f"{counts[name]:,} {name}", name) for name in STATUSES if counts[name])
    return Text(tuple(part for each in words for part in (each, "  ")))


def tone_of(story: DrawnStory) -> str:
    """Return the worst status of the members."""
    statuses = set(story.members["status"])
    return next((each for each in _WORST if each in statuses), "succeeded" if story.ended else "running")


def path_texts(story: DrawnStory) -> Iterator[Text]:
    """Yield what the critical path is made of, longest first; nothing without a path."""
    parts = path_parts(story)
    words = ((", ", Word(each.kind, _TONES[each.kind]), f" {each.time_and_place}") for each in parts)
    path = [word for each in words for word in each]
    if parts:
        yield Text((Word(f"Critical path {path_time(parts)}:"), " ", *path[1:], "."))


def _drawing_values(drawing: Waterfall, story: DrawnStory, zone: tzinfo) -> dict[str, Any]:
    """Return the values of ``waterfall.html.j2``."""
    axis = drawing.axis
    ticks = axis.ticks()
    ends = [*(tick.position for tick in ticks[1:]), 1.0]
    has_origins = story.members["origin"].nunique() > 1
    kinds = {each.kind for row in drawing.rows for each in row.segments}
    return {
        "ticks": [
            {"label": tick.label, "width": 100 * (end - tick.position)} for tick, end in zip(ticks, ends, strict=True)
        ],
        "rows": [_row(row, has_origins=has_origins) for row in drawing.rows],
        "has_agents": drawing.has_agents,
        "legend": [(kind, PHASE_COLOURS[kind], about) for kind, about in PHASES.items() if kind in kinds],
        "has_critical": any(row.critical_parts for row in drawing.rows),
        "has_departures": any(row.departures for row in drawing.rows),
        "has_groups": any(row.count > 1 for row in drawing.rows),
        "is_open": axis.is_open,
        "hidden": drawing.hidden,
        "breaks": [
            (100 * left, 100 * width, f"{format_duration(seconds)} in which no code ran, drawn shorter")
            for left, width, seconds in axis.break_parts()
        ],
        "started": format_timestamp(story.started, zone=zone, exact=True),
    }


def _row(row: WaterfallRow, *, has_origins: bool) -> dict[str, Any]:
    """Return the template values of one row; positions are percentages."""
    return {
        "id": row.ids[0] if row.count == 1 else "",
        "first": row.ids[0],
        "target": one_line(row.target, _LONGEST_TARGET),
        "times": row.count if row.count > 1 else 0,
        "status": row.status,
        "colour": COLOURS.get(row.status, COLOURS["quiet"]),
        "notes": list(_notes(row, has_origins=has_origins)),
        "failure": failure_line(row),
        "indent": 14 * min(row.depth, _MOST_INDENT),
        "depth": row.depth if row.depth > _MOST_INDENT else 0,
        "duration": duration_text(row) if row.count == 1 else "",
        "about": describe_row(row),
        "agent": agent_text(row),
        "segments": [_segment(each) for each in row.segments],
        "profile": list(_profile_parts(row)),
        "is_plain": not row.segments and not row.profile,
        "critical": [(100 * left, 100 * (right - left)) for left, right in row.critical_parts],
        "is_critical": row.critical > 0,
        "left": 100 * row.left,
        "width": 100 * row.width,
        "departures": [100 * each for each in row.departures],
        "passing": [100 * each for each in row.passing],
        "arrival": None if row.arrival is None else 100 * row.arrival,
    }


def _notes(row: WaterfallRow, *, has_origins: bool) -> Iterator[str]:
    """Yield short notes about a row."""
    if row.count > 1:
        yield duration_text(row)
    if row.count > 1 and row.critical > 0:
        yield f"{format_duration(row.critical)} on the critical path"
    if text := found_text(row):
        yield text
    if row.failed_attempts and row.count == 1:
        yield plural(row.failed_attempts, "failed attempt")
    if row.below:
        yield f"{row.below:,} more below"
    if has_origins and row.origin == "archive":
        yield "archive"


def describe_row(row: WaterfallRow) -> str:
    """Return the times of a row and how it was found, for the tooltip of its bar and for screen readers."""
    parts = [
        f"{one_line(name_of(row), _FULL_TARGET)} {row.status}",
        duration_text(row),
        f"from +{format_duration(row.offset)}",
    ]
    if row.is_open:
        parts.append("open")
    if row.critical > 0:
        parts.append(f"{format_duration(row.critical)} on the critical path")
    if row.relation:
        parts.append(f"found because {row.relation}")
    if row.origin:
        parts.append(f"from the {row.origin}")
    return ", ".join(parts)


def _segment(each: Segment) -> dict[str, Any]:
    label = f" {one_line(each.label, _LABEL)}" if each.label else ""
    mostly = f"{each.count:,} phases, mostly {each.kind}" if each.count > 1 else f"{each.kind}{label}"
    still = ", not ended" if each.is_open else ""
    return {
        "kind": each.kind,
        "colour": PHASE_COLOURS[each.kind],
        "left": 100 * each.left,
        "width": 100 * each.width,
        "is_open": each.is_open,
        "about": f"{mostly} {format_duration(each.seconds)}, from +{format_duration(each.offset)}{still}",
    }


def _profile_parts(row: WaterfallRow) -> Iterator[tuple[float, float, float]]:
    """Yield the left edge, the width and the height of each part of a profile, in percent; equal parts are one."""
    size, at, highest = 100 / max(len(row.profile), 1), 0, max(row.profile, default=1.0)
    while at < len(row.profile):
        end = at + 1
        while end < len(row.profile) and row.profile[end] == row.profile[at]:
            end += 1
        if row.profile[at] > 0:
            yield at * size, (end - at) * size, max(100 * row.profile[at] / highest, 12.0)
        at = end
