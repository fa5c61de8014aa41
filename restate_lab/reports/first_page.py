"""The first page of a report: the verdict in one sentence, four numbers, a timeline, and the invocations in flight."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible, format_age, join, one_line, plural
from restate_lab.analysis.doctor.diagnosis import Diagnosis, count_findings, gap_reasons
from restate_lab.durations import round_step
from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import AxisLabel, Fact, Lane, LaneBar, Mark, Timeline
from restate_lab.reports.timeline import EarlierTimes, TimelineEvent
from restate_lab.status import STATUSES

_DAY = timedelta(days=1)
_BINS = 60
_TICKS = 6
_LEAST_SPAN = timedelta(seconds=10)
_BEFORE = 3  # the picture begins at most this many incident lengths before the incident
_CLOSE = 5.0  # percent of the width; marks that are closer are merged
_FINDINGS = 4
_TEXTS = 6  # events listed in the tooltip of a mark
_LONGEST, _LONGEST_TITLE = 90, 200  # characters of a name or a label, and of a finding's title
_LONGEST_ERROR = 60
_HTTP = re.compile(r"\bHTTP \d{3}\b")
_EXCEPTION = re.compile(r"^\w+\(['\"](.*)['\"]\)$")

_LANES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "new errors": ("new error", "failed"),
        "paused": ("paused",),
        "cancelled or killed": ("cancelled", "killed"),
        "deployments": ("deployment registered",),
        "restarts": ("restarted as new",),
        "actions": ("action taken", "noted"),
    }
)
"""Name of a lane → the kinds of events that it shows as marks."""
_COLOURS = MappingProxyType(
    {
        "new error": STATUSES["backing-off"].colour,
        "failed": STATUSES["failed"].colour,
        "paused": STATUSES["paused"].colour,
        "action taken": STATUSES["succeeded"].colour,
        "noted": STATUSES["suspended"].colour,
        "deployment registered": STATUSES["running"].colour,
    }
)


def verdict_of(diagnosis: Diagnosis, zone: tzinfo, *, targets: Mapping[str, str] | None = None, error: str = "") -> str:
    """Return the problem in one sentence; for an incomplete diagnosis, the text begins with that fact.

    ``targets`` maps ids of blocked invocations to their targets. ``error`` is the message of the first finding.
    """
    sentence = _first_sentence(diagnosis, zone, targets or {}, error)
    if diagnosis.verdict != "incomplete":
        return sentence or f"No problem found by {plural(len(diagnosis.checked), 'check')}."
    none = "The checks that could run found no problem." if len(diagnosis.checked) else "No check could run."
    return f"The diagnosis is incomplete. {sentence or none}"


def diagnosis_title(diagnosis: Diagnosis) -> str:
    """Return a title with the place of the first finding and the cluster: "Incident at Payments/charge on prod"."""
    row, cluster = _first_row(diagnosis), diagnosis.source.partition(" @ ")[0]  # evidence has its time in the name
    if row is not None and (row["where"] or diagnosis.verdict != "incomplete"):
        where = one_line(str(row["where"]), _LONGEST)
        return escape_invisible(f"Incident{f' at {where}' if where else ''} on {cluster}")
    kind = "Incomplete diagnosis" if diagnosis.verdict == "incomplete" else "No problem found"
    return escape_invisible(f"{kind}: {cluster}")


def lead_of(
    diagnosis: Diagnosis,
    masker: Masker,
    zone: tzinfo,
    *,
    targets: Mapping[str, str] | None = None,
    error: str = "",
) -> tuple[str, ...]:
    """Return the lines of the first page: the verdict, the number of findings, and the checks that did not run."""
    verdict = verdict_of(diagnosis, zone, targets=targets, error=error)
    totals = count_findings(diagnosis.findings["severity"])
    lines = (verdict, *([f"Findings: {totals}"] if totals else []))
    gaps = (f"Not checked: {each}" for each in gap_reasons(diagnosis))
    return tuple(masker.text(escape_invisible(each)) for each in (*lines, *gaps))


def first_error(diagnosis: Diagnosis, retries: pd.DataFrame | None) -> str:
    """Return the most frequent error message of the first finding's handler, or "" if it is not known."""
    row = _first_row(diagnosis)
    if row is None or retries is None or retries.empty:
        return ""
    own = retries[handler_names(retries) == row["where"]].sort_values("invocations", ascending=False)
    return str(own["example_message"].iloc[0]) if len(own) else ""


