"""The server's JSON functions for frozen evidence: ``json_get_str(j, 'key')`` and similar ones, one key per call.

The results are the same as on a server (measured on 1.7.12). The first of several equal keys is used. The result is
null for a text that is not JSON, for numbers with a sign, and for integers of more than 18 digits. Texts that contain
numbers and booleans (``{"a": "-1"}``) are supported by servers since 1.7, and here for evidence of any version.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NoReturn

import pyarrow as pa
import pyarrow.compute as pc


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_decoder: Any = json.JSONDecoder(parse_constant=_no_json)
_scan: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once
_blank = re.compile(r"[ \t\n\r]*").match
_INTEGER = re.compile(r"0|[1-9][0-9]{0,17}")
_INTEGER_TEXT = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_NUMBER_TEXT = re.compile(r"[+-]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?|inf|infinity|nan)", re.IGNORECASE)
_LONGEST = 100  # digits; Python converts very long numbers slowly
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class _JsonFunction:
    """One function of a text and a key: its name, the type of its result, and the conversion of a value's text.

    ``missing`` is the result if the key does not exist.
    """

    name: str
    result: pa.DataType
    make: Callable[[str], Any]
    missing: Any = None

    def __call__(self, texts: Any, keys: Any) -> Any:
        distinct = pc.unique(keys)
        if len(distinct) != 1 or distinct.null_count:
            pairs = zip(texts.to_pylist(), keys.to_pylist(), strict=True)
            return pa.array([self._one(text, key) for text, key in pairs], self.result)
        key = distinct[0].as_py()
        where = _may_have(texts, key)
        values = [self._one(text, key) for text in pc.filter(texts, where).to_pylist()]
        elsewhere = pa.array([self.missing], self.result).take(pa.array([0] * len(texts), pa.int32()))
        return _put(elsewhere, where, pa.array(values, self.result))

    def _one(self, text: str | None, key: str | None) -> Any:
        if text is None or key is None:
            return None if text is None else self.missing
        raw = _value_at(text, key)
        return self.missing if raw is None else self.make(raw)


def _may_have(texts: Any, key: str) -> Any:
    """Return which texts can contain the key: most rows of a journal do not, and are not parsed."""
    if key.isdigit():
        return pc.is_valid(texts)
    named = pc.or_(pc.match_substring(texts, f'"{key}"'), pc.match_substring(texts, "\\"))
    return pc.fill_null(named, pa.scalar(value=False))


def _put(values: Any, where: Any, new: Any) -> Any:
    if pa.types.is_list(values.type):
        parts = iter(new.to_pylist())
        return pa.array([next(parts) if hit else None for hit in where.to_pylist()], values.type)
    return pc.replace_with_mask(values, where, new)


def _value_at(text: str, key: str) -> str | None:
    at = _after_blank(text, 0)
    try:
        if text.startswith("{", at):
            return _field(text, at + 1, key)
        if text.startswith("[", at) and key.isdigit():
            return _element(text, at + 1, int(key))
    except (ValueError, StopIteration, RecursionError):
        return None
    return None


def _field(text: str, at: int, key: str) -> str | None:
    at = _after_blank(text, at)
    while text.startswith('"', at):
        name, at = scanstring(text, at + 1, True)  # noqa: FBT003 - strict, and the parser takes no keyword
        at = _after_blank(text, at)
        if not text.startswith(":", at):
            return None
        start = _after_blank(text, at + 1)
        _, at = _scan(text, start)
        if name == key:
            return None if text[at : at + 1].isdigit() else text[start:at]
        at = _after_blank(text, at)
        if not text.startswith(",", at):
            return None
        at = _after_blank(text, at + 1)
    return None


def _element(text: str, at: int, index: int) -> str | None:
    start = _after_blank(text, at)
    while not text.startswith("]", start):
        _, at = _scan(text, start)
        if index == 0:
            return text[start:at]
        index -= 1
        at = _after_blank(text, at)
        if not text.startswith(",", at):
            return None
        start = _after_blank(text, at + 1)
    return None


def _after_blank(text: str, at: int) -> int:
    match = _blank(text, at)
    return at if match is None else match.end()


def _str(raw: str) -> str | None:
    if not raw.startswith('"'):
        return None
    if "\\" not in raw:
        return raw[1:-1]
    value: str = json.loads(raw)
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return None
    return value


def _int(raw: str) -> int | None:
    text = _str(raw)
    if text is None:
        return int(raw) if _INTEGER.fullmatch(raw) else None
    value = int(text) if _INTEGER_TEXT.fullmatch(text) and len(text) < _LONGEST else None
    return value if value is not None and -(2**63) <= value < 2**63 else None


def _float(raw: str) -> float | None:
    text = _str(raw)
    if text is None:
        return float(raw) if _NUMBER.fullmatch(raw) else None
    return float(text) if _NUMBER_TEXT.fullmatch(text) else None


def _bool(raw: str) -> bool | None:
    return _BOOLEANS.get(_str(raw) or raw)


def _as_text(raw: str) -> str | None:
    if raw == "null":
        return None
    return _str(raw) if raw.startswith('"') else raw


def _length(raw: str) -> int | None:
    value = json.loads(raw)
    return len(value) if isinstance(value, list | dict) else None


def _array(raw: str) -> list[str] | None:
    if not raw.startswith("["):
        return None
    elements: list[str] = []
    at = _after_blank(raw, 1)
    while not raw.startswith("]", at):
        _, end = _scan(raw, at)
        elements.append(raw[at:end])
        at = _after_blank(raw, _after_blank(raw, end) + raw.startswith(",", _after_blank(raw, end)))
    return elements


def _keys(raw: str) -> list[str] | None:
    value = json.loads(raw)
    return list(value) if isinstance(value, dict) else None


FUNCTIONS: tuple[_JsonFunction, ...] = (
    _JsonFunction("json_get_str", pa.string(), _str),
    _JsonFunction("json_get_json", pa.string(), str),
    _JsonFunction("json_get_int", pa.int64(), _int),
    _JsonFunction("json_get_float", pa.float64(), _float),
    _JsonFunction("json_get_bool", pa.bool_(), _bool),
    _JsonFunction("json_get_array", pa.list_(pa.string()), _array),
    _JsonFunction("json_as_text", pa.string(), _as_text),
    _JsonFunction("json_length", pa.uint64(), _length),
    _JsonFunction("json_contains", pa.bool_(), lambda _: True, missing=False),
    _JsonFunction("json_object_keys", pa.list_(pa.string()), _keys),
)
"""The functions; each has two arguments, a JSON text and a key."""
