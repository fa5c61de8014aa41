"""Mask what must not be frozen, batch by batch: secret headers always, and what ``redact=`` says.

Every value in which nothing is masked stays as it was, to the byte. What cannot be read well enough to be sure is
masked whole.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.evidence.json_path import is_flat, masked, with_changed
from restate_lab.evidence.redaction import Pattern
from restate_lab.evidence.suspects import headed, suspects
from restate_lab.redact import MASK, is_secret_name

__all__ = ["Masks"]

_ENTRIES = ("sys_journal", "entry_json")
_DEPLOYMENTS = ("sys_deployment", "endpoint")
_USER_INFO = r"://[^/?#\s@]+@"
_MASKED_JSON = json.dumps(MASK, ensure_ascii=False)
_OPENS_JSON = b' \t\r\n{["'


class _Unclear(Exception):
    """A field stands twice in an object: what is read is not all that is there."""


@dataclass(slots=True)
class Masks:
    """Masks the columns of tables, and counts what it masked by pattern.

    ``views`` says which views are made of a table: a pattern about a view's column is about the table's, too.
    """

    patterns: Sequence[Pattern]
    views: dict[str, list[str]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    not_json: Counter[str] = field(default_factory=Counter)

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
            return pc.replace_substring_regex(values, _USER_INFO, f"://{MASK}@")
        where = pc.is_valid(values)
        if (table, name) == _ENTRIES:
            where = suspects(values, found)
            values = _changed(values, _headers_masked, where=pc.and_(where, headed(values)))
        if not found:
            return values
        return _changed(values, lambda value: self._redacted(value, (table, name), found), where=where)

    def _covers(self, pattern: Pattern, table: str, name: str) -> bool:
        return any(pattern.covers(each, name) for each in (table, *self.views.get(table, ())))

    def _redacted(self, text: str, column: tuple[str, str], patterns: Sequence[Pattern]) -> str:
        try:
            value, total = _parsed(text), 0
            for pattern in patterns:
                value, n = _masked_in(value, pattern, is_entry=column == _ENTRIES)
                self.counts[pattern.text] += n
                total += n
        except ValueError:
            self.not_json[".".join(column)] += 1
            return text
        except (_Unclear, RecursionError):
            self.counts[patterns[0].text] += 1
            return _MASKED_JSON
        return _dumped(value) if total else text


def _masked_in(value: Any, pattern: Pattern, *, is_entry: bool) -> tuple[Any, int]:
    """Return the value masked: of an entry the payloads in it, and the entry itself where its column is named."""
    if not is_entry:
        return masked(value, pattern.path)
    total = 0
    if pattern.column is not None:
        value, total = masked(value, pattern.path)
    value, n = _in_payloads(value, pattern)
    return value, total + n


def _in_payloads(value: Any, pattern: Pattern) -> tuple[Any, int]:
    """Mask in the payloads of an entry, which are arrays of byte values there."""
    if isinstance(value, dict):
        return _each_masked(value, value.items(), pattern)
    if not isinstance(value, list):
        return value, 0
    try:
        payload = _payload(value)
        after, n = (None, 0) if payload is None else masked(payload, pattern.path)
    except (_Unclear, RecursionError):
        return list(_MASKED_JSON.encode()), 1
    if payload is not None:
        return (list(_dumped(after).encode()), n) if n else (value, 0)
    return (value, 0) if is_flat(value) else _each_masked(value, enumerate(value), pattern)


def _each_masked(value: Any, pairs: Iterable[tuple[Any, Any]], pattern: Pattern) -> tuple[Any, int]:
    found = {key: _in_payloads(below, pattern) for key, below in pairs if isinstance(below, dict | list)}
    changed = {key: below for key, (below, n) in found.items() if n}
    return (with_changed(value, changed) if changed else value), sum(n for _, n in found.values())


def _payload(array: list[Any]) -> Any:
    """Return what JSON the bytes of an array are, if they are any with parts; else None."""
    if not array or not isinstance(array[0], int) or array[0] not in _OPENS_JSON:
        return None
    try:
        return _parsed(bytes(array).decode())
    except (TypeError, ValueError):
        return None


def _headers_masked(text: str) -> str:
    """Mask the secret headers of a journal entry; one that does not parse is masked whole."""
    try:
        value = _parsed(text)
        after, n = _headers(value)
        return _dumped(after) if n else text
    except (_Unclear, ValueError, RecursionError):
        return _MASKED_JSON


def _headers(value: Any) -> tuple[Any, int]:
    if isinstance(value, list):
        if value and not isinstance(value[0], dict | list):
            return value, 0
        elements = [_headers(each) for each in value]
        return [each for each, _ in elements], sum(n for _, n in elements)
    if not isinstance(value, dict):
        return value, 0
    pairs = {key: _header_list(below) if key == "headers" else _headers(below) for key, below in value.items()}
    return {key: below for key, (below, _) in pairs.items()}, sum(n for _, n in pairs.values())


def _header_list(headers: Any) -> tuple[Any, int]:
    """Mask in the list of headers that servers write; another form, whose secrets cannot be told, is masked whole."""
    if not isinstance(headers, list) or not all(_is_header(each) for each in headers):
        return (headers, 0) if not headers else (MASK, 1)
    after = [each | {"value": MASK} if is_secret_name(each["name"]) else each for each in headers]
    return after, sum(is_secret_name(each["name"]) for each in headers)


def _is_header(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("name"), str) and set(value) == {"name", "value"}


def _changed(values: Any, change: Callable[[str], str], *, where: Any) -> Any:
    """Return the texts (or bytes) with those changed that lie ``where`` it is true."""
    some = pc.filter(values, where).to_pylist()
    if not some:
        return values
    is_text = not pa.types.is_large_binary(values.type) and not pa.types.is_binary(values.type)
    turn = change if is_text else lambda value: _in_bytes(value, change)
    return pc.replace_with_mask(values, where, pa.array([turn(value) for value in some], values.type))


def _in_bytes(value: bytes, change: Callable[[str], str]) -> bytes:
    """Change bytes that are text; others cannot be JSON, and ``change`` is told so with what no parser takes."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        change("")
        return value
    return change(text).encode()


def _hidden(values: Any) -> Any:
    """Return masked text or bytes where there is a value; nulls of any other type."""
    kind = values.type
    mask: Any = MASK.encode() if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) else MASK
    if mask is MASK and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return pa.nulls(len(values), kind)
    return pc.if_else(pc.is_valid(values), pa.scalar(mask, kind), pa.scalar(None, kind))


def _parsed(text: str) -> Any:
    return json.loads(text, parse_constant=_no_json, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise _Unclear
    return fields


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _dumped(value: Any) -> str:
    """Return the JSON text; what has numbers that Python's floats cannot hold is masked whole."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    except ValueError:
        return _MASKED_JSON
