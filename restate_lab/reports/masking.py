"""Mask secrets in the text of a report: known values, and text that looks like a token.

Pictures are not checked. To hide more, freeze with ``redact=`` and write the report from the evidence.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

from markupsafe import escape

from restate_lab.payload_json import HEADERS, mask
from restate_lab.redaction import MASK, Secret, is_secret_header, is_secret_name

_FOLDERS = frozenset({"PWD", "OLDPWD"})  # in environment variables, this is not a password
_SHORTEST = 6  # characters; a shorter secret would also match inside other text
_QUOTE = r"""(?:\\?["']|&quot;|&#34;|&#x27;|&#39;)"""
_NOT_QUOTE = r"""(?:(?!&quot;|&#34;|&#x27;|&#39;)[^"'\\]|\\(?!["'])[^"'])"""
# "authorization": "…" in JSON and Python, token='…' in code, and the {"name": …, "value": …} of Restate's headers
# The lookbehind prevents a retry at each letter of a long name.
_NAMED = re.compile(rf"(?<![\w.-])(?P<name>[\w.-]+)(?P<between>{_QUOTE}?\s*[:=]\s*{_QUOTE})(?P<value>{_NOT_QUOTE}+)")
_PAIR = re.compile(
    rf"(?P<before>{_QUOTE}name{_QUOTE}\s*:\s*{_QUOTE}(?P<name>[\w.-]+){_QUOTE}\s*,\s*{_QUOTE}value{_QUOTE}\s*:\s*{_QUOTE})"
    rf"(?P<value>{_NOT_QUOTE}+)"
)
# A header in the form of an HTTP message. Most headers with a secret begin with x- or the name of a vendor.
_HEADER = re.compile(
    r"(?i)(?<![\w-])(?P<name>(?:proxy-)?authorization|(?:set-)?cookie|dpop|(?:x|cf|dd|ocp)-[\w-]+)(?P<between>\s*:\s*)"
    r"(?P<value>[^\s\"'<&][^\r\n\"'<&]*)"
)
_LOOKS_SECRET = (
    (re.compile(r"(?i)\b(bearer\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), MASK),  # a JSON web token
    (re.compile(r"\bkey_[0-9A-Za-z]{8,}\.[\w.-]{8,}"), MASK),  # Restate Cloud's API keys
    (re.compile(r"(://)[^/?#\s\"'<>]+@"), rf"\1{MASK}@"),
)


class Masker:
    """Masks secrets in text; each value in ``known`` is masked everywhere, also as it is written in HTML."""

    __slots__ = ("__known",)

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.__known = sorted(
            {form for each in known if len(each) >= _SHORTEST for form in (each, str(escape(each)))},
            key=len,
            reverse=True,
        )

    def text(self, text: str) -> str:
        """Return the text with secrets masked."""
        for secret in self.__known:
            text = text.replace(secret, MASK)
        payload = mask(text, [HEADERS])
        text = text if payload.unread else payload.value  # text that is not JSON is left to the patterns
        text = _PAIR.sub(_mask_match, text)
        text = _NAMED.sub(_mask_match, text)
        text = _HEADER.sub(_mask_match, text)
        for pattern, replacement in _LOOKS_SECRET:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """Return a value with secrets masked, also in nested values; a value with a secret name is masked whole."""
        if name and is_secret_name(name) and isinstance(value, str | bytes) and value:
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            with contextlib.suppress(UnicodeDecodeError):  # bytes that are not text stay as they are
                return self.text(value.decode()).encode()
        if isinstance(value, Mapping):
            return {key: self.value(each, str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each, name) for each in value]
        return value

    def __repr__(self) -> str:
        return f"<Masker of {len(self.__known)} known secrets>"


def masker_for(source: object = None, *, env: Mapping[str, str] | None = None) -> Masker:
    """Return a masker that knows the source's token and the secrets in the environment variables.

    ``env`` None means the variables of this process.
    """
    variables = os.environ if env is None else env
    known = [value for name, value in variables.items() if is_secret_name(name) and name not in _FOLDERS]
    token = getattr(getattr(source, "settings", None), "token", None)
    if isinstance(token, Secret):
        known.append(token.reveal())
    return Masker(known)


def _mask_match(match: re.Match[str]) -> str:
    name = match["name"]
    is_header = match.re is not _NAMED or name.lower().startswith("x-")
    if not (is_secret_header(name) if is_header else is_secret_name(name)):
        return match[0]
    return f"{match[0][: -len(match['value'])]}{MASK}"
