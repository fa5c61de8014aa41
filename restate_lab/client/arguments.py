"""Check arguments of the Admin API and the ingress before anything is sent.

Every check returns the value to send, or raises ArgumentError. The message has the argument, the value (shortened) and
the allowed values.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any
from urllib.parse import quote, urlsplit

from restate_lab.durations import DurationInput, to_iso8601, to_timedelta
from restate_lab.errors import ArgumentError
from restate_lab.redaction import Secret

# Ids are base62 and have one length per kind: "inv_1", 11 of the partition key and 22 of the id itself, and so on.
_IDS = {"invocation": ("inv_", 38), "deployment": ("dp_", 26), "subscription": ("sub_", 27), "vqueue": ("vq_", 37)}
_ID = re.compile(r"[a-z]+_[A-Za-z0-9]+")
_AWAKEABLE = re.compile(r"(sign|prom)_1[A-Za-z0-9_-]{20,}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LONGEST = 60
_SIZE = re.compile(r"(?P<count>\d+(?:\.\d+)?)\s*(?P<unit>[kmg]?b)")
_SIZE_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}
_MOST_SECONDS = 1_000_000_000  # a socket cannot wait much longer
_ENDS: ContextVar[float | None] = ContextVar("ends", default=None)


def format_value(value: Any) -> str:
    """Return the repr of a value for a message; a long one keeps its beginning and its end."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 15]}…{text[-12:]} ({len(text)} long)"


def check_id(argument: str, value: object, kind: str) -> str:
    """Return an id of a kind ("invocation", "deployment", "subscription", "vqueue")."""
    prefix, length = _IDS[kind]
    if isinstance(value, str) and len(value) == length and value.startswith(prefix) and _ID.fullmatch(value):
        return value
    raise ArgumentError(
        f"{argument} {format_value(value)} is not the id of one {kind} ({prefix}1 and {length - len(prefix) - 1} more "
        f"letters or digits, case-sensitive)."
    )


def check_awakeable(argument: str, value: object) -> str:
    """Return the id of an awakeable."""
    if not isinstance(value, str) or _AWAKEABLE.fullmatch(value) is None:
        raise ArgumentError(
            f"{argument} {format_value(value)} is not the id of an awakeable; it must be sign_1 (or prom_1) and "
            f"letters, digits, - and _, as in the handler."
        )
    return value


def check_name(argument: str, value: object) -> str:
    """Return a name or key: non-empty text."""
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"{argument} must be non-empty text; got {format_value(value)}.")
    return value


def check_reason(reason: object) -> None:
    """Check the reason of a change: text for the audit log, and not the placeholder of a printed command."""
    if isinstance(reason, str) and reason.strip(" .…\n\t"):
        return
    problem = f"{format_value(reason)}, which is not text"
    if isinstance(reason, str):
        problem = "a placeholder" if reason.strip() else "empty"
    raise ArgumentError(f'reason is {problem}: pass a reason, for example reason="INC-42: the provider is back".')


def path_segment(name: str) -> str:
    """Return a name with any characters as one segment of a path."""
    quoted = quote(name, safe="")
    # A client would interpret these two as relative segments.
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def check_uri(argument: str, value: object, example: str) -> str:
    """Return a URI that has a scheme and an authority."""
    if not isinstance(value, str):
        raise ArgumentError(f"{argument} must be a URI such as {example}; got {format_value(value)}.")
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc or re.search(r"\s", value):
        raise ArgumentError(f"{argument} {format_value(value)} is not a URI with a scheme, such as {example}.")
    return value


def check_duration(argument: str, value: DurationInput) -> str:
    """Return a duration in ISO 8601, from seconds, a timedelta, or text such as "30s", "2h 30min", "PT2H"."""
    return to_iso8601(to_timedelta(value, name=argument))


def check_flag(argument: str, value: object) -> bool:
    """Return True or False; other values are refused, because the text "false" would count as true."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{argument} must be True or False; got {format_value(value)}.")
    return value


def check_count(argument: str, value: object, *, least: int = 0) -> int:
    """Return a whole number from ``least`` to 4,294,967,295."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
        raise ArgumentError(f"{argument} must be a whole number from {least} to 4294967295; got {format_value(value)}.")
    return value


