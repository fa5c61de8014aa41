"""The timeline of an incident: what began, broke, was deployed and was done, oldest first."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from restate_lab._text import format_time, format_timestamp, join
from restate_lab.analysis.doctor.diagnosis import Diagnosis
from restate_lab.audit import audit_log
from restate_lab.client.lab import is_lab
from restate_lab.errors import RestateLabError, Truncated
from restate_lab.reports.metadata import About
from restate_lab.reports.parts import Notice, Part, Prose, Section
from restate_lab.reports.tables import Maker
from restate_lab.source import Source

__all__ = [
    "Event",
    "changes_by",
    "changes_of",
    "changes_section",
    "deployed",
    "done_here",
    "ended",
    "errors_met",
    "findings_begun",
    "paused",
    "restarted",
    "timeline",
]

TITLE = "Actions taken"
_COLUMNS = ("time", "action", "what", "outcome", "reason", "user", "error")
_ELSEWHERE = "What others changed, or was changed with the web UI, the CLI or by programs, is not in this log."
_FROZEN = "Evidence has no audit log: what was done to the cluster is not known here."
_NO_ADDRESS = "This source has no address, so no record of the audit log can be told to be about it."


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: when (UTC), what kind of thing, in words, and an id to go on with."""

    at: datetime
    event: str
    what: str
    id: str | None = None


def timeline(events: list[Event], *, since: datetime) -> pd.DataFrame:
    """Return the events since a moment, oldest first: ``time, after`` (since the first), ``event, what, id``."""
    kept = sorted((each for each in events if each.at >= since), key=lambda each: (each.at, each.event, each.what))
    times = pd.to_datetime(pd.Series([each.at for each in kept], dtype="object"), utc=True)
    return pd.DataFrame(
        {
            "time": times,
            "after": times - times.iloc[0] if kept else pd.Series(dtype="timedelta64[ms]"),
            "event": [each.event for each in kept],
            "what": [each.what for each in kept],
            "id": [each.id for each in kept],
        }
    )


def deployed(frame: pd.DataFrame) -> Iterator[Event]:
    """Give the registrations of deployments (``id, endpoint, created_at``)."""
    for row in _rows(frame, "created_at"):
        yield Event(row["created_at"], "deployment registered", str(row["endpoint"]), row["id"])


