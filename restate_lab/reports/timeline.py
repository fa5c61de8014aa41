"""The timeline of an incident: its events as a frame, and the actions taken, from the audit log."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import format_time, format_timestamp, join, one_line
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.audit import audit_log
from restate_lab.client.lab import is_lab
from restate_lab.document import Gaps, Text
from restate_lab.errors import RestateLabError, Truncated
from restate_lab.links import page_link
from restate_lab.notes import short_time
from restate_lab.reports.metadata import SourceMetadata
from restate_lab.reports.parts import FrameTable, Section
from restate_lab.reports.tables import TableBuilder
from restate_lab.source import Source

TITLE = "Actions taken"
_COLUMNS = ("time", "changes", "action", "what", "outcome", "reason", "user", "error")
_EQUAL = ["action", "outcome", "reason", "user", "error"]  # changes that are equal in these are one row
_GAP = pd.Timedelta("1min")  # between equal changes in one row
NOTED = "noted"
"""The kind of event of a note."""
_ALONE = ("finding begins", "action taken", NOTED)
_LONG = 220  # characters of a row
_ELSEWHERE = "Changes by other users, with the web UI, with the Restate CLI or by programs are not in this log."
_FROZEN = "Frozen evidence has no audit log, so the actions taken on the cluster are not known here."
_NO_ADDRESS = "This source has no address, so its records in the audit log cannot be found."


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One event: its time (UTC), its kind, its text, and an invocation or deployment ID for further analysis."""

    at: datetime
    event: str
    what: str
    id: str | None = None


EventBuilder: TypeAlias = Callable[[pd.DataFrame], Iterator[TimelineEvent]]


def timeline_frame(events: Iterable[TimelineEvent]) -> pd.DataFrame:
    """Return the events as a frame, one row per event, oldest first: ``time, event, what, id``."""
    kept = sorted(events, key=lambda each: (each.at, each.event, each.what))
    return pd.DataFrame(
        {
            "time": pd.to_datetime(pd.Series([each.at for each in kept], dtype="object"), utc=True),
            "event": [each.event for each in kept],
            "what": [each.what for each in kept],
            "id": [each.id for each in kept],
        }
    )


@dataclass(frozen=True, slots=True)
class EarlierTimes:
    """The links with which a reader opens the cluster as it was at a time.

    They are "" without pages, and for a source with one time. A link has the time and the name of the source only.
    """

    source: Source

    @property
    def has_links(self) -> bool:
        """Return whether times are links: the address of ``restate-lab serve`` is known, and has this source."""
        return self.source.live and bool(page_link(self.source))

    def link(self, time: datetime) -> str:
        """Return the link to the pages at a time."""
        return page_link(self.source, params={"at": _exact(time)}) if self.source.live else ""

    def with_links(self, table: FrameTable, events: pd.DataFrame) -> FrameTable:
        """Return the table of these events, whose first column is ``time``, with links from the times."""
        times = events["time"].head(len(table.rows))
        pairs = zip(table.rows, times, strict=True)
        return replace(table, rows=tuple((replace(row[0], link=self.link(time)), *row[1:]) for row, time in pairs))


def _exact(time: datetime) -> str:
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def grouped_frame(frame: pd.DataFrame, *, gap: pd.Timedelta) -> pd.DataFrame:
    """Group the routine events of ``timeline_frame``; the columns are ``time, events, event, what``.

    Events of one kind are in one group if each gap between them is at most ``gap``. The start of a finding and an
    action always have a row of their own, because readers look for them.
    """
    columns = ["time", "events", "event", "what"]
    if frame.empty:
        return pd.DataFrame(columns=columns)
    runs = frame.groupby("event", sort=False)["time"].transform(lambda times: (times.diff() > gap).cumsum())
    alone = frame["event"].isin(_ALONE)
    keys = frame["event"] + " " + runs.astype("int64").astype(str) + frame.index.astype(str).where(alone, "")
    rows = [_group_row(each) for _, each in frame.groupby(keys.to_numpy(), sort=False)]
    return pd.DataFrame(rows, columns=columns)


def _group_row(group: pd.DataFrame) -> dict[str, Any]:
    first, n = group.iloc[0], len(group)
    width = _LONG if n == 1 else _LONG // 2
    what = join((one_line(each, width) for each in group["what"]), 2, separator="; ")
    return {"time": first["time"], "events": n, "event": first["event"], "what": one_line(what, _LONG)}


