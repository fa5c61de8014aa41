"""One look at a cluster after another, in cheap counts, and the frame with the rates that they give together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.resources import files
from typing import Any, NamedTuple

import pandas as pd

from restate_lab.client.schema import checked
from restate_lab.source import Source

__all__ = ["COLUMNS", "WHAT", "Look", "Sample", "Thing", "frame_of", "take"]

COLUMNS = ("at", "what", "target_service_name", "name", "scope", "n", "per_minute", "eta")
WHAT = ("status", "retries", "backlog", "deployment")
_DRAINING = ("backlog", "deployment")
_WINDOW = 5  # samples back from which the rate of a drain is reckoned
_MINUTE = timedelta(minutes=1)


class Thing(NamedTuple):
    """What is counted: the kind (one of ``WHAT``), and which of its kind."""

    what: str
    service: str | None
    name: str
    scope: str | None = None


class Attempt(NamedTuple):
    """At which attempt an invocation is, the first being one; ``created_at`` tells which run of its id it is."""

    service: str
    handler: str
    number: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen at one moment; ``cut`` has the kinds of which only the first ``limit`` were read."""

    at: datetime
    counts: Mapping[Thing, int]
    attempts: Mapping[str, Attempt]
    cut: frozenset[str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look, and how often each handler was tried again since the look before; None for the first."""

    at: datetime
    counts: Mapping[Thing, int]
    retries: Mapping[Thing, int] | None
    cut: frozenset[str]

    @classmethod
    def of(cls, look: Look, before: Look | None) -> Sample:
        """Return the sample that a look is, after another one."""
        return cls(look.at, look.counts, None if before is None else _retries(before, look), look.cut)


def take(source: Source, *, service: str | None, limit: int) -> Look:
    """Look at a source: three counts, none of which reads a journal."""

    def read(name: str, **values: Any) -> list[dict[Any, Any]]:
        params = {"service": service, **values}
        statement = _text(source, name)
        rows = source.sql(statement, params=params, progress=False)
        return checked(rows, statement, source).to_dict("records")

    at = source.now
    counts: Counter[Thing] = Counter()
    for row in read("open_work"):
        counts[Thing("status", None, row["status"])] += row["n"]
        if not pd.isna(row["deployment_id"]):
            counts[Thing("deployment", None, row["deployment_id"])] += row["n"]
    retrying, backlog = read("retrying", limit=limit + 1), read("backlog", limit=limit + 1)
    attempts = {
        row["id"]: Attempt(
            row["target_service_name"], row["target_handler_name"], int(row["retry_count"]), row["created_at"]
        )
        for row in retrying[:limit]
    }
    for row in retrying[:limit]:
        counts[_handler(attempts[row["id"]])] = row["n"]
    for row in backlog[:limit]:
        scope = None if pd.isna(row["scope"]) else row["scope"]
        counts[Thing("backlog", row["target_service_name"], row["target_service_key"], scope)] = row["n"]
    read_whole = {"retries": len(retrying) <= limit, "backlog": len(backlog) <= limit}
    return Look(at, dict(counts), attempts, frozenset(what for what, whole in read_whole.items() if not whole))


def frame_of(samples: Sequence[Sample]) -> pd.DataFrame:
    """Return one row per sample and thing that was seen in any of them."""
    things = sorted({thing for each in samples for thing in _seen(each)}, key=_order)
    rows = [_row(samples, at, thing) for at in range(len(samples)) for thing in things]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    frame["at"] = pd.to_datetime(frame["at"], utc=True).dt.as_unit("ms")
    frame["eta"] = pd.to_timedelta(frame["eta"]).dt.as_unit("ms")
    texts = dict.fromkeys(("what", "target_service_name", "name", "scope"), "object")
    return frame.astype({**texts, "n": "Int64", "per_minute": "float64"})


def _row(samples: Sequence[Sample], at: int, thing: Thing) -> tuple[Any, ...]:
    sample, n = samples[at], _count(samples[at], thing)
    eta = _eta(samples, at, thing) if thing.what in _DRAINING else None
    per_minute = None if at == 0 else _per_minute(samples[at - 1], sample, thing)
    return (sample.at, thing.what, thing.service, thing.name, thing.scope, n, per_minute, eta)


def _per_minute(before: Sample, sample: Sample, thing: Thing) -> float | None:
    if thing.what == "retries":
        more: int | None = (sample.retries or {}).get(thing, 0)
    else:
        more = _more(before, sample, thing)
    passed = sample.at - before.at
    return more / (passed / _MINUTE) if more is not None and passed else None


def _eta(samples: Sequence[Sample], at: int, thing: Thing) -> timedelta | None:
    """Return how long it takes until nothing is left, if it goes on as it did in the last samples; None if never."""
    n = _count(samples[at], thing)
    if not n:
        return None if n is None else timedelta(0)
    before = samples[max(0, at - _WINDOW)]
    more = _more(before, samples[at], thing)
    return (samples[at].at - before.at) * (n / -more) if more is not None and more < 0 else None


def _more(before: Sample, sample: Sample, thing: Thing) -> int | None:
    counts = [_count(each, thing) for each in (before, sample)]
    return None if counts[0] is None or counts[1] is None else counts[1] - counts[0]


def _count(sample: Sample, thing: Thing) -> int | None:
    """Return how many there were; None where it was not among those that were read."""
    return sample.counts.get(thing, None if thing.what in sample.cut else 0)


def _seen(sample: Sample) -> set[Thing]:
    return {*sample.counts, *(sample.retries or ())}


def _retries(before: Look, look: Look) -> dict[Thing, int]:
    """Count the attempts that began between two looks, as far as the server's own counts tell.

    It counts anew after progress, and forgets what has ended: these are lower bounds.
    """
    found: Counter[Thing] = Counter()
    for id_, now in look.attempts.items():
        was = before.attempts.get(id_)
        if was is None and "retries" in before.cut:
            continue  # it may have been there, beyond the limit
        anew = was is None or now.created_at != was.created_at or now.number < was.number
        found[_handler(now)] += now.number - (1 if anew or was is None else was.number)
    return dict(found)


def _handler(attempt: Attempt) -> Thing:
    return Thing("retries", attempt.service, attempt.handler)


def _order(thing: Thing) -> tuple[int, str, str, str]:
    return WHAT.index(thing.what), thing.service or "", thing.name, thing.scope or ""


def _text(source: Source, name: str) -> str:
    folder = files("restate_lab.evidence.watch").joinpath("sql")
    special = folder.joinpath(f"{name}@vqueues.sql")
    file = special if source.features.get("vqueues", False) else folder.joinpath(f"{name}.sql")
    return file.read_text("utf-8")
