"""The numbers of tokens in a response: where a shape has them, and whether a part is in its whole or beside it.

All become the same four: an input that includes the cached tokens, and an output that includes the reasoning ones. A
number that a payload does not prove is unknown.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from restate_lab.analysis.agents.paths import Read, no_value


class Parts(Enum):
    """Whether a provider's number of input or output tokens includes the parts that a ``Usage`` has beside them."""

    BESIDE = "the parts are not in the number; a total must be the sum of all"
    BY_TOTAL = "servers differ; the total shows it, and without a total it is unknown"


class Usage(NamedTuple):
    """The fields with the tokens of a response, below the object that has them all.

    ``written`` are input tokens that were written to a cache, and ``written_1h`` those that it keeps for an hour; they
    cost more. ``input_beside`` and ``output_beside`` are the parts that ``parts`` is about; without them, the numbers
    include everything. A part that is null is 0. One that is absent is 0 only if the total proves it, or if no field
    has ``absent_without`` in its name. ``uncounted`` is a list and the type of its entries whose tokens are paid, but
    are in no number: with such an entry, all numbers are unknown.
    """

    input: Read
    output: Read = no_value
    cached: Read = no_value
    reasoning: Read = no_value
    written: Read = no_value
    written_1h: Read = no_value
    total: Read = no_value
    parts: Parts = Parts.BESIDE
    input_beside: tuple[Read, ...] = ()
    output_beside: tuple[Read, ...] = ()
    absent_without: str = ""
    uncounted: tuple[str, str] = ("", "")


def read_tokens(usage: Usage, value: Any) -> dict[str, Any]:
    """Return the numbers of tokens in an object; a part that is more than its whole is unknown, and so is the whole."""
    if _has_uncounted(usage, value):
        return {"uncounted": usage.uncounted[1]}
    into, out = usage.input(value), usage.output(value)
    if usage.input_beside or usage.output_beside:
        into, out = _wholes(usage, value, into, out)
    into, cached = _whole_and_part(into, usage.cached(value))
    out, reasoning = _whole_and_part(out, usage.reasoning(value))
    tokens = {"input_tokens": into, "cached_tokens": cached, "output_tokens": out, "reasoning_tokens": reasoning}
    written = usage.written(value)
    return tokens if written is None else tokens | _written(usage, value, written, into, cached)


def _has_uncounted(usage: Usage, value: Any) -> bool:
    name, kind = usage.uncounted
    entries = value.get(name) if name and isinstance(value, dict) else None
    return isinstance(entries, list) and any(isinstance(each, dict) and each.get("type") == kind for each in entries)


def _wholes(usage: Usage, value: Any, into: int | None, out: int | None) -> tuple[int | None, int | None]:
    """Return the input and the output with the parts that are beside them."""
    more_into = [read(value) for read in usage.input_beside]
    more_out = [read(value) for read in usage.output_beside]
    total = usage.total(value)
    if into is None or total is None:
        return _without_total(usage, value, into, more_into), _without_total(usage, value, out, more_out)
    sums = {
        (first, second)
        for first in _possible(usage, into, more_into)
        for second in _possible(usage, out or 0, more_out)
        if first + second == total
    }
    proven = sums.pop() if len(sums) == 1 else (None, None)
    return proven[0] if more_into else into, out if out is not None and not more_out else proven[1]


def _possible(usage: Usage, whole: int, more: list[int | None]) -> set[int]:
    with_parts = whole + sum(each or 0 for each in more)
    return {with_parts, whole} if usage.parts is Parts.BY_TOTAL else {with_parts}


def _without_total(usage: Usage, value: Any, whole: int | None, more: list[int | None]) -> int | None:
    if whole is None or not more:
        return whole
    if usage.parts is Parts.BY_TOTAL:
        return None
    if all(each is not None for each in more):
        return whole + sum(each or 0 for each in more)
    hint = usage.absent_without
    return whole if hint and not any(hint in name.lower() for name in value) else None


def _whole_and_part(whole: int | None, part: int | None) -> tuple[int | None, int | None]:
    return (None, None) if whole is not None and part is not None and part > whole else (whole, part)


def _written(usage: Usage, value: Any, written: int, into: int | None, cached: int | None) -> dict[str, int | None]:
    """Return the tokens that were written to a cache; unknown unless they are a part of the input."""
    if into is None or written + (cached or 0) > into:
        return {}
    return {
        "cache_write_tokens": written,
        "cache_write_1h_tokens": _whole_and_part(written, usage.written_1h(value))[1],
    }
