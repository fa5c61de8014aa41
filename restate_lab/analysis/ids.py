"""Ids that hang together: an awakeable's id is made of its invocation's id and the index of a signal.

``inv_1`` is followed by the partition key and the invocation's own number in base62, ``sign_1`` by the bytes of both
and the index in base64. Compared with what ``ctx.awakeable()`` gives on 1.6.1 and 1.7.12.
"""

from __future__ import annotations

import base64
import binascii
import re
import string

from restate_lab.errors import ArgumentError

__all__ = ["FIRST_AWAKEABLE", "awakeable_id", "check_invocation_id", "invocation_of_awakeable"]

FIRST_AWAKEABLE = 17
"""The smallest signal index of an awakeable; those below are Restate's own, 1 is cancel."""

_DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase
_VALUES = {character: value for value, character in enumerate(_DIGITS)}
_INVOCATION = re.compile(r"inv_1([0-9A-Za-z]{11})([0-9A-Za-z]{22})")
_PREFIX = "sign_1"
_KEY_BYTES, _ID_BYTES, _INDEX_BYTES = 8, 16, 4
_KEY_CHARACTERS, _ID_CHARACTERS = 11, 22


def check_invocation_id(value: object, *, name: str = "id") -> str:
    """Return the id of an invocation, or raise ArgumentError, which says what is wrong with it; sends nothing."""
    if not isinstance(value, str):
        raise ArgumentError(
            f"{name} is a {type(value).__name__}: give the id of one invocation as text (inv_1…), such as frame.id[0]."
        )
    if _bytes_of(value) is None:
        raise ArgumentError(
            f"{name} is {value!r}, which is no invocation id: inv_1 and 33 letters and digits, case-sensitive."
        )
    return value


def awakeable_id(invocation_id: str, signal_index: int) -> str | None:
    """Return the id under which an invocation's awakeable is resolved; None where the parts do not make one."""
    body = _bytes_of(invocation_id)
    if body is None or not FIRST_AWAKEABLE <= signal_index < 1 << 8 * _INDEX_BYTES:
        return None
    whole = body + signal_index.to_bytes(_INDEX_BYTES, "big")
    return _PREFIX + base64.urlsafe_b64encode(whole).decode().rstrip("=")


def invocation_of_awakeable(awakeable: str) -> str | None:
    """Return the invocation that an awakeable belongs to; None for what is no awakeable's id (or an old ``prom_1``)."""
    if not awakeable.startswith(_PREFIX):
        return None
    text = awakeable.removeprefix(_PREFIX)
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(whole) != _KEY_BYTES + _ID_BYTES + _INDEX_BYTES:
        return None
    key = _base62(whole[:_KEY_BYTES], _KEY_CHARACTERS)
    return f"inv_1{key}{_base62(whole[_KEY_BYTES:-_INDEX_BYTES], _ID_CHARACTERS)}"


def _bytes_of(invocation_id: str) -> bytes | None:
    parts = _INVOCATION.fullmatch(invocation_id)
    if parts is None:
        return None
    try:
        return _number(parts[1]).to_bytes(_KEY_BYTES, "little") + _number(parts[2]).to_bytes(_ID_BYTES, "little")
    except OverflowError:
        return None


def _number(text: str) -> int:
    number = 0
    for character in text:
        number = number * len(_DIGITS) + _VALUES[character]
    return number


def _base62(value: bytes, width: int) -> str:
    number, text = int.from_bytes(value, "little"), ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text.rjust(width, _DIGITS[0])
