"""Group error messages and step names that differ only in the data that they contain.

The steps ``get weather Denver`` and ``get weather Paris`` have the pattern ``get weather …``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, TypeVar

import pandas as pd

from restate_lab._text import one_line, plural
from restate_lab.frames import records
from restate_lab.redaction import mask_user_info

CANDIDATES = 100_000  # rows that are read and then aggregated, at most
_MOST_KINDS = 5  # values of a position in a message, and kinds of messages; with more, they differ by data
_STATUSES = frozenset(  # of HTTP
    str(status)
    for first, last in ((100, 103), (200, 208), (226, 226), (300, 308), (400, 418), (421, 431), (451, 451), (500, 511))
    for status in range(first, last + 1)
)
_CAUSE = ("target_service_name", "target_handler_name", "error_code")
_FAILURE = ("target_service_name", "target_handler_name", "status", "code")
_SUMS: Mapping[str, Callable[[Sequence[Any]], Any]] = {
    **dict.fromkeys(("invocations", "attempts"), sum),
    **dict.fromkeys(("worst", "last_at"), max),
    **dict.fromkeys(("next_retry_at", "oldest_created_at", "first_at"), min),
}
_EXAMPLES = ("example_id", "example_message")
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
_THREE_DIGITS = re.compile(r"(?<![A-Za-z\d])\d{3}(?!\d)")
_HOLE = "\0"  # a number in a message
# a number that is masked in every message, a number of three digits, and a mask of a statement
_NUMBER = re.compile(rf"{_HOLE}([^{_HOLE}]*){_HOLE}|(?<![A-Za-z\d])(\d{{3}})(?!\d)|#")
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
DATA = "…"
"""The place of data in the pattern of a name."""

_ENOUGH_MESSAGES = dict.fromkeys(ENOUGH, _MOST_KINDS + 1)
_Token = tuple[str, str]
_Shape = tuple[_Token, ...]
_Row = dict[Any, Any]
_T = TypeVar("_T")


def group_by(members: Iterable[_T], key: Callable[[_T], Hashable]) -> list[list[_T]]:
    """Return the members grouped by a key; the groups are in the order of their first members."""
    groups: dict[Hashable, list[_T]] = defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def normalize(message: str) -> str:
    """Return the first line of a message with "#" for numbers and ids and "“…”" for quoted terms.

    At most 200 characters. Separate numbers of three digits and digits within a name are kept, because most of them
    are codes (HTTP 503, AC04). ``message_kinds`` decides by the values in several messages.
    """
    masked = _CANDIDATE.sub(lambda part: _VARYING.sub(_mask, part[0]), _first_line(message))
    return masked[:_LONGEST_MESSAGE].strip()


def cause_paths(cause: tuple[str, ...], messages: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Return one path per kind of message, which begins with the cause; only the cause if there are more than five.

    A kind of message depends on this message alone, so that it stays the same while other messages come and go: the
    text of ``normalize`` without credentials of addresses, with "#" also for three digits except a status of HTTP.
    """
    kinds = {_THREE_DIGITS.sub(_mask_number, mask_user_info(normalize(each))) for each in messages}
    return (cause,) if len(kinds) > _MOST_KINDS else tuple(sorted((*cause, kind) for kind in kinds))


def _mask_number(match: re.Match[str]) -> str:
    return match[0] if match[0] in _STATUSES else _MASK


def message_kinds(messages: Iterable[str]) -> dict[str, str]:
    """Return message → kind, for messages that can have one cause: data differs within a kind.

    A kind is the text of ``normalize``, with "#" also for numbers of three digits where more than five numbers occur at
    the same place of equal messages: "request #" for 105, 106 and so on. Numbers that have few values there, or that
    are all statuses of HTTP, are codes, and messages with different codes are different kinds. If there are more than
    five kinds, those that share their first (or last) terms and have more than five next terms become one, with "…".
    The kinds depend only on the set of messages.
    """
    parts = {message: _split_numbers(message) for message in messages}
    values: dict[str, list[set[str]]] = {}
    for skeleton, numbers in parts.values():
        for known, (number, _) in zip(values.setdefault(skeleton, [set() for _ in numbers]), numbers, strict=True):
            known.add(number)
    is_data = {
        skeleton: [len(each) > _MOST_KINDS and not _STATUSES.issuperset(each) for each in places]
        for skeleton, places in values.items()
    }
    kinds = {message: _fill(skeleton, numbers, is_data[skeleton]) for message, (skeleton, numbers) in parts.items()}
    patterns = _patterns_of_kinds(set(kinds.values()))
    return {message: patterns[kind] for message, kind in kinds.items()}


