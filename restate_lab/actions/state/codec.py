"""Values of keys: detect their encoding, format them for display, and write a new value in the encoding of the old."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from restate_lab._text import one_line, truncate
from restate_lab.analysis.journal.payloads import decode, is_json
from restate_lab.errors import ArgumentError
from restate_lab.payload_json import EncryptedPayload, begins_like_json, mask_secrets, write_for_display
from restate_lab.redaction import MASK, is_secret_name

Encoding = Literal["json", "text", "bytes", "empty"]
_LONGEST_PREVIEW, _LONGEST_NAME, _LONGEST_VALUE = 200, 40, 80  # characters
_BYTES_TYPES = (bytes, bytearray, memoryview)
_DESCRIPTIONS = {"json": "JSON", "text": "text that is not JSON", "bytes": "binary data", "empty": "empty"}


def encode(key: str, value: Any, *, before: bytes | None, recode: bool) -> bytes:
    """Return the bytes of a new value: bytes unchanged, text that replaces text as text, and other values as JSON.

    ``before`` is the value to replace, or None. A different encoding is refused unless ``recode`` is set, because the
    handlers that read the key could not decode it.

    Raises:
        ArgumentError: it is not a JSON value, or its encoding differs. The message never has the value itself.
    """
    old = encoding_of(before or b"")
    if isinstance(value, _BYTES_TYPES):
        new = bytes(value)
    elif isinstance(value, str) and old == "text" and not recode:
        return _to_utf8(key, value)
    else:
        new = _to_json(key, value)
    if not recode and not _is_compatible(old, new, given_as_bytes=isinstance(value, _BYTES_TYPES)):
        raise ArgumentError(
            f"the value of {key!r} is {_DESCRIPTIONS[old]}, but with a {type(value).__name__} it would be "
            f"{_DESCRIPTIONS[encoding_of(new)]}, which its handlers could not read. Pass bytes in the format of the "
            f"handlers, or recode=True to change the encoding."
        )
    return new


def encoding_of(value: bytes) -> Encoding:
    """Return the encoding of a value; SDKs write None as zero bytes ("empty")."""
    if not value:
        return "empty"
    if is_json(value):
        return "json"
    return "bytes" if isinstance(decode(value), bytes) else "text"


def mask_value(key: str, value: bytes) -> Any:
    """Return a decoded value, with ••• for each field with a secret name at any depth.

    If ``key`` is a secret name, the whole value is •••. JSON in strings is also masked. A text that begins like JSON,
    cannot be parsed and has a secret name is completely •••.
    """
    return MASK if is_secret_name(key) else decode(mask_secrets(value))


def format_value(key: str, value: bytes | None, longest: int) -> str:
    """Return a value as one line, truncated and masked; None means that the key does not exist."""
    if value is None:
        return "absent"
    if is_secret_name(key):
        return MASK
    if not value:
        return "empty"
    shown = mask_value(key, value)
    if isinstance(shown, bytes):
        text = str(shown) if isinstance(shown, EncryptedPayload) else f"0x{shown[: longest // 2].hex()}"
    elif encoding_of(value) == "text":
        text = repr(shown[: longest * 4])
    else:
        text = write_for_display(shown)
    return truncate(text, longest)


def format_preview(starts: Mapping[str, str | None], *, is_partial: bool = False) -> str:
    """Return the start of a state as one line, truncated and masked: ``{balance: 9900, owner: "Ada"}``.

    ``starts`` has the first characters of the value of each key, None for binary data. With ``is_partial`` the state
    can have more keys.
    """
    parts, length = [], 0
    for name, start in sorted(starts.items()):
        parts.append(f"{truncate(name, _LONGEST_NAME) or '(empty)'}: {_format_start(name, start)}")
        length += len(parts[-1])
        if length > _LONGEST_PREVIEW:
            break
    is_cut = is_partial or len(parts) < len(starts)
    return truncate(f"{{{', '.join([*parts, *(['…'] if is_cut else [])])}}}", _LONGEST_PREVIEW)


def _format_start(key: str, start: str | None) -> str:
    if start is None:
        return "bytes"
    value = start.encode()
    if is_secret_name(key) or is_json(value) or not begins_like_json(start):
        return format_value(key, value, _LONGEST_VALUE)
    return one_line(mask_secrets(value).decode(), _LONGEST_VALUE)  # truncated JSON


def _is_compatible(old: Encoding, new: bytes, *, given_as_bytes: bool) -> bool:
    if old == "empty":
        return True
    if old == "json":
        return encoding_of(new) in {"json", "empty"}
    return given_as_bytes and (old == "bytes" or encoding_of(new) != "bytes")


def _to_json(key: str, value: Any) -> bytes:
    """Return a value in the SDKs' default format; a value that JSON would silently change is refused."""
    try:
        text = json.dumps(value, allow_nan=False)
        odd = [name for name in _names_in(value) if not isinstance(name, str)]
    except (TypeError, ValueError, RecursionError) as error:
        raise ArgumentError(f"the value of {key!r} cannot be written as JSON: {error}.") from error
    if odd:
        raise ArgumentError(f"the value of {key!r} has {odd[0]!r} as a name, but in JSON a name must be text.")
    _to_utf8(key, json.dumps(value, ensure_ascii=False))
    return text.encode()


def _names_in(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        yield from value
        value = value.values()
    elif not isinstance(value, list | tuple):
        return
    for each in value:
        yield from _names_in(each)


def _to_utf8(key: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ArgumentError(
            f"the value of {key!r} has a lone surrogate (half a character), which is not valid text: {error.reason}."
        ) from None
