"""Mask what must not be frozen, batch by batch: secret headers always, and what ``redact=`` says.

Every value in which nothing is masked stays as it was, to the byte, and so does all around what is masked. A value
that cannot be read as JSON and could hold what a path means is masked whole, and counted.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.evidence.redaction import PAYLOADS, Pattern
from restate_lab.payload_json import HEADERS, MASKED, Edit, Node, Rule, Unreadable, Walk, mask, mask_bytes, scan, splice
from restate_lab.redaction import HIDDEN_NAMES, MASK, USER_INFO

__all__ = ["Masks", "suspects"]

_HAS_HEADERS = r'"headers"\s*:\s*[\[{]\s*[^\s\]}]'
_HEADER = r'\{"name":"[^"\\]*","value":"[^"\\]*"\}'
_PLAIN_FORM = rf'"headers":\[{_HEADER}(?:,{_HEADER})*\]'
_OF_SECRETS = f"(?i){HIDDEN_NAMES.replace('$', '')}"
# How a name can be spelled in another way: by its code, as text or in bytes, or in bytes with spaces between them.
_SPELLED_OTHERWISE = r"\\u|92,117|\d\s*,\s+\d|\d\s+[,\]]|\[\s+\d"
_PLAIN_NAME = re.compile(r"[\w -]+", re.ASCII)
_QUOTES = "(?:34|39|92)"  # the bytes of " and ', and of the \\ before a quote within a string
# Bytes that no text in ASCII has: such a payload may be binary, where a name can be spelled in any way.
_NOT_PLAIN_TEXT = r"[\[,](?:[0-8]|1[124-9]|2\d|3[01]|12[7-9]|1[3-9]\d|2\d\d)[,\]]"
_HEADERS_BYTES = "|".join(r"\s*,\s*".join(map(str, name)) for name in (b"eaders", b"EADERS"))
_HEADERS_TEXT = "(?i)eaders"
_ENTRIES = ("sys_journal", "entry_json")
_DEPLOYMENTS = ("sys_deployment", "endpoint")
_BYTES = tuple(map(str, range(256)))


def with_headers(payloads: Any) -> Any:
    """Return which payloads, as text or bytes, might have headers in them."""
    return _matches(payloads, _HEADERS_TEXT)


def suspects(entries: Any, patterns: Sequence[Pattern]) -> Any:
    """Return which entries might have a secret header, or something that a pattern is about."""
    found = pc.or_(_with_suspect_headers(entries), _matches(entries, _HEADERS_BYTES))
    if not patterns:
        return found
    spellings = [_spellings(each) for each in patterns]
    if "" in spellings:  # a path to any name, or to one that has several spellings
        return pc.is_valid(entries)
    return pc.or_(found, _matches(entries, "|".join([*sorted({*spellings}), _SPELLED_OTHERWISE])))


def _spellings(pattern: Pattern) -> str:
    """Return a regular expression of how the longest plain name of a path occurs; empty where there is none."""
    names = [step.key for step in pattern.path if isinstance(step.key, str) and _PLAIN_NAME.fullmatch(step.key)]
    name = max(names, key=len, default="")
    if not name:
        return ""
    in_bytes = ",".join(map(str, name.encode()))
    if pattern.is_strict:  # also in payloads that are no JSON
        return f"{re.escape(name)}|{in_bytes}|{_NOT_PLAIN_TEXT}"
    return f'"{name}\\\\*"|{_QUOTES},{in_bytes},{_QUOTES}'


def _with_suspect_headers(entries: Any) -> Any:
    there = _matches(entries, _HAS_HEADERS)
    some = pc.filter(entries, there)
    odd = _matches(pc.replace_substring_regex(some, _PLAIN_FORM, ""), _HAS_HEADERS)
    return pc.replace_with_mask(there, there, pc.or_(_matches(some, _OF_SECRETS), odd))


def _matches(entries: Any, regex: str) -> Any:
    return pc.fill_null(pc.match_substring_regex(entries, regex), pa.scalar(value=False))


@dataclass(slots=True)
class Masks:
    """Masks the columns of tables, and counts what it masked by pattern.

    ``views`` says which views are made of a table: a pattern about a view's column is about the table's, too.
    """

    patterns: Sequence[Pattern]
    views: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    """How many values were masked whole because they could not be read, by column ("table.column")."""

    def apply(self, table: str, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Return the batch with what is hidden masked."""
        columns = [self._column(table, name, batch.column(at)) for at, name in enumerate(batch.schema.names)]
        return pa.RecordBatch.from_arrays(columns, schema=batch.schema)

    def _column(self, table: str, name: str, values: Any) -> Any:
        found = [each for each in self.patterns if self._covers(each, table, name)]
        whole = next((each for each in found if not each.path), None)
        if whole is not None:
            self.counts[whole.text] += len(values) - values.null_count
            return _hidden(values)
        if (table, name) == _DEPLOYMENTS:
            return pc.replace_substring_regex(values, USER_INFO, f"://{MASK}@")
        change: Callable[[Any], Any]
        if (table, name) == _ENTRIES:
            where, change = suspects(values, found), _Entries(found, self._count(table, name)).masked
        elif found:
            where, change = pc.is_valid(values), self._payload(found, table, name)
        elif (table, name) in PAYLOADS:
            where, change = with_headers(values), self._payload((), table, name)
        else:
            return values
        return _changed(values, change, where=where)

    def _covers(self, pattern: Pattern, table: str, name: str) -> bool:
        return any(pattern.covers(each, name) for each in (table, *self.views.get(table, ())))

    def _payload(self, patterns: Sequence[Pattern], table: str, name: str) -> Callable[[str | bytes], str | bytes]:
        rules = [*_rules(patterns), *([HEADERS] if (table, name) in PAYLOADS else ())]
        count = self._count(table, name)

        def change(value: str | bytes) -> str | bytes:
            if isinstance(value, str):
                masked = mask(value, rules)
                count(masked.hits, masked.unread)
                return masked.value
            changed, masked = mask_bytes(value, rules)
            count(masked.hits, masked.unread)
            return changed

        return change

    def _count(self, table: str, name: str) -> Callable[[Counter[str], int], None]:
        def count(hits: Counter[str], unread: int) -> None:
            if hits:
                self.counts.update(hits)
            if unread:
                self.unread[f"{table}.{name}"] += unread

        return count


