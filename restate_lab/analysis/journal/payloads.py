"""The payloads of an entry: values as Python objects, headers with their secrets masked, and the text of a failure.

The server renders payloads in ``entry_json`` as arrays of byte values. Python SDKs and most others write JSON. Other
payloads are read as text, or else stay bytes. Headers within a payload, such as those of a provider's response, are
masked like the entry's own headers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab._text import one_line
from restate_lab.analysis.journal.entries import parse_object
from restate_lab.payload_json import (
    HEADERS,
    SECRETS,
    Decoding,
    EncryptedPayload,
    describe_bytes,
    mask,
    mask_headers,
    read,
    write_for_display,
)
from restate_lab.protocol.entries import is_encrypted
from restate_lab.redaction import MASK, is_secret_name, mask_header_values

_PARTS = ("argument", "payload", "headers")
_LONGEST = 20_000  # characters of one value
_LINE = 200  # characters of a value on one line


@dataclass(frozen=True, slots=True)
class Payloads:
    """The payloads of one entry; a missing one has the value None."""

    payload: Any = None
    argument: Any = None
    headers: dict[str, str] | None = None
    failure: str | None = None
    failure_code: int | None = None


def decode(value: bytes) -> Any:
    """Return a payload as a Python value: parsed as JSON, else as text, else the bytes; None if it is empty.

    A payload that an SDK encrypted is bytes that are shown as "encrypted by the SDK".

    JSON is anything that Python's ``json.loads`` accepts, including NaN and a byte order mark. A text that is also
    JSON, such as ``12``, is parsed. An integer with more digits than Python converts becomes a ``Decimal``.
    """
    if not value:
        return None
    if is_encrypted(value):
        return EncryptedPayload(value)
    try:
        return read(value)
    except (ValueError, RecursionError):
        pass
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def is_json(value: bytes) -> bool:
    """Return whether ``decode`` reads a payload as JSON."""
    try:
        read(value)
    except (ValueError, RecursionError):
        return False
    return True


def payload_texts(entry: Mapping[Any, Any]) -> list[tuple[str, str]]:
    """Return the existing payloads of one journal row as (name, text), with secret fields masked."""
    return [(name, _payload_text(value)) for name in _PARTS if not _is_empty(value := _payload_of(entry, name))]


def payload_line(entry: Mapping[Any, Any]) -> str:
    """Return the result of a row, or else its argument, on one line with secret fields masked; "" without payloads."""
    values = (_payload_of(entry, name) for name in ("payload", "argument"))
    return next((one_line(_payload_text(value, None), _LINE) for value in values if not _is_empty(value)), "")


def mask_payloads(journal: pd.DataFrame) -> pd.DataFrame:
    """Return a journal with its payloads masked as in ``payload_texts``, for programs that show them."""
    names = [name for name in _PARTS if name in journal]
    rows = journal[[*names, "state_key"]].to_dict("records") if names else []
    columns = {
        name: pd.Series([_mask_fields(_payload_of(row, name)) for row in rows], index=journal.index, dtype="object")
        for name in names
    }
    return journal.assign(**columns)


def _payload_of(entry: Mapping[Any, Any], name: str) -> Any:
    """Return a payload of a row; the value of a state's key with a secret name is masked, like that of a field."""
    value, key = entry.get(name), entry.get("state_key")
    is_secret = name == "payload" and isinstance(key, str) and is_secret_name(key)
    return MASK if is_secret and not _is_empty(value) else value


def _mask_fields(value: Any) -> Any:
    if isinstance(value, bytes) or _is_empty(value):
        return value
    if isinstance(value, str):
        return mask(value, [HEADERS, SECRETS]).value
    text = mask(write_for_display(value), [HEADERS, SECRETS]).value
    try:
        return read(text.encode())
    except (ValueError, RecursionError):  # it is nested too deeply
        return text


def _payload_text(value: Any, indent: int | None = 2) -> str:
    if isinstance(value, bytes):
        text = describe_bytes(value)
    else:
        whole = value if isinstance(value, str) else write_for_display(value, indent=indent)
        text = mask(whole, [HEADERS, SECRETS]).value
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…\n({len(text):,} characters in all)"


def _is_empty(value: Any) -> bool:
    return value is None or value is pd.NA or (isinstance(value, dict | list) and not value)


def payloads_of(entry_json: object, decoding: Decoding | None = None) -> Payloads:
    """Return the payloads of an entry from its ``entry_json``; parts in an unknown form are omitted.

    ``decoding`` decodes those that the SDK encoded.
    """
    body = _body(parse_object(entry_json))
    outcomes = [each for each in (body.get("result"), body.get("value")) if isinstance(each, dict)]
    failure: Mapping[str, Any] = next(
        (each["Failure"] for each in outcomes if isinstance(each.get("Failure"), dict)), {}
    )
    request = body.get("request")
    request = request if isinstance(request, dict) else {}
    headers = body.get("headers", request.get("headers"))
    message, code = failure.get("message"), failure.get("code")
    return Payloads(
        payload=_payload(body, decoding),
        argument=_decode_array(request.get("parameter"), decoding),
        headers=mask_header_values(dict(_headers(headers))) if isinstance(headers, list) else None,
        failure=message if isinstance(message, str) else None,
        failure_code=code if isinstance(code, int) and not isinstance(code, bool) else None,
    )


def _body(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return the object below ``Command: <type>``, ``Notification: Completion: <type>`` or ``Notification: Signal``."""
    inner: Any = entry
    for level in ("Command", "Notification", "Completion"):
        if isinstance(inner, dict) and isinstance(inner.get(level), dict):
            inner = inner[level]
    body = next(iter(inner.values()), None) if isinstance(inner, dict) else None
    return body if isinstance(body, dict) else {}


def _payload(body: Mapping[str, Any], decoding: Decoding | None) -> Any:
    if isinstance(body.get("state_keys"), list):
        return body["state_keys"]
    outcome = body.get("result")
    value = outcome.get("Success") if isinstance(outcome, dict) else body.get("value", body.get("payload"))
    return _decode_array(value.get("Success") if isinstance(value, dict) else value, decoding)


def _decode_array(array: object, decoding: Decoding | None) -> Any:
    if not isinstance(array, list):
        return None
    try:
        value = bytes(array)
    except (TypeError, ValueError):
        return None
    return decode(mask_headers(decoding(value) if decoding else value))


def _headers(headers: Iterable[Any]) -> Iterator[tuple[str, str]]:
    for header in headers:
        if isinstance(header, dict):
            name, value = header.get("name"), header.get("value")
            if isinstance(name, str) and isinstance(value, str):
                yield name, value