def common_message(messages: Sequence[str], kind: str) -> str:
    """Return one text for messages of one kind: the message itself if all are equal, else the kind."""
    line = _first_line(messages[0])
    is_same = all(message == messages[0] or _first_line(message) == line for message in messages)
    return line[:_LONGEST_MESSAGE].strip() if is_same else kind


def summarize_messages(messages: Iterable[str]) -> str:
    """Return the kinds of messages on one line, most frequent first, with the number of each."""
    counts = Counter(messages)
    kind_of = message_kinds(counts)
    kinds = [
        (sum(counts[each] for each in alike), one_line(common_message(alike, kind_of[alike[0]])))
        for alike in group_by(kind_of, kind_of.__getitem__)
    ]
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
    for name in frame.columns.intersection(["message", "example_message", "failure"]):
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
    patterns = _patterns_of(set(shapes.values()), ENOUGH)
    return {name: patterns.get(shape, _join(shape)) for name, shape in shapes.items()}


def _patterns_of(shapes: Collection[_Shape], enough: Mapping[int, int]) -> dict[_Shape, str]:
    patterns = _templates(shapes, enough, is_reversed=False)
    unmatched = {shape[::-1] for shape in shapes if shape not in patterns}
    return patterns | {shape[::-1]: text for shape, text in _templates(unmatched, enough, is_reversed=True).items()}


def elide_data(message: str, step: str, pattern: str) -> str:
    """Return the message with "…" for the data of its step's name, if the message repeats that data."""
    front, has_data, back = pattern.partition(DATA)
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
        text += (data if is_within_a_word else DATA) + part
    return text


