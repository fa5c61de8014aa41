"""Check that a response has the columns that our own SQL selects, and report another shape as one clear error.

A proxy or a newer server can drop a column, rename it, change its type, or replace its values with nulls.
``check_columns`` compares a response with the select list of its statement as soon as it is read. ``translate_errors``
handles all other cases, at the public functions.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, ParamSpec, TypeVar

import pandas as pd
import pyarrow as pa

from restate_lab._public import check_call, conceal, place_error, source_places, unusable_arguments
from restate_lab._text import one_line
from restate_lab.errors import RestateLabError, ServerFailed
from restate_lab.source import Source

P = ParamSpec("P")
R = TypeVar("R")
Result = TypeVar("Result", pa.Table, pa.Schema)

_FAMILY_NAMES = {
    "text": """id target target_service_name target_handler_name target_service_key target_service_ty service_name
        service_key service_type service key scope status raw_status holder_status word ending completion_result
        result completion_failure failure message code error_code example_message example_step step name event waits_for
        entry_type event_type event_json entry_json entry_lite_json future future_json body sdk endpoint ty type table
        column table_name definition invoked_by invoked_by_id invoked_by_target restarted_from deployment_id
        pinned_deployment_id last_attempt_deployment_id of_id oldest_id example_id holder_id lock_holder_id
        callee_id first_id last_id one_id other_id entry_id vqueue_id lock_name limit_key stage blocked_on
        blocked_on_json promise holder_handler_name holder_invoked_by_id holder_invoked_by_target first_target
        last_target idempotency_key largest_value_name before_completion_result before_completion_failure
        before_restarted_from command_type command_name holder sha256 last_failure last_failure_error_code
        last_attempt_server failed_step value_start handler kind family trend outcome framework
        model retention invocation_id trace_id service_type origin rule blocked_rule description l1 l2 entry_status
        cause paused_vqueue_id shard created_using_restate_version invoked_by_service_name
        invoked_by_subscription_id""",
    "number": """n steps attempted waiting num_inbox depth pinned pinned_running pinned_backing_off pinned_suspended
        backing_off pinned_paused would_land recent overdue expiring outlived refused slow keyed restarted
        journal_entries longest_journal busy bytes entries median_ms ms new_invocations attempts retry_count
        failed_attempts worst http_code journal_size journal_commands_size size index entry_index command_index
        after_journal_entry_index completion_id signal open_invocations largest_entry_bytes largest_value_bytes
        service_bytes service_keys targets suspended pending p50_ms p90_ms p99_ms max_ms queued_p50_ms queued_p90_ms
        queued_p99_ms running_p50_ms running_p90_ms running_p99_ms blocked_on_lock_ms blocked_on_concurrency_rules_ms
        blocked_on_deployment_concurrency_ms blocked_on_invoker_concurrency_ms blocked_on_invoker_throttling_ms
        blocked_on_invoker_memory_ms blocked_on_throttling_rules_ms succeeded failed cancelled killed sequence_number
        partition_key min_service_protocol_version max_service_protocol_version pinned_service_protocol_version
        protocol oldest newest revision open invocations commands journal_bytes input_tokens output_tokens
        cached_tokens reasoning_tokens tool_calls failed_percent success_percent stopped budget budget_left_percent
        burn_rate burn_rate_1d burn_rate_1h total_ms days longest_pause invocations_7d invocations_before block bin
        completion_ms journal_ms partition changes timers vqueues value_length scheduled running paused usage
        concurrency_limit usage_share waiting_queues position num_attempts lock_share rules_share slots_share
        memory_share deployment_share throttling_share arrivals stuck_arrivals ends behind_keys in_paused under_limits
        retrying total rule_version""",
    "flag": """is_known can_be_removed is_latest is_paused in_flight public ended sent holds nullable
        came_back is_open is_wasteful in_vqueue is_pinned legacy disabled is_null""",
    "time": """now created_at modified_at completed_at inboxed_at running_at scheduled_at scheduled_start_at
        next_attempt_at
        next_retry_at last_start_at appended_at deployed_at paused_at waiting_since held_since since wakes_at expires_at
        journal_expires_at starts_first expires_first kept_first first_at last_at first_created_at
        last_created_at first_completed_at last_completed_at last_expires_at oldest_created_at oldest_inboxed_at
        before_created_at span_start holder_running_at holder_modified_at day came_back_at sampled_at attempted_at
        newest_at oldest_runnable_at last_failed_at last_modified""",
    "duration": """oldest_age oldest_wait waiting_for wakes_in idle_for paused_for expires_in
        completion_retention journal_retention lock_block_duration concurrency_rules_block_duration
        deployment_concurrency_block_duration invoker_concurrency_block_duration invoker_throttling_block_duration
        invoker_memory_block_duration throttling_rules_block_duration blocked_for""",
    "list": """services latest_of signals completions""",
    "bytes": "value raw",
    "number or flag": "completed",
}


FAMILIES = {name: family for family, names in _FAMILY_NAMES.items() for name in names.split()}
"""The kind of values of a column of our own statements, by its name; all statements use a name the same way."""

_SKIPPED = re.compile(r"--[^\n]*|'(?:[^']|'')*'")
_PIECE = re.compile(r'"(?:[^"]|"")*"|\w+|\s+|.', re.DOTALL)
_NAME = re.compile(r'(?:^|[\s.])(?P<name>"(?:[^"]|"")+"|[A-Za-z_]\w*)$')
# Columns that are never null: the id of a table, a count, and a status made by a CASE.
_NEVER_NULL = re.compile(
    r"(?:\w\.)?(?:id|word)|now\(\) AS now|count\(.*\) AS \w+|CASE\b.*\bELSE .*END AS (?:status|word)", re.DOTALL
)
_ADVICE = (
    "Check for a proxy that changes responses, or update restate_lab if the server is newer; lab.arrow() shows "
    "an unchanged response."
)
_RESPONSES: ContextVar[list[bool] | None] = ContextVar("responses", default=None)
_UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, pa.ArrowException)


class SelectedColumn(NamedTuple):
    """One column that a statement selects."""

    name: str
    is_never_null: bool


@functools.lru_cache(maxsize=512)
def selected_columns(statement: str) -> tuple[SelectedColumn, ...]:
    """Return the columns of a statement's outermost SELECT (the first one of a UNION) that it names, in order."""
    columns = []
    for item in map(str.strip, _items(_SKIPPED.sub("''", statement))):
        if found := _NAME.search(item):
            name = found["name"].strip('"').replace('""', '"')
            columns.append(SelectedColumn(name, is_never_null=_NEVER_NULL.fullmatch(item) is not None))
    return tuple(columns)


