"""Read what changed in a source since a time: the events of the timeline of an incident report."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

import pandas as pd

from restate_lab.analysis.questions import run_question
from restate_lab.analysis.times import to_datetime
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.errors import RestateLabError
from restate_lab.reads import Reads, begin
from restate_lab.reports.reader import DEPLOYMENTS
from restate_lab.reports.timeline import (
    PRESENT_EVENTS,
    TIMED_EVENTS,
    EventBuilder,
    TimelineEvent,
    action_events,
    deployment_events,
    note_events,
    read_changes,
    read_notes,
    timeline_frame,
)
from restate_lab.source import Source


@dataclass(frozen=True, slots=True)
class Changes:
    """The events since a time: ``events`` has ``time, event, what, id``, oldest first.

    ``not_read`` has the kinds of events that could not be read, each with the reason.
    """

    since: datetime
    events: pd.DataFrame
    not_read: tuple[str, ...]


def read_events(source: Source, *, since: str, timeout: float) -> Changes:
    """Read the new errors, failures, pauses, restarts, deployments and actions since a time.

    Raises:
        ArgumentError: ``since`` is not a duration or a time with a zone.
        RestateLabError: the time of the source could not be read.
    """
    reads = begin(source, "changes", timeout)
    start = to_datetime(since, now=reads.now, name="since")
    events: list[TimelineEvent] = []
    not_read: list[str] = []
    for name, read in _event_readers(source, reads, start):
        try:
            events += read()
        except RestateLabError as error:
            not_read.append(f"{name}: {' '.join(str(error).split())}")
    return Changes(start, timeline_frame(each for each in events if each.at >= start), tuple(not_read))


def _event_readers(
    source: Source, reads: Reads, start: datetime
) -> Iterator[tuple[str, Callable[[], Iterator[TimelineEvent]]]]:
    """Yield each kind of events with the function that reads them."""
    for name, build in TIMED_EVENTS.items():
        yield name, partial(_ask, reads, name, build, since=start)
    for name, build in PRESENT_EVENTS.items() if source.coverage.open_invocations else ():
        yield name, partial(_ask, reads, name, build)
    yield "deployments", lambda: deployment_events(reads.query_frame(DEPLOYMENTS))
    innermost = innermost_source(source)
    if is_lab(innermost):
        yield "actions", lambda: action_events(read_changes(innermost, since=start, folder=None)[0])
        yield "notes", lambda: note_events(read_notes(innermost, since=start, folder=None))


def _ask(reads: Reads, name: str, build: EventBuilder, **params: Any) -> Iterator[TimelineEvent]:
    return build(run_question(reads, name, **params))