class _Entries:
    """Masks journal entries: what patterns of their own column mean, headers, and what is in their payloads.

    Payloads are arrays of byte values in an entry.
    """

    def __init__(self, patterns: Sequence[Pattern], count: Callable[[Counter[str], int], None]) -> None:
        self._own = [*_rules([each for each in patterns if each.column is not None]), HEADERS]
        self._of_payloads = [*_rules(patterns), HEADERS]
        self._count = count

    def masked(self, text: str) -> str:
        """Return an entry with masks in it; one that cannot be read is masked whole."""
        try:
            roots = scan(text)
        except Unreadable:
            self._count(Counter(), 1)
            return MASKED
        walk = Walk()
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


def _rules(patterns: Sequence[Pattern]) -> list[Rule]:
    return [pattern.rule() for pattern in patterns]


def _payload(array: str) -> bytes | None:
    """Return the bytes whose values an array has; None where it has other numbers."""
    try:
        return bytes(json.loads(array))
    except (TypeError, ValueError):
        return None


def _changed(values: Any, change: Callable[[Any], Any], *, where: Any) -> Any:
    """Return the texts (or bytes) with those changed that lie ``where`` it is true."""
    some = pc.filter(values, where).to_pylist()
    if not some:
        return values
    return pc.replace_with_mask(values, where, pa.array([change(value) for value in some], values.type))


def _hidden(values: Any) -> Any:
    """Return masked text or bytes where there is a value; nulls of any other type."""
    kind = values.type
    mask: Any = MASK.encode() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else MASK
    if mask is MASK and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pa.nulls(len(values), kind)
    return pc.if_else(pc.is_valid(values), pa.scalar(mask, kind), pa.scalar(None, kind))
