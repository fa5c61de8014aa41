"""Encode entries from ``entry_json`` as the server stores them, because frozen evidence has no ``raw``.

The result is the same as ``raw``, byte for byte; observed on 1.7.12 for every type of entry. Fields that are empty, 0
or null are omitted, except results: an empty success is a value of length 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from restate_lab.payload_json import Decoding, read
from restate_lab.protocol.entries import encode_pair
from restate_lab.protocol.wire import bytes_field, bytes_of, messages_of, number_field, text_of
from restate_lab.source import Source

_Body = Mapping[str, Any]
_VOID, _VALUE, _FAILURE = "Void", "Success", "Failure"
_HEADERS, _PAYLOAD, _HEADER_NAME, _HEADER_VALUE, _CONTENT = 1, 14, 1, 2, 1  # the fields of the message of an Input
NO_INPUTS = "the source has no inputs; evidence and an archive have them if they were written with payloads=True"
"""Why no input can be read from a source without a ``content_column``."""
OF_EVERY_CALL = frozenset({"content-length", "x-restate-ingress-path"})
"""Headers that describe the call itself."""
# the fields for (void, value, failure) of a result, which differ between messages
_IN_COMMAND, _IN_NOTIFICATION, _COMPLETED = (13, 14, 15), (4, 5, 6), (0, 2, 3)


def content_column(source: Source, has: Callable[[str], bool]) -> str | None:
    """Return the column of ``sys_journal`` with the entries' payloads; None if the source has no payloads.

    ``has`` returns whether the source has a column. Evidence and archives do not have ``raw``.
    """
    has_raw = source.live and not has("origins.origin") and has("sys_journal.raw")
    column = "raw" if has_raw else "entry_json"
    return column if has(f"sys_journal.{column}") else None


def body_of(entry: Mapping[str, Any]) -> bytes:
    """Return the message of a row with ``raw`` or ``entry_json``.

    Raises:
        ValueError: the entry has an unknown type or form.
    """
    raw = entry.get("raw")
    if raw is not None:
        return bytes(raw)
    try:
        content = read(entry["entry_json"] or "")
    except (ValueError, RecursionError) as error:
        raise ValueError("an entry is not JSON") from error
    return encode_entry(content)


@dataclass(frozen=True, slots=True)
class InputEntry:
    """The first entry of a journal: its headers by name in lower case, and its payload; b"" if it has none."""

    headers: Mapping[str, str]
    payload: bytes


def input_entry_of(entry: Mapping[str, Any], decoding: Decoding | None) -> InputEntry:
    """Return the input in a row of ``sys_journal`` with ``raw`` or ``entry_json``; ``decoding`` decodes the payload.

    Raises:
        ValueError: the entry has an unknown form.
    """
    body = body_of(entry)
    headers = {
        text_of(each, _HEADER_NAME).lower(): text_of(each, _HEADER_VALUE) for each in messages_of(body, _HEADERS)
    }
    payload = bytes_of(bytes_of(body, _PAYLOAD) or b"", _CONTENT) or b""
    return InputEntry(headers, decoding(payload) if decoding else payload)


def encode_entry(entry: Any) -> bytes:
    """Return the message of an entry, from its parsed ``entry_json``.

    Raises:
        ValueError: the entry has an unknown type or form.
    """
    try:
        if "Command" in entry:
            ((kind, body),) = entry["Command"].items()
            return _COMMANDS[kind](body)
        notification = entry["Notification"]
        if "Signal" in notification:
            body = notification["Signal"]
            return _signal_id(body["id"]) + _result(body["result"], _IN_NOTIFICATION)
        ((_, body),) = notification["Completion"].items()
        return number_field(1, body["completion_id"]) + _notification_result(body)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("an entry of an unknown form") from error


def _signal_id(id_: _Body) -> bytes:
    return number_field(2, id_["Index"]) if "Index" in id_ else bytes_field(3, id_["Name"])


def _notification_result(body: _Body) -> bytes:
    if "invocation_id" in body:
        return bytes_field(16, body["invocation_id"])
    if "state_keys" in body:
        return bytes_field(17, _state_keys(body["state_keys"]), keep_empty=True)
    return _result(body.get("result", _VOID), _IN_NOTIFICATION)


def _value(number: int, content: Sequence[int]) -> bytes:
    return bytes_field(number, bytes_field(1, bytes(content)), keep_empty=True)


def _result(result: Any, numbers: tuple[int, int, int]) -> bytes:
    void, value, failure = numbers
    if result == _VOID:
        return bytes_field(void, b"", keep_empty=True)
    ((kind, content),) = result.items()
    if kind == _VALUE:
        return _value(value, content)
    if kind == _FAILURE:
        return bytes_field(failure, _failure(content), keep_empty=True)
    raise ValueError(f"a result of the unknown kind {kind!r}")


def _failure(failure: _Body) -> bytes:
    metadata = [(each["key"], each["value"]) for each in failure.get("metadata") or ()]
    pairs = [bytes_field(3, encode_pair(*each), keep_empty=True) for each in metadata]
    return number_field(1, failure["code"]) + bytes_field(2, failure["message"]) + b"".join(pairs)


def _state_keys(keys: Sequence[str]) -> bytes:
    return b"".join(bytes_field(1, key, keep_empty=True) for key in keys)


def _headers(number: int, headers: Sequence[_Body]) -> bytes:
    return b"".join(bytes_field(number, encode_pair(each["name"], each["value"]), keep_empty=True) for each in headers)


def _name(body: _Body) -> bytes:
    return bytes_field(12, body.get("name"))


def _end(body: _Body, *, completion: str = "completion_id") -> bytes:
    """Return the last two fields of most commands: the id of the completion, and the name."""
    return number_field(11, body.get(completion, 0)) + _name(body)


def _key(body: _Body) -> bytes:
    return bytes_field(1, body["key"]) + _end(body)


def _call(body: _Body, *, is_one_way: bool) -> bytes:
    """Return a call; a one-way call has its time in field 4, which moves the next three fields."""
    request, more = body["request"], int(is_one_way)
    (target,) = request["invocation_target"].values()
    fields = (
        encode_pair(target["name"], target["handler"]),
        bytes_field(3, bytes(request["parameter"])),
        number_field(4, body["invoke_time"]) if is_one_way else b"",
        _headers(4 + more, request["headers"]),
        bytes_field(5 + more, target.get("key")),
        bytes_field(6 + more, request["idempotency_key"]),
        number_field(10, body["invocation_id_completion_id"]),
        _name(body) if is_one_way else _end(body, completion="result_completion_id"),
    )
    limit = target.get("limit_key") or request.get("limit_key")
    return b"".join((*fields, bytes_field(13, target.get("scope")), bytes_field(14, limit)))


def _attach(body: _Body) -> bytes:
    ((kind, target),) = body["target"].items()
    return _ATTACH_TARGETS[kind](target) + _end(body)


_REQUEST = ("service_name", "service_key", "handler_name", "idempotency_key")
_ATTACH_TARGETS: Mapping[str, Callable[[Any], bytes]] = MappingProxyType(
    {
        "InvocationId": lambda target: bytes_field(1, target),
        "IdempotentRequest": lambda target: bytes_field(
            3, b"".join(bytes_field(number, target.get(name)) for number, name in enumerate(_REQUEST, start=1))
        ),
        "Workflow": lambda target: bytes_field(
            4,
            encode_pair(
                target.get("workflow_name", target.get("service_name")), target.get("key", target.get("workflow_key"))
            ),
        ),
    }
)
# Fields are in the order of their numbers.
_COMMANDS: Mapping[str, Callable[[_Body], bytes]] = MappingProxyType(
    {
        "Input": lambda body: _headers(1, body["headers"]) + _name(body) + _value(14, body["payload"]),
        "Output": lambda body: _name(body) + _result(body["result"], _IN_COMMAND),
        "GetLazyState": _key,
        "SetState": lambda body: bytes_field(1, body["key"]) + _value(3, body["value"]) + _end(body),
        "ClearState": _key,
        "ClearAllState": _end,
        "GetLazyStateKeys": _end,
        "GetEagerState": lambda body: bytes_field(1, body["key"]) + _name(body) + _result(body["result"], _IN_COMMAND),
        "GetEagerStateKeys": lambda body: (
            _name(body) + bytes_field(14, _state_keys(body["state_keys"]), keep_empty=True)
        ),
        "GetPromise": _key,
        "PeekPromise": _key,
        "CompletePromise": lambda body: bytes_field(1, body["key"]) + _result(body["value"], _COMPLETED) + _end(body),
        "Sleep": lambda body: number_field(1, body["wake_up_time"]) + _end(body),
        "Call": partial(_call, is_one_way=False),
        "OneWayCall": partial(_call, is_one_way=True),
        "SendSignal": lambda body: (
            bytes_field(1, body["target_invocation_id"])
            + _signal_id(body["signal_id"])
            + _result(body["result"], _IN_NOTIFICATION)
            + _end(body)
        ),
        "Run": _end,
        "AttachInvocation": _attach,
        "GetInvocationOutput": _attach,
        "CompleteAwakeable": lambda body: bytes_field(1, body["id"]) + _result(body["result"], _COMPLETED) + _end(body),
    }
)
