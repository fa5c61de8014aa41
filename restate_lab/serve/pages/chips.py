"""The filters of a list of invocations as links: statuses and services with counts, and the filters that apply."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.analysis.invocations.filters import FIELD_LABELS, RETRYING, Filters, chips_of, statuses_of
from restate_lab.frames import records
from restate_lab.serve.page import PageRequest
from restate_lab.status import STATUSES

MOST_SERVICES = 12
"""Services with a link; the others can be named."""
FILTERS = tuple(each.name for each in fields(Filters) if each.name not in {"sort", "limit"})
"""The parameters of the list that are filters of the panel."""
_EXAMPLES = {
    "text": "timed out",
    "service": "Payments",
    "handler": "charge",
    "key": "berlin",
    "age": "2h",
    "error_code": "RT0007",
    "retries": "10",
    "deployment": "dp_…",
    "since": "2h",
    "until": "1h",
    "ended_since": "2h",
    "ended_until": "1h",
}
FIELDS = {name: (FIELD_LABELS[name], example) for name, example in _EXAMPLES.items()}
"""A filter of the form → its label and an example."""
_LONGEST = 60  # characters of a value


def status_chip(
    request: PageRequest, name: str, label: str, filters: Filters, count: int | None = None
) -> Mapping[str, Any]:
    """Return the link to the list of a status, or of a preset of the panel."""
    present = filters.status or ("in-flight",)
    status = STATUSES.get("backing-off" if name == RETRYING else name)
    return {
        "label": label,
        "count": count,
        "colour": status.colour if status else "",
        "address": request.link_here(status=name, page=None, group=None),
        "is_current": present == (name,),
    }


def status_chips(request: PageRequest, counts: pd.DataFrame, filters: Filters) -> Iterator[Mapping[str, Any]]:
    """Yield the statuses that have invocations of the chosen services, and the group "retrying" if it is chosen."""
    rows = counts[counts["target_service_name"].isin(filters.service)] if filters.service else counts
    totals: Counter[str] = Counter()
    for row in records(rows):
        totals[row["status"]] += int(row["invocations"])
        if row["status"] == "backing-off" or row["is_retried"]:
            totals[RETRYING] += int(row["invocations"])
    for name in chips_of(filters.status):
        if totals[name]:
            yield status_chip(request, name, name, filters, totals[name])


def service_chips(request: PageRequest, counts: pd.DataFrame, filters: Filters) -> Iterator[Mapping[str, Any]]:
    """Yield the services with most invocations in the chosen statuses, and the chosen services."""
    wanted = set(statuses_of(filters.status))
    totals: Counter[str] = Counter()
    for row in records(counts):
        is_retrying = RETRYING in wanted and (row["status"] == "backing-off" or bool(row["is_retried"]))
        if row["status"] in wanted or is_retrying:
            totals[row["target_service_name"]] += int(row["invocations"])
    names = [name for name, _ in totals.most_common(MOST_SERVICES)]
    for name in dict.fromkeys([*filters.service, *names]):
        is_current = name in filters.service
        yield {
            "label": one_line(name, _LONGEST),
            "count": totals[name],
            "colour": "",
            "address": request.link_here(service=None if is_current else name, page=None, group=None),
            "is_current": is_current,
        }


def applied_filters(request: PageRequest, finding: str) -> Iterator[tuple[str, str]]:
    """Yield the text of each filter, and the address without it."""
    if finding:
        yield f"finding: {finding}", request.link_here(finding=None, page=None, group=None)
    for name in FILTERS:
        values = request.values(name)
        if values and name not in {"status", "service"}:
            text = values[0] if len(values) == 1 else plural(len(values), "id")
            yield (
                f"{FIELDS.get(name, (name,))[0]} {one_line(text, _LONGEST)}",
                request.link_here(**{name: None}, page=None),
            )
    group = request.text("group")
    if group not in {None, "yes", "no"}:
        yield "one group", request.link_here(group=None, page=None)
