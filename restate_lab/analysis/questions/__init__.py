"""The named questions: ``questions()`` lists them, ``ask()`` runs one and says what it ran.

``answer()`` is ``ask()`` without its warning, for whoever says in another way what was cut: warnings are the process's
and not a thread's, so no thread but the caller's own should have to silence one.
"""

from __future__ import annotations

import difflib
import re
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from restate_lab.analysis.deadline import within
from restate_lab.analysis.patterns import CANDIDATES, merge_by_pattern
from restate_lab.analysis.questions.catalog import Question, Variant, names, read
from restate_lab.analysis.questions.parameters import check_names, shown, values_for
from restate_lab.analysis.times import to_datetime
from restate_lab.client.schema import checked, tables_of, translated
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from restate_lab.progress import say
from restate_lab.source import Source, check_tried

__all__ = ["answer", "ask", "named", "questions"]

EVERYTHING = 2**62  # rows; LIMIT NULL makes the server refuse a statement that orders in a subquery
SUMMED_UP: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {"retry_storm": merge_by_pattern}
"""Questions whose rows are summed up after reading, by a rule that SQL cannot express."""
NOBODY = "inv_1" + "0" * 33  # well-formed, and no invocation's: IN () is not SQL


@translated
def ask(source: Source, name: str, /, *, timeout: DurationInput | None = None, **params: Any) -> pd.DataFrame:
    """Ask a source a named question and return its rows.

        rl.ask(lab, "retry_storm", service="Payments")
        rl.ask(lab, "wakes_next", until="2h", limit=None)

    ``questions()`` says which there are, what a row of each is, and which parameters it takes. Times are given as an
    age ("2h", a timedelta), as an aware datetime or as an ISO string with its zone; ids as one id, a list, a Series, or
    a frame with a column ``id``. None as ``limit`` means all rows. ``now=`` moves the moment that ages count from.
    ``timeout`` is for the whole call; None leaves each statement to the connection's own limit. A heavy question says
    so on stderr before it runs.

    ``frame.attrs`` says what was asked: ``question, variant`` (the file), ``sql`` (with its parameters unbound),
    ``params, source, version, asked_at, now, seconds``, and ``truncated`` where the limit cut rows off, which is also
    warned of (Truncated).

    Raises:
        ArgumentError: there is no such question or parameter, or a value does not fit.
        NotOnThisServer: the source lacks the tables, columns or features that the question needs, or is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what ``source.sql`` raises.
    """
    frame = answer(source, name, timeout=timeout, **params)
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # of the caller of the decorated function
    return frame


@translated
def answer(source: Source, name: str, /, *, timeout: DurationInput | None = None, **params: Any) -> pd.DataFrame:
    """Return what ``ask`` returns, and warn nobody: ``attrs["truncated"]`` is there where rows were cut off.

    Raises:
        As ``ask``.
    """
    question = named(name)
    source = within(source, timeout, verb="ask")
    check_tried(source, f"the question {name}")
    variant = _variant_for(question, source)
    check_names(variant, params, question=name)
    now = source.now
    now = to_datetime(params["now"], now=now, name="now") if "now" in params else now
    first, params = _with_ids(source, variant, params)
    values = values_for(variant, params, now=now, question=name)
    if variant.cost == "heavy":
        say(f"{name} is a heavy question: it reads {variant.reads}.")
    asked_at, started = datetime.now(UTC), time.monotonic()
    frame, truncated = _read(source, variant, values, name=name)
    seconds = time.monotonic() - started
    attrs: dict[Hashable | None, Any] = {
        "question": name,
        "variant": variant.file,
        "sql": variant.sql,
        "params": shown(values),
        "source": source.name,
        "version": source.version,
        "asked_at": asked_at.isoformat(),
        "now": now.isoformat(),
        "seconds": round(seconds, 3),
    }
    if first or truncated:
        attrs["truncated"] = _both(first, truncated)
    frame.attrs = attrs
    return frame


def questions() -> pd.DataFrame:
    """Return one row per named question, sorted by name.

    Columns: ``name, question, row`` (what a row of the answer is), ``parameters`` (with defaults), ``cost`` (point,
    scan or heavy, the dearest variant's), ``variants`` (in the order in which they are tried), ``needs``.
    """
    return pd.DataFrame([_listed(named(name)) for name in names()])