def merge_by_pattern(frame: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of ``retry_storm`` whose steps have one pattern, per handler and code.

    The text with which a model refused is a payload, so it is removed from the messages first.

    In a merged row, ``step`` is the pattern ("get weather …"), ``message`` is the kind of the messages, without the
    data in the step's name, ``steps`` is the number of names, and the examples are from the row with most invocations.
    Other rows, the columns and their types do not change. The row with the most invocations comes first.
    """
    hidden = hide_refusals(frame)
    rows = records(hidden)
    if hidden is not frame:
        rows = [_sum_rows(alike) for alike in group_by(rows, itemgetter(*_CAUSE, "step", "message"))]
    merged = [row for alike in group_by(rows, itemgetter(*_CAUSE)) for row in _merge_patterns(alike)]
    merged.sort(
        key=lambda row: (
            -row["invocations"],
            -row["attempts"],
            *(str(row[name]) for name in (*_CAUSE, "step", "message")),
        )
    )
    return _frame_like(frame, merged)


def merge_failures(frame: pd.DataFrame) -> pd.DataFrame:
    """Merge the rows of ``terminal_failures`` whose messages have one kind, per handler, status and code.

    In a merged row, ``message`` is the kind, and the examples are from the last failure.
    """
    names = (*_FAILURE, "message")
    rows = [_sum_rows(alike) for alike in group_by(records(hide_refusals(frame)), itemgetter(*names))]
    merged = [row for alike in group_by(rows, itemgetter(*_FAILURE)) for row in _merge_messages(alike, latest=True)]
    merged.sort(key=lambda row: tuple(str(row[name]) for name in names))
    merged.sort(key=lambda row: (row["invocations"], row["last_at"]), reverse=True)
    return _frame_like(frame, merged)


def _frame_like(frame: pd.DataFrame, rows: Sequence[_Row]) -> pd.DataFrame:
    if len(rows) == len(frame):
        return hide_refusals(frame)
    columns = {name: pd.Series([row[name] for row in rows], dtype=dtype) for name, dtype in frame.dtypes.items()}
    merged = pd.DataFrame(columns)
    merged.attrs = dict(frame.attrs)
    return merged


def _first_line(message: str) -> str:
    return _CODE.sub("", without_refusal(message).partition("\n")[0])


def _split_numbers(message: str) -> tuple[str, list[tuple[str, bool]]]:
    """Return a message with holes for its numbers, and for each number whether it has the form of a code."""
    line = _first_line(message).replace(_HOLE, " ")
    marked = _CANDIDATE.sub(lambda word: _VARYING.sub(_mark, word[0]), line)
    found: list[tuple[str, bool]] = []

    def collect(number: re.Match[str]) -> str:
        found.append((number[1] or number[2] or _MASK, number[2] is not None))
        return _HOLE

    skeleton = _NUMBER.sub(collect, marked)[:_LONGEST_MESSAGE].strip()
    return skeleton, found[: skeleton.count(_HOLE)]


def _mark(match: re.Match[str]) -> str:
    return "“…”" if match["quoted"] else f"{_HOLE}{match[0]}{_HOLE}"


def _fill(skeleton: str, numbers: Iterable[tuple[str, bool]], is_data: Iterable[bool]) -> str:
    """Return the kind of a message: its text with codes, and with "#" for other numbers."""
    texts = iter(
        [number if is_code and not data else _MASK for (number, is_code), data in zip(numbers, is_data, strict=True)]
    )
    return re.sub(_HOLE, lambda _: next(texts), skeleton)


def _patterns_of_kinds(kinds: Collection[str]) -> dict[str, str]:
    """Return kind → pattern; messages with different codes have no common pattern."""
    if len(kinds) <= _MOST_KINDS:
        return {kind: kind for kind in kinds}
    by_codes: dict[tuple[str, ...], dict[str, _Shape]] = defaultdict(dict)
    for kind in kinds:
        codes = tuple(code for _, code in _NUMBER.findall(kind) if code)
        by_codes[codes][kind] = _shape(kind, has_codes=True)
    patterns: dict[str, str] = {}
    for shapes in by_codes.values():
        found, numbers = _patterns_of(set(shapes.values()), _ENOUGH_MESSAGES), Counter(shapes.values())
        for kind, shape in shapes.items():
            patterns[kind] = found.get(shape) or (_join(shape) if numbers[shape] > 1 else kind)
    return patterns


def _mask(match: re.Match[str]) -> str:
    return "“…”" if match["quoted"] else _MASK


def _shape(name: str, *, has_codes: bool = False) -> _Shape:
    """Return the tokens of a name, with masks for numbers, ids and quoted text; consecutive masks become one.

    With ``has_codes``, the digits in the name are codes and no data.
    """
    line = " ".join(name[:_LONGEST_NAME].replace(DATA, "...").split())
    masked = normalize(_MASKED.sub(_MASK, line)).replace(f"“{DATA}”", _MASK)
    tokens: list[_Token] = []
    for separator, text in _TOKEN.findall(masked):
        before = tokens[-1][1] if tokens else ""
        # Digits directly after letters can be part of a name: "s3", "step2".
        is_number = text.isdigit() and not has_codes and (separator != "" or not before.isalpha())
        is_mask = text == _MASK or is_number
        if is_mask and before != _MASK:
            tokens.append((separator, _MASK))
        elif not is_mask and (separator or text):
            tokens.append((separator, text))
    return tuple(tokens)


def _templates(shapes: Collection[_Shape], enough: Mapping[int, int], *, is_reversed: bool) -> dict[_Shape, str]:
    """Return the patterns of the names that share their first tokens with enough other names."""
    patterns: dict[_Shape, str] = {}
    for members, start, end in _group_by_shared_tokens(shapes, 0, enough):
        patterns |= dict.fromkeys(members, _pattern_text(members, start, end, is_reversed=is_reversed))
    return patterns


def _group_by_shared_tokens(
    shapes: Collection[_Shape], start: int, enough: Mapping[int, int]
) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Yield groups that share their first ``start`` and last ``end`` tokens, with data between them.

    The data begins at the first position with enough values and includes everything after it: "New York" and "New
    Orleans" are two of many cities, not a separate pattern.
    """
    longer = [shape for shape in shapes if len(shape) > start]
    values = {each[0][start]: each for each in group_by(longer, itemgetter(start))}
    if longer and _is_enough(len(values), longer[0][:start], enough):
        yield from _split_by_shared_end(longer, start, 0, enough)
        return
    for members in values.values():
        if len(members) > 1:
            yield from _group_by_shared_tokens(members, start + 1, enough)


def _split_by_shared_end(
    shapes: Sequence[_Shape], start: int, end: int, enough: Mapping[int, int]
) -> Iterator[tuple[Collection[_Shape], int, int]]:
    """Split off the names that also share the tokens after the data, if those have few values: "fetch … forecast"."""
    one = shapes[0]
    shared = one[:start] + one[len(one) - end :]
    values = {each[0][-1 - end]: each for each in group_by(shapes, itemgetter(-1 - end))}
    apart = set[_Token]()
    if not _is_enough(len(values), shared, enough):
        for token, members in values.items():
            inner = [shape for shape in members if len(shape) > start + end + 1]
            if _is_enough(len({shape[start] for shape in inner}), (*shared, token), enough):
                apart.add(token)
                yield from _split_by_shared_end(inner, start, end + 1, enough)
    rest = [shape for shape in shapes if shape[-1 - end] not in apart or len(shape) == start + end + 1]
    if len(rest) > 1:
        yield rest, start, end


def _is_enough(values: int, shared: _Shape, enough: Mapping[int, int]) -> bool:
    words = sum(text.isalpha() for _, text in shared)
    return words > 0 and values >= enough[min(words, max(enough))]


def _pattern_text(shapes: Collection[_Shape], start: int, end: int, *, is_reversed: bool) -> str:
    """Return the pattern of a group: the tokens that its members share, and "…" for the other tokens."""
    one = next(iter(shapes))
    front, back, first = one[:start], one[len(one) - end :], {shape[start][0] for shape in shapes}
    if is_reversed:
        front, back, first = back[::-1], front[::-1], {shape[len(shape) - 1 - end][0] for shape in shapes}
    separator = first.pop() if len(first) == 1 else " "
    return _join(front) + (separator if front else "") + DATA + _join(back)


def _join(shape: _Shape) -> str:
    return "".join(separator + text for separator, text in shape)


def _merge_patterns(rows: Sequence[_Row]) -> list[_Row]:
    patterns = step_patterns({row["step"] for row in rows if row["step"]})
    names = Counter(patterns.values())
    merged: list[_Row] = []
    for alike in group_by(rows, lambda row: patterns.get(row["step"])):
        pattern = patterns.get(alike[0]["step"], "")
        merged += _merge_steps(alike, pattern) if names[pattern] > 1 else _merge_messages(alike)
    return merged


def _merge_steps(rows: Sequence[_Row], pattern: str) -> list[_Row]:
    """Return one row per kind of message, for rows whose steps have one pattern."""
    elided = [{**row, "message": elide_data(row["message"] or "", row["step"], pattern)} for row in rows]
    kinds = message_kinds(row["message"] for row in elided)
    return [
        {**_sum_rows(alike), "step": pattern, "message": kinds[alike[0]["message"]] or None}
        for alike in group_by(elided, lambda row: kinds[row["message"]])
    ]


def _merge_messages(rows: Sequence[_Row], *, latest: bool = False) -> list[_Row]:
    """Return one row per kind of message; a row that is alone does not change.

    The examples are from the first row or, with ``latest``, from the latest row.
    """
    kinds = message_kinds(row["message"] for row in rows if row["message"])
    merged = []
    for alike in group_by(rows, lambda row: kinds.get(row["message"])):
        first = max(alike, key=lambda row: row["last_at"]) if latest else alike[0]
        message = first["message"] if len(alike) == 1 else kinds.get(first["message"])
        merged.append(
            {**_sum_rows(alike), **{name: first[name] for name in _EXAMPLES if name in first}, "message": message}
        )
    return merged


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
