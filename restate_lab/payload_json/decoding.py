"""Decode payloads for showing with a function of the user, and recognize payloads that an SDK encrypted.

The function runs in a thread of its own, so that it can be left behind after its time limit. Its results are shown and
never sent or written.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from restate_lab._text import escape_invisible, one_line
from restate_lab.errors import ArgumentError
from restate_lab.redaction import has_secret_header, has_secret_name

_LIMIT, _TOTAL_LIMIT = 2.0, 60.0  # seconds for one payload, and for all payloads of one result
_MOST_BYTES = 32 << 20  # of a result
_LONGEST = 200  # characters of a message
_SHARED = 8  # characters of a message that are also in the payload
_COMPARED = 1 << 20  # bytes; the message about a larger payload is not compared with it, and not shown
_SHOWN = 2000  # bytes
NOT_DECODED = b"not decoded: "
"""The first bytes of the text for a payload that was not decoded."""


class EncryptedPayload(bytes):
    """A payload that an SDK encrypted: its bytes, shown as "encrypted by the SDK, 153 bytes"."""

    def __repr__(self) -> str:
        return f"encrypted by the SDK, {len(self):,} bytes"

    __str__ = __repr__


def describe_bytes(value: bytes) -> str:
    """Return the text for a payload that is neither JSON nor text: its size and its first bytes, if not encrypted."""
    return str(value) if isinstance(value, EncryptedPayload) else f"{len(value):,} bytes: {value[:_SHOWN].hex(' ')}"


class _Outcome(NamedTuple):
    value: bytes | None = None
    reason: str = ""
    is_late: bool = False


class PayloadFunction:
    """A function of the user from bytes to bytes; one call at a time, each with a time limit of 2 seconds.

    After a call that did not end in time, the function is not called until that call has ended.

    Raises:
        ArgumentError: it is not a function.
    """

    __slots__ = ("_function", "_lock", "_name", "_running")

    def __init__(self, function: Callable[[bytes], bytes], name: str) -> None:
        if not callable(function):
            raise ArgumentError(f"{name} must be a function from bytes to bytes; got a {type(function).__name__}.")
        self._function, self._name = function, name
        self._lock = threading.Lock()
        self._running: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<the function {self._name}=>"

    def call(self, payload: bytes, /) -> _Outcome:
        """Return the bytes that the function returns, or the reason why there are none."""
        with self._lock:
            if self._running is not None and self._running.is_alive():
                return _Outcome(reason="the function still works on an earlier payload", is_late=True)
            outcomes: list[_Outcome] = []
            arguments = (self._function, bytes(payload), outcomes)
            self._running = threading.Thread(target=_run, args=arguments, name=f"restate-lab-{self._name}", daemon=True)
            self._running.start()
            self._running.join(_LIMIT)
            if outcomes:
                return outcomes[0]
            return _Outcome(reason=f"the function took more than {_LIMIT:.0f} s", is_late=True)


class Decoding:
    """The decoding of the payloads of one result: at most 2 s for each and 60 s for all, and none after a late one."""

    __slots__ = ("_function", "_left", "_stopped")

    def __init__(self, function: PayloadFunction) -> None:
        self._function = function
        self._left = _TOTAL_LIMIT
        self._stopped = ""

    def __call__(self, payload: bytes) -> bytes:
        """Return the decoded bytes, or the text "not decoded: …" with the reason; an empty payload stays empty."""
        if not payload:
            return payload
        if self._left <= 0:
            self._stopped = f"the function took more than {_TOTAL_LIMIT:.0f} s for the payloads of this result"
        outcome = _Outcome(reason=self._stopped) if self._stopped else self._call(payload)
        return NOT_DECODED + outcome.reason.encode() if outcome.value is None else outcome.value

    def _call(self, payload: bytes) -> _Outcome:
        began = time.monotonic()
        outcome = self._function.call(payload)
        self._left -= time.monotonic() - began
        if outcome.is_late:
            self._stopped = f"the function took more than {_LIMIT:.0f} s for another payload"
        return outcome


def _run(function: Callable[[bytes], bytes], payload: bytes, outcomes: list[_Outcome]) -> None:
    try:
        outcomes.append(_check(function(payload)))
    except BaseException as error:  # noqa: BLE001 - a function of the user; it ends this thread only
        outcomes.append(_Outcome(reason=_describe(error, payload)))


def _check(value: Any) -> _Outcome:
    if not isinstance(value, bytes):
        return _Outcome(reason=f"the function returned a {type(value).__name__}, not bytes")
    if len(value) > _MOST_BYTES:
        return _Outcome(reason=f"the function returned {len(value):,} bytes; at most {_MOST_BYTES:,} are shown")
    return _Outcome(bytes(value))


def _describe(error: BaseException, payload: bytes) -> str:
    """Return the type of an error, with its message if that has neither a part of the payload nor a secret."""
    name = one_line(type(error).__name__, _LONGEST)
    try:
        message = one_line(escape_invisible(str(error), lines=False), _LONGEST)
    except Exception:  # noqa: BLE001 - the user wrote the class of the error
        return name
    is_secret = has_secret_name(message) or has_secret_header(message)
    return name if not message or is_secret or _shares_text(message, payload) else f"{name}: {message}"


def _shares_text(message: str, payload: bytes) -> bool:
    """Return whether a message has a part of a payload: as text, as Python or hexadecimal writes it, or in base64."""
    if len(payload) > _COMPARED:
        return True
    forms = (payload, repr(payload)[2:-1].encode(), payload.hex().encode(), base64.b64encode(payload))
    parts = [message[at : at + _SHARED].encode() for at in range(max(1, len(message) - _SHARED + 1))]
    is_short = len(payload) < _SHARED
    return any(part in form for form in forms for part in parts if len(part) >= _SHARED) or (
        is_short and any(form in message.encode() for form in forms)
    )