def check_seconds(argument: str, value: DurationInput) -> float:
    """Return a time limit in seconds, from a value that ``to_timedelta`` accepts; infinity is not allowed."""
    seconds = to_timedelta(value, name=argument).total_seconds()
    if seconds > _MOST_SECONDS:
        raise ArgumentError(f"{argument} must be at most {_MOST_SECONDS:,} seconds; got {format_value(value)}.")
    return seconds


def check_size(argument: str, value: object) -> float:
    """Return a number of bytes, one or more; infinity means no limit."""
    if isinstance(value, bool) or not isinstance(value, Real) or not float(value) >= 1:  # NaN is not, either
        raise ArgumentError(f"{argument} must be a number of bytes, such as 2 << 30; got {format_value(value)}.")
    return float(value)


def parse_size(argument: str, value: object) -> float:
    """Return a number of bytes, from a number or a text such as "256MB" or "1.5 GB" (powers of 1,000)."""
    match = _SIZE.fullmatch(value.strip().lower()) if isinstance(value, str) else None
    if match is not None:
        return check_size(argument, float(match["count"]) * _SIZE_UNITS[match["unit"]])
    if isinstance(value, str):
        raise ArgumentError(f"{argument} must be a size such as '256MB'; got {format_value(value)}.")
    return check_size(argument, value)


def check_list(argument: str, values: object, noun: str, verb: str) -> list[Any]:
    """Return a list of one or more values; ``noun`` and ``verb`` name them and the change in messages."""
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise ArgumentError(f"{argument} must be a list of {noun}; got {format_value(values)}.")
    listed = list(values)
    if not listed:
        raise ArgumentError(f"{argument} is empty: there is nothing to {verb}.")
    return listed


def check_deployment_choice(argument: str, value: object) -> str:
    """Return the deployment to continue on: "latest", "keep", or the id of a deployment."""
    if value in {"latest", "keep"}:
        return str(value)
    try:
        return check_id(argument, value, "deployment")
    except ArgumentError as error:
        raise ArgumentError(f"{argument} must be 'latest', 'keep' or the id of a deployment. {error}") from error


def check_strings(argument: str, value: object, *, as_headers: bool = False) -> dict[str, str]:
    """Return a mapping of text to text; a value may be a Secret. No message has a value, because it can be secret."""
    if not isinstance(value, Mapping):
        raise ArgumentError(f"{argument} must be a mapping of text to text; got a {type(value).__name__}.")
    plain = {name: each.reveal() if isinstance(each, Secret) else each for name, each in value.items()}
    for name, each in plain.items():
        if not isinstance(name, str) or not name:
            raise ArgumentError(f"{argument} has a name that is not text: {format_value(name)}.")
        if not isinstance(each, str):
            raise ArgumentError(f"{argument}[{format_value(name)}] must be text, not a {type(each).__name__}.")
    if as_headers:
        _check_headers(argument, plain.items())
    return plain


def _check_headers(argument: str, headers: Iterable[tuple[str, str]]) -> None:
    for name, value in headers:
        if _HEADER_NAME.fullmatch(name) is None:
            raise ArgumentError(f"{argument} has the name {format_value(name)}, which is not a valid HTTP header name.")
        if not all(" " <= character <= "~" or character == "\t" for character in value):
            raise ArgumentError(f"{argument}[{name!r}] has an invalid character; a header is one line of ASCII.")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit all requests of this block and thread to a total of so many seconds."""
    ends, outer = time.monotonic() + seconds, _ENDS.get()
    token = _ENDS.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _ENDS.reset(token)


def seconds_left(limit: float) -> float:
    """Return the time limit of a request in seconds: ``limit``, or the rest of the block's time if that is shorter."""
    ends = _ENDS.get()
    return limit if ends is None else max(0.0, min(limit, ends - time.monotonic()))
