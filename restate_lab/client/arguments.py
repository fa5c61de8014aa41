"""Arguments of the Admin API and the ingress, checked before anything is sent.

Every check returns what goes on the wire, or raises ArgumentError, which names the argument, the value (cut) and what
is allowed.
"""

from __future__ import annotations

import math
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

__all__ = [
    "check_awakeable",
    "check_count",
    "check_deployment_choice",
    "check_duration",
    "check_flag",
    "check_id",
    "check_name",
    "check_seconds",
    "check_size",
    "check_strings",
    "check_uri",
    "format_value",
    "path_segment",
    "seconds_left",
    "time_limit",
]

# Ids are base62 and have one length per kind: "inv_1", 11 of the partition key and 22 of the id itself, and so on.
_IDS = {"invocation": ("inv_", 38), "deployment": ("dp_", 26), "subscription": ("sub_", 27), "vqueue": ("vq_", 37)}
_AWAKEABLE = re.compile(r"(sign|prom)_1[A-Za-z0-9_-]{20,}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_LONGEST = 60
_MOST_SECONDS = 1_000_000_000  # more is no time that a socket can wait
_ENDS: ContextVar[float | None] = ContextVar("ends", default=None)


def format_value(value: Any) -> str:
    """Return a value for a message: its repr, cut to a readable length; of text the end is kept, where typos sit."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 15]}…{text[-12:]} ({len(text)} long)"


def check_id(argument: str, value: object, kind: str) -> str:
    """Return an id of a kind ("invocation", "deployment", "subscription", "vqueue")."""
    prefix, length = _IDS[kind]
    allowed = f"the id of one {kind}: {prefix}1 and letters and digits, {length} characters in all, case-sensitive"
    if not isinstance(value, str):
        raise ArgumentError(f"{argument} must be {allowed}; got {format_value(value)}.")
    if not value.startswith(prefix):
        problem = f"does not begin with {prefix}"
    elif len(value) != length:
        problem = f"has {len(value)} characters"
    elif re.fullmatch(r"[A-Za-z0-9]+", value.removeprefix(prefix)) is None:
        problem = "has a character that no id has"
    else:
        return value
    raise ArgumentError(f"{argument} {format_value(value)} {problem}; it must be {allowed}.")


def check_awakeable(argument: str, value: object) -> str:
    """Return the id of an awakeable."""
    if not isinstance(value, str) or _AWAKEABLE.fullmatch(value) is None:
        raise ArgumentError(
            f"{argument} {format_value(value)} is not the id of an awakeable: sign_1 (or prom_1) and letters, digits, "
            f"- and _, as the handler got it."
        )
    return value


def check_name(argument: str, value: object) -> str:
    """Return a name or key: text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ArgumentError(f"{argument} must be text that is not empty; got {format_value(value)}.")
    return value


def path_segment(name: str) -> str:
    """Return a name as one segment of a path, whatever is in it."""
    quoted = quote(name, safe="")
    # A client would take these two for steps in the path.
    return quoted.replace(".", "%2E") if quoted in {".", ".."} else quoted


def check_uri(argument: str, value: object, example: str) -> str:
    """Return a URI that has a scheme and something behind it."""
    if not isinstance(value, str):
        raise ArgumentError(f"{argument} must be a URI such as {example}; got {format_value(value)}.")
    parts = urlsplit(value)
    if not parts.scheme or not parts.netloc or re.search(r"\s", value):
        raise ArgumentError(f"{argument} {format_value(value)} is not a URI with a scheme, such as {example}.")
    return value


def check_duration(argument: str, value: DurationInput) -> str:
    """Return a duration for the wire, from seconds, a timedelta, or text such as "30s", "2h 30min", "PT2H"."""
    return to_iso8601(to_timedelta(value, name=argument))


def check_flag(argument: str, value: object) -> bool:
    """Return True or False; nothing else counts as one, so that the text "false" does not mean yes."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{argument} must be True or False; got {format_value(value)}.")
    return value


def check_count(argument: str, value: object, *, least: int = 0) -> int:
    """Return a whole number from ``least`` to 4,294,967,295."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**32:
        raise ArgumentError(f"{argument} must be a whole number from {least} to 4294967295; got {format_value(value)}.")
    return value


def check_seconds(argument: str, value: DurationInput) -> float:
    """Return a time limit in seconds, from what ``to_timedelta`` takes; infinity is not a time limit."""
    seconds = to_timedelta(value, name=argument).total_seconds()
    if seconds > _MOST_SECONDS:
        raise ArgumentError(f"{argument} must be at most {_MOST_SECONDS:,} seconds; got {format_value(value)}.")
    return seconds


def check_size(argument: str, value: object) -> float:
    """Return a number of bytes, one or more; infinity means no limit."""
    number = _number(value)
    if not number >= 1:
        raise ArgumentError(f"{argument} must be a number of bytes, such as 2 << 30; got {format_value(value)}.")
    return number


def _number(value: object) -> float:
    """Return a real number as a float, and NaN for what is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def check_deployment_choice(argument: str, value: object) -> str:
    """Return on which deployment to go on: "latest", "keep", or the id of one."""
    if value in {"latest", "keep"}:
        return str(value)
    try:
        return check_id(argument, value, "deployment")
    except ArgumentError as error:
        raise ArgumentError(f"{argument} must be 'latest', 'keep' or the id of a deployment. {error}") from error


def check_strings(argument: str, value: object, *, as_headers: bool = False) -> dict[str, str]:
    """Return a mapping of text to text; a value may be a Secret. No message repeats a value: it may be one."""
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
            raise ArgumentError(f"{argument} has the name {format_value(name)}, which no HTTP header can have.")
        if not all(" " <= character <= "~" or character == "\t" for character in value):
            raise ArgumentError(f"{argument}[{name!r}] has a character in it that no header takes: ASCII, one line.")


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Limit the requests of this block and thread to what is left of so many seconds, for all of them together."""
    ends, outer = time.monotonic() + seconds, _ENDS.get()
    token = _ENDS.set(ends if outer is None else min(ends, outer))
    try:
        yield
    finally:
        _ENDS.reset(token)


def seconds_left(limit: float) -> float:
    """Return the seconds that a request may take: ``limit``, or what is left of the block's where that is less."""
    ends = _ENDS.get()
    return limit if ends is None else max(0.0, min(limit, ends - time.monotonic()))
