"""The texts of a story: its title, its state, its critical path, and the tree of its members."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from restate_lab._text import escape_invisible, format_duration, one_line, plural, short_ids, truncate
from restate_lab.analysis.story.waterfall import DrawnStory, WaterfallRow, waterfall
from restate_lab.frames import records

_LONGEST_TARGET = 60  # characters, in sentences
_FAILURE = 160  # characters
_LEAST_TARGET = 16  # characters of a target in the tree
_MOST_PARTS = 5  # of the critical path
_CALLED = frozenset({"call", "start"})
_SHORT = {"one-way call": "one-way"}  # in the tree
_MOST_INDENT = 8  # levels of the tree; a deeper row has its depth as a number
_MARK = "*"
_LEGEND = f"{_MARK} on the critical path"


def title_of(story: DrawnStory) -> str:
    """Return the first root and the number of the other members: "Order/4711/place and 5 invocations"."""
    members = story.members
    target = one_line(str(members["target"].iloc[0]), _LONGEST_TARGET)
    return target if len(members) == 1 else f"{target} and {plural(len(members) - 1, 'invocation')}"


def state_of(story: DrawnStory) -> str:
    """Return how long the story has taken, whether it is open, and how many members failed: "2m, open, 1 failed"."""
    counts = Counter(story.members["status"])
    seconds = ((story.ended or max(story.read_at, story.started)) - story.started).total_seconds()
    parts = [f"{format_duration(seconds)}, {'ended' if story.ended else 'open'}"]
    parts += [f"{counts[each]:,} {each}" for each in ("failed", "killed", "cancelled", "paused") if counts[each]]
    return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class PathPart:
    """The time of the critical path with one kind of phase in equal members, in seconds."""

    kind: str
    seconds: float
    where: str

    @property
    def time_and_place(self) -> str:
        """Return the time with the place: "35s (Payments/charge)"."""
        place = f" ({self.where})" if self.where else ""
        return f"{format_duration(self.seconds)}{place}"


def path_parts(story: DrawnStory) -> list[PathPart]:
    """Return what the critical path is made of, longest first; the last part is the sum of the shorter ones."""
    names = ("id", "target", "service", "handler")
    members = {row["id"]: row for row in records(story.members[list(names)])}
    seconds, targets, labels = dict[Any, float](), dict[Any, set[str]](), dict[Any, set[str]]()
    path = story.path
    for id_, kind, time, label in zip(path["id"], path["kind"], path["duration"], path["label"], strict=True):
        member = members[id_]
        key = kind, member["service"], member["handler"]
        seconds[key] = seconds.get(key, 0.0) + time.total_seconds()
        targets.setdefault(key, set()).add(member["target"])
        labels.setdefault(key, set()).add(label or "")
    order = sorted((key for key in seconds if seconds[key] > 0), key=lambda key: -seconds[key])
    most = _MOST_PARTS if len(order) > _MOST_PARTS + 1 else len(order)
    rest = sum(seconds[key] for key in order[most:])
    parts = [PathPart(key[0], seconds[key], _place(key, targets[key], labels[key])) for key in order[:most]]
    return [*parts, PathPart("other", rest, "")] if rest else parts


def _place(key: tuple[str, str, str], targets: set[str], labels: set[str]) -> str:
    where = next(iter(targets)) if len(targets) == 1 else f"{len(targets):,} × {key[1]}/{key[2]}"
    label = next(iter(labels)) if len(labels) == 1 else ""
    own = f"{one_line(where, _LONGEST_TARGET)}, {one_line(label, _LONGEST_TARGET)}" if label else ""
    return own or one_line(where, _LONGEST_TARGET)


def path_time(parts: Iterable[PathPart]) -> str:
    """Return the length of the critical path."""
    return format_duration(sum(each.seconds for each in parts))


def origin_line(story: DrawnStory) -> str:
    """Return how many members are from the archive and how many from the server; "" for a source with one origin."""
    counts = Counter(story.members["origin"].dropna())
    parts = [f"{counts[each]:,} from the {each}" for each in ("archive", "server") if counts[each]]
    total = len(story.members)
    unknown = total - counts.total()
    return f"{', '.join(parts)}{f', {unknown:,} unknown' if unknown else ''}." if parts else ""


def agents_line(story: DrawnStory) -> str:
    """Return the calls of models, tokens and costs of the story; "" without agents."""
    members = story.members
    agents = members[members[["model_calls", "tokens", "cost"]].notna().any(axis=1)]
    if agents.empty:
        return ""
    parts = []
    for name, text in (("model_calls", _model_calls), ("tokens", _tokens), ("cost", format_cost)):
        known = agents[name].dropna()
        value = text(known.sum()) if len(known) else f"{name.replace('_', ' ')} unknown"
        unknown = len(agents) - len(known)
        parts.append(f"{value} (unknown for {unknown:,})" if unknown and len(known) else value)
    return f"{plural(len(agents), 'agent')}: {', '.join(parts)}."


def agent_text(row: WaterfallRow) -> str:
    """Return the calls of models, tokens and cost of a row, without the unknown ones; "" for other rows."""
    values = ((row.model_calls, _model_calls), (row.tokens, _tokens), (row.cost, format_cost))
    text = ", ".join(each(value) for value, each in values if value is not None)
    return f"at least {text}" if row.is_partial and text else text


def format_cost(cost: float) -> str:
    """Return US dollars with two digits, or with four below a dollar: "$0.0123"."""
    return f"${cost:,.2f}" if cost >= 1 else f"${cost:.4f}"


def _model_calls(number: float) -> str:
    return plural(number, "model call")


def _tokens(number: float) -> str:
    return plural(number, "token")


def duration_text(row: WaterfallRow) -> str:
    """Return how long a row took: "12s", or "12s to 1m" for equal siblings."""
    texts = dict.fromkeys(format_duration(each) for each in (row.shortest, row.longest))
    return " to ".join(texts)


def found_text(row: WaterfallRow) -> str:
    """Return how a member was found if it is not a call: "one-way call", "awakeable"; "" for a call or the start."""
    return "" if row.found_by in _CALLED else row.found_by


def name_of(row: WaterfallRow) -> str:
    """Return the target of a row, with the number of equal siblings: "48 × Row/store"."""
    return f"{row.count:,} × {row.target}" if row.count > 1 else row.target


def failure_line(row: WaterfallRow) -> str:
    """Return the failure of a row that did not succeed, on one line; "" without one."""
    return one_line(row.failure, _FAILURE) if row.failure and row.status != "succeeded" else ""


def tree_lines(story: DrawnStory, width: int = 80, most: int = 60) -> list[str]:
    """Return the tree of the members for a terminal, at most ``most`` rows with at most ``width`` characters.

    Each row has the target, the status, the duration, the creation after the beginning of the story, and the end of
    the id. A row on the critical path begins with "*". Equal siblings are one row. A failure is on its own line.
    """
    drawing = waterfall(story, most=most)
    ids = short_ids(row.ids[0] for row in drawing.rows)
    cells = [_cells(row, ids) for row in drawing.rows]
    sizes = [max(map(len, column)) for column in zip(*cells, strict=True)]
    heads = [_head(row) for row in drawing.rows]
    room = max(width - sum(sizes) - 2 * len(sizes) - 2, _LEAST_TARGET)
    longest = min(room, max(len(name) + len(note) for name, note in heads))
    lines = []
    for row, (name, note), (status, taken, offset, id_) in zip(drawing.rows, heads, cells, strict=True):
        head = f"{_fit(name, longest - len(note))}{note}".ljust(longest)
        numbers = f"{taken.rjust(sizes[1])}  {offset.rjust(sizes[2])}"
        mark = _MARK if row.critical > 0 else " "
        lines.append(f"{mark} {head}  {status.ljust(sizes[0])}  {numbers}  {id_}".rstrip())
        if text := escape_invisible(failure_line(row), lines=False):
            lines.append(truncate(f"{' ' * (4 + len(_indent(row.depth)))}{text}", width))
    more = [f"  … and {drawing.hidden:,} more"] if drawing.hidden else []
    return [*lines, *more, *([_LEGEND] if any(row.critical > 0 for row in drawing.rows) else [])]


def _cells(row: WaterfallRow, ids: Mapping[str, str]) -> tuple[str, str, str, str]:
    """Return the status, the duration, the creation and the short id of a row."""
    longest = format_duration(row.longest)
    taken = longest if longest == format_duration(row.shortest) else f"≤ {longest}"
    return row.status, taken, f"+{format_duration(row.offset)}", ids[row.ids[0]] if row.count == 1 else ""


def _head(row: WaterfallRow) -> tuple[str, str]:
    """Return the indented name of a row, and a note about it."""
    more = (_SHORT.get(row.found_by, found_text(row)), f"{row.below:,} below" if row.below else "")
    notes = ", ".join(filter(None, more))
    name = escape_invisible(name_of(row), lines=False)
    return f"{_indent(row.depth)}{name}", f" ({notes})" if notes else ""


def _indent(depth: int) -> str:
    return "  " * depth if depth <= _MOST_INDENT else f"{'  ' * _MOST_INDENT}({depth:,}) "


def _fit(text: str, width: int) -> str:
    """Return a text without its middle if it is too long: the handler is at the end."""
    if len(text) <= width:
        return text
    end = max((width - 1) // 2, 1)
    return f"{text[: max(width - 1 - end, 0)]}…{text[-end:]}"
