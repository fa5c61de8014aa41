"""The HTTP transport: its behavior with faulty servers, and its reuse of connections."""

from __future__ import annotations

import gc
import socket
import threading
import time

import httpx
import pytest

from restate_lab.client import _http
from restate_lab.client._http import QuickAckTransport
from support.bench import wait_for
from support.raw_server import RawServer, chunked_response, raw_server, respond_with


def get(network: httpx.BaseTransport, server: RawServer, **extensions: object) -> httpx.Response:
    with httpx.Client(transport=network, base_url=server.address) as client:
        request = client.build_request("GET", "/", extensions=extensions)
        return client.send(request)


def client_of(server: RawServer) -> httpx.Client:
    return httpx.Client(transport=QuickAckTransport(), base_url=server.address)


def test_a_connection_is_used_again_after_its_response_was_read_to_the_end() -> None:
    with (
        raw_server(respond_with(chunked_response(b"one"), chunked_response(b"two"))) as server,
        client_of(server) as client,
    ):
        assert [client.get("/").text, client.get("/").text] == ["one", "two"]
    assert [len(connection) for connection in server.connections] == [2]


def test_a_request_is_sent_in_one_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[bytes] = []
    send = socket.socket.sendall

    def note(connection: socket.socket, data: bytes) -> None:
        sent.append(data)
        send(connection, data)

    monkeypatch.setattr(socket.socket, "sendall", note)
    with raw_server(respond_with(chunked_response(b"one"))) as server, client_of(server) as client:
        assert [client.post("/", content=b"body").text for _ in range(2)] == ["one", "one"]
    requests = [data for data in sent if not data.startswith(b"HTTP/")]
    assert len(requests) == 2
    assert all(data.startswith(b"POST / ") and data.endswith(b"\r\n\r\nbody") for data in requests)


def test_a_response_that_is_not_read_to_its_end_closes_its_connection() -> None:
    heard = threading.Event()

    def talk(connection: socket.socket, number: int) -> bool:
        connection.sendall(chunked_response(b"x" * 10, end=False))
        connection.settimeout(30)
        if connection.recv(1) == b"":
            heard.set()
        return False

    with raw_server(talk) as server, client_of(server) as client:
        with client.stream("GET", "/") as response:
            assert response.status_code == 200
        assert heard.wait(30)


def test_an_idle_connection_that_the_server_closed_is_not_used() -> None:
    with raw_server(respond_with(chunked_response(b"a"), then_close=True)) as server, client_of(server) as client:
        for number in range(1, 4):
            assert client.get("/").text == "a"
            wait_for(lambda number=number: server.ended == number)
    assert [len(connection) for connection in server.connections] == [1, 1, 1]


def test_a_connection_idle_for_long_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Load balancers drop idle connections silently, so an old connection is not trusted."""
    monkeypatch.setattr(_http, "IDLE_LIMIT", 0.05)
    with raw_server(respond_with(chunked_response(b"a"))) as server, client_of(server) as client:
        client.get("/")
        time.sleep(0.1)
        client.get("/")
    assert len(server.connections) == 2


@pytest.mark.parametrize("interim", ["102 Processing", "103 Early Hints", "101 Switching Protocols"])
def test_a_connection_with_an_interim_response_is_not_used_again(interim: str) -> None:
    asked: list[int] = []

    def talk(connection: socket.socket, number: int) -> bool:
        asked.append(number)
        if len(asked) > 1:
            connection.sendall(chunked_response(b"the second answer"))
            return True
        connection.sendall(f"HTTP/1.1 {interim}\r\nlink: x\r\n\r\n".encode())
        time.sleep(0.2)
        connection.sendall(chunked_response(b"the first answer"))
        return True

    with raw_server(talk) as server, client_of(server) as client:
        with pytest.raises(httpx.RemoteProtocolError, match=interim[:3]):
            client.get("/")
        assert client.get("/").text == "the second answer"


def test_a_body_that_the_end_of_the_connection_delimits_is_read_whole() -> None:
    answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + b"x" * 300_000
    with raw_server(respond_with(answer, then_close=True)) as server, client_of(server) as client:
        assert len(client.get("/").content) == 300_000


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(chunked_response(b"x" * 100, end=False), id="no last chunk"),
        pytest.param(chunked_response(b"x" * 100)[:-60], id="cut inside a chunk"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort", id="shorter than it said"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-le", id="cut inside the headers"),
        pytest.param(b"", id="no answer"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", id="not HTTP"),
    ],
)
def test_a_response_that_ends_early_is_a_protocol_error_and_not_a_shorter_body(answer: bytes) -> None:
    with raw_server(respond_with(answer, then_close=True)) as server, pytest.raises(httpx.RemoteProtocolError):
        get(QuickAckTransport(), server)


def test_slowly_arriving_bytes_do_not_extend_the_time_limit_of_a_call() -> None:

    def trickle(connection: socket.socket, number: int) -> bool:
        connection.sendall(chunked_response(b"x", end=False))
        for _ in range(100):
            connection.sendall(b"1\r\nx\r\n")
            time.sleep(0.05)
        return False

    for talk in (trickle, lambda connection, number: time.sleep(5) is None):
        with raw_server(talk) as server, pytest.raises(httpx.ReadTimeout):
            get(QuickAckTransport(), server, deadline=time.monotonic() + 0.4)


def test_the_tick_is_called_while_no_data_arrives() -> None:
    ticks: list[float] = []
    twice = threading.Event()

    def slow(connection: socket.socket, number: int) -> bool:
        twice.wait(30)
        connection.sendall(chunked_response(b"done"))
        return True

    def tick() -> None:
        ticks.append(time.monotonic())
        if len(ticks) == 2:
            twice.set()

    with raw_server(slow) as server:
        assert get(QuickAckTransport(), server, tick=tick).text == "done"
    assert len(ticks) >= 2


def test_a_client_that_is_deleted_without_close_leaves_no_open_socket() -> None:
    with raw_server(respond_with(chunked_response(b"a"))) as server:
        client = client_of(server)
        client.get("/")
        (connection,) = client._transport._idle.popitem()[1]  # type: ignore[attr-defined]
        client._transport.give_back(connection)  # type: ignore[attr-defined]
        del client
        gc.collect()
        assert connection._http.sock is None


def test_refused_and_unknown_hosts_are_connect_errors_with_their_cause() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with httpx.Client(transport=QuickAckTransport()) as client, pytest.raises(httpx.ConnectError) as refused:
        client.get(f"http://127.0.0.1:{port}/")
    assert isinstance(refused.value.__cause__, ConnectionRefusedError)


def test_responses_requested_by_several_threads_reach_the_right_thread() -> None:

    def echo(connection: socket.socket, number: int) -> bool:
        time.sleep(0.01)
        connection.sendall(chunked_response(b"ok"))
        return True

    with raw_server(echo) as server, client_of(server) as client:
        texts: list[str] = []
        threads = [threading.Thread(target=lambda: texts.append(client.get("/").text)) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert texts == ["ok"] * 20
