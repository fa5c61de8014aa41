"""Encode entries from ``entry_json`` as the server stores them, because frozen evidence has no ``raw``.

The result is the same as ``raw``, byte for byte; observed on 1.7.12 for every type of entry. Fields that are empty, 0
or null are omitted, except results: an empty success is a value of length 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from restate_lab.client.endpoint.messages import bytes_field, number_field
from restate_lab.payload_json import read
from restate_lab.server import is_older
from restate_lab.source import Source

_Body = Mapping[str, Any]
_VOID, _VALUE, _FAILURE = "Void", "Success", "Failure"
_WITH_RAW = "1.7.0"
# the fields for (void, value, failure) of a result, which differ between messages
_IN_COMMAND, _IN_NOTIFICATION = (13, 14, 15), (4, 5, 6)


def content_column(source: Source, has: Callable[[str], bool]) -> str | None:
    """Return the column of ``sys_journal`` with the entries' payloads; None if the source has no payloads.

    ``has`` returns whether the source has a column. Evidence does not have ``raw``, and on 1.6.1 it is null.
    """
    has_raw = source.live and not is_older(source.version, _WITH_RAW)
    column = "raw" if has_raw and has("sys_journal.raw") else "entry_json"
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


def encode_entry(entry: Any) -> bytes:
    """Return the message of an entry, from its parsed ``entry_json``.

    Raises:
        ValueError: the entry has an unknown type or form.
    """
    if not isinstance(entry, dict):
        raise ValueError("an entry of an unknown form")  # noqa: TRY004 - it comes from a file
    try:
        if "Command" in entry:
            ((kind, body),) = entry["Command"].items()
            return _COMMANDS[kind](body)
        notification = entry["Notification"]
        if "Signal" in notification:
            return _signal(notification["Signal"])
        ((_, body),) = notification["Completion"].items()
        return _completion(body)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError("an entry of an unknown form") from error


def _completion(body: _Body) -> bytes:
    return number_field(1, body["completion_id"]) + _notification_result(body)


def _signal(body: _Body) -> bytes:
    return _signal_id(body["id"]) + _result(body["result"], _IN_NOTIFICATION)


def _signal_id(id_: _Body) -> bytes:
    return number_field(2, id_["Index"]) if "Index" in id_ else bytes_field(3, id_["Name"])


def _notification_result(body: _Body) -> bytes:
    if "invocation_id" in body:
        return bytes_field(16, body["invocation_id"])
    if "state_keys" in body:
        return bytes_field(17, _state_keys(body["state_keys"]), keep_empty=True)
    return _result(body.get("result", _VOID), _IN_NOTIFICATION)


def _result(result: Any, numbers: tuple[int, int, int]) -> bytes:
    void, value, failure = numbers
    if result == _VOID:
        return bytes_field(void, b"", keep_empty=True)
    ((kind, content),) = result.items()
    if kind == _VALUE:
        return bytes_field(value, _value(content), keep_empty=True)
    if kind == _FAILURE:
        return bytes_field(failure, _failure(content), keep_empty=True)
    raise ValueError(f"a result of the unknown kind {kind!r}")


def _value(content: Sequence[int]) -> bytes:
    return bytes_field(1, bytes(content))


def _failure(failure: _Body) -> bytes:
    metadata = [(each["key"], each["value"]) for each in failure.get("metadata") or ()]
    pairs = [bytes_field(3, _pair(*each), keep_empty=True) for each in metadata]
    return number_field(1, failure["code"]) + bytes_field(2, failure["message"]) + b"".join(pairs)


def _state_keys(keys: Sequence[str]) -> bytes:
    return b"".join(bytes_field(1, key, keep_empty=True) for key in keys)


def _headers(number: int, headers: Sequence[_Body]) -> bytes:
    return b"".join(bytes_field(number, _pair(each["name"], each["value"]), keep_empty=True) for each in headers)


def _pair(name: str, value: str) -> bytes:
    return bytes_field(1, name) + bytes_field(2, value)


def _end(body: _Body, *, completion: str = "completion_id") -> bytes:
    """Return the last two fields of most commands: the id of the completion, and the name."""
    return number_field(11, body.get(completion, 0)) + bytes_field(12, body.get("name"))


def _input(body: _Body) -> bytes:
    # the name has a lower number than the value, and fields are in the order of their numbers
    value = bytes_field(14, _value(body["payload"]), keep_empty=True)
    return _headers(1, body["headers"]) + bytes_field(12, body.get("name")) + value


def _output(body: _Body) -> bytes:
    return bytes_field(12, body.get("name")) + _result(body["result"], _IN_COMMAND)


def _set_state(body: _Body) -> bytes:
    return bytes_field(1, body["key"]) + bytes_field(3, _value(body["value"]), keep_empty=True) + _end(body)


def _key(body: _Body) -> bytes:
    return bytes_field(1, body["key"]) + _end(body)


def _get_eager_state(body: _Body) -> bytes:
    return bytes_field(1, body["key"]) + bytes_field(12, body.get("name")) + _result(body["result"], _IN_COMMAND)


def _get_eager_state_keys(body: _Body) -> bytes:
    return bytes_field(12, body.get("name")) + bytes_field(14, _state_keys(body["state_keys"]), keep_empty=True)


def _complete_promise(body: _Body) -> bytes:
    return bytes_field(1, body["key"]) + _result(body["value"], (0, 2, 3)) + _end(body)


def _sleep(body: _Body) -> bytes:
    return number_field(1, body["wake_up_time"]) + _end(body)


def _target(request: _Body) -> _Body:
    ((_, target),) = request["invocation_target"].items()
    fields: _Body = target
    return fields


def _handler_fields(target: _Body, request: _Body) -> bytes:
    """Return the first fields of calls: the handler and its argument."""
    handler = bytes_field(1, target["name"]) + bytes_field(2, target["handler"])
    return handler + bytes_field(3, bytes(request["parameter"]))


def _scope_fields(target: _Body, request: _Body) -> bytes:
    """Return the last fields of calls."""
    limit_key = target.get("limit_key") or request.get("limit_key")
    return bytes_field(13, target.get("scope")) + bytes_field(14, limit_key)


def _call(body: _Body) -> bytes:
    request = body["request"]
    target = _target(request)
    return b"".join(
        (
            _handler_fields(target, request),
            _headers(4, request["headers"]),
            bytes_field(5, target.get("key")),
            bytes_field(6, request["idempotency_key"]),
            number_field(10, body["invocation_id_completion_id"]),
            _end(body, completion="result_completion_id"),
            _scope_fields(target, request),
        )
    )


def _one_way_call(body: _Body) -> bytes:
    request = body["request"]
    target = _target(request)
    return b"".join(
        (
            _handler_fields(target, request),
            number_field(4, body["invoke_time"]),
            _headers(5, request["headers"]),
            bytes_field(6, target.get("key")),
            bytes_field(7, request["idempotency_key"]),
            number_field(10, body["invocation_id_completion_id"]),
            bytes_field(12, body.get("name")),
            _scope_fields(target, request),
        )
    )


def _send_signal(body: _Body) -> bytes:
    result = _result(body["result"], _IN_NOTIFICATION)
    return bytes_field(1, body["target_invocation_id"]) + _signal_id(body["signal_id"]) + result + _end(body)


def _attach(body: _Body) -> bytes:
    ((kind, target),) = body["target"].items()
    return _ATTACH_TARGETS[kind](target) + _end(body)


def _idempotent_request(target: _Body) -> bytes:
    fields = zip((1, 2, 3, 4), ("service_name", "service_key", "handler_name", "idempotency_key"), strict=True)
    return bytes_field(3, b"".join(bytes_field(number, target.get(name)) for number, name in fields))


def _workflow(target: _Body) -> bytes:
    name = target.get("workflow_name", target.get("service_name"))
    return bytes_field(4, bytes_field(1, name) + bytes_field(2, target.get("key", target.get("workflow_key"))))


def _complete_awakeable(body: _Body) -> bytes:
    return bytes_field(1, body["id"]) + _result(body["result"], (0, 2, 3)) + _end(body)


_ATTACH_TARGETS: Mapping[str, Callable[[Any], bytes]] = MappingProxyType(
    {
        "InvocationId": lambda target: bytes_field(1, target),
        "IdempotentRequest": _idempotent_request,
        "Workflow": _workflow,
    }
)
_COMMANDS: Mapping[str, Callable[[_Body], bytes]] = MappingProxyType(
    {
        "Input": _input,
        "Output": _output,
        "GetLazyState": _key,
        "SetState": _set_state,
        "ClearState": _key,
        "ClearAllState": _end,
        "GetLazyStateKeys": _end,
        "GetEagerState": _get_eager_state,
        "GetEagerStateKeys": _get_eager_state_keys,
        "GetPromise": _key,
        "PeekPromise": _key,
        "CompletePromise": _complete_promise,
        "Sleep": _sleep,
        "Call": _call,
        "OneWayCall": _one_way_call,
        "SendSignal": _send_signal,
        "Run": _end,
        "AttachInvocation": _attach,
        "GetInvocationOutput": _attach,
        "CompleteAwakeable": _complete_awakeable,
    }
)
