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

__all__ = ["headed", "suspects"]

_HAS_HEADERS = r'"headers"\s*:\s*[\[{]\s*[^\s\]}]'
_HEADER = r'\{"name":"[^"\\]*","value":"[^"\\]*"\}'
_PLAIN_FORM = rf'"headers":\[{_HEADER}(?:,{_HEADER})*\]'
_OF_SECRETS = f"(?i){HIDDEN_NAMES.replace('$', '')}"
# How a name can be spelled in another way: by its code, as text or in bytes, or in bytes with spaces between them.
_SPELLED_OTHERWISE = r"\\u|92,117|\d\s*,\s+\d|\d\s+[,\]]|\[\s+\d"
_PLAIN_NAME = re.compile(r"[\w -]+", re.ASCII)


def headed(entries: Any) -> Any:
    """Return which entries have headers."""
    return _there(pc.match_substring_regex(entries, _HAS_HEADERS))


def suspects(entries: Any, patterns: Sequence[Pattern]) -> Any:
    """Return which entries might have a secret header, or something that a pattern is about."""
    found = _with_suspect_headers(entries)
    if not patterns:
        return found
    names = {max((key for key in _names(each) if _PLAIN_NAME.fullmatch(key)), key=len, default="") for each in patterns}
    if "" in names:  # a path to any name, or to one that has several spellings
        return pc.is_valid(entries)
    quoted = [f'"{name}"' for name in sorted(names)]
    spellings = [spelling for each in quoted for spelling in (each, ",".join(map(str, each.encode())))]
    return pc.or_(found, _matches(entries, "|".join([*spellings, _SPELLED_OTHERWISE])))


def _with_suspect_headers(entries: Any) -> Any:
    there = headed(entries)
    some = pc.filter(entries, there)
    odd = headed(pc.replace_substring_regex(some, _PLAIN_FORM, ""))
    return pc.replace_with_mask(there, there, pc.or_(_matches(some, _OF_SECRETS), odd))


def _names(pattern: Pattern) -> list[str]:
    return [step.key for step in pattern.path if isinstance(step.key, str)]


def _matches(entries: Any, regex: str) -> Any:
    return _there(pc.match_substring_regex(entries, regex))


def _there(found: Any) -> Any:
    return pc.fill_null(found, pa.scalar(value=False))
