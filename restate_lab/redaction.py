"""Mask values that must never be shown: our own credentials, and the values of secret headers."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import NoReturn

__all__ = [
    "HIDDEN_NAMES",
    "MASK",
    "USER_INFO",
    "Secret",
    "as_secret",
    "has_secret_name",
    "is_secret_name",
    "mask_header_values",
    "mask_secrets",
    "mask_user_info",
    "secrets_in",
]  # fmt: skip

MASK = "•••"
HIDDEN_NAMES = (
    r"authoriz|authent|cookie|token|secret|passw|api[-_]?key|access[-_]?key|signature|credential"
    r"|jaas|oauthbearer|\.pem$|keystore|private"  # names in Kafka clients
    r"|-organi[sz]ation|organi[sz]ation-|-project\b|-org\b"  # account headers of LLM providers
)
"""A regular expression (ignore case) for names whose values are never shown."""

USER_INFO = r"://[^/?#\s]+@"
"""A regular expression for name and password in an address, up to the last @: a password can also have an @."""

_SHORTEST = 6  # characters of a secret header
_DEEPEST = 5  # how many times a text can be escaped
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^\sux]))")
_SECRET_NAME = re.compile(HIDDEN_NAMES, re.IGNORECASE)
_SECRET_NAME_WITHIN = re.compile(HIDDEN_NAMES.replace("$", ""), re.IGNORECASE)


class Secret:
    """A value that no repr, format, error, comparison or pickle shows.

    ``reveal()`` returns it; only the code that sends it calls this.
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value

    def reveal(self) -> str:
        """Return the value itself."""
        return self.__value

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret cannot be pickled; connect again in the other process")


def as_secret(value: str | Secret | None) -> Secret | None:
    """Return a possible token or password as a Secret, because a verbose traceback shows local variables."""
    return value if value is None or isinstance(value, Secret) else Secret(value)


def is_secret_name(name: str) -> bool:
    """Return whether the value of a header or field with this name is never shown."""
    return _SECRET_NAME.search(name) is not None


def has_secret_name(text: str) -> bool:
    """Return whether the name of a secret header or field occurs in a text."""
    return _SECRET_NAME_WITHIN.search(text) is not None


def mask_user_info(address: str) -> str:
    """Return an address with name and password masked."""
    return re.sub(USER_INFO, f"://{MASK}@", address)


def mask_header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers in their order, with secret ones masked."""
    return {name: MASK if is_secret_name(name) else value for name, value in headers.items()}


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the secret headers, the longest first; for an authorization, without its scheme.

    Short values of other headers are omitted, because they occur in many other texts.
    """
    values = {
        value.rpartition(" ")[2] if "authoriz" in name.lower() else value
        for name, value in headers.items()
        if is_secret_name(name) and (len(value) >= _SHORTEST or "authoriz" in name.lower())
    }
    return sorted(filter(None, values), key=len, reverse=True)


def mask_secrets(text: str, secrets: Iterable[str]) -> str:
    """Return the text with ``MASK`` for each secret.

    If the text has a secret in escaped form (for JSON, a URL or HTML, also repeatedly), it is returned unescaped.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
        plain = text
        for _ in range(_DEEPEST):
            before = plain
            for unescape in (_unescape_json, urllib.parse.unquote, html.unescape):
                plain = unescape(plain)
                if secret in plain:
                    text = plain = plain.replace(secret, MASK)
            if plain == before:
                break
    return text


def _unescape_json(text: str) -> str:
    return _JSON_ESCAPE.sub(_unescape_json_character, text)


def _unescape_json_character(match: re.Match[str]) -> str:
    if match[3]:
        return " " if match[3] in "bfnrt" else match[3]
    return chr(int(match[1] or match[2], 16))
