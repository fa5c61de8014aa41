"""Tell, of a column of journal entries at once, which might hold something to mask: only those are taken apart.

A path leads nowhere where a name in it is not there, neither as text nor as the byte values of a payload, and a header
is plain where no word of secrets is. In doubt an entry is suspect.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab.evidence.redaction import Pattern
from restate_lab.redact import HIDDEN_NAMES

__all__ = ["suspects", "with_headers"]

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
