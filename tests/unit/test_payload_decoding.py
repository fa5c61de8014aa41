"""The functions of connect(decode=…, encode=…): the text if they fail, and that nothing hangs or leaks."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from restate_lab.client.lab import connect
from restate_lab.errors import ArgumentError
from restate_lab.payload_json import (
    Decoding,
    EncryptedPayload,
    PayloadFunction,
    decoding as decoding_module,
)
from restate_lab.protocol.entries import is_encrypted

URL = "http://127.0.0.1:1"
PAYLOAD = b"card 4000 1234 5678 9010 of Ada"
SEALED = b"RTv1\0" + (4).to_bytes(2, "big") + b"key!" + b"n" * 12 + b"c" * 16


class Odd(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


def fail(error: BaseException) -> Callable[[bytes], Any]:
    def function(_: bytes) -> Any:
        raise error

    return function


FAILURES: dict[str, tuple[Callable[[bytes], Any], str]] = {
    "an error": (fail(ValueError("wrong key id 7")), "ValueError: wrong key id 7"),
    "the payload in the message": (lambda value: fail(ValueError(f"bad: {value!r}"))(value), "ValueError"),
    "its hexadecimal form": (lambda value: fail(KeyError(value.hex()))(value), "KeyError"),
    "a secret in the message": (fail(OSError("401, Authorization: Bearer abc")), "OSError"),
    "several lines": (fail(ValueError("a\nb\x1b[31m")), "ValueError: a↵b‹U+001B›[31m"),
    "a long message": (fail(ValueError("x" * 900)), f"ValueError: {'x' * 199}…"),
    "no message": (fail(Odd()), "Odd"),
    "the end of the process": (fail(SystemExit(3)), "SystemExit: 3"),
    "text": (lambda value: value.decode(), "the function returned a str, not bytes"),
    "nothing": (lambda _: None, "the function returned a NoneType, not bytes"),
    "too much": (lambda _: bytes(100 << 20), "the function returned 104,857,600 bytes; at most 33,554,432 are shown"),
}


def start(function: Callable[[bytes], Any]) -> Decoding:
    return Decoding(PayloadFunction(function, "decode"))


@pytest.mark.parametrize("name", FAILURES)
def test_the_reason_of_a_failure_has_no_part_of_the_payload_and_no_secret(name: str) -> None:
    function, reason = FAILURES[name]
    assert start(function)(PAYLOAD).decode() == f"not decoded: {reason}"


def test_a_late_function_is_called_once_for_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_module, "_LIMIT", 0.05)
    release, calls = threading.Event(), list[bytes]()

    def function(value: bytes) -> bytes:
        calls.append(value)
        release.wait(20)
        return value

    late = PayloadFunction(function, "decode")
    first = Decoding(late)
    texts = [first(b"%d" % number).decode() for number in range(1000)]
    assert texts[0] == "not decoded: the function took more than 0 s"
    assert set(texts[1:]) == {"not decoded: the function took more than 0 s for another payload"}
    assert Decoding(late)(b"x").decode() == "not decoded: the function still works on an earlier payload"
    assert calls == [b"0"]
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "restate-lab-decode")
    release.set()
    while any(thread.name == "restate-lab-decode" for thread in threading.enumerate()):
        time.sleep(0.01)
    assert Decoding(late)(b"again") == b"again"


def test_calls_that_are_each_in_time_end_at_the_limit_of_the_whole_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding_module, "_TOTAL_LIMIT", 1e-9)
    decoding = start(lambda value: value)
    assert decoding(b"one") == b"one"
    assert decoding(b"two").startswith(b"not decoded: the function took more than 0 s for the payloads of this result")


def test_an_empty_payload_is_not_decoded() -> None:
    assert start(fail(ValueError()))(b"") == b""


def test_the_functions_are_checked_and_not_shown() -> None:
    """Connect refuses other values; no repr has the functions, and the connection has them only for itself."""
    with pytest.raises(ArgumentError, match="decode must be a function or None; got a str"):
        connect(URL, check=False, decode="base64")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="encode= needs decode="):
        connect(URL, check=False, encode=bytes.upper)
    with connect(URL, check=False, decode=bytes.lower, encode=bytes.upper) as lab:
        assert "lower" not in f"{lab!r}{lab._repr_html_()}{lab.settings!r}{lab.decoder!r}"
        assert "code" not in repr(lab)


def test_an_encrypted_payload_is_recognized_by_more_than_its_first_bytes() -> None:
    assert is_encrypted(SEALED)
    assert not is_encrypted(SEALED[:-1])
    assert not is_encrypted(b"RTv1 is a text")
    payload = EncryptedPayload(SEALED)
    assert f"{payload} {payload!r}" == " ".join([f"encrypted by the SDK, {len(SEALED)} bytes"] * 2)
    assert bytes(pickle.loads(pickle.dumps(payload))) == SEALED  # noqa: S301
