"""The named questions: ``questions()`` lists them, ``ask()`` runs one and records in ``attrs`` what it ran.

``run_question()`` is ``ask()`` without its warning, for callers that report truncated rows in another way: warnings
belong to the process and not to a thread, so only the caller's own thread should have to silence one.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from restate_lab._html import render
from restate_lab._public import check_keywords, did_you_mean, nearest_names
from restate_lab.analysis.deadline import within
from restate_lab.analysis.patterns import CANDIDATES, merge_by_pattern
from restate_lab.analysis.questions.catalog import Question, Variant, names, read_question
from restate_lab.analysis.questions.parameters import check_names, json_values, values_for
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.analysis.times import to_datetime
from restate_lab.client.schema import check_columns, tables_of, translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from restate_lab.frames import with_card
from restate_lab.progress import notify
from restate_lab.source import Source, check_supported

__all__ = ["ask", "get_question", "questions", "run_question"]

ALL_ROWS = 2**62  # rows; LIMIT NULL makes the server refuse a statement that orders in a subquery
AGGREGATIONS: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {"retry_storm": merge_by_pattern}
"""Functions for questions whose rows are aggregated after reading, by a rule that SQL cannot express."""
NO_INVOCATION = "inv_1" + "0" * 33  # well-formed, and no invocation's: IN () is not SQL


@translate_errors
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
        ArgumentError: there is no such question or parameter, a value does not fit, or nothing was found for a service
            or handler that does not exist.
        NotOnThisServer: the source lacks the tables, columns or features that the question needs, or is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what ``source.sql`` raises.
    """
    frame = run_question(source, name, timeout=timeout, **params)
    if "truncated" in frame.attrs:
        warnings.warn(
            frame.attrs["truncated"]["message"], Truncated, stacklevel=3
        )  # of the caller of the decorated function
    return frame


@translate_errors
def run_question(source: Source, name: str, /, *, timeout: DurationInput | None = None, **params: Any) -> pd.DataFrame:
    """Return what ``ask`` returns, without its warning: ``attrs["truncated"]`` is set where rows were cut off.

    Raises:
        As ``ask``.
    """
    question = get_question(name)
    whole_source, source = source, within(source, timeout, verb="ask")
    check_supported(source, f"the question {name}")
    variant = _variant_for(question, source)
    check_names(variant, params, question=name)
    now = source.now
    now = to_datetime(params["now"], now=now, name="now") if "now" in params else now
    first, params = _resolve_ids(source, variant, params)
    values = values_for(variant, params, now=now, question=name)
    if variant.cost == "heavy":
        notify(f"{name} is a heavy question: it reads {variant.reads}.")
    asked_at, started = datetime.now(UTC), time.monotonic()
    frame, truncated = _read_rows(source, variant, values, name=name)
    if frame.empty:
        refuse_unknown_names(whole_source, service=values.get("service"), handler=values.get("handler"))
    seconds = time.monotonic() - started
    attrs: dict[Hashable | None, Any] = {
        "question": name,
        "variant": variant.file,
        "sql": variant.sql,
        "params": json_values(values),
        "source": source.name,
        "version": source.version,
        "asked_at": asked_at.isoformat(),
        "now": now.isoformat(),
        "seconds": round(seconds, 3),
    }
    if first or truncated:
        attrs["truncated"] = _merge_truncations(first, truncated)
    frame.attrs = attrs
    return frame


@check_keywords
def questions(*, full: bool = False) -> pd.DataFrame:
    """Return one row per named question, sorted by name; a notebook shows them as a card.

    Columns: ``name, question, parameters`` (with defaults), ``cost`` (point, scan or heavy, of the most expensive
    variant). ``full`` adds ``row`` (what a row of the answer is), ``variants`` (the files, in the order in which they
    are tried) and ``needs`` (the tables, columns and features that each variant needs).
    """
    rows = pd.DataFrame([_summary_row(get_question(name)) for name in names()])
    return with_card(rows if full else rows[["name", "question", "parameters", "cost"]], questions_card)


def questions_card(frame: pd.DataFrame) -> str:
    """Return the card of the named questions as HTML."""
    note = 'Run one with rl.ask(lab, "name", parameter=value). questions(full=True) has more columns.'
    return render("analysis/questions/card.html.j2", questions=frame.to_dict("records"), note=note)


