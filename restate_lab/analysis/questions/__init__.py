"""The named questions: ``questions()`` lists them, ``run_question()`` runs one and records the request in ``attrs``.

``restate_lab.analysis.ask`` has the public ``ask()``, which warns if rows are truncated. Other callers report truncated
rows in another way. Warning filters belong to the whole process and not to one thread, so they cannot safely silence
a warning.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._html import render
from restate_lab._public import did_you_mean, explained, nearest_names
from restate_lab._text import join
from restate_lab.analysis.patterns import CANDIDATES, hide_refusals, merge_by_pattern, merge_failures
from restate_lab.analysis.questions.catalog import Question, names, read_question
from restate_lab.analysis.questions.parameters import AUTO, check_names, json_values, values_for
from restate_lab.analysis.suggestions import refuse_unknown_names
from restate_lab.analysis.times import to_datetime
from restate_lab.client.schema import translate_errors
from restate_lab.client.sql.parts import complete_for
from restate_lab.durations import DurationInput, round_step
from restate_lab.errors import ArgumentError, NotOnThisServer
from restate_lab.frames import with_card
from restate_lab.progress import notify_during
from restate_lab.reads import OPEN_INVOCATIONS, PRESENT, Reads
from restate_lab.server import has_vqueues
from restate_lab.source import Source, check_supported

# Returns all rows of a question that is not a statement, from the values of its parameters.
QuestionFunction: TypeAlias = Callable[[Reads, Mapping[str, Any]], pd.DataFrame]
ALL_ROWS = 2**62  # used as no limit: with LIMIT NULL the server rejects a statement that orders in a subquery
# Functions that aggregate the rows of a question after reading, by a rule that SQL cannot express.
AGGREGATIONS: Mapping[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
    "retry_storm": merge_by_pattern,
    "terminal_failures": merge_failures,
}
SPANS = 60  # time spans that a person can compare
NO_INVOCATION = "inv_1" + "0" * 33  # a well-formed id that no invocation has, for an empty list: IN () is invalid SQL


@translate_errors
def run_question(
    source: Source,
    name: str,
    functions: Mapping[str, QuestionFunction] = MappingProxyType({}),
    /,
    *,
    timeout: DurationInput | None = None,
    **params: Any,
) -> pd.DataFrame:
    """Return the frame of ``ask`` without its warning; ``functions`` has the questions that are not a statement.

    Raises:
        The same errors as ``ask``.
    """
    question = get_question(name)
    reads = Reads(source, timeout, verb="ask")
    check_supported(reads, f"the question {name}")
    _check_needs(question, reads)
    sql = complete_for(question.sql, reads.has)
    check_names(question, params)
    now = to_datetime(params["now"], now=reads.now, name="now") if "now" in params else reads.now
    first, params = _resolve_ids(reads, question, params)
    values = _choose_span_length(reads, values_for(question, params, now=now))
    is_heavy = question.cost == "heavy"
    note = notify_during(f"{name} is a heavy question: it reads {question.reads}.") if is_heavy else nullcontext()
    asked_at, started = datetime.now(UTC), time.monotonic()
    read = partial(_read_rows, reads, sql) if sql else partial(_call, functions[name], reads)
    with note:
        frame, truncated = read(values, name=name)
    if frame.empty:
        refuse_unknown_names(source, service=values.get("service"), handler=values.get("handler"))
    own = {key: value for key, value in frame.attrs.items() if not sql or key == "engine"}
    frame.attrs = own | {
        "question": name,
        "sql": sql,
        "params": json_values(values),
        "source": source.name,
        "version": source.version,
        "asked_at": asked_at.isoformat(),
        "read_at": now.isoformat(),
        "seconds": round(time.monotonic() - started, 3),
    }
    if first or truncated:
        frame.attrs["truncated"] = _merge_truncations(first, truncated)
    return frame


@explained
def questions(*, full: bool = False) -> pd.DataFrame:
    """Return one row per named question, sorted by name; a notebook shows them as a card.

    Columns: ``name, question, parameters`` (with defaults), ``cost`` (point, scan or heavy).
    ``full`` adds ``row`` (the content of a row) and ``needs`` (the tables, columns and features that it needs).
    """
    rows = pd.DataFrame([_summary_row(get_question(name)) for name in names()])
    rows.attrs = {"made_by": "restate_lab"}
    return with_card(rows if full else rows[["name", "question", "parameters", "cost"]], _questions_card)


def _questions_card(frame: pd.DataFrame) -> str:
    note = (
        'Run one with rl.ask(lab, "name", parameter=value). Nearly all have service= and limit=. A heavy question '
        "reads journals or payloads. questions(full=True) has the content of a row."
    )
    rows = [row | {"own": ", ".join(_own_parameters(row["parameters"]))} for row in frame.to_dict("records")]
    return render("analysis/questions/card.html.j2", questions=rows, note=note)


def _own_parameters(parameters: str) -> list[str]:
    return [each for each in parameters.split(", ") if not each.startswith(("service=none", "limit="))]


def get_question(name: str) -> Question:
    """Return a question.

    Raises:
        ArgumentError: the name is unknown; the message suggests similar names.
    """
    if not isinstance(name, str):
        raise ArgumentError(
            f'the name of a question must be text, not a {type(name).__name__}: for example ask(lab, "retry_storm").'
        )
    question = read_question(name)
    if question is None:
        hint = did_you_mean(_nearest_questions(name, names()))
        raise ArgumentError(f"unknown question {name!r}. {hint or 'restate_lab.questions() lists all questions.'}")
    return question


def _check_needs(question: Question, source: Reads) -> None:
    missing = source.missing(question.needs)
    if not missing:
        return
    if not source.coverage.open_invocations and OPEN_INVOCATIONS in question.needs:
        raise NotOnThisServer(
            f"the question {question.name} is about open invocations, and {source.name} has only ended ones. Ask it "
            f"on the live cluster."
        )
    if source.coverage.is_past:
        parts = "attempts or removed deployments" if PRESENT in question.needs else join(missing)
        raise NotOnThisServer(
            f"the question {question.name} is about {parts}, which are not recorded for an earlier time. Ask it on "
            f"the live cluster."
        )
    raise NotOnThisServer(
        f"the question {question.name} is not available on {source.name} "
        f"(restate {source.version}{', with vqueues' if has_vqueues(source) else ', without vqueues'}): "
        f"it needs {', '.join(missing)}, which this source does not have."
    )


def _resolve_ids(source: Reads, question: Question, params: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the ids that are the result of another question; return their truncation and all parameters."""
    truncated: dict[str, Any] = {}
    values = dict(params)
    for parameter in question.parameters:
        if parameter.default_question and parameter.name not in params:
            name, defaults = parameter.default_question
            shared = {key: params[key] for key in ("now", "service") if key in params}
            frame = run_question(source, name, **defaults, **shared)
            values[parameter.name] = list(frame["id"]) or [NO_INVOCATION]
            truncated = frame.attrs.get("truncated", {})
    return truncated, values


