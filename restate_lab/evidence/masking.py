"""Mask values before they are frozen, batch by batch: secret headers always, and values that ``redact=`` selects.

``column_masks`` decides how each column is masked, and ``mask_batch`` masks the values. Bytes outside of a mask never
change. A value that cannot be read as JSON and could contain a selected value is masked as a whole and counted.

Only entries that could contain a value to mask are parsed. An entry is skipped for a path if it does not contain the
path's longest name, neither as text nor as the byte values of a payload. An entry is skipped for headers if no header
has a secret name. If this is uncertain, the entry is parsed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.evidence.redaction import PAYLOADS, Pattern
from restate_lab.payload_json import (
    HEADERS,
    MASKED,
    Edit,
    MaskRule,
    MaskWalk,
    Node,
    Unreadable,
    mask,
    mask_bytes,
    scan,
    splice,
)
from restate_lab.redaction import HEADERS_IN_TEXT, MASK, USER_INFO

_HAS_HEADERS = r'"headers"\s*:\s*[\[{]\s*[^\s\]}]'
_HEADER = r'\{"name":"[^"\\]*","value":"[^"\\]*"\}'
_PLAIN_FORM = rf'"headers":\[{_HEADER}(?:,{_HEADER})*\]'
_SECRET_NAMES = f"(?i){HEADERS_IN_TEXT}"
# Other spellings of a name: with Unicode escapes, as text or in bytes, or as bytes with spaces between them.
_SPELLED_OTHERWISE = r"\\u|92,117|\d\s*,\s+\d|\d\s+[,\]]|\[\s+\d"
_PLAIN_NAME = re.compile(r"[\w -]+", re.ASCII)
_QUOTES = "(?:34|39|92)"  # the bytes of " and ', and of the \\ before a quote within a string
# Bytes that do not occur in ASCII text: such a payload can be binary, with any spelling of a name.
_NOT_PLAIN_TEXT = r"[\[,](?:[0-8]|1[124-9]|2\d|3[01]|12[7-9]|1[3-9]\d|2\d\d)[,\]]"
_HEADERS_BYTES = "|".join(r"\s*,\s*".join(map(str, name)) for name in (b"eaders", b"EADERS"))
_HEADERS_TEXT = "(?i)eaders"
_ENTRIES = ("sys_journal", "entry_json")
_DEPLOYMENTS = ("sys_deployment", "endpoint")
_BYTES = tuple(map(str, range(256)))


def may_need_masking(entries: Any, patterns: Sequence[Pattern]) -> Any:
    """Return which entries can contain a secret header, or a value that a pattern selects."""
    have_headers = _matches(entries, _HAS_HEADERS)
    some = pc.filter(entries, have_headers)
    odd = _matches(pc.replace_substring_regex(some, _PLAIN_FORM, ""), _HAS_HEADERS)
    secret = pc.replace_with_mask(have_headers, have_headers, pc.or_(_matches(some, _SECRET_NAMES), odd))
    headers = pc.or_(secret, _matches(entries, _HEADERS_BYTES))
    if not patterns:
        return headers
    spellings = [_spellings(each) for each in patterns]
    if "" in spellings:  # a path without a name, or with a name that has several spellings
        return pc.is_valid(entries)
    return pc.or_(headers, _matches(entries, "|".join([*sorted({*spellings}), _SPELLED_OTHERWISE])))


def _spellings(pattern: Pattern) -> str:
    """Return a regular expression for the longest plain name of a path; "" if the path has no plain name."""
    names = [step.key for step in pattern.path if isinstance(step.key, str) and _PLAIN_NAME.fullmatch(step.key)]
    name = max(names, key=len, default="")
    if not name:
        return ""
    in_bytes = ",".join(map(str, name.encode()))
    if pattern.is_strict:  # also in payloads that are not JSON
        return f"{re.escape(name)}|{in_bytes}|{_NOT_PLAIN_TEXT}"
    return f'"{name}\\\\*"|{_QUOTES},{in_bytes},{_QUOTES}'


def _matches(entries: Any, regex: str) -> Any:
    return pc.fill_null(pc.match_substring_regex(entries, regex), pa.scalar(value=False))


@dataclass(slots=True)
class MaskCounts:
    """Counts masked values.

    ``hits`` counts the masked values by the text of the pattern. ``unread`` counts the values that could not be read
    and were masked as a whole, by column ("table.column").
    """

    hits: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)

    def add(self, column: str, hits: Counter[str], unread: int) -> None:
        """Add the counts of one value."""
        self.hits.update(hits)
        if unread:
            self.unread[column] += unread


@dataclass(frozen=True, slots=True)
class ColumnMask:
    """How the values of one column ("table.column") are masked.

    - ``whole``: every value is replaced, and counted for the first of the patterns.
    - ``user_info``: the user and password of an address are replaced.
    - ``entry``: in journal entries, values that the patterns select and secret headers are masked, also in payloads.
    - ``json``: values that the patterns select are masked, and secret headers if ``has_payloads``.
    """

    column: str
    method: Literal["whole", "user_info", "entry", "json"]
    patterns: tuple[Pattern, ...] = ()
    has_payloads: bool = False

    def apply(self, values: Any, counts: MaskCounts) -> Any:
        """Return the masked values, and count them."""
        if self.method == "whole":
            counts.hits[self.patterns[0].text] += len(values) - values.null_count
            return _hide(values)
        if self.method == "user_info":
            return pc.replace_substring_regex(values, USER_INFO, f"://{MASK}@")
        if self.method == "entry":
            entries = _EntryMasker(self.patterns, partial(counts.add, self.column))
            return _replace(values, entries.mask, where=may_need_masking(values, self.patterns))
        where = pc.is_valid(values) if self.patterns else _matches(values, _HEADERS_TEXT)
        return _replace(values, self._mask_json(counts), where=where)

    def _mask_json(self, counts: MaskCounts) -> Callable[[str | bytes], str | bytes]:
        rules = [*_rules(self.patterns), *([HEADERS] if self.has_payloads else ())]

        def replace(value: str | bytes) -> str | bytes:
            if isinstance(value, str):
                masked = mask(value, rules)
                changed: str | bytes = masked.value
            else:
                changed, masked = mask_bytes(value, rules)
            counts.add(self.column, masked.hits, masked.unread)
            return changed

        return replace


def column_masks(
    table: str, columns: Iterable[str], patterns: Sequence[Pattern], *, views: Iterable[str] = ()
) -> dict[str, ColumnMask]:
    """Return how the columns of a table are masked; other columns are not changed.

    ``views`` are the views that select from the table: a pattern for a view's column also applies to the table's.
    """
    names = (table, *views)
    masks: dict[str, ColumnMask] = {}
    for column in columns:
        own = tuple(pattern for pattern in patterns if any(pattern.covers(name, column) for name in names))
        mask = _column_mask(table, column, own)
        if mask is not None:
            masks[column] = mask
    return masks


def mask_batch(batch: pa.RecordBatch, masks: Mapping[str, ColumnMask], counts: MaskCounts) -> pa.RecordBatch:
    """Return the batch with its columns masked, and count the masked values."""
    columns = [
        masks[name].apply(values, counts) if name in masks else values
        for name, values in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _column_mask(table: str, column: str, patterns: tuple[Pattern, ...]) -> ColumnMask | None:
    name = f"{table}.{column}"
    whole = tuple(pattern for pattern in patterns if not pattern.path)
    if whole:
        return ColumnMask(name, "whole", whole)
    if (table, column) == _DEPLOYMENTS:
        return ColumnMask(name, "user_info")
    if (table, column) == _ENTRIES:
        return ColumnMask(name, "entry", patterns)
    has_payloads = (table, column) in PAYLOADS
    return ColumnMask(name, "json", patterns, has_payloads) if patterns or has_payloads else None


class _EntryMasker:
    """Masks journal entries: values that the patterns of their column select, headers, and values in payloads.

    In an entry, a payload is an array of byte values.
    """

    def __init__(self, patterns: Sequence[Pattern], count: Callable[[Counter[str], int], None]) -> None:
        self._own = [*_rules([each for each in patterns if each.column is not None]), HEADERS]
        self._of_payloads = [*_rules(patterns), HEADERS]
        self._count = count

    def mask(self, text: str) -> str:
        try:
            roots = scan(text)
        except Unreadable:
            self._count(Counter(), 1)
            return MASKED
        walk = MaskWalk()
        edits = walk.edits(text, roots, self._own)
        self._count(walk.hits, walk.unread)
        return splice(text, [*edits, *self._in_payloads(text, roots)])

    def _in_payloads(self, text: str, roots: list[Node]) -> Iterator[Edit]:
        pending = [*roots]
        while pending:
            node = pending.pop()
            pending += node.parts
            if node.kind == "numbers" and (payload := _payload(text[node.start : node.end])):
                after, masked = mask_bytes(payload, self._of_payloads)
                self._count(masked.hits, masked.unread)
                if after is not payload:
                    yield node.start, node.end, f"[{','.join([_BYTES[byte] for byte in after])}]"


def _rules(patterns: Sequence[Pattern]) -> list[MaskRule]:
    return [pattern.rule() for pattern in patterns]


def _payload(array: str) -> bytes | None:
    try:
        return bytes(json.loads(array))
    except (TypeError, ValueError):
        return None


def _replace(values: Any, replace: Callable[[Any], Any], *, where: Any) -> Any:
    some = pc.filter(values, where).to_pylist()
    if not some:
        return values
    return pc.replace_with_mask(values, where, pa.array([replace(value) for value in some], values.type))


def _hide(values: Any) -> Any:
    """Return a mask for each text or bytes value; for other types return nulls."""
    kind = values.type
    mask: Any = MASK.encode() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else MASK
    if mask is MASK and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pa.nulls(len(values), kind)
    return pc.if_else(pc.is_valid(values), pa.scalar(mask, kind), pa.scalar(None, kind))
