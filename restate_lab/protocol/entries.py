"""The entries of a journal with their fields by name, as a record file has them, and as messages.

``FIELDS`` is the table of both directions. A field that is in a message is in the entry, also if it is 0 or empty, so
that the entry gives the same bytes again. An entry that would not has its whole message as ``body`` in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

from restate_lab.protocol.messages import MESSAGE_TYPES, Message
from restate_lab.protocol.wire import bytes_field, fields_of, number_field

Entry: TypeAlias = Mapping[str, Any]
"""``type`` is an ``entry_type`` of ``sys_journal``; the other members are fields, JSON values."""
Field: TypeAlias = tuple[int, str, str]
"""The number of a field, its name, and its form, one of ``_FORMS``."""

ENCRYPTED_PREFIX = b"RTv1\0"
"""The first bytes of a value of restatedev/journal-encryption, before the length of its key, the key and the rest."""
_REST = 35  # bytes of a value without its key: this prefix, the length, a nonce and a tag
_NAME: Field = (12, "name", "text")
_KEY: Field = (1, "key", "text")
_RESULT: Field = (11, "result_completion_id", "number")
_INVOCATION: Field = (10, "invocation_id_completion_id", "number")
_SCOPE: tuple[Field, ...] = ((13, "scope", "text"), (14, "limit_key", "text"))
_TARGET: tuple[Field, ...] = ((1, "service", "text"), (2, "handler", "text"), (3, "parameter", "payload"))
_OUTCOME: tuple[Field, ...] = ((4, "void", "void"), (5, "value", "value"), (6, "failure", "failure"))
_RETURNED: tuple[Field, ...] = ((13, "void", "void"), (14, "value", "value"), (15, "failure", "failure"))
_COMPLETED: tuple[Field, ...] = ((2, "value", "value"), (3, "failure", "failure"))
_SIGNAL: tuple[Field, ...] = ((2, "signal_id", "number"), (3, "signal_name", "text"))
_ATTACH: tuple[Field, ...] = (
    (1, "invocation_id", "text"),
    (3, "idempotent_request", "idempotent"),
    (4, "workflow", "workflow"),
    _RESULT,
    _NAME,
)
_COMMANDS: Mapping[str, tuple[Field, ...]] = {
    "Input": ((1, "headers", "headers"), _NAME, (14, "value", "value")),
    "Output": (_NAME, *_RETURNED),
    "GetLazyState": (_KEY, _RESULT, _NAME),
    "SetState": (_KEY, (3, "value", "value"), _NAME),
    "ClearState": (_KEY, _NAME),
    "ClearAllState": (_NAME,),
    "GetLazyStateKeys": (_RESULT, _NAME),
    "GetEagerState": (_KEY, _NAME, *_RETURNED),
    "GetEagerStateKeys": (_NAME, (14, "state_keys", "keys")),
    "GetPromise": (_KEY, _RESULT, _NAME),
    "PeekPromise": (_KEY, _RESULT, _NAME),
    "CompletePromise": (_KEY, *_COMPLETED, _RESULT, _NAME),
    "Sleep": ((1, "wake_up_time", "number"), _RESULT, _NAME),
    "Call": (
        *_TARGET,
        (4, "headers", "headers"),
        (5, "key", "text"),
        (6, "idempotency_key", "text"),
        _INVOCATION,
        _RESULT,
        _NAME,
        *_SCOPE,
    ),
    "OneWayCall": (
        *_TARGET,
        (4, "invoke_time", "number"),
        (5, "headers", "headers"),
        (6, "key", "text"),
        (7, "idempotency_key", "text"),
        _INVOCATION,
        _NAME,
        *_SCOPE,
    ),
    "SendSignal": ((1, "invocation_id", "text"), *_SIGNAL, *_OUTCOME, _NAME),
    "Run": (_RESULT, _NAME),
    "AttachInvocation": _ATTACH,
    "GetInvocationOutput": _ATTACH,
    "CompleteAwakeable": ((1, "awakeable_id", "text"), *_COMPLETED, _NAME),
}
_COMPLETION: tuple[Field, ...] = (
    (1, "completion_id", "number"),
    *_OUTCOME,
    (16, "invocation_id", "text"),
    (17, "state_keys", "keys"),
)
FIELDS: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {f"Command: {name}": fields for name, fields in _COMMANDS.items()}
    | {f"Notification: {name}": _COMPLETION for name, fields in _COMMANDS.items() if _RESULT in fields}
    | {"Notification: CallInvocationId": _COMPLETION, "Notification: Signal": (*_SIGNAL, *_OUTCOME)}
)
"""The fields of each type of entry, in the order of their numbers."""
_NESTED: Mapping[str, tuple[Field, ...]] = MappingProxyType(
    {
        "failure": ((1, "code", "number"), (2, "message", "text"), (3, "metadata", "headers")),
        "idempotent": (
            (1, "service", "text"),
            (2, "key", "text"),
            (3, "handler", "text"),
            (4, "idempotency_key", "text"),
        ),
        "workflow": ((1, "workflow", "text"), (2, "key", "text")),
    }
)
_TYPES = MappingProxyType({MESSAGE_TYPES[kind]: kind for kind in FIELDS})


def entry_of(message: Message) -> dict[str, Any]:
    """Return a message as an entry; ``message_of`` gives the same bytes again.

    Raises:
        ValueError: the type of the message is not that of an entry.
    """
    number, body = message
    if number not in _TYPES:
        raise ValueError(f"{number:#06x} is not the type of an entry")
    kind = _TYPES[number]
    try:
        entry = {"type": kind, **_decode(FIELDS[kind], body)}
        is_exact = message_of(entry) == message
    except (ValueError, KeyError):
        is_exact = False
    return entry if is_exact else {"type": kind, "body": base64.b64encode(body).decode()}


def message_of(entry: Entry) -> Message:
    """Return an entry as a message.

    Raises:
        ValueError: its type or a field is unknown, or the value of a field has another form.
    """
    kind = str(entry.get("type"))
    if kind not in FIELDS:
        raise ValueError(f"the type {kind!r} is not that of an entry")
    members = {name: value for name, value in entry.items() if name != "type"}
    if "body" in members:
        return MESSAGE_TYPES[kind], payload_bytes({"base64": members["body"]})
    return MESSAGE_TYPES[kind], _encode(FIELDS[kind], members)


def type_of(message: Message) -> str | None:
    """Return the ``entry_type`` of a message; None if it is not an entry."""
    return _TYPES.get(message[0])


def payload_of(content: bytes) -> Any:
    """Return bytes as a payload of a record: a text, or ``{"base64": …}`` if they are not UTF-8."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(content).decode()}