def _read(
    source: Source, variant: Variant, values: Mapping[str, Any], *, name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows up to the limit, and what was cut; a limit counts rows after they were summed up."""
    summed_up = SUMMED_UP.get(name)
    if summed_up is None:
        frame = checked(source.sql(variant.sql, params=_one_row_more(values)), variant.sql, source)
        return _cut(frame, values.get("limit"), name)
    more = {**values, "limit": CANDIDATES + 1}
    frame = checked(source.sql(variant.sql, params=more), variant.sql, source)
    frame, unread = _cut(frame, CANDIDATES, name)
    frame, truncated = _cut(summed_up(frame), values["limit"], name)
    said = f"{name} sums up {CANDIDATES:,} rows at most, and there are more; ask for one service=."
    return frame, {"limit": CANDIDATES, "message": said} if unread else truncated


def _with_ids(source: Source, variant: Variant, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Ask for the ids that are another question's answer; return what was cut of them, and all parameters."""
    cut: dict[str, Any] = {}
    values = dict(given)
    for parameter in variant.parameters:
        if parameter.asks and parameter.name not in given:
            name, params = parameter.asks
            shared = {key: given[key] for key in ("now", "service") if key in given}
            frame = answer(source, name, **params, **shared)
            values[parameter.name] = list(frame["id"]) or [NOBODY]
            cut = frame.attrs.get("truncated", {})
    return cut, values


def _listed(question: Question) -> dict[str, str]:
    first = question.variants[0]
    costs = {variant.cost for variant in question.variants}
    return {
        "name": question.name,
        "question": first.text,
        "row": first.row,
        "parameters": ", ".join(str(parameter) for parameter in first.parameters),
        "cost": next(cost for cost in ("heavy", "scan", "point") if cost in costs),
        "variants": ", ".join(variant.file for variant in question.variants),
        "needs": "; or ".join(", ".join(variant.needs) for variant in question.variants),
    }


def named(name: str) -> Question:
    """Return a question.

    Raises:
        ArgumentError: there is none of this name; the nearest are told.
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f'a question is named by text, and this is a {type(name).__name__}: ask(lab, "retry_storm").'
        )
    found = read(name)
    if found is None:
        nearest = _nearest(name, names())
        advice = f"the nearest: {', '.join(nearest)}" if nearest else "restate_lab.questions() lists them"
        raise ArgumentError(f"there is no question {name!r}; {advice}.")
    return found


def _nearest(name: str, known: list[str]) -> list[str]:
    """Return up to three names, best first; a word in common counts when the spelling is far off."""
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.6)
    words = {word for word in re.split(r"\W|_", name.lower()) if len(word) > 2}
    related = [other for other in known if any(word in other for word in words) and other not in close]
    return (close + related)[:3]


@dataclass(slots=True)
class _Offer:
    """What a source has; its tables are asked for once, and only when needed."""

    source: Source
    _has: set[str] = field(default_factory=set)

    def lacks(self, variant: Variant) -> list[str]:
        return [need for need in variant.needs if not self._meets(need)]

    def _meets(self, need: str) -> bool:
        if need.startswith("feature "):
            return bool(self.source.features.get(need.removeprefix("feature "), False))
        if not self._has:
            tables = tables_of(self.source)
            self._has = {*tables["table"], *(tables["table"] + "." + tables["column"])}
        return need in self._has


def _variant_for(question: Question, source: Source) -> Variant:
    offer = _Offer(source)
    lacking: list[str] = []
    for variant in question.variants:
        lacks = offer.lacks(variant)
        if not lacks:
            return variant
        lacking.append(f"{variant.file} needs {', '.join(lacks)}")
    raise NotOnThisServer(
        f"{question.name} cannot be asked of {source.name} (restate {source.version}{_features(source.features)}): "
        f"{'; '.join(lacking)}, which is not there."
    )


def _features(features: Mapping[str, bool]) -> str:
    return ", with vqueues" if features.get("vqueues") else ", without vqueues"


def _one_row_more(values: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for one row above the limit: whether it comes tells a full answer from a cut one."""
    if "limit" not in values:
        return dict(values)
    return {**values, "limit": EVERYTHING if values["limit"] is None else values["limit"] + 1}


def _cut(frame: pd.DataFrame, limit: int | None, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    if limit is None or len(frame) <= limit:
        return frame, {}
    said = f"{name} has more than {limit:,} rows, and these are the first; ask with a higher limit=, or limit=None."
    return frame.iloc[:limit].reset_index(drop=True), {"limit": limit, "message": said}


def _both(ids: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    """Return what attrs say about a cut: of the invocations looked at, of the rows, or of both."""
    if not ids:
        return rows
    said = f"only the first {ids['limit']:,} invocations were looked at; give ids= for others."
    return {"limit": ids["limit"], "message": f"{rows['message']} And {said}" if rows else said}
