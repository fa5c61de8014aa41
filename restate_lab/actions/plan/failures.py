"""Find the targets that fail again after a resume, a move or a restart, by the same rule as ``why``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from restate_lab._text import one_line, verb_form
from restate_lab.actions.change import Change
from restate_lab.actions.plan.reader import read_attempts, read_deployment_ids
from restate_lab.actions.reader import read_destinations
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.analysis.agents.run import names_response, read_runs
from restate_lab.analysis.failure_reasons import FailureReason, describe_repeated, fails_again, failure_reason
from restate_lab.analysis.invocations.reader import read_recorded_errors
from restate_lab.client.sql.bind import chunks
from restate_lab.errors import NotOnThisServer, RestateLabError
from restate_lab.reads import CHUNK, Reads, Row

_WITHIN = 10.0  # seconds
_MOST_RUNS = 100  # runs of agents whose responses are read
_LONGEST_ERROR = 300
_MAX_HANDLERS = 5  # in a warning
_STOPPED = {"paused", "backing-off"}  # their last error can be in an event only
_NAMES = {
    FailureReason.REMOVED: ("has no deployment", "have no deployment", " (RT0011)"),
    FailureReason.MISMATCH: ("does not match its journal", "do not match their journals", " (RT0016)"),
    FailureReason.STALE_TIMER: ("has a foreign result in its journal", "have a foreign result in their journals", ""),
    FailureReason.RESPONSE: (
        "has a response in its journal that fails each attempt",
        "have a response in their journals that fails each attempt",
        "",
    ),
}


@dataclass(frozen=True, slots=True)
class RepeatedFailure:
    """Why one target fails again: its handler as "service/handler", the reason, and the reason as a text."""

    handler: str
    reason: FailureReason
    text: str


@dataclass(frozen=True, slots=True)
class RepeatedFailures:
    """The targets that fail again, by their ids, and texts about unread data."""

    by_id: Mapping[str, RepeatedFailure] = field(default_factory=dict)
    limitations: tuple[str, ...] = ()

    def warning(self, ids: Sequence[str]) -> str:
        """Return how many of these targets fail again and why, as one sentence; "" if none does."""
        counts = Counter((each.handler, each.reason) for id_ in ids if (each := self.by_id.get(id_)))
        if not counts:
            return ""
        ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0][0]))
        groups = [_describe_group(number, *key) for key, number in ordered[:_MAX_HANDLERS]]
        groups += [f"{len(counts) - _MAX_HANDLERS:,} more groups"] if len(counts) > _MAX_HANDLERS else []
        return f"{counts.total():,} of {len(ids):,} will fail again: {', '.join(groups)}."


def find_repeated_failures(reads: Reads, change: Change, targets: pd.DataFrame) -> RepeatedFailures:
    """Read why the attempts of these targets fail, and return those that fail again after the change.

    ``targets`` are the rows of a plan that are acted on. Only a resume, a move and a restart start attempts. The last
    error of each target is read by its id, for some seconds; the limitations tell if that failed.
    """
    if change.action not in {ACTIONS.RESUME, ACTIONS.MOVE_TO, ACTIONS.RESTART_AS_NEW} or targets.empty:
        return RepeatedFailures()
    limited = Reads(reads, _WITHIN, over="their read took too long")
    try:
        return RepeatedFailures(dict(_find(limited, change, targets)))
    except RestateLabError as error:
        reason = one_line(str(error), _LONGEST_ERROR)
        return RepeatedFailures(limitations=(f"not read: which targets will fail again ({reason})",))


def add_failures(targets: pd.DataFrame, failures: RepeatedFailures) -> pd.DataFrame:
    """Return the rows of a plan; the effect on a target that fails again has the reason."""
    texts = {id_: f"; will fail again: {each.text}" for id_, each in failures.by_id.items()}
    effects = [
        effect + texts[id_] if id_ in texts else effect
        for id_, effect in zip(targets["id"], targets["effect"], strict=True)
    ]
    return targets.assign(effect=pd.Series(effects, index=targets.index, dtype="object"))


def _find(reads: Reads, change: Change, targets: pd.DataFrame) -> Iterator[tuple[str, RepeatedFailure]]:
    rows = read_attempts(reads, list(targets["id"]))
    destination_of = _destinations(reads, change)
    errors = {} if change.action is ACTIONS.RESTART_AS_NEW else _read_errors(reads, rows, targets)
    problems = _read_problems(reads, [id_ for id_, error in errors.items() if names_response(error.message)])
    for row in rows:
        id_, destination = row["id"], destination_of(row)
        reason, text = FailureReason.REMOVED, destination.missing
        if not text:
            reason = errors[id_].reason if id_ in errors else FailureReason.HANDLER
            reason = FailureReason.RESPONSE if id_ in problems else reason
            is_again = fails_again(reason, is_moved=destination.id != row["deployment"])
            text = describe_repeated(reason, problems.get(id_)) if is_again else ""
        if text:
            yield id_, RepeatedFailure(row["handler"], reason, text)


class _Destination(NamedTuple):
    """The deployment of the next attempt, and why there is none."""

    id: str | None = None
    missing: str = ""


def _destinations(reads: Reads, change: Change) -> Callable[[Row], _Destination]:
    """Return a function that returns the deployment of the next attempt of a row of ``read_attempts``."""
    default = "latest" if change.action is ACTIONS.RESTART_AS_NEW else "keep"
    deployment = change.deployment or default
    if deployment == "keep":
        registered = {None, *read_deployment_ids(reads)}  # without a pinned deployment it uses the latest one
        return lambda row: _Destination(row["deployment"], _removed(row["deployment"], registered))
    destinations = read_destinations(reads, deployment)

    def find(row: Row) -> _Destination:
        found = destinations.by_service.get(row["service"])
        missing = destinations.reason_against_protocol(row["service"], None)
        return _Destination(found.id if found else None, missing or "")

    return find


def _removed(deployment: str | None, registered: Collection[str | None]) -> str:
    return "" if deployment in registered else describe_repeated(FailureReason.REMOVED, deployment)


class _Error(NamedTuple):
    """The last error of an attempt, and its reason."""

    message: str
    reason: FailureReason


def _read_errors(reads: Reads, rows: Sequence[Row], targets: pd.DataFrame) -> dict[str, _Error]:
    """Return the last errors of the targets whose attempts fail; a suspended one has made progress since its error."""
    statuses = dict(zip(targets["id"], targets["status"], strict=True))
    errors = {row["id"]: (row["code"], row["message"]) for row in rows if row["message"] is not None}
    lacking = [row["id"] for row in rows if row["id"] not in errors and statuses[row["id"]] in _STOPPED]
    for part in chunks(lacking, CHUNK):
        found = read_recorded_errors(reads, part)
        errors |= dict(zip(found.index, zip(found["error_code"], found["failure"], strict=True), strict=True))
    return {
        id_: _Error(message, failure_reason(code, is_deployed=True, message=message))
        for id_, (code, message) in errors.items()
        if statuses[id_] != "suspended"
    }


def _read_problems(reads: Reads, ids: Sequence[str]) -> dict[str, str]:
    """Return the problem of the last response in the journal of these agents, if each attempt fails because of it."""
    if not ids:
        return {}
    reader = AgentReader(reads)
    try:
        runs = read_runs(reader, reader.chosen(ids[:_MOST_RUNS]))
    except NotOnThisServer:  # a source without payloads
        return {}
    return {run.id: run.repeated_problem for run in runs if run.repeated_problem}


def _describe_group(number: int, handler: str, reason: FailureReason) -> str:
    one, several, code = _NAMES[reason]
    return f"{number:,} {handler} {verb_form(number, one, several)}{code}"
