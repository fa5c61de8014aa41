"""The first page: the verdict and the findings of a source, or those of several clusters side by side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from restate_lab._text import format_timestamp, one_line
from restate_lab.analysis.times import to_datetime
from restate_lab.errors import ArgumentError
from restate_lab.frames import records
from restate_lab.reports.timeline import grouped_frame
from restate_lab.result import Result
from restate_lab.serve.page import Missing, PageRequest, WebPage, data_of, missing_if_unread, together
from restate_lab.serve.pages.clusters import clusters_page
from restate_lab.serve.pages.findings import DiagnosisCard, read_diagnosis
from restate_lab.serve.pages.invocations import count_part
from restate_lab.serve.pages.reader import Changes, read_events
from restate_lab.serve.rendering import part_of

_SINCE = ("15m", "1h", "6h", "24h")
_MOST_EVENTS = 100  # lines
_LONGEST = 300  # characters of an event
_GAP = pd.Timedelta("2min")  # between routine events of one line
_ANY_TIME = pd.Timestamp("2026-01-01T00:00:00Z").to_pydatetime()


async def first_page(request: PageRequest) -> WebPage:
    """Return the verdict and the findings, the counts by status, and with ``since`` what changed since then."""
    request.check_params("since")
    since = request.text("since")
    if request.is_about_all:
        if since is not None:
            raise ArgumentError("since needs a source; choose from " + ", ".join(request.all_readings) + ".")
        return await clusters_page(request)
    if since is not None:
        to_datetime(since, now=_ANY_TIME, name="since")
    diagnosis, (counts, count_links), changes = await together(
        missing_if_unread(read_diagnosis(request)), count_part(request), _changes(request, since)
    )
    card = diagnosis if isinstance(diagnosis, Missing) else DiagnosisCard(diagnosis, request)
    parts = [count_links, card, _since_links(request, since)]
    if changes is not None:
        parts = [*_change_parts(changes, request), *parts]
    data = {**data_of(diagnosis, Result.to_json), "counts": data_of(counts, lambda frame: frame)}
    if changes is not None:
        data["changes"] = data_of(changes, _changes_json)
    return WebPage("Overview", parts, data)


async def _changes(request: PageRequest, since: str | None) -> Changes | Missing | None:
    if since is None:
        return None
    return await request.try_to_read("changes", read_events, since=since, timeout=request.timeout)


def _changes_json(changes: Changes) -> dict[str, Any]:
    return {"since": changes.since.isoformat(), "events": changes.events, "not_read": list(changes.not_read)}


def _since_links(request: PageRequest, since: str | None) -> Any:
    links = [(f"What changed in {each}", request.link_here(since=each)) for each in _SINCE if each != since]
    return part_of("links", links=links)


def _change_parts(changes: Changes | Missing, request: PageRequest) -> Iterator[Any]:
    if isinstance(changes, Missing):
        yield changes
        return
    groups = grouped_frame(changes.events, gap=_GAP)
    ids = {(each["time"], each["event"]): each["id"] for each in records(changes.events)}
    lines = records(groups)[::-1]
    yield part_of(
        "changes",
        since=format_timestamp(changes.since),
        rows=[
            {
                "at": format_timestamp(each["time"], exact=True),
                "time": format_timestamp(each["time"], show_zone=False),
                "then": request.link("/", at=each["time"].isoformat()) if request.readings.has_times else "",
                "event": each["event"],
                "times": each["events"],
                "what": one_line(each["what"], _LONGEST),
                "id": "" if "_1" in each["what"] else ids.get((each["time"], each["event"])) or "",
            }
            for each in lines[:_MOST_EVENTS]
        ],
        more=max(0, len(lines) - _MOST_EVENTS),
    )
    yield from (Missing(each) for each in changes.not_read)
