"""The endpoint client: its messages, the only address that it contacts, and responses of every kind."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from restate_lab import errors
from restate_lab.client import endpoint as endpoint_module
from restate_lab.client.endpoint import Answer, Endpoint
from restate_lab.client.endpoint.discovery import endpoint_address, is_unencrypted
from restate_lab.protocol.messages import FrameReader, Start, error_of, request_body
from restate_lab.protocol.wire import bytes_field, number_field, number_of, text_of
from restate_lab.redaction import Secret
from support.fake_endpoint import INPUT, RUN, deployment, discovery, error_frame, frame, response
from support.raw_server import RawServer, Respond, raw_server

START = Start(b"i" * 24, "inv_1", 6, key="k", seed=300)


@contextlib.contextmanager
def serving(respond: Respond, *, timeout: float = 5.0, **headers: str) -> Iterator[tuple[Endpoint, RawServer]]:
    secrets = {name.replace("_", "-"): Secret(value) for name, value in headers.items()}
    with (
        raw_server(respond=respond) as server,
        contextlib.closing(Endpoint(server.address, secrets, timeout, is_http2=False)) as endpoint,
    ):
        yield endpoint, server


def answer_to(*answers: bytes, **options: object) -> Answer:
    with serving(deployment(*answers), **options) as (endpoint, _):
        return endpoint.replay("Orders", "place", START, [INPUT, RUN])


def test_a_request_ends_with_the_stop_command() -> None:
    """The body has Start with the number of entries, the entries unchanged, and a command that no code can issue."""
    reader = FrameReader()
    sent = list(reader.feed(request_body(START, [INPUT, RUN])))
    assert [kind for kind, _ in sent] == [0, INPUT[0], RUN[0], 0x414]
    assert sent[1:3] == [INPUT, RUN]
    start, stop = sent[0][1], sent[-1][1]
    assert [number_of(start, number) for number in (3, 5, 9)] == [3, 1, 300]
    assert [text_of(start, number) for number in (1, 2, 6)] == ["i" * 24, "inv_1", "k"]
    assert text_of(stop, 1) == text_of(stop, 12) == "restate-lab-replay-stop"
    assert reader.is_complete


@pytest.mark.parametrize("size", [1, 7, 100])
def test_messages_are_the_same_for_each_way_to_split_the_body(size: int) -> None:
    body = frame(2, b"x" * 20) + frame(1, b"") + frame(0x414, b"y")
    reader = FrameReader()
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    assert [each for part in parts for each in reader.feed(part)] == [(2, b"x" * 20), (1, b""), (0x414, b"y")]
    assert reader.is_complete
    list(reader.feed(body[:10]))
    assert not reader.is_complete


def test_an_error_message_with_any_fields_is_read_and_other_bytes_are_none() -> None:
    unknown = bytes([15 << 3 | 1]) + b"8 bytes!"[:8] + bytes([14 << 3 | 5]) + b"four"
    (message,) = FrameReader().feed(error_frame(570, "no", 0, "a", 0x411))
    error = error_of(message[1] + unknown)
    assert error is not None
    assert (error.code, error.message, error.command_index, error.name, error.command) == (570, "no", 0, "a", "Run")
    for wrong in (b"\xff" * 12, b"\x0b", bytes_field(1, "code"), number_field(1, 5)[:-1], b"\x12\x05a"):
        assert error_of(wrong) is None
    assert number_of(number_field(3, 2**40), 3) == 2**40


def test_only_an_http_address_without_a_password_is_accepted() -> None:
    assert endpoint_address("deployment", " http://127.0.0.1:9080/v2/ ") == "http://127.0.0.1:9080/v2"
    for wrong in ("127.0.0.1:9080", "unix:/tmp/x", "http://…", "ftp://x", "http://", "http://x?y", None, 9080, ""):
        with pytest.raises(errors.ArgumentError, match="use an address such as"):
            endpoint_address("deployment", wrong)
    for hidden in ("http://a\u200b.com", "http://a.com/\u202egnp", "http://a.com/\U000e0041", "http://a.com/\x1b"):
        with pytest.raises(errors.ArgumentError, match="has an invisible character") as invisible:
            endpoint_address("deployment", hidden)
        assert str(invisible.value).isprintable()
    # The Cyrillic letter, and a full stop of another script, are the host that is contacted.
    assert endpoint_address("deployment", "http://\u0445.com:9080/\u0445") == "http://xn--u1a.com:9080/%D1%85"
    assert endpoint_address("deployment", "https://a\u3002com") == "https://a.com"
    with pytest.raises(errors.ArgumentError) as caught:
        endpoint_address("deployment", "http://me:swordfish@127.0.0.1:9080")
    assert "swordfish" not in str(caught.value)
    unencrypted = ("http://10.0.0.1:9080", "http://example.org")
    assert [is_unencrypted(each) for each in (*unencrypted, "https://example.org", "http://localhost:1")] == [
        *(True, True),
        *(False, False),
    ]


def test_a_step_that_runs_ends_the_check() -> None:
    for body, name in ((frame(5, b"\x08\x01"), ""), (frame(0x411, bytes_field(12, "charge")), "'charge' ")):
        with pytest.raises(errors.StepRan, match=rf"a step {name}of Orders/place \(inv_1\) ran at http"):
            answer_to(response(error_frame(500) + body))


def test_a_step_in_an_incomplete_response_ends_the_check() -> None:

    def hang(connection: socket.socket) -> bool:
        connection.sendall(response(frame(5, b"\x08\x01"), length=1000))
        time.sleep(0.5)
        return False

    with serving(deployment(hang), timeout=0.3) as (endpoint, _), pytest.raises(errors.StepRan):
        endpoint.replay("Orders", "place", START, [INPUT])


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (response(error_frame(500, "no")[:-1]), "the response ended in the middle of a message"),
        (response(error_frame(500, "no"), length=99), "the response ended early"),
        (response(b"\0" * 7), "the response ended in the middle of a message"),
    ],
    ids=["cut message", "cut body", "cut header"],
)
def test_a_response_that_ends_early_is_a_problem(body: bytes, problem: str) -> None:

    def cut(connection: socket.socket) -> bool:
        connection.sendall(body)
        return False

    answer = answer_to(cut)
    assert answer.problem.startswith(problem)
    assert answer.status == 200


def test_a_broken_connection_is_tried_once_more() -> None:
    good = response(error_frame(571, "end"))
    with serving(deployment(lambda _: False, good)) as (endpoint, server):
        assert endpoint.replay("Orders", "place", START, [INPUT]).error is not None
        assert len(server.connections) == 2
    answer = answer_to(lambda _: False)
    assert answer.problem.startswith("the connection ended without a response")


def test_a_connection_is_closed_before_a_server_would_close_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_RENEW_AFTER", 3)
    with serving(deployment(response(error_frame(571)))) as (endpoint, server):
        for _ in range(7):
            assert endpoint.replay("Orders", "place", START, [INPUT]).problem == ""
        assert [len(each) for each in server.connections] == [3, 3, 1]


def test_a_response_that_never_ends_stops_at_the_limit() -> None:

    def trickle(connection: socket.socket) -> bool:
        connection.sendall(response(length=1000))
        with contextlib.suppress(OSError):
            for _ in range(40):
                connection.sendall(b"\0")
                time.sleep(0.05)
        return False

    for respond in (trickle, lambda _: time.sleep(1) or False):
        with serving(deployment(respond), timeout=0.3) as (endpoint, _):
            began = time.monotonic()
            answer = endpoint.replay("Orders", "place", START, [INPUT])
            assert (answer.problem, answer.is_timeout) == ("no complete response within 300ms", True)
            assert time.monotonic() - began < 1


def test_slow_headers_end_at_the_limit() -> None:

    def trickle(connection: socket.socket) -> bool:
        with contextlib.suppress(OSError):
            for byte in b"HTTP/1.1 200 OK\r\nx-header: ".ljust(60, b"x"):
                connection.sendall(bytes([byte]))
                time.sleep(0.05)
        return False

    with serving(deployment(trickle), timeout=0.3) as (endpoint, _):
        began, done = time.monotonic(), threading.Event()

        def expire() -> None:
            while not done.wait(0.05):
                endpoint.expire()

        watch = threading.Thread(target=expire)
        watch.start()
        answer = endpoint.replay("Orders", "place", START, [INPUT])
        done.set()
        watch.join()
        assert (answer.problem, answer.is_timeout) == ("no complete response within 300ms", True)
        assert time.monotonic() - began < 1


def test_stop_ends_the_current_and_later_requests() -> None:
    with serving(deployment(lambda _: time.sleep(1) or False), timeout=60) as (endpoint, server):
        threading.Timer(0.2, endpoint.stop).start()
        began = time.monotonic()
        assert endpoint.replay("Orders", "place", START, [INPUT]).problem
        assert endpoint.replay("Orders", "place", START, [INPUT]).problem
        assert time.monotonic() - began < 1
        assert len(server.requests) == 1


def test_neither_a_redirect_nor_a_proxy_of_the_environment_is_contacted(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(respond=deployment(response())) as other:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, other.address)
        monkeypatch.setenv("no_proxy", "")
        redirect = response(status="307 Temporary Redirect", headers=f"location: {other.address}/x\r\n")
        with serving(deployment(redirect)) as (endpoint, server):
            assert endpoint.replay("Orders", "place", START, [INPUT]).status == 307
            assert endpoint.discover().sdk
            assert len(server.requests) == 2
        assert other.requests == []


def test_headers_are_sent_and_masked_where_the_deployment_repeats_them() -> None:
    echo = response(error_frame(500, "bad token swordfish-1", 1, "step swordfish-1", 0x411))
    with serving(deployment(echo), authorization="Bearer swordfish-1", x_team="swordfish-1") as (endpoint, server):
        answer = endpoint.replay("Orders", "place", START, [INPUT])
        assert b"authorization: Bearer swordfish-1" in server.requests[0]
        assert "swordfish" not in repr(answer) + repr(endpoint)


def test_discovery_falls_back_to_http_1() -> None:
    with serving(deployment(response(error_frame(571)))) as (endpoint, server):
        endpoint.is_http2 = True
        manifest = endpoint.discover()
        assert (manifest.sdk, manifest.protocols) == ("restate-sdk-python/1.3.0", range(5, 8))
        assert manifest.has_handler("Orders", "place")
        assert not manifest.has_handler("Orders", "other")
        assert endpoint.sibling().is_http2 is False
        assert [each.partition(b" ")[0] for each in server.requests] == [b"PRI", b"GET"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (response(b"<html>"), errors.ServerFailed),
        (response(b"{}"), errors.ServerFailed),
        (response(status="404 Not Found"), errors.ServerFailed),
        (discovery(manifest={"minProtocolVersion": 5, "maxProtocolVersion": "x"}), errors.ServerFailed),
        (lambda _: False, errors.Unreachable),
        (lambda _: time.sleep(1) or False, errors.TimedOut),
    ],
    ids=["html", "another object", "404", "no number", "closes", "hangs"],
)
def test_discovery_fails_where_no_endpoint_responds(answer: object, error: type[Exception]) -> None:
    with serving(deployment(b"", discover=answer), timeout=0.3) as (endpoint, _), pytest.raises(error):
        endpoint.discover()


def test_a_closed_port_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with contextlib.closing(Endpoint(f"http://127.0.0.1:{port}", {}, 5.0)) as endpoint:
        with pytest.raises(errors.Unreachable, match="connection refused"):
            endpoint.discover()
        assert endpoint.replay("Orders", "place", START, [INPUT]).problem.startswith("no connection")


def test_a_deployment_that_wants_signed_requests_refuses_discovery() -> None:
    with serving(deployment(b"", discover=response(status="401 Unauthorized"))) as (endpoint, _):
        assert endpoint.discover().status == 401


def test_a_response_above_the_limit_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint_module, "_MOST_BYTES", 1000)
    assert "more than" in answer_to(response(frame(2, b"x" * 5000))).problem
