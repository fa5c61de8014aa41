"""The closed set of statements that Spark answers: those of all verbs and questions on a history, as they are composed.

``record(history)`` runs the verbs and questions with each of their arguments, and returns the statements.
"""

from __future__ import annotations

import hashlib
import inspect
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stderr
from datetime import timedelta
from functools import cache, partial
from importlib.resources import files
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa

import restate_lab as rl
from restate_lab.analysis.invocations.filters import SORTS, Filters
from restate_lab.analysis.invocations.reader import count_by_status, read_first_rows, read_histogram
from restate_lab.analysis.questions import get_question
from restate_lab.errors import RestateLabError, StatementError
from restate_lab.evidence.engine import read
from restate_lab.history.spark.translate import Translator, is_over_runs, parse_view, rows_of
from restate_lab.serve.pages.reader import read_events

PROVEN = Path(__file__).parents[1] / "samples" / "spark_statements.txt"
"""One line for each statement that was equal in Spark: the digest of its translation, and its name."""
VIEWS = "SELECT table_schema AS schema, table_name AS name, definition FROM information_schema.views"
GUIDE = Path(str(files("restate_lab.guide")))
_LONG_AGO = "3650d"
_IGNORED = frozenset({
    *("timeout", "progress", "max_bytes", "overwrite", "shapes", "prices", "limit", "filesystem", "title", "summary"),
    *("tz", "audit", "paper", "length", "redact", "until", "without_deployment", "apart", "scope", "partitions"),
})  # fmt: skip
"""Arguments of verbs that change no statement of a history, or that only verbs on a live cluster have."""
_OF_IDS = frozenset({"ask", "debug", "note", "replay", "to_test", "wait_for"})
"""Verbs that change something or read only given ids, and ``ask``, which has its own calls."""
_LITERAL = re.compile(r"'(?:[^'\\]|\\.)*'|\b\d+(?:\.\d+)?(?:e\d+)?\b")
_LIST = re.compile(r"\(\?(?:, \?)+\)")
Call = Callable[[Any], object]


class RecordingEngine:
    """Answers all statements of a history as DataFusion does, each once, and keeps those that Spark would answer."""

    def __init__(self, history: rl.History) -> None:
        self.name = ""
        self.statements: dict[str, str] = {}
        self._read = cache(partial(read_all, history._context))
        self._is_over_runs = cache(is_over_runs)
        history._engine = self

    def answers(self, query: str) -> bool:
        """Return True, after a statement for Spark is recorded."""
        if query not in self.statements and self._is_over_runs(query):
            self.statements[query] = self.name
        return True

    def read(self, query: str, *_: object) -> pa.Table:
        """Return the rows of a statement."""
        return self._read(query)

    def close(self) -> None:
        """Do nothing."""


def read_all(context: Any, query: str) -> pa.Table:
    """Return the rows of a statement that DataFusion answers."""
    schema, batches = read(context, query)
    return pa.Table.from_batches(batches, schema)


def record(history: rl.History) -> dict[str, str]:
    """Return the name of each statement that would reach Spark; errors of verbs that a history does not have are fine.

    Raises:
        KeyError: a verb or a question has an argument without a value here.
    """
    engine = RecordingEngine(history)
    with warnings.catch_warnings(), redirect_stderr(StringIO()), TemporaryDirectory() as folder:
        warnings.simplefilter("ignore")
        for name, call in [*_questions(history), *_verbs(history, Path(folder)), *_lists()]:
            engine.name = name
            try:
                call(history)
            except StatementError:  # a verb sent it without Reads, so that it is refused as one of the user
                raise
            except RestateLabError:
                continue
    return engine.statements


def views(history: rl.History) -> dict[str, str]:
    """Return the statement of each view of a history, with the name "view …"."""
    rows = [each for each in rows_of(history._context, VIEWS) if each["schema"] == "public"]
    return {parse_view(each["definition"]): f"view {each['name']}" for each in rows}


def guide_types() -> dict[re.Pattern[str], str]:
    """Return the types in Spark of the guide's table, by a pattern for the names of the types here."""
    rows = re.findall(r"^\| (`.+`) \| `([A-Z][^`]+)`", (GUIDE / "history.md").read_text("utf-8"), re.MULTILINE)
    names = [(name, kind) for names, kind in rows for name in re.findall(r"`([^`]+)`", names)]
    return {re.compile(re.escape(name).replace("…", ".+")): kind for name, kind in names}


