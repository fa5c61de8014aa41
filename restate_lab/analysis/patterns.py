"""Group error messages and step names that differ only in the data that they contain.

The steps ``get weather Denver`` and ``get weather Paris`` have the pattern ``get weather …``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.analysis.records import records

__all__ = [
    "CANDIDATES",
    "common_message",
    "elide_data",
    "hide_refusals",
    "merge_by_pattern",
    "normalize",
    "step_patterns",
    "summarize_messages",
    "without_refusal",
]

CANDIDATES = 100_000
"""The maximum number of rows that are read and then aggregated."""
_MOST_KINDS = 5  # different messages of one pattern; with more, they differ by data, and get a pattern too
_CAUSE = ("target_service_name", "target_handler_name", "error_code")
_MESSAGES = ("message", "example_message")
_SUMS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    **dict.fromkeys(("n", "attempts"), sum),
    "worst": max,
    **dict.fromkeys(("next_retry_at", "oldest_created_at"), min),
}
_LONGEST_MESSAGE = 200
_KINDS_IN_TEXT = 2  # kinds of messages that a sentence lists
# errors whose message is the response of a model; such a response is a payload
_REFUSAL = re.compile(r"\b(ModelRefusalError|ContentFilterError)\b.*", re.DOTALL)
_CODE = re.compile(r"^\[\d[^\]]*\] ")
# In this order: quoted text without spaces, ids, hexadecimal numbers, names with many digits, addresses, numbers.
_VARYING = re.compile(
    r"""(?P<quoted>(?<!\w)(?P<mark>["'`“‘«])[^\s"'`”’»]{1,80}["'`”’»](?!\w))"""
    r"|\b(?:inv|dp|sign|prom)_1\w{20,}"
    r"|\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F-]{22}\b"
    r"|(?=[a-fA-F]{0,64}\d)[0-9a-fA-F]{8,}"
    r"|\b(?=(?:[A-Za-z]*\d){4})[A-Za-z\d]{8,}\b"
    r"|\d+(?:[.,:]\d+)+"
    # Three separate digits are usually a code that distinguishes kinds; after a name they are an ordinary number.
    r"|(?<=\w[-_#/])\d+"
    r"|(?<![A-Za-z\d])(?!\d{3}(?!\d))\d+"
)
# Only these parts can match the pattern above, which is too expensive to try at every character.
_CANDIDATE = re.compile(r"""(?<!\S)[^\s\d"'`“‘«-]*+[\d"'`“‘«-]\S*""")
ENOUGH = {1: 5, 2: 3}
"""Number of terms that names share → number of distinct next terms that makes this position data; 2 is "two or more".

A handler can have a few steps that begin with the same verb ("send email", "send letter"), so one shared term needs
more distinct values.
"""
_LONGEST_NAME = 400  # characters of a name that are read
_SHORTEST_DATA = 3  # bytes; shorter data is not searched for in a message: "in" is not a city, "東京" is
_MASKED = re.compile(
    r'"[^"\n]{1,200}"|“[^“”\n]{1,200}”|„[^„“”\n]{1,200}[“”]|«[^«»\n]{1,200}»|`[^`\n]{1,200}`'
    r"|(?<!\w)'[^'\n]{1,200}'(?!\w)"
    r"|(?<![\w.+-])[\w.+-]+@[\w.-]+"
    r"|\b[a-z]{2,10}://\S+"
    r"|\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d[\d:.Z+-]*)?"
)
# The separator before a token, and the token: a mask, letters, digits, or nothing at the end.
_TOKEN = re.compile(r"((?:[^\w#]|_)*)(#|[^\W\d_]+|\d+|$)")
_MASK = "#"
_DATA = "…"

_Token = tuple[str, str]
_Shape = tuple[_Token, ...]
_Row = dict[Any, Any]


def normalize(message: str) -> str:
    """Return the first line of a message with "#" for numbers and ids and "“…”" for quoted terms.

    At most 200 characters. Separate numbers of three digits and digits within a name are kept, because most of them
    are codes (HTTP 503, AC04).
    """
    return _CANDIDATE.sub(_mask_word, _first_line(message))[:_LONGEST_MESSAGE].strip()


def common_message(messages: Sequence[str]) -> str:
    """Return one text for messages of one kind: the message itself if all are equal, else its normalized form."""
    line = _first_line(messages[0])
    is_same = all(message == messages[0] or _first_line(message) == line for message in messages)
    return line[:_LONGEST_MESSAGE].strip() if is_same else normalize(messages[0])


def summarize_messages(messages: Iterable[str]) -> str:
    """Return the kinds of messages on one line, most frequent first, with the number of each."""
    counts = Counter(messages)
    by_kind: dict[str, list[str]] = defaultdict(list)
    for message in counts:
        by_kind[normalize(message)].append(message)
    kinds = [(sum(counts[each] for each in alike), one_line(common_message(alike))) for alike in by_kind.values()]
    kinds.sort(key=lambda pair: (-pair[0], pair[1]))
    if len(kinds) == 1:
        return kinds[0][1]
    more = f"; and {plural(len(kinds) - _KINDS_IN_TEXT, 'other message')}" if len(kinds) > _KINDS_IN_TEXT else ""
    return "; ".join(f"{n:,} × {kind}" for n, kind in kinds[:_KINDS_IN_TEXT]) + more


def without_refusal(message: str) -> str:
    """Return the message without the text with which a model refused: only the class of such an error is kept."""
    return _REFUSAL.sub(r"\1(…)", message)


def hide_refusals(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame without the texts with which models refused, which are payloads, in messages and failures."""
    for name in frame.columns.intersection([*_MESSAGES, "failure"]):
        texts = frame[name].tolist()
        hidden = [without_refusal(text) if isinstance(text, str) else text for text in texts]
        if hidden != texts:
            frame = frame.assign(**{name: pd.Series(hidden, frame.index, frame[name].dtype)})
    return frame


def step_patterns(names: Iterable[str]) -> dict[str, str]:
    """Return name → pattern for the steps in which one handler fails with one code.

    Numbers, ids, dates, addresses and quoted text become "#". A position with many distinct values becomes "…": names
    that share their first (or last) terms and have at least ``ENOUGH`` different next terms. The patterns depend only
    on the set of names, not on their order or frequency. A name without data is its own pattern. The running time grows
    linearly with the total length of the names.
    """
    shapes = {name: _shape(name) for name in names}
    patterns = _templates(set(shapes.values()), is_reversed=False)
    unmatched = {shape[::-1] for shape in shapes.values() if shape not in patterns}
    patterns |= {shape[::-1]: text for shape, text in _templates(unmatched, is_reversed=True).items()}
    return {name: patterns.get(shape, _join(shape)) for name, shape in shapes.items()}


def elide_data(message: str, step: str, pattern: str) -> str:
    """Return the message with "…" for the data of its step's name, if the message repeats that data."""
    front, has_data, back = pattern.partition(_DATA)
    if not has_data:
        return message
    name = " ".join(step.split())
    if not (name.startswith(front) and name.endswith(back)):
        name = _join(_shape(step))
    data = name[len(front) : len(name) - len(back)].strip()
    if len(data.encode(errors="replace")) < _SHORTEST_DATA:
        return message
    first, *parts = message.split(data)
    text = first
    for part in parts:
        is_within_a_word = text[-1:].isalnum() or part[:1].isalnum()
        text += (data if is_within_a_word else _DATA) + part
    return text


def merge_by_pattern(frame: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of ``retry_storm`` whose steps have one pattern, per handler and code.

    The text with which a model refused is a payload, so it is removed from the messages first.

    In a merged row, ``step`` is the pattern ("get weather …"), ``message`` has "…" for the data in the step's name,
    ``steps`` is the number of names, and the examples are from the row with the most invocations. Other rows, the
    columns and their types do not change. The row with the most invocations comes first.
    """
    causes: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    hidden = hide_refusals(frame)
    for row in records(frame) if hidden is frame else _merge_equal(records(hidden)):
        causes[tuple(row[name] for name in _CAUSE)].append(row)
    rows = [row for alike in causes.values() for row in _merge_patterns(alike)]
    if len(rows) == len(frame) and hidden is frame:
        return frame
    rows.sort(key=lambda row: (-row["n"], -row["attempts"], *(str(row[name]) for name in (*_CAUSE, "step", "message"))))
    columns = {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in frame.dtypes.items()}
    merged = pd.DataFrame(columns)
    merged.attrs = dict(frame.attrs)
    return merged


def _merge_equal(rows: Iterable[_Row]) -> list[_Row]:
    """Return the rows; those with the same cause, step and message are merged."""
    kinds: dict[tuple[Any, ...], list[_Row]] = defaultdict(list)
    for row in rows:
        kinds[tuple(row[name] for name in (*_CAUSE, "step", "message"))].append(row)
    return [_sum_rows(alike) for alike in kinds.values()]


def _first_line(message: str) -> str:
    return _CODE.sub("", without_refusal(message).partition("\n")[0])


def _mask_word(word: re.Match[str]) -> str:
    return _VARYING.sub(_mask, word[0])


def _mask(match: re.Match[str]) -> str:
    return "“…”" if match["quoted"] else _MASK


def _shape(name: str) -> _Shape:
    """Return the tokens of a name, with masks for numbers, ids and quoted text; consecutive masks become one."""
    line = " ".join(name[:_LONGEST_NAME].replace(_DATA, "...").split())
    masked = normalize(_MASKED.sub(_MASK, line)).replace(f"“{_DATA}”", _MASK)
    tokens: list[_Token] = []
    for separator, text in _TOKEN.findall(masked):
        before = tokens[-1][1] if tokens else ""
        # Digits directly after letters can be part of a name: "s3", "step2".
        is_mask = text == _MASK or (text.isdigit() and (separator != "" or not before.isalpha()))
        if is_mask and before != _MASK:
            tokens.append((separator, _MASK))
        elif not is_mask and (separator or text):
            tokens.append((separator, text))
    return tuple(tokens)


def _templates(shapes: Collection[_Shape], *, is_reversed: bool) -> dict[_Shape, str]:
    """Return the patterns of the names that share their first tokens with enough other names."""
    patterns: dict[_Shape, str] = {}
    for members, start, end in _group_by_shared_tokens(shapes, 0):
        patterns |= dict.fromkeys(members, _pattern_text(members, start, end, is_reversed=is_reversed))
    return patterns


def _group_by_shared_tokens(shapes: Collection[_Shape], start: int) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Yield groups that share their first ``start`` and last ``end`` tokens, with data between them.

    The data begins at the first position with enough values and includes everything after it: "New York" and "New
    Orleans" are two of many cities, not a separate pattern.
    """
    longer = [shape for shape in shapes if len(shape) > start]
    values = _group_by_token(longer, start)
    if longer and _is_enough(len(values), longer[0][:start]):
        yield from _split_by_shared_end(longer, start, 0)
        return
    for members in values.values():
        if len(members) > 1:
            yield from _group_by_shared_tokens(members, start + 1)


def _split_by_shared_end(
    shapes: Sequence[_Shape], start: int, end: int
) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Split off the names that also share the tokens after the data, if those have few values: "fetch … forecast"."""
    one = shapes[0]
    shared = one[:start] + one[len(one) - end :]
    values, apart = _group_by_token(shapes, -1 - end), set[_Token]()
    if not _is_enough(len(values), shared):
        for token, members in values.items():
            inner = [shape for shape in members if len(shape) > start + end + 1]
            if _is_enough(len(_group_by_token(inner, start)), (*shared, token)):
                apart.add(token)
                yield from _split_by_shared_end(inner, start, end + 1)
    rest = [shape for shape in shapes if shape[-1 - end] not in apart or len(shape) == start + end + 1]
    if len(rest) > 1:
        yield rest, start, end


def _group_by_token(shapes: Iterable[_Shape], at: int) -> dict[_Token, list[_Shape]]:
    values: dict[_Token, list[_Shape]] = defaultdict(list)
    for shape in shapes:
        values[shape[at]].append(shape)
    return values


def _is_enough(values: int, shared: _Shape) -> bool:
    words = sum(text.isalpha() for _, text in shared)
    return words > 0 and values >= ENOUGH[min(words, max(ENOUGH))]


def _pattern_text(shapes: Collection[_Shape], start: int, end: int, *, is_reversed: bool) -> str:
    """Return the pattern of a group: the tokens that its members share, and "…" for the other tokens."""
    one = next(iter(shapes))
    front, back, first = one[:start], one[len(one) - end :], {shape[start][0] for shape in shapes}
    if is_reversed:
        front, back, first = back[::-1], front[::-1], {shape[len(shape) - 1 - end][0] for shape in shapes}
    separator = first.pop() if len(first) == 1 else " "
    return _join(front) + (separator if front else "") + _DATA + _join(back)


def _join(shape: _Shape) -> str:
    return "".join(separator + text for separator, text in shape)


def _merge_patterns(rows: Sequence[_Row]) -> list[_Row]:
    """Return the rows of one handler and error code; rows with the same pattern are merged."""
    patterns = step_patterns({row["step"] for row in rows if row["step"]})
    names = Counter(patterns.values())
    kinds: dict[str, list[_Row]] = defaultdict(list)
    others: list[_Row] = []
    for row in rows:
        pattern = patterns.get(row["step"], "") if row["step"] else ""
        (kinds[pattern] if names[pattern] > 1 else others).append(row)
    return others + [row for pattern, alike in kinds.items() for row in _merge_by_message(alike, pattern)]


def _merge_by_message(rows: Sequence[_Row], pattern: str) -> list[_Row]:
    """Return one row per kind of message, for rows whose steps have one pattern."""
    messages = [normalize(elide_data(row["message"] or "", row["step"], pattern)) for row in rows]
    if len(set(messages)) > _MOST_KINDS:
        kinds = step_patterns(messages)
        messages = [kinds[each] for each in messages]
    by_message: dict[str, list[_Row]] = defaultdict(list)
    for row, message in zip(rows, messages, strict=True):
        by_message[message].append(row)
    return [{**_sum_rows(alike), "step": pattern, "message": message or None} for message, alike in by_message.items()]


def _sum_rows(rows: Sequence[_Row]) -> _Row:
    """Return the first row with the aggregated numbers and times of all rows; a step with several rows counts once."""
    total = dict(rows[0])
    for name, add in _SUMS.items():
        known = [row[name] for row in rows if name in row and row[name] is not None]
        total |= {name: add(known)} if known else {}
    if "steps" in total:
        most: dict[str, int] = defaultdict(int)
        for row in rows:
            most[row["step"]] = max(most[row["step"]], int(row["steps"]))
        total["steps"] = sum(most.values())
    return total