def is_encrypted(value: bytes) -> bool:
    """Return whether an SDK encrypted a payload (with the library journal-encryption of Restate)."""
    if not value.startswith(ENCRYPTED_PREFIX):
        return False
    length = int.from_bytes(value[len(ENCRYPTED_PREFIX) : len(ENCRYPTED_PREFIX) + 2], "big")
    return len(value) >= length + _REST


def payload_bytes(payload: Any) -> bytes:
    """Return the bytes of a payload.

    Raises:
        ValueError: it is neither a text nor ``{"base64": …}``.
    """
    if isinstance(payload, str):
        return payload.encode()
    if isinstance(payload, Mapping) and set(payload) == {"base64"} and isinstance(payload["base64"], str):
        return base64.b64decode(payload["base64"], validate=True)
    raise ValueError(f"a payload is a text or {{'base64': …}}, not {payload!r:.60}")


def _decode(fields: tuple[Field, ...], body: bytes) -> dict[str, Any]:
    """Return the members of a message; KeyError for a field that the table does not have."""
    table = {number: (name, form) for number, name, form in fields}
    members: dict[str, Any] = {}
    for number, value in fields_of(body):
        name, form = table[number]
        if form == "headers":
            members.setdefault(name, []).append(_decode_pair(value))
        else:
            members[name] = value if form == "number" else _decode_form(form, value)
    return members


def _decode_form(form: str, value: int | bytes) -> Any:
    if isinstance(value, int):
        raise ValueError("a number in the place of bytes")  # noqa: TRY004 - the message is malformed
    if form in _NESTED:
        return _decode(_NESTED[form], value)
    return _FORMS[form][0](value)


def _decode_pair(value: int | bytes) -> list[str]:
    pair = _decode(((1, "name", "text"), (2, "value", "text")), bytes(value) if isinstance(value, bytes) else b"\0")
    return [pair.get("name", ""), pair.get("value", "")]


def _decode_value(body: bytes) -> Any:
    return _decode(((1, "content", "payload"),), body).get("content", "")


def _decode_keys(body: bytes) -> list[str]:
    return [_decode_form("text", key) for _, key in fields_of(body)]


def _encode(fields: tuple[Field, ...], members: Mapping[str, Any]) -> bytes:
    if not isinstance(members, Mapping):
        raise TypeError(f"not an object, but a {type(members).__name__}")
    unknown = set(members) - {name for _, name, _ in fields}
    if unknown:
        raise ValueError(f"unknown field {min(unknown)!r}")
    return b"".join(
        _encode_field(number, name, form, members[name]) for number, name, form in fields if name in members
    )


def _encode_field(number: int, name: str, form: str, value: Any) -> bytes:
    try:
        if form == "number":
            if not isinstance(value, int) or not 0 <= value < 1 << 64:
                raise ValueError(f"{value!r} is not a whole number of 64 bits")  # noqa: TRY301 - one text for all forms
            return number_field(number, value, keep_zero=True)
        if form == "headers":
            return b"".join(bytes_field(number, encode_pair(*pair), keep_empty=True) for pair in value)
        content = _encode(_NESTED[form], value) if form in _NESTED else _FORMS[form][1](value)
        return bytes_field(number, content, keep_empty=True)
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"the field {name!r} has another form: {error}") from error


def encode_pair(name: str | None, value: str | None) -> bytes:
    """Return the message of a name and a value."""
    return bytes_field(1, name) + bytes_field(2, value)


_FORMS: Mapping[str, tuple[Callable[[bytes], Any], Callable[[Any], bytes]]] = MappingProxyType(
    {
        "text": (bytes.decode, str.encode),
        "payload": (payload_of, payload_bytes),
        "value": (_decode_value, lambda payload: bytes_field(1, payload_bytes(payload))),
        "void": (lambda _: True, lambda _: b""),
        "keys": (_decode_keys, lambda keys: b"".join(bytes_field(1, key, keep_empty=True) for key in keys)),
    }
)