def digest_of(translated: str) -> str:
    """Return the digest of a statement of Spark without its literals."""
    plain = _LIST.sub("(?)", _LITERAL.sub("?", translated))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def digests_of(history: rl.History, statements: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the translations of statements, with the names of the statements."""
    translator = Translator.of(history._context)
    return {digest_of(translator.translate(query)): name for query, name in statements.items()}


def _questions(history: rl.History) -> Iterator[tuple[str, Call]]:
    """Yield each question with its default values, and with all arguments."""
    values = _values(history) | {"limit": None, "now": history.now}
    for name in rl.questions()["name"]:
        parameters = [each.name for each in get_question(name).parameters]
        yield f"ask {name}", partial(_ask, name, {"since": _LONG_AGO} if "since" in parameters else {})
        yield f"ask {name}, all arguments", partial(_ask, name, {each: values[each] for each in parameters})


def _ask(name: str, params: Mapping[str, Any], source: Any) -> object:
    return rl.ask(source, name, timeout=None, **params)


def _values(history: rl.History) -> dict[str, Any]:
    """Return values of arguments by name."""
    ids = "SELECT id FROM sys_invocation_status ORDER BY id {order} LIMIT 3"
    chosen, healthy = (
        [each["id"] for each in rows_of(history._context, ids.format(order=order))] for order in ("ASC", "DESC")
    )
    return {
        "service": "Orders",
        "handler": "place",
        "since": _LONG_AGO,
        "ids": chosen,
        "id": chosen[0],
        "healthy": healthy,
        "status": "completed",
        "window": "60d",
        "block": "6h",
        "sample": 10,
        "payloads": True,
        "checks": "upgrade",
        "now": history.now - timedelta(days=1),
        "thresholds": {"slow": "1s"},
        "depth": 2,
        "session": True,
        "deployment": "dp_1",
        "key": "Orders/eu-1",
        "trace": "0" * 32,
        "search": True,
        "tables": ["sys_journal"],
        "at_least": 1,
        "older_than": "1s",
        "pause": 1,
        "until": "1h",
        "failures_only": False,
        "above": 1,
        "scope": "tenant",
        "error_code": "RT0016",
        "step": "charge",
        "objective": 99,
        "bin": "1h",
    }


def _verbs(history: rl.History, folder: Path) -> Iterator[tuple[str, Call]]:
    """Yield each public function of a source, with each of its arguments."""
    values = _values(history)
    first, second, _ = values["ids"]
    middle = history.coverage.since + (history.now - history.coverage.since) / 2
    newest = "SELECT id FROM sys_deployment ORDER BY created_at DESC, id LIMIT 1"
    deployment = next(rows_of(history._context, newest))["id"]
    positions: dict[str, list[tuple[Any, ...]]] = {
        "before_after": [(middle,), (deployment,)],
        "compare": [(history,)],
        "contrast": [("failed",), ("slow",), (values["ids"],)],
        "conversation": [(first,)],
        "find": [("größe",)],
        "freeze": [(folder / "evidence",)],
        "incident_report": [(folder / "report.html",)],
        "journal": [(first,)],
        "journal_diff": [(first, second)],
        "save_dataset": [(values["ids"], folder / "dataset.jsonl")],
        "state": [("Orders", "eu-1")],
        "story": [(first,)],
        "why": [(first,)],
    }
    yield "story of a key", partial(_call, rl.story, (), {"key": "Orders/eu-1", "since": _LONG_AGO})
    for name, function in _functions():
        keywords = [each for each in _keywords(function) if each not in _IGNORED]
        first_position, *others = positions.get(name, [()])
        base = {"since": _LONG_AGO} if "since" in keywords else {}
        for position in (first_position, *others):
            yield name, partial(_call, function, _unused(position, name), {})
        for each in keywords:
            position = _unused(first_position, each)
            yield f"{name}, {each}", partial(_call, function, position, {**base, each: values[each]})


def _unused(position: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    """Return arguments with another file for each call."""
    return tuple(each.with_stem(f"{each.stem}-{name}") if isinstance(each, Path) else each for each in position)


def _functions() -> Iterator[tuple[str, Callable[..., object]]]:
    """Yield the public functions whose first argument is a source."""
    for name in rl.__all__:
        function = getattr(rl, name)
        names = list(inspect.signature(function).parameters) if inspect.isfunction(function) else []
        if names and names[0] in {"source", "before"} and name not in _OF_IDS:
            yield name, function


def _keywords(function: Callable[..., object]) -> Iterable[str]:
    parameters = inspect.signature(function).parameters.values()
    return [each.name for each in parameters if each.kind is each.KEYWORD_ONLY]


def _call(function: Callable[..., object], position: tuple[Any, ...], named: Mapping[str, Any], source: Any) -> object:
    return function(source, *position, **named)


def _lists() -> Iterator[tuple[str, Call]]:
    """Yield what the panel and the pages read: lists of invocations with each filter, counts, times and events."""
    filters: dict[str, Any] = {
        "status": ("failed",),
        "service": ("Orders",),
        "handler": "place",
        "key": "eu-1",
        "deployment": "dp_1",
        "since": _LONG_AGO,
        "until": "1h",
        "ended_since": _LONG_AGO,
        "ended_until": "1h",
        "age": "1h",
        "error_code": "RT0016",
        "retries": 1,
        "text": "stock",
        "limit": 10,
    }
    every = [{}, *({name: value} for name, value in filters.items()), {"text": "ας"}, filters]
    for chosen in (*every, *({"sort": each} for each in SORTS)):
        shown = Filters(**{"status": ("all",), **chosen})
        yield f"rows {', '.join(chosen)}", partial(_call, read_first_rows, (shown,), {})
    yield "counts", partial(_call, count_by_status, (Filters(),), {})
    yield "counts, filters", partial(_call, count_by_status, (Filters(**filters),), {})
    yield "histogram", partial(_call, read_histogram, (Filters(**filters),), {"window": timedelta(days=30)})
    yield "events", partial(_call, read_events, (), {"since": _LONG_AGO, "timeout": 60})