def _choose_span_length(reads: Reads, values: dict[str, Any]) -> dict[str, Any]:
    """Return the values with a round length of the time spans in place of "auto", one second or more.

    It depends on the time from the first to the last end, and not on ``since``: in a cluster that is some minutes old,
    all invocations of the last day would be in one or two spans.
    """
    if values.get("bin") != AUTO:
        return values
    (ends,) = reads.rows("questions/ends", **values)
    seconds = (ends["last_at"] - ends["first_at"]).total_seconds() if ends["first_at"] else 0.0
    return values | {"bin": timedelta(seconds=max(round_step(seconds, SPANS), 1))}


def _read_rows(source: Reads, sql: str, values: Mapping[str, Any], *, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows up to the limit and their truncation; the limit applies to the aggregated rows."""
    aggregate = AGGREGATIONS.get(name)
    if aggregate is None:
        limit = values.get("limit")
        one_more = {"limit": ALL_ROWS if limit is None else limit + 1}  # shows whether the rows are truncated
        frame = source.query_frame(sql, {**values, **one_more})
        return _truncate(hide_refusals(frame), limit, name)
    frame = source.query_frame(sql, {**values, "limit": CANDIDATES + 1})
    frame, unread = _truncate(frame, CANDIDATES, name)
    frame, truncated = _truncate(aggregate(frame), values["limit"], name)
    message = f"{name} aggregates at most {CANDIDATES:,} rows, and there are more; select one service with service=."
    return frame, {"limit": CANDIDATES, "message": message} if unread else truncated


def _call(
    function: QuestionFunction, reads: Reads, values: Mapping[str, Any], *, name: str
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Return the rows of a question that is a function, and their truncation; ``attrs`` has more of the function."""
    whole = function(reads, values)
    unread = whole.attrs.pop("truncated", {})
    frame, truncated = _truncate(whole, values["limit"], name)
    if unread:
        message = f"{name} reads at most some of the invocations: {unread['message'].partition(';')[0]}."
        truncated = {"limit": values["limit"], "message": " ".join(filter(None, (message, truncated.get("message"))))}
    frame.attrs = {**whole.attrs, "queries": reads.queries}
    return frame, truncated


def _truncate(frame: pd.DataFrame, limit: int | None, name: str) -> tuple[pd.DataFrame, dict[str, Any]]:
    if limit is None or len(frame) <= limit:
        return frame, {}
    message = f"{name} has more than {limit:,} rows, and only the first were read; pass a higher limit=, or limit=None."
    return frame.iloc[:limit].reset_index(drop=True), {"limit": limit, "message": message}


def _merge_truncations(ids: dict[str, Any], rows: dict[str, Any]) -> dict[str, Any]:
    """Return the value of ``attrs["truncated"]``: truncated invocations, truncated rows, or both."""
    if not ids:
        return rows
    message = f"only the first {ids['limit']:,} invocations were checked; pass ids= to check others."
    return {"limit": ids["limit"], "message": f"{rows['message']} Also, {message}" if rows else message}


def _summary_row(question: Question) -> dict[str, str]:
    return {
        "name": question.name,
        "question": question.text,
        "row": question.row,
        "parameters": ", ".join(str(parameter) for parameter in question.parameters),
        "cost": question.cost,
        "needs": ", ".join(question.needs),
    }


def _nearest_questions(name: str, known: list[str]) -> list[str]:
    """Return up to three names, best first: names with similar spelling, then names that share a part."""
    close = nearest_names(name, known)
    words = {word for word in re.split(r"\W|_", name.lower()) if len(word) > 2}
    related = [other for other in known if any(word in other for word in words) and other not in close]
    return [*close, *related][:3]