def check_columns(answer: Result, statement: str, source: Source | None) -> Result:
    """Return the response to one of our own statements if it has the columns that the statement selects.

    Raises:
        ServerFailed: a column is missing, has another kind of values, or has an unexpected null.
    """
    note_response()
    faults = [
        _fault(answer, name, FAMILIES.get(name), is_never_null=is_never_null)
        for name, is_never_null in selected_columns(statement)
    ]
    _refuse(faults, statement, source)
    return answer


def check_types(schema: pa.Schema, types: Mapping[str, str | None], statement: str, source: Source) -> pa.Schema:
    """Return the schema of a whole table if its columns have the types that the server declares for them.

    ``types`` has the server's type names by column, as in information_schema, such as "LargeUtf8"; None is unknown.

    Raises:
        ServerFailed: a column is missing, or has another kind of values.
    """
    note_response()
    faults = []
    for name, declared in types.items():
        family = next((family for family, begins in _DECLARED.items() if (declared or "").startswith(begins)), None)
        faults.append(_fault(schema, name, family))
    _refuse(faults, statement, source)
    return schema


def check_rows(answer: pa.Table | pd.DataFrame, statement: str, source: Source) -> None:
    """Check that a response has the one row that its statement always returns.

    Raises:
        ServerFailed: it has no row, or more than one.
    """
    if len(answer) != 1:
        _refuse([f"it has {len(answer):,} rows instead of 1"], statement, source)


def tables_of(source: Source) -> pd.DataFrame:
    """Return ``source.tables()`` if it has the columns ``table`` and ``column`` with text in every row.

    Raises:
        ServerFailed: a column is missing, or has values that are not text.
    """
    tables = source.tables()
    note_response()
    for name in ("table", "column"):
        if name not in tables or not all(isinstance(value, str) for value in tables[name].tolist()):
            raise _shape_error("the list of tables and columns", f"column {name!r} is missing or not text", source)
    return tables


def names_of(source: Source) -> frozenset[str]:
    """Return the names of a source's tables, and of their columns as "table.column"."""
    tables = tables_of(source)
    names = zip(tables["table"].tolist(), tables["column"].tolist(), strict=True)
    return frozenset(name for table, column in names for name in (table, f"{table}.{column}"))