def get_question(name: str) -> Question:
    """Return a question.

    Raises:
        ArgumentError: there is no question of this name; the message names the nearest ones.
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f'a question is named by text, and this is a {type(name).__name__}: ask(lab, "retry_storm").'
        )
    question = read_question(name)
    if question is None:
        hint = did_you_mean(_nearest_questions(name, names()))
        raise ArgumentError(f"no question {name!r}. {hint or 'restate_lab.questions() lists them.'}")
    return question


def _variant_for(question: Question, source: Source) -> Variant:
    capabilities = _SourceCapabilities(source)
    reasons: list[str] = []
    for variant in question.variants:
        missing = capabilities.missing_needs(variant)
        if not missing:
            return variant
        reasons.append(f"{variant.file} needs {', '.join(missing)}")
    raise NotOnThisServer(
        f"{question.name} cannot be asked of {source.name} "
        f"(restate {source.version}{_describe_features(source.features)}): "
        f"{'; '.join(reasons)}, which is not there."
    )


@dataclass(slots=True)
class _SourceCapabilities:
    """The tables, columns and features of a source; its tables are read once, and only when needed."""

    source: Source
    _names: set[str] = field(default_factory=set)

    def missing_needs(self, variant: Variant) -> list[str]:
        return [need for need in variant.needs if not self._meets(need)]

    def _meets(self, need: str) -> bool:
        if need.startswith("feature "):
            return bool(self.source.features.get(need.removeprefix("feature "), False))
        if not self._names:
            tables = tables_of(self.source)
            self._names = {*tables["table"], *(tables["table"] + "." + tables["column"])}
        return need in self._names


def _describe_features(features: Mapping[str, bool]) -> str:
    return ", with vqueues" if features.get("vqueues") else ", without vqueues"


def _resolve_ids(source: Source, variant: Variant, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the ids that another question returns; return how they were truncated, and all parameters."""
    truncated: dict[str, Any] = {}
    values = dict(params)
    for parameter in variant.parameters:
        if parameter.default_question and parameter.name not in params:
            name, defaults = parameter.default_question
            shared = {key: params[key] for key in ("now", "service") if key in params}
            frame = run_question(source, name, **defaults, **shared)
            values[parameter.name] = list(frame["id"]) or [NO_INVOCATION]
            truncated = frame.attrs.get("truncated", {})
    return truncated, values


def _read_rows(
    source: Source, variant: Variant, values: Mapping[str, Any], *, name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows up to the limit, and how they were truncated; a limit counts rows after they were aggregated."""
    aggregate = AGGREGATIONS.get(name)
    if aggregate is None:
        frame = check_columns(source.sql(variant.sql, params=_with_one_more_row(values)), variant.sql, source)
        return _truncate(frame, values.get("limit"), name)
    more = {**values, "limit": CANDIDATES + 1}
    frame = check_columns(source.sql(variant.sql, params=more), variant.sql, source)
    frame, unread = _truncate(frame, CANDIDATES, name)
    frame, truncated = _truncate(aggregate(frame), values["limit"], name)
    message = f"{name} sums up {CANDIDATES:,} rows at most, and there are more; ask for one service=."
    return frame, {"limit": CANDIDATES, "message": message} if unread else truncated


def _with_one_more_row(values: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for one row above the limit: if it comes, the rows are truncated."""
    if "limit" not in values:
        return dict(values)
    return {**values, "limit": ALL_ROWS if values["limit"] is None else values["limit"] + 1}


def _truncate(frame: pd.DataFrame, limit: int | None, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    if limit is None or len(frame) <= limit:
        return frame, {}
    message = f"{name} has more than {limit:,} rows, and these are the first; ask with a higher limit=, or limit=None."
    return frame.iloc[:limit].reset_index(drop=True), {"limit": limit, "message": message}


def _merge_truncations(ids: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    """Return what ``attrs`` reports as truncated: the invocations that were read, the rows, or both."""
    if not ids:
        return rows
    message = f"only the first {ids['limit']:,} invocations were looked at; give ids= for others."
    return {"limit": ids["limit"], "message": f"{rows['message']} And {message}" if rows else message}


def _summary_row(question: Question) -> dict[str, str]:
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


def _nearest_questions(name: str, known: list[str]) -> list[str]:
    """Return up to three names, best first; a word in common counts when the spelling is far off."""
    close = nearest_names(name, known)
    words = {word for word in re.split(r"\W|_", name.lower()) if len(word) > 2}
    related = [other for other in known if any(word in other for word in words) and other not in close]
    return [*close, *related][:3]