def handler_names(frame: pd.DataFrame) -> pd.Series[str]:
    """Return the handler of each row as "service/handler"."""
    return frame["target_service_name"].astype(str) + "/" + frame["target_handler_name"].astype(str)


def first_numbers(
    diagnosis: Diagnosis, failures: pd.DataFrame | None, zone: tzinfo, since: datetime
) -> tuple[Fact, ...]:
    """Return the four numbers: affected, since, blocked, and failed since ``since``.

    ``failures`` None means that the failures could not be read.
    """
    rows = _worst_rows(diagnosis)
    began = min((row["since"] for row in rows if pd.notna(row["since"])), default=None)
    affected, blocked = _distinct(rows, "ids", "blocked"), _distinct(rows, "blocked")
    severity = rows[0]["severity"] if rows else "critical"
    failed = "–" if failures is None else f"{failures.loc[failures['status'] == 'failed', 'invocations'].sum():,.0f}"
    return (
        Fact("affected", affected, f"by {plural(len(rows), f'{severity} finding')}"),
        Fact(
            "since",
            _clock(began, diagnosis.read_at, zone) or "–",
            f"{format_age(began, diagnosis.read_at)} before this report"
            if began is not None
            else "start time not known",
        ),
        Fact("blocked", blocked, "wait for an affected invocation"),
        Fact("failed", failed, f"terminal failures since {_clock(since, diagnosis.read_at, zone)}"),
    )


