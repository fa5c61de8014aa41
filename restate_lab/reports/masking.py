"""Take secrets out of text before it is handed over: values that are known, and what looks like a token.

A picture is not looked into. To hide more than this, freeze with ``redact=`` and report on the evidence.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from restate_lab.payload_json import HEADERS, mask
from restate_lab.redaction import MASK, Secret, is_secret_name

__all__ = ["Masker", "masker_for"]

_SHORTEST = 6  # characters; what is shorter stands in too many other words
_QUOTE = r"""(?:\\?["']|&quot;|&#34;|&#x27;|&#39;)"""
_NOT_QUOTE = r"""(?:(?!&quot;|&#34;|&#x27;|&#39;)[^"'\\]|\\(?!["'])[^"'])"""
# "authorization": "…" in JSON and Python, token='…' in code, and the {"name": …, "value": …} of Restate's headers
# A name begins where a word does: else a word of a thousand letters is tried a thousand times.
_NAMED = re.compile(rf"(?<![\w.-])(?P<name>[\w.-]+)(?P<between>{_QUOTE}?\s*[:=]\s*{_QUOTE})(?P<value>{_NOT_QUOTE}+)")
_PAIR = re.compile(
    rf"(?P<before>{_QUOTE}name{_QUOTE}\s*:\s*{_QUOTE}(?P<name>[\w.-]+){_QUOTE}\s*,\s*{_QUOTE}value{_QUOTE}\s*:\s*{_QUOTE})"
    rf"(?P<value>{_NOT_QUOTE}+)"
)
_HEADER = re.compile(
    r"(?im)(?P<before>\b(?:proxy-authorization|authorization|set-cookie|cookie|x-api-key)\s*:\s*)(?P<value>[^\s\"'<&][^\r\n\"'<&]*)"
)
_LOOKS_SECRET = (
    (re.compile(r"(?i)\b(bearer\s+)(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}"), rf"\1{MASK}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"), MASK),  # a JSON web token
    (re.compile(r"\bkey_[0-9A-Za-z]{8,}\.[\w.-]{8,}"), MASK),  # Restate Cloud's API keys
    (re.compile(r"(://)[^/?#\s\"'<>]+@"), rf"\1{MASK}@"),
)


class Masker:
    """Masks text; ``known`` are secret values that are masked wherever they stand."""

    __slots__ = ("__known",)

    def __init__(self, known: Iterable[str] = ()) -> None:
        self.__known = sorted({each for each in known if len(each) >= _SHORTEST}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self.__known:
            text = text.replace(secret, MASK)
        payload = mask(text, [HEADERS])
        text = text if payload.unread else payload.value  # code and prose are for the patterns
        text = _PAIR.sub(_mask_match, text)
        text = _NAMED.sub(_mask_match, text)
        text = _HEADER.sub(rf"\g<before>{MASK}", text)
        for pattern, replacement in _LOOKS_SECRET:
            text = pattern.sub(replacement, text)
        return text

    def value(self, value: Any, name: str = "") -> Any:
        """Return a value without secrets, with its parts; those of a secret name are masked whole."""
        if name and is_secret_name(name) and isinstance(value, str | bytes) and value:
            return MASK
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, bytes):
            return self._bytes(value)
        if isinstance(value, Mapping):
            return {key: self.value(each, str(key)) for key, each in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(each, name) for each in value]
        return value

    def _bytes(self, value: bytes) -> bytes:
        """Return bytes masked where they are text."""
        try:
            return self.text(value.decode()).encode()
        except UnicodeDecodeError:
            return value

    def __repr__(self) -> str:
        return f"<Masker of {len(self.__known)} known secrets>"


def masker_for(source: object = None, *, env: Mapping[str, str] | None = None, more: Sequence[str] = ()) -> Masker:
    """Return a masker that knows the source's token and the secrets among the environment's variables.

    ``env`` None means the variables of this process.
    """
    variables = os.environ if env is None else env
    known = [value for name, value in variables.items() if is_secret_name(name)]
    token = getattr(getattr(source, "settings", None), "token", None)
    if isinstance(token, Secret):
        known.append(token.reveal())
    return Masker([*known, *more])


def _mask_match(match: re.Match[str]) -> str:
    if not is_secret_name(match["name"]):
        return match[0]
    return f"{match[0][: -len(match['value'])]}{MASK}"
