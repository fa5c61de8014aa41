"""Mask values that must never be shown: our own credentials, and the values of secret headers."""

from __future__ import annotations

import html
import re
import urllib.parse
from collections.abc import Iterable, Mapping
from typing import NoReturn

MASK = "•••"
# Each branch of an expression begins with letters, and texts are in lower case: so a search takes a third of the time.
_PARTS = (
    r"authoriz|authent|cookie|token|secret|passw|passphrase|passcode|signature|credential|jwt|hmac"
    r"|api[-_]?key|access[-_]?key|auth[-_]?key|subscription[-_]?key|functions[-_]?key|application[-_]?key"
    r"|license[-_]?key|client[-_]?assertion|client[-_]?cert|client[-_]?principal"
    r"|jaas|oauthbearer|keystore|private"  # names in Kafka clients
    r"|-organi[sz]ation|organi[sz]ation-|-project\b|-org\b"  # account headers of LLM providers
)
_LAST_WORDS = frozenset({"bearer", "dpop", "otp", "pem", "pwd"})
# As fields of a payload, many of these names have another meaning.
_HEADER_PARTS = (
    _PARTS + r"|assertion|userinfo|wsse|session[-_]?id"
    r"|oidc[-_]data|oidc[-_]identity|honeycomb[-_]team|grafana[-_]id"  # of AWS load balancers, Honeycomb and Grafana
)
_LAST_WORDS_OF_HEADERS = _LAST_WORDS | {"auth", "cert", "pass", "pw", "session", "sig", "sign"}
_HEADER_KEYS = r"-keys?\b|_keys?\b"  # at the end of a name


def _within(parts: str, last_words: Iterable[str]) -> str:
    return "|".join([parts, *(rf"{word}\b" for word in sorted(last_words))])


HEADERS_IN_TEXT = _within(f"{_HEADER_PARTS}|{_HEADER_KEYS}", _LAST_WORDS_OF_HEADERS)
"""A regular expression (in lower case, also for RE2) for a text that can contain the name of a secret header."""

USER_INFO = r"://[^/?#\s]+@"
"""A regular expression for name and password in an address, up to the last @: a password can also have an @."""

_SHORTEST = 6  # characters of a secret header
_DEEPEST = 5  # how many times a text can be escaped
_JSON_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^\sux]))")
_SECRET_NAME = re.compile(_PARTS)
_SECRET_NAME_WITHIN = re.compile(_within(_PARTS, _LAST_WORDS))
_SECRET_HEADER = re.compile(_HEADER_PARTS)
_SECRET_HEADER_WITHIN = re.compile(HEADERS_IN_TEXT)
_WORD_BREAKS = re.compile(r"[-_.]")


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
    """Return whether the value of a field, parameter or variable with this name is never shown."""
    name = name.lower()
    return _SECRET_NAME.search(name) is not None or _WORD_BREAKS.split(name)[-1] in _LAST_WORDS


def is_secret_header(name: str) -> bool:
    """Return whether the value of a header with this name is never shown.

    Any name that ends with "-key" is secret, except "idempotency-key", by which operators find an invocation.
    """
    name = name.lower()
    *before, last = _WORD_BREAKS.split(name)
    if _SECRET_HEADER.search(name) is not None or last in _LAST_WORDS_OF_HEADERS:
        return True
    return bool(before) and last in {"key", "keys"} and before[-1] != "idempotency"


def has_secret_name(text: str) -> bool:
    """Return whether the name of a secret field can occur in a text."""
    return _SECRET_NAME_WITHIN.search(text.lower()) is not None


def has_secret_header(text: str) -> bool:
    """Return whether the name of a secret header can occur in a text."""
    return _SECRET_HEADER_WITHIN.search(text.lower()) is not None


def mask_user_info(address: str) -> str:
    """Return an address with name and password masked."""
    return re.sub(USER_INFO, f"://{MASK}@", address)


def mask_header_values(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers in their order, with secret ones masked."""
    return {name: MASK if is_secret_header(name) else value for name, value in headers.items()}


def secrets_in(headers: Mapping[str, str]) -> list[str]:
    """Return the values of the secret headers, the longest first; for an authorization, without its scheme.

    Short values of other headers are omitted, because they occur in many other texts.
    """
    values = {
        value.rpartition(" ")[2] if "authoriz" in name.lower() else value
        for name, value in headers.items()
        if is_secret_header(name) and (len(value) >= _SHORTEST or "authoriz" in name.lower())
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