def translate_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Make a public function, whose first argument is a source, report an unreadable response as ServerFailed.

    The original error is its ``__cause__``; the message says that it may be a bug of restate_lab. A wrong call is
    reported as by ``explained``, also if it fails later, but before a response was read.
    """
    places = source_places(function)

    @functools.wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        args, kwargs = conceal(function, args, kwargs)  # type: ignore[assignment]
        check_call(function, places, args, kwargs)
        with _responses_of_call() as responses:
            try:
                return function(*args, **kwargs)
            except RestateLabError:
                raise
            except OSError as error:
                if explanation := place_error(function, args, kwargs, error):
                    raise explanation from error
                raise
            except _UNREADABLE as error:
                if not responses:
                    raise unusable_arguments(function, args, error) from error
                raise _unreadable(function, args, error) from error

    return wrapper


def note_response() -> None:
    """Record that a response was read, for the functions that ``translate_errors`` decorates."""
    if (responses := _RESPONSES.get()) is not None:
        responses.append(True)


@contextmanager
def _responses_of_call() -> Iterator[list[bool]]:
    """Yield the list that has an item once a response was read; the functions that a function calls share its list."""
    outer = _RESPONSES.get()
    responses: list[bool] = [] if outer is None else outer
    token = _RESPONSES.set(responses)
    try:
        yield responses
    finally:
        _RESPONSES.reset(token)


def _unreadable(function: Callable[..., Any], args: tuple[Any, ...], error: Exception) -> ServerFailed:
    message = f"{type(error).__name__}: {error}"
    return ServerFailed(
        f"{function.__name__}() could not read a response: {message}. Either the response has an unexpected shape, or "
        f"this is a bug of restate_lab; the original error is the __cause__ of this one. "
        f"{_server_text(args[0] if args else None)} {_ADVICE}",
        status=200,
        reason=message,
    )


def _items(statement: str) -> Iterator[str]:
    """Yield the expressions of the outermost select list."""
    depth, item, is_within = 0, "", False
    for piece in _PIECE.findall(statement):
        depth += (piece in "([") - (piece in ")]")
        word = piece.upper() if depth == 0 else ""
        if not is_within:
            is_within = word == "SELECT"
        elif word in {"FROM", "UNION", "LIMIT", "ORDER"}:
            break
        elif word == "," or (word == "DISTINCT" and not item.strip()):
            if word == ",":
                yield item
            item = ""
        else:
            item += " " if piece.isspace() else piece
    yield item


def _fault(answer: pa.Table | pa.Schema, name: str, family: str | None, *, is_never_null: bool = False) -> str:
    """Return the problem of one column of a response, "" without one; a column of nulls fits every type."""
    schema = answer.schema if isinstance(answer, pa.Table) else answer
    if name not in schema.names:
        return f"column {name!r} is missing"
    kind, is_null = schema.field(name).type, False
    if isinstance(answer, pa.Table):
        nulls = answer.column(name).null_count
        if is_never_null and nulls:
            return f"column {name!r} has nulls"
        is_null = nulls == len(answer)
    if family is None or is_null or pa.types.is_null(kind) or _ARROW[family](kind):
        return ""
    actual = next((_FAMILY_LABELS[each] for each, fits in _ARROW.items() if fits(kind)), str(kind))
    return f"column {name!r} has {actual} instead of {_FAMILY_LABELS[family]}"


def _refuse(faults: Iterable[str], statement: str, source: Source | None) -> None:
    if found := "; ".join(filter(None, faults)):
        raise _shape_error(f"the response to `{_shorten(statement)}`", found, source)


_FAMILY_LABELS = {
    "text": "texts",
    "number": "numbers",
    "flag": "booleans",
    "time": "timestamps",
    "duration": "durations",
    "list": "lists",
    "bytes": "bytes",
    "number or flag": "numbers or booleans",
}


_ARROW: Mapping[str, Callable[[Any], bool]] = {
    "text": lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind),
    "number": lambda kind: pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind),
    "flag": pa.types.is_boolean,
    "time": pa.types.is_timestamp,
    "duration": lambda kind: pa.types.is_duration(kind) or pa.types.is_interval(kind),
    "list": lambda kind: pa.types.is_list(kind) or pa.types.is_large_list(kind),
    "bytes": lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind),
    "number or flag": lambda kind: pa.types.is_integer(kind) or pa.types.is_boolean(kind),
}
_DECLARED = {
    "text": ("Utf8", "LargeUtf8"),
    "number": ("Int8", "Int16", "Int32", "Int64", "UInt", "Float", "Decimal"),
    "flag": ("Boolean",),
    "time": ("Timestamp",),
    "duration": ("Duration", "Interval"),
    "list": ("List", "LargeList"),
    "bytes": ("Binary", "LargeBinary"),
}


def _shape_error(what: str, faults: str, source: Any) -> ServerFailed:
    return ServerFailed(
        f"{what} has an unexpected shape: {faults}. {_server_text(source)} {_ADVICE}", status=200, reason=faults
    )


def _server_text(source: Any) -> str:
    with suppress(RestateLabError):
        name, version = getattr(source, "name", None), getattr(source, "version", None)
        if name and version:
            return f"{name} runs restate {version}."
    return "The server's version is unknown."


def _shorten(statement: str) -> str:
    return one_line(re.sub(r"--[^\n]*", "", statement))
