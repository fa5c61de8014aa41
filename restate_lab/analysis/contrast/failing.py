"""Choose the failing side: the invocations that were passed, or those of a kind, with one handler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import pandas as pd

from restate_lab._public import did_you_mean, nearest_names
from restate_lab._text import format_duration, join, plural
from restate_lab.analysis.contrast.reader import ContrastReader, SideCondition, sample_of
from restate_lab.analysis.contrast.sides import (
    BY_ID,
    FAILING_KINDS,
    LEAST_PERIOD,
    SUCCEEDED,
    TOOK,
    ContrastRequest,
    ContrastSides,
    FailingKind,
    targets_of,
)
from restate_lab.analysis.ids import describe_missing, is_other_run, parse_created, parse_ids
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.errors import ArgumentError, NotOnThisServer
from restate_lab.frames import handler_of
from restate_lab.reads import Row

_LEAST_ENDED = 40  # succeeded invocations among which the slowest are taken


def choose_failing(reader: ContrastReader, request: ContrastRequest) -> ContrastSides:
    """Return the sides with the failing one; for slow ones, the healthy side has its condition.

    Raises:
        ArgumentError: an argument is invalid, no id exists, or a name does not exist.
        NotOnThisServer: the source has no open invocations, and the kind needs them.
    """
    kind = _kind_of(request)
    outcomes = reader.outcomes(has_groups=kind is not None and bool(kind.condition) and request.healthy is None)
    sides = ContrastSides(known=outcomes.rows, groups=outcomes.groups, outcome=kind.outcome if kind else "")
    if kind is None:
        _choose_ids(reader, request, sides)
    else:
        _check_kind(reader, request, kind)
        _choose_kind(reader, request, kind, sides)
    return sides


def _kind_of(request: ContrastRequest) -> FailingKind | None:
    failing = request.failing
    if isinstance(failing, str) and failing in FAILING_KINDS:
        return FAILING_KINDS[failing]
    if isinstance(failing, str) and not failing.startswith("inv_"):
        hint = (
            did_you_mean(nearest_names(failing, FAILING_KINDS))
            or f"Choose from {', '.join(FAILING_KINDS)}, or pass ids."
        )
        raise ArgumentError(f"unknown kind {failing!r} of failing invocations. {hint}")
    if request.service is not None or request.handler is not None:
        raise ArgumentError(
            f"service= and handler= belong to a kind ({', '.join(FAILING_KINDS)}); ids already have a handler."
        )
    return None


def _check_kind(reader: ContrastReader, request: ContrastRequest, kind: FailingKind) -> None:
    if kind.is_open and not reader.reads.coverage.open_invocations:
        raise NotOnThisServer(
            f"contrast() needs open invocations for {request.failing!r}; {reader.reads.name} has only invocations that "
            f"have ended."
        )
    if request.service is not None or request.handler is not None:
        refuse_unknown_names(reader.reads, service=request.service, handler=request.handler)


def _choose_ids(reader: ContrastReader, request: ContrastRequest, sides: ContrastSides) -> None:
    targets = targets_of(request.failing)
    ids, _ = parse_ids(targets)
    if not ids:
        sides.statement = "no failing invocation was passed"
        return
    existing = reader.handlers_of(ids)
    if not existing:
        others = f" None of the other {len(ids) - 1:,} ids exists there, either." if len(ids) > 1 else ""
        raise ArgumentError(describe_missing(reader.reads, ids[0]) + others)
    runs = parse_created(targets)
    same = [row for row in existing if not is_other_run(row["created_at"], runs, row["id"])]
    if not same:
        raise ArgumentError("every id in failing has a new run since the frame was read; read the frame again.")
    missing, new = len(ids) - len(existing), len(existing) - len(same)
    if missing:
        sides.not_read.append(f"{plural(missing, 'failing id')} that the source does not have")
    if new:
        sides.not_read.append(f"{plural(new, 'failing id')} with a new run since the frame was read")
    _choose_handler(sides, Counter(map(handler_of, same)))
    own = [row["id"] for row in same if sides.has_row(row)]
    rows = reader.rows_of(sample_of(own, request.sample))
    sides.failing = replace(sides.failing, rows=rows, total=len(own), chosen=BY_ID, ids=ids)


def _choose_kind(reader: ContrastReader, request: ContrastRequest, kind: FailingKind, sides: ContrastSides) -> None:
    is_retried = kind.outcome == "retried"
    retried = reader.retried(request.service, request.handler) if is_retried else []
    counts = Counter(map(handler_of, retried)) if is_retried else _counts(request, kind, sides.known)
    if not counts:
        names = "/".join(filter(None, (request.service, request.handler)))
        sides.statement = f"no invocation{f' of {names}' if names else ''} {kind.predicate}"
        return
    _choose_handler(sides, counts)
    if is_retried:
        ids = [row["id"] for row in retried if sides.has_row(row)]
        rows = reader.rows_of(sample_of(ids, request.sample))
        sides.failing = replace(sides.failing, rows=rows, total=len(ids), chosen="backing-off", ids=ids)
    elif request.failing == "slow":
        _choose_slow(reader, request, sides)
    else:
        condition, total = sides.of_handler(kind.condition), counts[sides.service, sides.handler]
        if request.healthy is None:
            _prepare_samples(reader, request, sides, condition, total)
        rows, _ = reader.sample(condition, request.sample, expected=total)
        chosen = str(request.failing)
        sides.failing = replace(sides.failing, rows=rows, total=total, chosen=chosen, condition=condition)


def _prepare_samples(
    reader: ContrastReader, request: ContrastRequest, sides: ContrastSides, condition: SideCondition, total: int
) -> None:
    """Read the samples of both sides at once if the counts say when the healthy ones of the same time were created."""
    failing, succeeded = sides.known_of(sides.outcome), sides.known_of("succeeded")
    if failing is None:
        return
    sides.span = failing["first_created_at"], failing["last_created_at"]
    if succeeded is not None and sides.span[0] >= succeeded["first_created_at"] - LEAST_PERIOD:
        healthy = sides.in_period(SUCCEEDED, sides.period(request.window, reader.reads.now))
        reader.prepare([(condition, total), (healthy, sides.succeeded)], request.sample)


def _counts(request: ContrastRequest, kind: FailingKind, known: Sequence[Row]) -> Counter[tuple[str, str]]:
    """Return the number of failing invocations of each handler that was requested."""
    counts: Counter[tuple[str, str]] = Counter()
    for row in known:
        service, handler = handler_of(row)
        is_wanted = request.service in {None, service} and request.handler in {None, handler}
        if is_wanted and row["outcome"] == kind.outcome:
            counts[service, handler] += int(row["n"])
    return counts


def _choose_handler(sides: ContrastSides, counts: Mapping[tuple[str, str], int]) -> None:
    """Choose the handler with most failing invocations, and report the others with their rates of failure."""
    succeeded = {handler_of(row): int(row["n"]) for row in sides.known if row["outcome"] == "succeeded"}
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    (sides.service, sides.handler), most = ordered[0]
    rows = [
        {"service": name[0], "handler": name[1], "failing": n, "healthy": succeeded.get(name, 0)} for name, n in ordered
    ]
    sides.handlers = pd.DataFrame(rows)
    failing, healthy = sides.handlers["failing"], sides.handlers["healthy"]
    sides.handlers["percent"] = 100 * failing / (failing + healthy)
    if len(rows) > 1:
        texts = [f"{row['service']}/{row['handler']} ({row['failing']:,})" for row in rows[1:]]
        sides.not_read.append(
            f"failing invocations of {plural(len(texts), 'other handler')}: {join(texts)}; only the {most:,} of "
            f"{sides.target} were compared, because handlers are not compared with each other"
        )


def _choose_slow(reader: ContrastReader, request: ContrastRequest, sides: ContrastSides) -> None:
    """Choose the slowest tenth and the faster half of those created before the slowest of them would have ended."""
    sides.is_slow, now = True, reader.reads.now
    every = reader.durations(sides.service, sides.handler, now)
    until = now - timedelta(milliseconds=float(every["p99_ms"] or 0))
    durations = reader.durations(sides.service, sides.handler, until)
    if durations["n"] < _LEAST_ENDED <= every["n"]:
        sides.not_read.append("slow ones among the newest invocations that have not ended yet")
        until, durations = now, every
    if durations["n"] < _LEAST_ENDED:
        sides.statement = (
            f"too few to compare: {plural(durations['n'], 'successful invocation')} of {sides.target}, and the slowest "
            f"tenth needs {_LEAST_ENDED}"
        )
        return
    fast_ms, slow_ms = float(durations["p50_ms"]), float(durations["p90_ms"])
    if slow_ms <= fast_ms:
        sides.statement = f"the invocations of {sides.target} take equally long, {_milliseconds(fast_ms)}"
        return
    ended = sides.of_handler(f"{SUCCEEDED} AND created_at <= :until", until=until)
    slow = ended.also(f"{TOOK} >= :slow_ms", slow_ms=slow_ms)
    rows, total = reader.sample(slow, request.sample)
    chosen = f"the slowest tenth: {_milliseconds(slow_ms)} or longer"
    sides.failing = replace(sides.failing, rows=rows, total=total, chosen=chosen, condition=slow)
    sides.healthy = replace(
        sides.healthy,
        chosen=f"the faster half: {_milliseconds(fast_ms)} or less; those between are excluded",
        condition=ended.also(f"{TOOK} <= :fast_ms", fast_ms=fast_ms),
    )


def _milliseconds(value: float) -> str:
    return format_duration(value / 1000) if value >= 1000 else f"{value:.0f} ms"
