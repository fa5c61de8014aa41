"""Names of steps as patterns: ``get weather Denver`` and ``get weather Paris`` are both ``get weather …``."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence

from restate_lab.analysis.checks.messages import normalised

__all__ = ["step_patterns", "without_data"]

ENOUGH = {1: 5, 2: 3}
"""Words that names share → distinct values from which on the position behind them holds data; 2 is "two or more".

A handler may well have a few steps that begin with one verb ("send email", "send letter"): one word needs more values.
"""
_LONGEST = 400  # characters of a name that are read
_SHORTEST = 3  # bytes of data that are looked for in a message: "in" is no city, "東京" is
_MASKED = re.compile(
    r'"[^"\n]{1,200}"|“[^“”\n]{1,200}”|„[^„“”\n]{1,200}[“”]|«[^«»\n]{1,200}»|`[^`\n]{1,200}`'
    r"|(?<!\w)'[^'\n]{1,200}'(?!\w)"
    r"|(?<![\w.+-])[\w.+-]+@[\w.-]+"
    r"|\b[a-z]{2,10}://\S+"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d[\d:.Z+-]*)?"
)
# What separates a token from the one before it, and the token: a mask, letters, digits, or nothing at the end.
_TOKEN = re.compile(r"((?:[^\w#]|_)*)(#|[^\W\d_]+|\d+|$)")
_MASK = "#"
_DATA = "…"

_Token = tuple[str, str]
_Shape = tuple[_Token, ...]


def step_patterns(names: Iterable[str]) -> dict[str, str]:
    """Return name → pattern for the steps in which one handler fails with one code.

    Numbers, ids, dates, addresses and quoted text become "#". Words become "…" at a position that has many distinct
    values: names that share their first (or last) words and differ in the next word in ``ENOUGH`` values. The patterns
    depend only on the set of names, not on their order or frequency. A name without data is its own pattern. The time
    grows linearly with the total length of the names.
    """
    shapes = {name: _shape(name) for name in names}
    patterns = _templates(set(shapes.values()), is_reversed=False)
    left = {shape[::-1] for shape in shapes.values() if shape not in patterns}
    patterns |= {shape[::-1]: text for shape, text in _templates(left, is_reversed=True).items()}
    return {name: patterns.get(shape, _joined(shape)) for name, shape in shapes.items()}


def without_data(message: str, step: str, pattern: str) -> str:
    """Return the message with "…" in place of the data in its step's name, where the message repeats that data."""
    front, has_data, back = pattern.partition(_DATA)
    name = " ".join(step.split())
    if not (name.startswith(front) and name.endswith(back)):
        name = _joined(_shape(step))
    data = name[len(front) : len(name) - len(back)].strip()
    if not has_data or len(data.encode(errors="replace")) < _SHORTEST:
        return message
    first, *parts = message.split(data)
    text = first
    for part in parts:
        is_within_a_word = text[-1:].isalnum() or part[:1].isalnum()
        text += (data if is_within_a_word else _DATA) + part
    return text


def _shape(name: str) -> _Shape:
    """Return the tokens of a name with masks for what always varies; a row of masks is one mask."""
    line = " ".join(name[:_LONGEST].replace(_DATA, "...").split())
    masked = normalised(_MASKED.sub(_MASK, line)).replace(f"“{_DATA}”", _MASK)
    tokens: list[_Token] = []
    for separator, text in _TOKEN.findall(masked):
        before = tokens[-1][1] if tokens else ""
        # Digits that are glued to letters may name something: "s3", "step2".
        is_mask = text == _MASK or (text.isdigit() and (separator != "" or not before.isalpha()))
        if is_mask and before != _MASK:
            tokens.append((separator, _MASK))
        elif not is_mask and (separator or text):
            tokens.append((separator, text))
    return tuple(tokens)


def _joined(shape: _Shape) -> str:
    return "".join(separator + text for separator, text in shape)


def _templates(shapes: Collection[_Shape], *, is_reversed: bool) -> dict[_Shape, str]:
    """Return the patterns of the names that share their first tokens with enough others."""
    patterns: dict[_Shape, str] = {}
    for members, start, end in _shared(shapes, 0):
        patterns |= dict.fromkeys(members, _text(members, start, end, is_reversed=is_reversed))
    return patterns


def _shared(shapes: Collection[_Shape], start: int) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Yield groups that share their first ``start`` and last ``end`` tokens, with data between them.

    The data begins at the first position with enough values. All that follows belongs to it: "New York" and "New
    Orleans" are two of many cities, not a pattern of their own.
    """
    longer = [shape for shape in shapes if len(shape) > start]
    values = _by_token(longer, start)
    if longer and _is_enough(len(values), longer[0][:start]):
        yield from _closed(longer, start, 0)
        return
    for members in values.values():
        if len(members) > 1:
            yield from _shared(members, start + 1)


def _closed(shapes: Sequence[_Shape], start: int, end: int) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Split off the names that also share what follows the data, where that has few values: "fetch … forecast"."""
    one = shapes[0]
    shared = one[:start] + one[len(one) - end :]
    values, apart = _by_token(shapes, -1 - end), set[_Token]()
    if not _is_enough(len(values), shared):
        for token, members in values.items():
            inner = [shape for shape in members if len(shape) > start + end + 1]
            if _is_enough(len(_by_token(inner, start)), (*shared, token)):
                apart.add(token)
                yield from _closed(inner, start, end + 1)
    rest = [shape for shape in shapes if shape[-1 - end] not in apart or len(shape) == start + end + 1]
    if len(rest) > 1:
        yield rest, start, end


def _by_token(shapes: Iterable[_Shape], at: int) -> dict[_Token, list[_Shape]]:
    values: dict[_Token, list[_Shape]] = defaultdict(list)
    for shape in shapes:
        values[shape[at]].append(shape)
    return values


def _is_enough(values: int, shared: _Shape) -> bool:
    words = sum(text.isalpha() for _, text in shared)
    return words > 0 and values >= ENOUGH[min(words, max(ENOUGH))]


def _text(shapes: Collection[_Shape], start: int, end: int, *, is_reversed: bool) -> str:
    """Return the pattern of a group: the tokens that its members share, with "…" for the others."""
    one = next(iter(shapes))
    front, back, first = one[:start], one[len(one) - end :], {shape[start][0] for shape in shapes}
    if is_reversed:
        front, back, first = back[::-1], front[::-1], {shape[len(shape) - 1 - end][0] for shape in shapes}
    separator = first.pop() if len(first) == 1 else " "
    return _joined(front) + (separator if front else "") + _DATA + _joined(back)