def deployment_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for each registration of a deployment, from ``id, endpoint, created_at``."""
    for row in _rows(frame, "created_at"):
        yield TimelineEvent(row["created_at"], "deployment registered", str(row["endpoint"]), row["id"])


def error_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for the first time of each error, with the number of invocations, from ``error_onset``."""
    keys = ["target_service_name", "target_handler_name", "error_code", "step", "message"]
    for _, each in frame.sort_values("first_at").groupby(keys, sort=False, dropna=False):
        row = each.iloc[0]
        step = f", in “{row['step']}”" if _is_present(row["step"]) else ""
        n = int(each["new_invocations"].sum())
        met = f"; {n:,} invocations since then" if n > 1 else ""
        yield TimelineEvent(
            row["first_at"], "new error", f"{_handler(row)}{step}: {row['message']}{met}", row["example_id"]
        )


def failure_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for the first time of each kind of failure, from ``terminal_failures``."""
    for row in _rows(frame, "first_at"):
        n = f" ({row['invocations']:,} until {format_time(row['last_at'])})" if row["invocations"] > 1 else ""
        yield TimelineEvent(
            row["first_at"], str(row["status"]), f"{_handler(row)}: {row['message']}{n}", row["example_id"]
        )


def pause_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for each paused invocation, from ``paused``."""
    for row in _rows(frame, "paused_at"):
        because = f": {row['message']}" if _is_present(row["message"]) else ""
        yield TimelineEvent(row["paused_at"], "paused", f"{row['target']}{because}", row["id"])


def restart_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for each invocation that was restarted as new, from ``restarts``."""
    for row in _rows(frame, "created_at"):
        yield TimelineEvent(
            row["created_at"], "restarted as new", f"{row['target']}, from {row['restarted_from']}", row["id"]
        )


TIMED_EVENTS: dict[str, EventBuilder] = {"error_onset": error_events, "terminal_failures": failure_events}
"""A question with the parameter ``since`` → its events."""
PRESENT_EVENTS: dict[str, EventBuilder] = {"paused": pause_events, "restarts": restart_events}
"""A question about the present → its events."""


def action_events(frame: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for each change, or for equal consecutive changes: "9 × send Invoices/render: done"."""
    for row in _rows(fold_changes(frame), "time"):
        reason = f" ({row['reason']})" if _is_present(row["reason"]) else ""
        times = f"{row['changes']:,} × " if row["changes"] > 1 else ""
        what = f"{times}{row['action']} {row['what']}: {row['outcome']}{reason}"
        yield TimelineEvent(row["time"], "action taken", what)


def note_events(notes: pd.DataFrame) -> Iterator[TimelineEvent]:
    """Yield an event for each note, from ``read_notes``: "mara: called the provider"."""
    for row in _rows(notes, "time"):
        about = f" ({row['outcome']}: {row['what']})" if row["what"] else ""
        yield TimelineEvent(row["time"], NOTED, f"{row['user']}: {row['reason']}{about}")


def fold_changes(changes: pd.DataFrame) -> pd.DataFrame:
    """Return consecutive changes that differ only in their targets as one row, with the column ``changes``.

    A loop or a program makes many of them within seconds; the time between two in one row is at most a minute.
    ``time`` is that of the first one, and ``what`` has the first targets.
    """
    if changes.empty:
        return changes.assign(changes=0)
    equal = changes[_EQUAL].fillna("").astype(str)
    begins = (equal != equal.shift()).any(axis="columns") | (changes["time"].diff() > _GAP)
    grouped = changes.groupby(begins.cumsum(), sort=False)
    what = grouped["what"].agg(lambda targets: join(targets, 2))
    return grouped.head(1).assign(changes=grouped.size().to_numpy(), what=what.to_numpy())


def finding_events(diagnosis: Diagnosis) -> Iterator[TimelineEvent]:
    """Yield an event for the start of each critical finding that has a start time."""
    for row in _rows(diagnosis.by_severity("critical"), "since"):
        first = next(iter(row["ids"]), None)
        yield TimelineEvent(row["since"], "finding begins", str(row["title"]), first)


def source_changes_section(
    source: Source, about: SourceMetadata, builder: TableBuilder, *, since: datetime, folder: Path | None
) -> Section:
    """Return the section with the actions taken; it also reports if there were none, and the limits of the log."""
    if about.is_evidence:
        return Section(TITLE, (builder.blocks(Text(_FROZEN)),))
    addresses = addresses_of(source)
    if not addresses:
        return Section(TITLE, (builder.blocks(Text(_NO_ADDRESS)),))
    changes, unreadable = read_actions(source, since=since, folder=folder)
    span = f"since {format_timestamp(since, zone=builder.zone)}"
    gaps = Gaps([unreadable] if unreadable else [], "The audit log is incomplete")
    if changes.empty:
        without = (
            f"This user made no changes to {about.name} with restate_lab on this machine {span}, and wrote no notes."
        )
        return Section(TITLE, (builder.blocks(Text(without), Text(_ELSEWHERE), gaps),))
    every = builder.table(changes, columns=("time",), file="actions", rows=len(changes))  # for its download
    folded = fold_changes(changes)
    columns = [each for each in _COLUMNS if each != "changes" or len(folded) < len(changes)]
    table = builder.table(folded, columns=columns, rows=200, drop_empty=True)
    table = replace(table, note=f"{table.note} {every.note}".strip(), download=every.download)
    caption = f"Changes and notes that this user made with restate_lab on this machine {span}, oldest first."
    return Section(TITLE, (builder.blocks(gaps), table) if unreadable else (table,), caption=f"{caption} {_ELSEWHERE}")


