"""The list of invocations: the filters and groups of the panel, with counts, sorted by any column, in pages."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_timestamp
from restate_lab.analysis.invocations.filters import ALL, PRESET_LABELS, SORTS as ORDERS, Filters
from restate_lab.analysis.invocations.groups import group_invocations
from restate_lab.analysis.invocations.reader import count_by_status, read_rows
from restate_lab.analysis.suggestions import unknown_names
from restate_lab.client.arguments import time_limit
from restate_lab.errors import ArgumentError
from restate_lab.export.json_text import invocations_json
from restate_lab.serve.page import Missing, PageRequest, WebPage, data_of, together
from restate_lab.serve.pages.chips import (
    FIELDS,
    FILTERS,
    MOST_SERVICES,
    applied_filters,
    service_chips,
    status_chip,
    status_chips,
)
from restate_lab.serve.pages.findings import FINDING, FindingIds, read_finding
from restate_lab.serve.pages.list_view import SORTS, InvocationList, ListView
from restate_lab.serve.rendering import part_of
from restate_lab.source import Source

_TITLE = "Invocations"
_KEPT = ("status", "id", FINDING)  # parameters that the form does not show
_SEVERAL = frozenset({"status", "service", "id"})  # filters with several values
_OWN = ("sort", "group", "page", FINDING)


async def invocations_page(request: PageRequest) -> WebPage:
    """Return the invocations that match the filters, worst first, 250 on a page; equal failures are one line.

    The parameters are the filters of the panel, ``sort``, ``page`` and ``group``: "no" shows each invocation, and the
    name of a group shows its invocations. ``finding`` is the fingerprint of a finding of the doctor.
    """
    request.check_params(*FILTERS, *_OWN)
    sort, page = _sort_of(request), request.number("page", 1) or 1
    filters = filters_of(request)
    finding = await read_finding(request)
    if finding is not None:
        filters = replace(filters, status=filters.status or (ALL,), id=finding.ids)
    filters = replace(filters, sort=sort if sort in ORDERS else ORDERS[0])
    counted = filters.without("status", "service", "text", "sort", "limit", "id", "error_code", "retries")
    listed, counts = await together(
        request.try_to_read("invocations", read_list, filters=filters, timeout=request.timeout),
        request.try_to_read("counts", read_counts, filters=counted, timeout=request.timeout),
    )
    if isinstance(listed, Missing):
        data = {"not_read": listed.reason, "counts": data_of(counts, lambda frame: frame)}
        return WebPage(_TITLE, [*_filter_parts(request, filters, counts, finding), listed], data)
    view = ListView(request, listed, sort, page)
    data = {
        "source": listed.source,
        "version": listed.version,
        "read_at": listed.now.isoformat(),
        **invocations_json(replace(listed.rows, frame=view.lines)),
        "page": page,
        "pages": view.pages,
        "counts": data_of(counts, lambda frame: frame),
    }
    parts = [*_filter_parts(request, view.filters, counts, finding), *_list_parts(view)]
    return WebPage(_TITLE, parts, data)


def filters_of(request: PageRequest) -> Filters:
    """Return the filters of an address, as ``rl.Panel`` takes them.

    Raises:
        ArgumentError: a value is invalid.
    """
    values: dict[str, Any] = {
        name: tuple(request.values(name)) if name in _SEVERAL else request.text(name) for name in FILTERS
    }
    values["retries"] = request.number("retries")
    return Filters(**{name: value for name, value in values.items() if value})


def read_list(source: Source, *, filters: Filters, timeout: float) -> InvocationList:
    """Read the rows of a list and group them; a source of ended invocations shows these by default."""
    with time_limit(timeout):
        if not (filters.status or source.coverage.open_invocations):
            filters = replace(filters, status=("ended",))
        rows = read_rows(source, filters)
        now = datetime.now(UTC) if source.live else source.now
        frame = group_invocations(rows.frame, is_sorted=filters.sort != "trouble")
        names = frame["group"].map(_group_name, na_action="ignore").astype("object")
        hints = (
            unknown_names(
                source, service=filters.service or None, handler=filters.handler, deployment=filters.deployment
            )
            if frame.empty
            else ()
        )
        return InvocationList(
            replace(rows, frame=frame.assign(group=names.where(names.notna(), None))),
            now,
            source.name,
            source.version,
            tuple(each.message for each in hints),
        )


def read_counts(source: Source, *, filters: Filters, timeout: float) -> pd.DataFrame:
    """Count invocations by service and status."""
    with time_limit(timeout):
        return count_by_status(source, filters)


def _group_name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:12]


def _sort_of(request: PageRequest) -> str:
    sort = request.text("sort") or "trouble"
    if sort not in SORTS:
        hint = did_you_mean(nearest_names(sort, SORTS, 1)) or f"Choose from {', '.join(SORTS)}."
        raise ArgumentError(f"unknown sort {sort[:60]!r}. {hint}")
    return sort


def _filter_parts(
    request: PageRequest, filters: Filters, counts: pd.DataFrame | Missing, finding: FindingIds | None
) -> Iterator[Any]:
    if isinstance(counts, Missing):
        yield counts
        counts = pd.DataFrame(columns=["target_service_name", "status", "is_retried", "invocations"])
    services = sorted(counts["target_service_name"].dropna().unique())
    yield part_of(
        "filters",
        presets=[status_chip(request, name, label, filters) for name, label in PRESET_LABELS.items()],
        statuses=list(status_chips(request, counts, filters)),
        services=list(service_chips(request, counts, filters)),
        more_services=max(0, len(services) - MOST_SERVICES),
        applied=list(applied_filters(request, finding.title if finding else "")),
        clear=request.link("/invocations"),
        fields=[(name, label, example, request.params.get(name, [""])[0]) for name, (label, example) in FIELDS.items()],
        names=services,
        hidden=[(name, each) for name in _KEPT for each in request.values(name)] + list(request.source_params.items()),
        is_open=any(request.values(name) for name in FIELDS if name != "service"),
    )


def _list_parts(view: ListView) -> Iterator[Any]:
    yield from filter(None, (view.listed.rows.note, *view.listed.hints))
    yield part_of(
        "invocations",
        summary=view.summary,
        heads=list(view.heads()),
        rows=list(view.rows()),
        columns=view.columns,
        now=format_timestamp(view.listed.now),
        pager=_pager(view),
        group=_group_link(view),
    )


def _pager(view: ListView) -> list[tuple[str, str, bool]]:
    """Return the first, the last and the neighbouring pages: label, address, and whether it is the present one."""
    if view.pages == 1:
        return []
    shown = sorted({1, view.pages, *range(max(1, view.page - 2), min(view.pages, view.page + 2) + 1)})
    return [(f"{each:,}", view.request.link_here(page=each), each == view.page) for each in shown]


def _group_link(view: ListView) -> tuple[str, str] | None:
    """Return the label and the address of the same list in the other form; None if nothing can be grouped."""
    if view.sort not in ORDERS or view.group not in {"yes", "no"} or not view.listed.rows.frame["group"].notna().any():
        return None
    if view.group == "yes":
        return "Show each invocation", view.request.link_here(group="no", page=None)
    return "Group equal failures", view.request.link_here(group=None, page=None)


async def count_part(request: PageRequest) -> tuple[pd.DataFrame | Missing, Any]:
    """Return the counts of all statuses, and their links to the list as a part."""
    counts = await request.try_to_read("counts", read_counts, filters=Filters(), timeout=request.timeout)
    if isinstance(counts, Missing):
        return counts, counts
    about = request.of_page("invocations")
    return counts, part_of("counts", statuses=list(status_chips(about, counts, Filters(status=("attention",)))))
