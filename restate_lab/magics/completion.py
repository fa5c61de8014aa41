"""Completion after ``%restate``, in ``%%restate`` cells, and for the names in calls: ``rl.ask(lab, "``, ``view="``.

IPython completes everything else. Table and column names come from a catalog of the source, read in a thread.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, ModuleType
from typing import NamedTuple, get_args

from IPython.core.completer import CompletionContext, SimpleCompletion, SimpleMatcherResult, context_matcher
from IPython.core.interactiveshell import InteractiveShell

from restate_lab.analysis.questions.catalog import names as question_names
from restate_lab.analysis.questions.parameters import parameters_of
from restate_lab.choices import ActionName, CheckName, StatusName, ViewName
from restate_lab.client.cli_config import environment_names
from restate_lab.errors import RestateLabError
from restate_lab.magics.sql_context import KEYWORDS, context_at, tables_in
from restate_lab.source import Source

TableColumns = Mapping[str, tuple[str, ...]]
"""table → its columns, in the order of the table."""

MAX_WAIT = 0.5  # maximum delay of a completion in seconds
RETRY_AFTER = 30.0  # seconds before a failed read is repeated
_NOTHING: TableColumns = MappingProxyType({})
_LINE = re.compile(r"\s*+(?:[^%\"'#]*=\s*+)?%restate\s")
_CELL = re.compile(r"\s*%%restate\b")
_LEADING_OPTIONS = re.compile(r"\s*(?:(?:-o|--out|--timeout)[\s=]+[^\s-]\S*\s+)*")
_VERBS = ("connect", "frames", "use")
_MAGIC_OPTIONS = ("--ask", "-o", "--timeout")
_FUNCTIONS = (
    "count", "sum", "min", "max", "avg", "now", "date_bin", "approx_percentile_cont", "coalesce", "substr", "length",
    "lower", "upper", "arrow_cast", "array_has", "to_timestamp_millis", "json_get_str", "json_get_json", "json_get_int",
    "json_get_bool", "json_get_float", "json_length",
)  # fmt: skip


class MagicCompleter:
    """The completions of one shell; ``catalog`` belongs to the current source and may be None."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self.catalog: TableCatalog | None = None

    @context_matcher(identifier="restate_lab")  # type: ignore[untyped-decorator]
    def matcher(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return the completions at the cursor; empty outside of the text for ``restate_lab``."""
        lines = context.full_text.split("\n")
        at = sum(len(line) + 1 for line in lines[: context.cursor_line]) + context.cursor_position
        typed, items = self.complete(context.full_text, at)
        prefix = typed.lower()
        fitting = [item for item in dict.fromkeys(items) if item.text.lower().startswith(prefix)]
        return SimpleMatcherResult(
            completions=[SimpleCompletion(text, type=kind) for text, kind in fitting],
            matched_fragment=typed,
            suppress=bool(fitting),
            ordered=True,
        )

    def complete(self, text: str, at: int) -> tuple[str, list[CompletionItem]]:
        """Return the incomplete text before the position and its possible completions, most likely first."""
        for name in _NAMES_IN_CALLS:
            if call := name.pattern.search(text, 0, at):
                return call["typed"], _items(name.names(self, call), name.kind)
        begins, ends = _argument_span(text, at)
        if begins is None:
            return "", []
        return self._complete_magic(text[begins:ends], at - begins, is_cell=_CELL.match(text) is not None)

    def _complete_magic(self, text: str, at: int, *, is_cell: bool) -> tuple[str, list[CompletionItem]]:
        head = text[:at]
        for argument in _ARGUMENT_PATTERNS:
            match = argument.pattern.match(head)
            if match and not (is_cell and argument.is_for_lines):
                return match["typed"], _items(argument.names(self, match), argument.kind)
        options = _LEADING_OPTIONS.match(text)
        begins = options.end() if options else 0
        if at < begins:
            return "", []
        typed, items = self._complete_sql(text[begins:], at - begins)
        is_first = not is_cell and head.strip() == typed
        return typed, [*_items(_VERBS, "option"), *items] if is_first else items

    def _complete_sql(self, statement: str, at: int) -> tuple[str, list[CompletionItem]]:
        context = context_at(statement, at)
        if context is None:
            return "", []
        if context.expects == "parameter":
            return context.typed, _items(self.variables(), "parameter")
        columns = self.catalog.columns() if self.catalog else {}
        # The text at the cursor is incomplete, so it does not count as an alias.
        named = tables_in(f"{statement[: at - len(context.typed)]} {statement[at:]}")
        if context.expects == "table":
            return context.typed, _items([*(name for name, table in named.items() if not table), *columns], "table")
        if context.qualifier:
            return context.typed, _items(columns.get(named.get(context.qualifier, context.qualifier), ()), "column")
        return context.typed, list(_sql_items(context.typed, columns, named))

    def variables(self) -> list[str]:
        """Return the names of the user's variables."""
        hidden = self._shell.user_ns_hidden
        return sorted(
            name
            for name, value in self._shell.user_ns.items()
            if not name.startswith("_")
            and name not in hidden
            and not isinstance(value, ModuleType | FunctionType | type)
        )


class TableCatalog:
    """The tables and columns of one source, read once in a thread."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._columns = _NOTHING
        self._started = 0.0
        self._thread: threading.Thread | None = None
        self._refresh()

    def columns(self) -> TableColumns:
        """Return the columns of each table; empty if they cannot be read or are not available in time."""
        if not self._columns:
            self._refresh()
            if self._thread is not None:
                self._thread.join(MAX_WAIT)
        return self._columns

    def _refresh(self) -> None:
        is_reading = self._thread is not None and self._thread.is_alive()
        if is_reading or (self._thread is not None and time.monotonic() - self._started < RETRY_AFTER):
            return
        self._started = time.monotonic()
        # A daemon thread, so that the kernel can exit while the server does not respond.
        self._thread = threading.Thread(target=self._load, name="restate-lab-catalog", daemon=True)
        self._thread.start()

    def _load(self) -> None:
        try:
            tables = self._source.tables()
        except RestateLabError:
            return
        names = {str(table): tuple(group["column"]) for table, group in tables.groupby("table", sort=False)}
        self._columns = MappingProxyType(names)


class CompletionItem(NamedTuple):
    """A completion and its kind: table, column, keyword, function, option and so on."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class _ArgumentPattern:
    """An argument that is not SQL, found by the text before it; with ``is_for_lines`` only in line magics."""

    pattern: re.Pattern[str]
    kind: str
    names: Callable[[MagicCompleter, re.Match[str]], Iterable[str]]
    is_for_lines: bool = False


def _in_call(pattern: re.Pattern[str], kind: str, names: Iterable[str]) -> _ArgumentPattern:
    return _ArgumentPattern(pattern, kind, lambda _, __: names)


_SOURCE = r"\(\s?[\w.]{1,80},\s?"
_ARGUMENTS = r"\([^()\n]{0,200}\b"
_NAME = r"\s?=\s?\[?(?:[\"'][\w-]{1,40}[\"'],\s?){0,20}[\"'](?P<typed>[\w-]{0,40})\Z"  # also a further one of a list
_NAMES_IN_CALLS = (
    _ArgumentPattern(
        re.compile(rf"\bask{_SOURCE}(?:name\s?=\s?)?[\"'](?P<typed>\w*)\Z"), "question", lambda _, __: question_names()
    ),
    _in_call(re.compile(rf"\bplan{_SOURCE}[\"'](?P<typed>\w*)\Z"), "action", get_args(ActionName)),
    _in_call(re.compile(rf"\bPanel{_ARGUMENTS}view{_NAME}"), "view", get_args(ViewName)),
    _in_call(re.compile(rf"\bPanel{_ARGUMENTS}status{_NAME}"), "status", get_args(StatusName)),
    _in_call(re.compile(rf"\bdoctor{_ARGUMENTS}checks{_NAME}"), "check", get_args(CheckName)),
)
_ARGUMENT_PATTERNS = (
    _ArgumentPattern(re.compile(r"(?:.*\s)?--ask[\s=]+(?P<typed>\w*)\Z"), "question", lambda _, __: question_names()),
    _ArgumentPattern(
        re.compile(r"(?=(?:.*\s)?(?P<typed>\w*)\Z)(?:.*\s)?--ask[\s=]+(?P<question>\w+)\s", re.DOTALL),
        "parameter",
        lambda _, found: [f"{parameter.name}=" for parameter in parameters_of(found["question"])],
    ),
    _ArgumentPattern(re.compile(r"\s*(?P<typed>-[\w-]*)\Z"), "option", lambda _, __: _MAGIC_OPTIONS),
    _ArgumentPattern(
        re.compile(r"\s*connect\s+(?P<typed>\S*)\Z"),
        "environment",
        lambda _, __: environment_names(),
        is_for_lines=True,
    ),
    _ArgumentPattern(
        re.compile(r"\s*use\s+(?P<typed>\w*)\Z"),
        "variable",
        lambda completion, _: completion.variables(),
        is_for_lines=True,
    ),
)


def _argument_span(text: str, at: int) -> tuple[int | None, int]:
    """Return the start and end of the text after the magic; the start is absent if the position is outside."""
    if cell := _CELL.match(text):
        return (cell.end() if at >= cell.end() else None), len(text)
    begins = text.rfind("\n", 0, at) + 1
    ends = text.find("\n", at)
    line = _LINE.match(text, begins)
    is_inside = line is not None and line.end() <= at
    return (line.end() if line and is_inside else None), ends if ends >= 0 else len(text)


def _sql_items(typed: str, columns: TableColumns, named: dict[str, str]) -> Iterator[CompletionItem]:
    tables = [table for table in named.values() if table in columns] or list(columns)
    yield from _items([column for table in tables for column in columns[table]], "column")
    yield from _items(named, "table")
    # Editors drop completions that differ in case from the typed text.
    keywords = KEYWORDS if typed != typed.lower() or not typed else [word.lower() for word in KEYWORDS]
    yield from _items(keywords, "keyword")
    yield from _items(_FUNCTIONS, "function")


def _items(texts: Iterable[str], kind: str) -> list[CompletionItem]:
    return [CompletionItem(text, kind) for text in texts]