def read_changes(source: Source, *, since: datetime, folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the audit log's rows about a source, oldest first, and a text about unreadable parts ("" if none)."""
    changes, unreadable = _read_part(_folder_of(source, folder))
    return _about(changes, source, since), unreadable


def read_notes(source: Source, *, since: datetime, folder: Path | None) -> pd.DataFrame:
    """Return the notes about a source, oldest first, with the columns of changes."""
    return _about(_read_part(_folder_of(source, folder), notes=True)[0], source, since)


def read_actions(source: Source, *, since: datetime, folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the changes and the notes about a source, oldest first, and a text about unreadable parts."""
    log = _read_log(_folder_of(source, folder))
    unreadable = "; ".join(dict.fromkeys(filter(None, (log.unreadable, log.unreadable_notes))))
    return _about(log.actions, source, since), unreadable


def addresses_of(source: Source) -> list[str]:
    """Return the addresses that receive changes to a live cluster: its Admin API and its ingress."""
    if not is_lab(source):
        return []
    addresses: list[str | None] = [source.address]
    try:
        addresses.append(source.ingress.address)
    except RestateLabError:  # the ingress is not known, so no request was sent to it
        addresses.append(source.settings.ingress_url)
    return [str(each) for each in addresses if each]


def _rows(frame: pd.DataFrame, time: str) -> Iterator[dict[Any, Any]]:
    return iter(frame[frame[time].notna()].to_dict("records"))


def _handler(row: Any) -> str:
    return f"{row['target_service_name']}/{row['target_handler_name']}"


def _is_present(value: Any) -> bool:
    return value is not None and not pd.isna(value) and str(value) != ""


@dataclass(frozen=True, slots=True)
class _AuditRows:
    """The changes and the notes of an audit folder, each with the columns of ``_describe_changes``."""

    changes: pd.DataFrame
    notes: pd.DataFrame
    unreadable: str
    unreadable_notes: str

    @property
    def actions(self) -> pd.DataFrame:
        """Return the changes and the notes, oldest first."""
        if self.notes.empty:
            return self.changes
        if self.changes.empty:
            return self.notes
        return pd.concat([self.changes, self.notes]).sort_values("time", kind="stable", ignore_index=True)


def _folder_of(source: Source, folder: Path | None) -> Path | None:
    return folder or (source.transport.audit.folder if is_lab(source) else None)


def _about(rows: pd.DataFrame, source: Source, since: datetime) -> pd.DataFrame:
    return rows[rows["address"].isin(addresses_of(source)) & (rows["time"] >= since)].reset_index(drop=True)


def _read_log(folder: Path | None) -> _AuditRows:
    (changes, unreadable), (notes, unreadable_notes) = _read_part(folder), _read_part(folder, notes=True)
    return _AuditRows(changes, notes, unreadable, unreadable_notes)


def _read_part(folder: Path | None, *, notes: bool = False) -> tuple[pd.DataFrame, str]:
    """Return the changes or the notes of a folder, and a text about unreadable parts."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)  # the report contains this message
        log = audit_log(folder, notes=notes)
    described = _describe_notes(log) if notes else _describe_changes(log)
    return described, str(log.attrs.get("truncated", ""))


def _describe_notes(notes: pd.DataFrame) -> pd.DataFrame:
    """Return the notes with the columns of changes: the text is the reason, and the finding is the target."""
    rows = [
        {
            "time": row["time"],
            "action": "note" if pd.isna(row["until"]) else "acknowledge",
            "what": row["title"] or "",
            "outcome": "noted" if pd.isna(row["until"]) else f"known until {short_time(row['until'], row['time'])}",
            "reason": row["text"],
            "user": row["user"],
            "error": None,
            "address": row["address"],
        }
        for row in notes.to_dict("records")
    ]
    columns = ["time", "action", "what", "outcome", "reason", "user", "error", "address"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    return frame


def _describe_changes(log: pd.DataFrame) -> pd.DataFrame:
    changes = log.reset_index(drop=True)
    changes["what"] = [
        targets[0] if len(targets) == 1 else f"{len(targets):,}: {join(targets)}" for targets in changes["targets"]
    ]
    changes["outcome"] = changes["outcome"].fillna("not known: the process ended before the result")
    changes["outcome"] = changes["counts"].where(changes["counts"].notna(), changes["outcome"])
    return changes
