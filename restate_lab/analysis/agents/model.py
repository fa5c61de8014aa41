"""One response of a model, read from the payload of a step, and the parts that every shape of payload is read with.

A number of tokens is read only if it is a whole number of 0 or more. Anything else is unknown, never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from restate_lab._public import public
from restate_lab.analysis.journal.entries import text_or_none
from restate_lab.payload_json import read

# the fields of a ModelStep with numbers of tokens
TOKENS = ("input_tokens", "cached_tokens", "output_tokens", "reasoning_tokens")
WRITTEN = ("cache_write_tokens", "cache_write_1h_tokens")
MOST = 1 << 53


@public
class ToolCall(NamedTuple):
    """One tool call in the response of a model.

    ``arguments`` is the parsed JSON; text that is not JSON is kept as text.
    ``id``: None if the payload has no id.
    """

    id: str | None
    name: str
    arguments: Any = None


class ToolResult(NamedTuple):
    """The result of a tool as a later payload repeats it, with the id of its call."""

    call_id: str
    value: Any


@public
class ModelStep(NamedTuple):
    """One response of a model; your own function for ``shapes=`` returns it, or None for other payloads.

    ``model`` is the model that the response names, ``model_asked`` the one in the request. ``input_tokens`` includes
    the cached ones, ``output_tokens`` includes the reasoning ones. None is unknown. If the payload has the request,
    ``prompt`` has its messages as (role, text), and ``results`` the results of earlier tool calls in it; they also have
    those of calls in this response, if the provider or the client executed them before it was journaled.
    ``cache_write_tokens`` are the input tokens that were written to a cache, and ``cache_write_1h_tokens`` those that
    it keeps for an hour: they are for the cost, as is ``provider``, the id of the provider in the package genai-prices,
    for a model whose name alone has no price. ``uncounted`` names a part that is paid and in none of these numbers,
    such as "compaction"; then they are unknown.
    """

    framework: str
    text: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    reasoning: str | None = None
    refusal: str | None = None
    model: str | None = None
    model_asked: str | None = None
    response_id: str | None = None
    finish: str | None = None
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    prompt: tuple[tuple[str, str], ...] = ()
    results: tuple[ToolResult, ...] = ()
    cache_write_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    provider: str | None = None
    uncounted: str | None = None


def record(value: Any, key: str | None = None) -> Mapping[str, Any]:
    """Return the value, or its value of a key, if it is an object; else an empty object."""
    if key is not None and isinstance(value, dict):
        value = value.get(key)
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[Mapping[str, Any]]:
    """Return the objects in a list; an empty list for other values."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def first_text(*values: Any) -> str | None:
    """Return the first value that is a text and not empty."""
    return next(filter(None, map(text_or_none, values)), None)


def join_texts(values: Iterable[Any]) -> str | None:
    """Return the texts among the values as one, each on its own line; None without texts."""
    return "\n".join(filter(None, map(text_or_none, values))) or None


def count(value: Any) -> int | None:
    """Return a whole number of 0 or more; else None."""
    return value if type(value) is int and 0 <= value < MOST else None  # True is not a number


def total(*values: Any) -> int | None:
    """Return the sum of numbers; None if a number is unknown."""
    numbers = [count(value) for value in values]
    return None if None in numbers else sum(number for number in numbers if number is not None)


def sum_known(values: Iterable[int | None]) -> int | None:
    """Return the sum of the known numbers; None if all are unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def parse_arguments(value: Any) -> Any:
    """Return the arguments of a call: a text is parsed as JSON, and stays text if it is not an object or a list."""
    if not isinstance(value, str):
        return value
    try:
        parsed = read(value)
    except (ValueError, RecursionError):
        parsed = None
    return parsed if isinstance(parsed, dict | list) else text_or_none(value) or ""


def walk(value: Any, *, most: int = 200_000) -> Iterator[Mapping[str, Any]]:
    """Yield every object within a value, outer ones first; at most ``most`` values are visited."""
    pending, visited = [value], 0
    while pending and visited < most:
        each = pending.pop()
        visited += 1
        if isinstance(each, dict):
            yield each
            pending += [inner for inner in each.values() if isinstance(inner, dict | list)]
        elif isinstance(each, list):
            pending += [inner for inner in each if isinstance(inner, dict | list)]


def unwrap(value: Any) -> Any:
    """Return the result in the payload of a wrapped tool of Pydantic AI; other values unchanged."""
    is_wrapper = isinstance(value, dict) and value.get("kind") == "output" and "output" in value
    return value["output"] if is_wrapper else value