@dataclass(frozen=True, slots=True)
class TimeWindow:
    """The time range that the timeline shows."""

    start: datetime
    end: datetime

    @property
    def bin(self) -> timedelta:
        """Return the time that one bar covers: a round value that gives about 60 bars."""
        return self._step(_BINS)

    def place(self, at: datetime) -> float:
        """Return the position of a time, in percent of the width."""
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(max(share, 0.0), 1.0), 2)

    def ticks(self, zone: tzinfo, times: EarlierTimes) -> tuple[AxisLabel, ...]:
        """Return about six round times in the zone; both ends stay free, because they have labels of their own."""
        step = self._step(_TICKS)
        layout = "%d %b" if step >= _DAY else "%H:%M" if step >= timedelta(minutes=1) else "%H:%M:%S"
        local = self.start.astimezone(zone)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0)
        first = midnight + ((local - midnight) // step + 1) * step
        round_times = (first + step * n for n in range(2 * _TICKS + 2))
        placed = ((self.place(each), each) for each in round_times if each < self.end)
        return tuple(AxisLabel(at, f"{each:{layout}}", times.link(each)) for at, each in placed if 15 < at < 85)

    def _step(self, most: int) -> timedelta:
        """Return a round time, a second or more, that is at most ``most`` times in the window."""
        return timedelta(seconds=max(round_step((self.end - self.start).total_seconds(), most), 1))


def time_window(
    events: Sequence[TimelineEvent], began: datetime | None, *, since: datetime, now: datetime
) -> TimeWindow:
    """Return the time range to show: all events, or for a short incident three times its length before it."""
    first = min((each.at for each in events if since <= each.at <= now), default=since)
    if began is not None and began > first:
        first = max(first, began - _BEFORE * max(now - began, _LEAST_SPAN))
    span = max(now - first, _LEAST_SPAN)
    return TimeWindow(now - span * 1.03, now)


def draw_timeline(
    window: TimeWindow,
    diagnosis: Diagnosis,
    events: Sequence[TimelineEvent],
    created: pd.DataFrame | None,
    ended: pd.DataFrame | None,
    *,
    times: EarlierTimes,
    zone: tzinfo,
    masker: Masker,
) -> Timeline:
    """Return the timeline: lanes with bars for findings, counts of created and ended invocations, and event marks.

    Findings, marks and time labels open the cluster as it was at their time, or have the call for it.
    """
    lanes = [*_finding_lanes(window, diagnosis, times)]
    if created is not None and len(created):
        lanes.append(_histogram("created", window, created, {"invocations": STATUSES["running"].colour}))
    if ended is not None and len(ended):
        colours = {name: STATUSES[name].colour for name in ("succeeded", "failed", "cancelled", "killed")}
        lanes.append(_histogram("ended", window, ended, colours))
    marked = [_mark_lane(name, kinds, window, events, times, zone) for name, kinds in _LANES.items()]
    lanes += [lane for lane in marked if lane.marks or lane.earlier]
    masked = tuple(_mask_lane(each, masker) for each in lanes)
    names = join((f"{each.name} {each.note}".strip() for each in masked), 12)
    start, end = (_clock_seconds(each, window, zone) for each in (window.start, window.end))
    note = "A click on a finding, a mark or a time opens the cluster as it was then." if times.has_links else ""
    return Timeline(masked, window.ticks(zone, times), start, end, f"Timeline from {start} to {end}: {names}", note)


def _first_row(diagnosis: Diagnosis) -> dict[Any, Any] | None:
    rows = _worst_rows(diagnosis)
    return rows[0] if rows else None


def _worst_rows(diagnosis: Diagnosis) -> list[dict[Any, Any]]:
    rows: list[dict[Any, Any]] = diagnosis.findings.to_dict("records")
    for severity in ("critical", "warning"):
        if found := [row for row in rows if row["severity"] == severity]:
            return found
    return []


def _first_sentence(diagnosis: Diagnosis, zone: tzinfo, targets: Mapping[str, str], error: str) -> str:
    row = _first_row(diagnosis)
    if row is None:
        return ""
    began = _clock(row["since"], diagnosis.read_at, zone)
    sentence = one_line(str(row["title"]), _LONGEST_TITLE)
    if not row["where"] or not sentence.startswith(row["where"]):  # the name of a handler stays as it is
        sentence = f"{sentence[:1].upper()}{sentence[1:]}"
    sentence += f", since {began} {zone}" if began else ""
    sentence += f" ({_short_error(error)})" if error else ""
    if blocked := _blocked_text(row, targets):
        subject = "it blocks" if row["count"] == 1 else "they block"
        sentence += f"; {subject} {blocked}"
    return escape_invisible(f"{sentence}.")


def _short_error(error: str) -> str:
    """Return the essential part of a message: "HTTP 503", or the text without the exception class around it."""
    if found := _HTTP.search(error):
        return found[0]
    first = error.partition("\n")[0]
    inner = _EXCEPTION.match(first)
    return one_line(inner[1] if inner else first, _LONGEST_ERROR)


def _blocked_text(row: Mapping[Any, Any], targets: Mapping[str, str]) -> str:
    """Return the invocations that a finding blocks, such as "12 Account/debit, 2 Orders/place"; "" if none."""
    total = int(row["affected"]) - int(row["count"])
    if total <= 0:
        return ""
    counts = Counter(_handler_of(targets[id_]) for id_ in row["blocked"] if targets.get(id_))
    if counts.total() < total:
        return plural(total, "other invocation")
    return join((f"{n:,} {name}" for name, n in counts.most_common()), 2)


def _handler_of(target: str) -> str:
    """Return a target without its key: "Account/acme-retail/debit" becomes "Account/debit"."""
    service, _, rest = target.partition("/")
    return f"{service}/{rest.rpartition('/')[2]}"


def _distinct(rows: Iterable[Mapping[Any, Any]], *columns: str) -> str:
    """Return how many invocations these columns name; the text begins with "up to" if some ids are missing."""
    about = [row for row in rows if str(next(iter(row["ids"]), "")).startswith("inv_")]
    if all(len(row["ids"]) + len(row["blocked"]) >= row["affected"] for row in about):
        return f"{len({id_ for row in about for column in columns for id_ in row[column]}):,}"
    counted = sum(int(row["affected"]) - (0 if "ids" in columns else int(row["count"])) for row in about)
    return f"up to {counted:,}"


def _clock(value: datetime | None, now: datetime, zone: tzinfo) -> str:
    """Return a time as "02:51", with its day unless it is today; "" if it is missing."""
    if value is None or pd.isna(value):
        return ""
    local = value.astimezone(zone)
    return f"{local:%H:%M}" if local.date() == now.astimezone(zone).date() else f"{local:%d %b %H:%M}"


def _finding_lanes(window: TimeWindow, diagnosis: Diagnosis, times: EarlierTimes) -> Iterator[Lane]:
    rows = [row for row in _worst_rows(diagnosis) if pd.notna(row["since"]) and row["since"] <= window.end]
    for row in rows[:_FINDINGS]:
        left = window.place(row["since"])
        title, link = str(row["title"]), times.link(row["since"])
        label = one_line(title, _LONGEST)
        bar = LaneBar(left, 100 - left, 0, 100, title, STATUSES["failed"].colour, label, link)
        handlers = one_line(str(row["where"]), _LONGEST).partition(" on ")[0]  # without the deployment
        yield Lane(handlers, f"{row['affected']:,}", (bar,))


def _histogram(name: str, window: TimeWindow, frame: pd.DataFrame, colours: Mapping[str, str]) -> Lane:
    sums = frame[frame["span_start"] >= window.start - window.bin].groupby("span_start")[list(colours)].sum()
    highest = max(int(sums.sum(axis="columns").max()), 1) if len(sums) else 1
    width = 100 * (window.bin / (window.end - window.start))
    bars = []
    for start, row in zip(sums.index, sums.to_dict("records"), strict=True):
        bottom = 0.0
        for column, colour in colours.items():
            n = int(row[column])
            height = 100 * n / highest
            text = f"{n:,} {name if column == 'invocations' else column}"
            if n:
                left = window.place(start)
                bars.append(LaneBar(left, min(width, 100 - left), bottom, height, text, colour))
            bottom += height
    return Lane(name, f"{int(sums.to_numpy().sum()):,}", tuple(bars))


def _mark_lane(
    name: str,
    kinds: Sequence[str],
    window: TimeWindow,
    events: Sequence[TimelineEvent],
    times: EarlierTimes,
    zone: tzinfo,
) -> Lane:
    """Return the lane for events of these kinds; events that are close together become one mark with a count."""
    own = sorted((each for each in events if each.event in kinds and each.at <= window.end), key=lambda each: each.at)
    shown = [each for each in own if each.at >= window.start]
    groups: list[list[TimelineEvent]] = []
    for each in shown:
        if groups and window.place(each.at) - window.place(groups[-1][0].at) < _CLOSE:
            groups[-1].append(each)
        else:
            groups.append([each])
    marks = tuple(_mark(group, window, times, zone) for group in groups)
    return Lane(name, f"{len(own):,}", marks=marks, earlier=len(own) - len(shown))


def _mark(group: Sequence[TimelineEvent], window: TimeWindow, times: EarlierTimes, zone: tzinfo) -> Mark:
    first = group[0]
    texts = [f"{_clock_seconds(each.at, window, zone)} {each.event}: {one_line(each.what)}" for each in group]
    return Mark(
        window.place(first.at),
        len(group),
        join(texts, _TEXTS, separator="\n"),
        _COLOURS.get(first.event, STATUSES["cancelled"].colour),
        times.link(first.at),
    )


def _mask_lane(lane: Lane, masker: Masker) -> Lane:
    return replace(
        lane,
        name=masker.text(escape_invisible(lane.name)),
        bars=tuple(
            replace(each, text=_clean(each.text, masker), label=_clean(each.label, masker)) for each in lane.bars
        ),
        marks=tuple(replace(each, text=_clean(each.text, masker)) for each in lane.marks),
    )


def _clean(text: str, masker: Masker) -> str:
    return masker.text(escape_invisible(text))


def _clock_seconds(value: datetime, window: TimeWindow, zone: tzinfo) -> str:
    """Return a time with seconds, and with its day if the timeline covers several days."""
    local = value.astimezone(zone)
    is_one_day = window.start.astimezone(zone).date() == window.end.astimezone(zone).date()
    return f"{local:%H:%M:%S}" if is_one_day else f"{local:%d %b %H:%M:%S}"