def errors_met(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``error_onset``, when each error was met first, and by how many in all."""
    keys = ["target_service_name", "target_handler_name", "error_code", "step", "message"]
    for _, each in frame.sort_values("first_at").groupby(keys, sort=False, dropna=False):
        row = each.iloc[0]
        step = f", in “{row['step']}”" if _is_there(row["step"]) else ""
        n = int(each["new_invocations"].sum())
        met = f"; met by {n:,} since" if n > 1 else ""
        yield Event(
            row["first_at"], "error first met", f"{_handler(row)}{step}: {row['message']}{met}", row["example_id"]
        )


def ended(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``terminal_failures``, when each kind of end was first seen."""
    for row in _rows(frame, "first_at"):
        n = f" ({row['n']:,} until {format_time(row['last_at'])})" if row["n"] > 1 else ""
        yield Event(row["first_at"], str(row["status"]), f"{_handler(row)}: {row['message']}{n}", row["example_id"])


def paused(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``paused``, when each invocation was paused."""
    for row in _rows(frame, "paused_at"):
        because = f": {row['message']}" if _is_there(row["message"]) else ""
        yield Event(row["paused_at"], "paused", f"{row['target']}{because}", row["id"])


def restarted(frame: pd.DataFrame) -> Iterator[Event]:
    """Give, of the answer to ``restarts``, when each invocation was restarted as new."""
    for row in _rows(frame, "created_at"):
        yield Event(row["created_at"], "restarted as new", f"{row['target']}, from {row['restarted_from']}", row["id"])


def done_here(frame: pd.DataFrame) -> Iterator[Event]:
    """Give the changes of the audit log (``time, action, what, outcome, reason``)."""
    for row in _rows(frame, "time"):
        reason = f" ({row['reason']})" if _is_there(row["reason"]) else ""
        yield Event(row["time"], "action taken", f"{row['action']} of {row['what']}: {row['outcome']}{reason}")


def findings_begun(diagnosis: Diagnosis) -> Iterator[Event]:
    """Give when what the doctor found critical began, where there is a trace of it."""
    for row in _rows(diagnosis.by_severity("critical"), "since"):
        first = next(iter(row["ids"]), None)
        yield Event(row["since"], "finding begins", str(row["summary"]), first)


def _rows(frame: pd.DataFrame, moment: str) -> Iterator[dict[Any, Any]]:
    return iter(frame[frame[moment].notna()].to_dict("records"))


def _handler(row: Any) -> str:
    return f"{row['target_service_name']}/{row['target_handler_name']}"


def _is_there(value: Any) -> bool:
    return value is not None and not pd.isna(value) and str(value) != ""


def changes_section(source: Source, about: About, maker: Maker, *, since: datetime, folder: Path | None) -> Section:
    """Return the section of the actions taken; it also says that there were none, and what it does not know."""
    if about.is_evidence:
        return Section(TITLE, (Prose((_FROZEN,)),))
    addresses = addresses_of(source)
    if not addresses:
        return Section(TITLE, (Prose((_NO_ADDRESS,)),))
    found, torn = changes_of(source, since=since, folder=folder)
    span = f"since {format_timestamp(since, zone=maker.zone)}"
    return _section(
        found,
        torn,
        maker,
        nothing=f"Nothing was changed on {about.name} with restate_lab by this user of this machine {span}.",
        caption=f"With restate_lab, by this user of this machine, {span}, oldest first.",
    )


def changes_by(pid: int, maker: Maker, *, since: datetime, folders: Sequence[Path]) -> Section:
    """Return the section of what one process changed."""
    logs = [_log(folder) for folder in folders]
    torn = "; ".join(torn for _, torn in logs if torn)
    found = pd.concat([log for log, _ in logs]) if logs else _log(None)[0].head(0)
    found = _told(found[(found["pid"] == pid) & (found["time"] >= since)].sort_values("time"))
    nothing = "This notebook changed nothing with restate_lab."
    return _section(found, torn, maker, nothing=nothing, caption="By this notebook, with restate_lab, oldest first.")


def _section(found: pd.DataFrame, torn: str, maker: Maker, *, nothing: str, caption: str) -> Section:
    parts: list[Part] = [Notice(f"The audit log is incomplete: {maker.masker.text(torn)}.")] if torn else []
    if found.empty:
        return Section(TITLE, (Prose((nothing, _ELSEWHERE)), *parts))
    table = maker.table(found, columns=_COLUMNS, file="actions", rows=200, drop_empty=True)
    embedded = table.download.size if table.download else 0
    return Section(TITLE, (*parts, table), caption=f"{caption} {_ELSEWHERE}", embedded=embedded)


def changes_of(source: Source, *, since: datetime, folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the audit log's rows about a source, oldest first, and what of the log could not be read, in words."""
    log, torn = _log(folder or _folder_of(source))
    return _told(log[log["address"].isin(addresses_of(source)) & (log["time"] >= since)]), torn


def _log(folder: Path | None) -> tuple[pd.DataFrame, str]:
    """Return the audit log, and what of it could not be read, in words."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Truncated)  # it is said in the report
        log = audit_log(folder)
    return log, str(log.attrs.get("truncated", ""))


def _told(log: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with their targets and their outcome in words."""
    found = log.reset_index(drop=True)
    found["what"] = [_targets(each) for each in found["targets"]]
    found["outcome"] = found["outcome"].fillna("not known: the process ended before it knew")
    found["outcome"] = found["counts"].where(found["counts"].notna(), found["outcome"])
    return found


def addresses_of(source: Source) -> list[str]:
    """Return the addresses under which a live cluster is changed: of its Admin API, and of its ingress."""
    if not is_lab(source):
        return []
    found: list[str | None] = [source.address]
    try:
        found.append(source.ingress.address)
    except RestateLabError:  # no ingress is known, so nothing went there from here
        found.append(source.settings.ingress_url)
    return [str(each) for each in found if each]


def _folder_of(source: Source) -> Path | None:
    return source.transport.audit.folder if is_lab(source) else None


def _targets(targets: list[str]) -> str:
    return targets[0] if len(targets) == 1 else f"{len(targets):,}: {join(targets)}"
