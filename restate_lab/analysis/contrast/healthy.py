"""Choose the healthy side: invocations that are comparable with the failing ones.

They have the same handler and were created in the same time, so that neither distinguishes the sides. If there are
none, those before or after are taken, and the result says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from restate_lab._text import format_duration, format_timestamp, join, plural, verb_form
from restate_lab.analysis.contrast.model import LEAST
from restate_lab.analysis.contrast.reader import ContrastReader, SideCondition, sample_of
from restate_lab.analysis.contrast.sides import (
    BY_ID,
    LEAST_PERIOD,
    SUCCEEDED,
    ContrastRequest,
    ContrastSides,
    Side,
    targets_of,
)
from restate_lab.analysis.contrast.steps import step_at_failure, steps_taken
from restate_lab.analysis.ids import parse_ids
from restate_lab.errors import ArgumentError
from restate_lab.reads import Row

_ENOUGH = 200  # succeeded ones; with fewer, open invocations that passed the step of the failing ones are also healthy
_LEAST_OF_SAME_TIME = 8  # with fewer, healthy ones of another time are taken if there are more
_SHOWN = 3
_IN_PROGRESS = "status IN ('invoked', 'suspended')"


def choose_healthy(reader: ContrastReader, request: ContrastRequest, sides: ContrastSides) -> None:
    """Add the healthy side to the sides, or the statement that they cannot be compared.

    Raises:
        ArgumentError: an invocation is on both sides.
    """
    if request.healthy is not None:
        _choose_passed(reader, request, sides)
    elif sides.healthy.condition is not None:
        _choose_by_condition(reader, request, sides, sides.healthy.condition, sides.healthy.chosen)
    else:
        _choose_default(reader, request, sides)
    _count_restarts_once(reader, sides)
    sides.statement = sides.statement or _describe_few(sides)


def _describe_few(sides: ContrastSides) -> str:
    """Return why the sides have too few rows; "" if they have enough."""
    failing, healthy = len(sides.failing.rows), len(sides.healthy.rows)
    needed = f"of {sides.target}, and at least {LEAST} are needed"
    if failing < LEAST:
        return f"too few to compare: {plural(failing, 'failing invocation')} {needed}"
    if not healthy:
        return f"no healthy invocation of {sides.target} to compare with"
    return f"too few to compare with: {plural(healthy, 'healthy invocation')} {needed}" if healthy < LEAST else ""


def _choose_passed(reader: ContrastReader, request: ContrastRequest, sides: ContrastSides) -> None:
    ids, _ = parse_ids(targets_of(request.healthy))
    failing = set(sides.failing.all_ids)
    both = [id_ for id_ in ids if id_ in failing]
    if both:
        raise ArgumentError(
            f"{plural(len(both), 'invocation')} {verb_form(len(both), 'is', 'are')} on both sides: "
            f"{join(both, _SHOWN)}. Pass each invocation in failing or in healthy."
        )
    existing = reader.handlers_of(ids)
    own = [row["id"] for row in existing if sides.has_row(row)]
    missing, other = len(ids) - len(existing), len(existing) - len(own)
    if missing:
        sides.not_read.append(f"{plural(missing, 'healthy id')} that the source does not have")
    if other:
        sides.not_read.append(f"{plural(other, 'healthy invocation')} of other handlers than {sides.target}")
    rows = reader.rows_of(sample_of(own, request.sample))
    sides.healthy = replace(sides.healthy, rows=rows, total=len(own), chosen=BY_ID, ids=ids)
    if not own:
        sides.statement = f"none of the {plural(len(ids), 'healthy id')} is an invocation of {sides.target}"


def _choose_default(reader: ContrastReader, request: ContrastRequest, sides: ContrastSides) -> None:
    """Take the successful ones of the same time, or else of the time before or after."""
    _exclude_older_than_healthy(sides)
    period = sides.period(request.window, reader.reads.now)
    chosen = f"succeeded, created from {format_timestamp(period[0])} to {format_timestamp(period[1])}"
    _choose_by_condition(reader, request, sides, sides.in_period(SUCCEEDED, period), chosen)
    every = sides.known_of("succeeded")
    sides.has_all_healthy = every is None or (
        period[0] <= every["first_created_at"] and every["last_created_at"] <= period[1]
    )
    if len(sides.healthy.rows) < _ENOUGH and request.reads_steps:
        _add_those_that_passed(reader, request, sides, period)
    if len(sides.healthy.rows) < _LEAST_OF_SAME_TIME:
        _choose_other_time(reader, request, sides, sides.of_handler(SUCCEEDED))


def _choose_by_condition(
    reader: ContrastReader, request: ContrastRequest, sides: ContrastSides, condition: SideCondition, chosen: str
) -> None:
    read, total = reader.sample(condition, request.sample, expected=sides.succeeded)
    rows = _without_failing(sides, read)
    total = None if total is None else len(rows)
    sides.healthy = replace(sides.healthy, rows=rows, total=total, chosen=chosen, condition=condition)


def _without_failing(sides: ContrastSides, rows: Sequence[Row]) -> list[Row]:
    failing = set(sides.failing.all_ids)
    return [row for row in rows if row["id"] not in failing]


def _exclude_older_than_healthy(sides: ContrastSides) -> None:
    """Exclude failing ones from before the oldest healthy one that is still kept, if enough others remain."""
    kept, rows = sides.known_of("succeeded"), sides.failing.rows
    fair = [row for row in rows if kept and row["created_at"] >= kept["first_created_at"] - LEAST_PERIOD]
    if LEAST <= len(fair) < len(rows):
        sides.not_read.append(
            f"{plural(len(rows) - len(fair), 'failing invocation')} older than every healthy one that is still kept"
        )
        sides.failing, sides.span = replace(sides.failing, rows=fair, condition=None, total=len(fair)), None


def _add_those_that_passed(
    reader: ContrastReader, request: ContrastRequest, sides: ContrastSides, period: tuple[datetime, datetime]
) -> None:
    """Add open invocations in their first attempt that passed the step at which most of the failing ones stopped."""
    if reader.reads.missing(["open invocations", "sys_journal.entry_lite_json", "sys_invocation_state"]):
        return
    read, _ = reader.sample(sides.in_period(_IN_PROGRESS, period), request.sample)
    rows = _without_failing(sides, read)
    retried = {row["id"] for row in reader.retried(sides.service, sides.handler)} if rows else set()
    rows = [row for row in rows if row["id"] not in retried]
    if not rows:
        return
    sides.journals = reader.journals([row["id"] for row in (*sides.failing.rows, *rows)])
    stops = Counter(step_at_failure(sides.journals.get(row["id"], ())) for row in sides.failing.rows)
    step = stops.most_common(1)[0][0]
    passed = [row for row in rows if step and step in steps_taken(sides.journals.get(row["id"], ()))]
    if passed:
        healthy = [*sides.healthy.rows, *passed]
        chosen = (
            f"{sides.healthy.chosen}; {len(passed):,} in progress passed the step at which the failing ones stopped"
        )
        sides.healthy = replace(sides.healthy, rows=healthy, total=len(healthy), chosen=chosen, condition=None)


def _choose_other_time(
    reader: ContrastReader, request: ContrastRequest, sides: ContrastSides, succeeded: SideCondition
) -> None:
    """Take those created before the failing ones or, if there are none, after them."""
    times = [row["created_at"] for row in sides.failing.rows]
    before = reader.last(succeeded.also("created_at < :first", first=min(times)), request.sample)
    read = before or reader.first(succeeded.also("created_at > :last", last=max(times)), request.sample)
    rows = _without_failing(sides, read)
    if len(rows) <= len(sides.healthy.rows):
        return
    created = [row["created_at"] for row in rows]
    span = max(times) - min(created) if before else max(created) - min(times)
    which = f"{format_duration(span)} {'before' if before else 'after'}"
    chosen = f"succeeded, created in the {which}, because almost none of the same time succeeded"
    sides.healthy = replace(sides.healthy, rows=rows, total=len(rows), chosen=chosen, condition=None)
    sides.has_times = False
    sides.not_read.append(
        f"the time of creation, because the healthy ones were created in the {which}: the time, the deployment and "
        f"their consequences cannot be distinguished"
    )


def _count_restarts_once(reader: ContrastReader, sides: ContrastSides) -> None:
    """Exclude restarts of failing invocations from both sides, because a restart has a copy of the input."""
    both = (*sides.failing.rows, *sides.healthy.rows)
    origins = sorted({row["restarted_from"] for row in both if row.get("restarted_from")})
    if not origins:
        return
    condition = sides.failing.condition
    failing = set(origins).intersection(sides.failing.all_ids)
    failing |= reader.those_of(origins, condition) if condition else set()
    sides.failing = _without_restarts(sides, sides.failing, failing)
    sides.healthy = _without_restarts(sides, sides.healthy, failing)


def _without_restarts(sides: ContrastSides, side: Side, failing: set[str]) -> Side:
    rows = [row for row in side.rows if row.get("restarted_from") not in failing]
    copies = len(side.rows) - len(rows)
    if not copies:
        return side
    restarts = f"{plural(copies, f'{side.name} invocation')} that restarted a failing one"
    sides.not_read.append(f"{restarts}, because a restart has a copy of its input")
    return replace(side, rows=rows, total=None if side.total is None else side.total - copies)
