"""Access to pages, over real connections: the name, the method, the token, links and cookies, and what is recorded."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import re
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import restate_lab as rl
from restate_lab.redaction import Secret
from restate_lab.serve import access, server
from restate_lab.serve.access import HEADERS, Access
from restate_lab.serve.pages import PAGES
from support.page_servers import TOKEN, RunningPages, running_pages
from support.sample_rows import SampleRows, invocation, sample_id

ID = sample_id(1)
PATHS = ["/index.json", "/page.js", "/nothing", "/link", "/login", *(f"/{name}" for name in PAGES)]
METHODS = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "get", "FOO")
HOSTS = ("evil.example", "127.0.0.1", "127.0.0.1:1", "localhost", "user@{own}", "{own}.evil.example", "{own}:80", "")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningPages]:
    with running_pages({"made": sample()}, tmp_path_factory.mktemp("audit")) as running:
        yield running


@pytest.fixture
def own_pages(tmp_path: Path) -> Iterator[RunningPages]:
    """Give pages whose audit log has no record yet."""
    with running_pages({"made": sample()}, tmp_path) as running:
        yield running


def sample() -> SampleRows:
    return SampleRows(sys_invocation_status=[invocation(ID)])


def has_our_headers(response: httpx.Response) -> bool:
    return all(response.headers.get_list(name) == [value] for name, value in HEADERS.items())


def code_of(link: str) -> str:
    return link.partition("code=")[2]


@pytest.mark.parametrize("host", HOSTS)
def test_another_host_gets_nothing(pages: RunningPages, host: str) -> None:
    """A name that is not the server's gets 421 on each path, also with the token: so a rebound name reads nothing."""
    name = host.format(own=pages.url.removeprefix("http://"))
    with pages.client(headers={"host": name}) as client:
        for path in PATHS:
            response = client.get(path)
            assert response.status_code == 421
            assert has_our_headers(response)


def test_two_names_and_no_name_get_nothing(pages: RunningPages) -> None:
    own = pages.url.removeprefix("http://")
    end = f"Authorization: Bearer {TOKEN}\r\nConnection: close\r\n\r\n"
    for head in (
        f"GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\r\n",
    ):
        assert re.match(rb"HTTP/1.1 (400|421) ", pages.send(head + end)), head
    assert pages.request("GET", "http://evil.example/waits.json").startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("path", [*PATHS, "/health"])
def test_each_other_method_is_refused(pages: RunningPages, path: str) -> None:
    for method in METHODS:
        answer = pages.request(method, path)
        assert answer.startswith(b"HTTP/1.1 405 ")
        assert b"\r\nallow: GET, HEAD\r\n" in answer


def test_a_viewer_without_access_cannot_tell_which_pages_exist(pages: RunningPages) -> None:
    """Each path has the same response, with a wrong token, a made cookie, and without both."""
    name = f"restate_lab_{pages.port}"
    end = f"{int(time.time()) + 1_000}"
    wrong: list[dict[str, str]] = [
        {},
        {"authorization": "Bearer"},
        {"authorization": f"Bearer {TOKEN}x"},
        {"authorization": f"Basic {TOKEN}"},
        {"authorization": "Bearer \xff".encode("latin-1").decode("latin-1")},
        {"cookie": f"{name}={end}.{'0' * 64}"},
        {"cookie": f"{name}={end}."},
        {"cookie": f"{name}=\u00b2.x; {name}={'9' * 5_000}.x; ={name}; {name}"},
    ]
    with pages.client(has_token=False) as client:
        for headers in wrong:
            encoded = {key: value.encode("latin-1", "replace") for key, value in headers.items()}
            answers = [client.get(path, headers=encoded) for path in PATHS[1:]]
            bodies = {(each.status_code, each.text) for each in answers}
            assert {status for status, _ in bodies} == {401}
            assert len(bodies) == 2, "one for /login, and one for each other path"
            assert "made" not in str(bodies)


def test_a_link_opens_once_and_becomes_a_cookie(pages: RunningPages) -> None:
    """HEAD does not use the code up; GET does, and leads to the first page and nowhere else."""
    link = pages.new_link()
    with pages.client(has_token=False) as client:
        assert client.head(link).status_code == 401
        first = client.get(f"{link}&next=//evil.example&url=https://evil.example")
        assert (first.status_code, first.headers["location"], first.text) == (303, "/", "")
        cookie = first.headers["set-cookie"]
        assert re.fullmatch(
            rf"restate_lab_{pages.port}=\d+\.[0-9a-f]{{64}}; HttpOnly; Max-Age=43200; Path=/; SameSite=strict", cookie
        )
        assert client.get("/waits").status_code == 200
        assert client.get(link).headers["location"] == "/", "a viewer with a cookie needs no code"
    with pages.client(has_token=False) as other:
        assert other.get(link).status_code == 401
        assert other.get(f"/login?code={code_of(pages.new_link())}&code=x").status_code == 401


def test_a_program_gets_a_link_for_a_person(pages: RunningPages) -> None:
    with pages.client() as program, pages.client(has_token=False) as person:
        assert program.head("/link").text == ""
        link = program.get("/link").text.strip()
        assert person.get("/link").status_code == 401
        assert person.get(link).status_code == 303
        assert person.get("/link").status_code == 401, "a cookie makes no other one"


def test_codes_and_cookies_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code can be used for an hour and a cookie for 12; a cookie is valid after a restart with the same token."""
    from starlette.datastructures import Headers
    from starlette.responses import Response

    now = time.time()
    held = Access(Secret(TOKEN), name="x")
    code, response = held.new_code().reveal(), Response()
    held.set_cookie(response)
    headers = Headers({"cookie": response.headers["set-cookie"].partition(";")[0]})
    assert Access(Secret(TOKEN), name="x").has_cookie(headers)
    assert not Access(Secret(TOKEN[::-1]), name="x").has_cookie(headers)
    assert not Access(Secret(TOKEN), name="x", is_secure=True).has_cookie(headers), "a name with __Host- is needed"
    monkeypatch.setattr(access.time, "time", lambda: now + 3_601)
    assert not held.use_code(code)
    assert held.has_cookie(headers)
    monkeypatch.setattr(access.time, "time", lambda: now + 12 * 3_600 + 1)
    assert not held.has_cookie(headers)


def test_many_links_do_not_grow_without_limit(pages: RunningPages) -> None:
    held = Access(Secret(TOKEN))
    codes = [held.new_code().reveal() for _ in range(101)]
    assert not held.use_code(codes[0])
    assert held.use_code(codes[1])


def test_each_response_has_our_headers(pages: RunningPages, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages, files, errors, redirects, and the web server's own responses to other bytes than HTTP."""
    with pages.client() as client:
        for path in ("/", "/waits.json", "/page.js", "/nothing", "/health", "/link", f"/invocation/{ID}", "/waits?x=1"):
            assert has_our_headers(client.get(path)), path
        assert has_our_headers(client.get(pages.new_link()))
    for data in (b"GARBAGE\r\n\r\n", b"GET /\xff HTTP/1.1\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
        answer = pages.send(data)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert all(f"{name}: {value}".lower().encode() in answer.lower() for name, value in HEADERS.items())
    monkeypatch.setattr(server, "_MOST_CONNECTIONS", 0)
    with contextlib.suppress(ConnectionResetError):  # a client can also see the end before the reset
        assert not pages.request("GET", "/")


@pytest.mark.parametrize("path", ["/", "/index.json", "/waits", "/page.js", "/nothing", "/health", f"/invocation/{ID}"])
def test_head_is_get_without_a_body(pages: RunningPages, path: str) -> None:
    head, get = (pages.request(method, path) for method in ("HEAD", "GET"))
    assert head.endswith(b"\r\n\r\n")
    lines = [re.sub(rb"(?m)^date: .*$", b"", each.partition(b"\r\n\r\n")[0]) for each in (head, get)]
    assert lines[0] == lines[1]
    assert len(get) > len(head)


@pytest.mark.parametrize(
    "path",
    [
        "//", "//evil.example", "/./", "/waits/", "/waits/x", "/WAITS", "/%77aits/x", "/waits%00", "/waits.json.json",
        "/../waits", "/waits/../../etc/passwd", "/invocation/", "/index", "/.json", "/%2e%2e/x",
        "/waits%0d%0aset-cookie:x=1", "/%ff%fe", "/waits;x", "/waits%3Fx", "/" + "a" * 7_000, "/login/", "/health/",
    ],
)  # fmt: skip
def test_a_path_of_no_page_is_404(pages: RunningPages, path: str) -> None:
    """No redirect leads elsewhere, and the path is shown nowhere as markup."""
    answer = pages.request("GET", path)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert not re.search(rb"(?mi)^(location|set-cookie):", answer)


def test_a_request_with_two_lengths_is_refused_and_its_connection_closed(pages: RunningPages) -> None:
    """A proxy that prefers the length could pass a second request on unseen."""
    host = f"Host: 127.0.0.1:{pages.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    lengths = (
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
    )
    for each in lengths:
        answer = pages.send(f"GET /health HTTP/1.1\r\n{host}{each}\r\n0\r\n\r\nGET /waits HTTP/1.1\r\n{host}\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert answer.count(b"HTTP/1.1 ") == 1


def test_too_many_parameters_and_a_too_long_path_are_short_errors(pages: RunningPages) -> None:
    with pages.client() as client:
        assert client.get("/waits?" + "&".join(f"a{n}=1" for n in range(300))).status_code == 400
        assert client.get("/waits", params={"x" * 50: "\0\ufffd<script>"}).status_code == 400
        assert client.get("/waits?source=x&source=made").status_code == 400
        assert client.get("/waits", params={"source": "<b>"}).status_code == 400
        refused = client.get("/waits", params={"at": "<b>"})
        assert (refused.status_code, "<b>'" in refused.text) == (400, False)
        assert "has one time" in client.get("/waits", params={"at": "2026-11-25T02:00Z"}).text
    for path in ("/" + "a" * 9_000, "/waits?" + "a" * 9_000):
        assert pages.request("GET", path).startswith(b"HTTP/1.1 414 ")


def test_each_page_is_recorded_and_nothing_secret(
    own_pages: RunningPages,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Pages and logins are records; refused requests are not recorded, because anyone could fill the disk with them."""
    caplog.set_level(logging.DEBUG)
    for name in ("httpx", "httpcore"):  # of the client of this test
        monkeypatch.setattr(logging.getLogger(name), "level", logging.CRITICAL)
    link = own_pages.new_link()
    answers = []
    with own_pages.client(has_token=False) as client:
        answers += [client.get("/waits"), client.post("/"), client.get("/", headers={"host": "x"}), client.head(link)]
        assert own_pages.records == []
        client.get(link)
        cookie = dict(client.cookies)
        answers += [client.get("/waits.json"), client.get("/nothing"), client.head("/"), client.get("/page.js")]
        answers.append(client.get("/waits", params={"code": code_of(link), "token": TOKEN, "source": "x"}))
        answers.append(client.get("/waits", params={"x": f"https://me:{TOKEN}@h/"}))
    tools = [(each["tool"], each["source"], bool(each["error"]), each["client"]) for each in own_pages.records]
    assert tools == [
        ("serve /login", None, False, "127.0.0.1"),
        ("serve /waits.json", "made", False, "127.0.0.1"),
        ("serve /nothing", "made", True, "127.0.0.1"),
        ("serve /", "made", False, "127.0.0.1"),
        ("serve /waits", None, True, "127.0.0.1"),
        ("serve /waits", "made", True, "127.0.0.1"),
    ]
    assert rl.audit_log(own_pages.audit, reads=True)["tool"].tolist() == [tool for tool, *_ in tools]
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    everything = str(own_pages.records) + str([(dict(each.headers), each.text) for each in answers]) + caplog.text
    for secret in (TOKEN, code_of(link), *cookie.values()):
        assert secret not in everything
    assert TOKEN not in repr(vars(own_pages.guard)) + repr(vars(own_pages.guard._access))


def test_a_page_that_cannot_be_recorded_is_not_shown(tmp_path: Path) -> None:
    audit = tmp_path / "audit"
    with running_pages({"made": sample()}, audit) as pages, pages.client() as client:
        audit.write_text("a file, where a folder must be")
        page = client.get("/")
        assert page.status_code == 503
        assert "the audit record cannot be written" in page.text
        assert page.text.count('<div class="part">') == 0
        assert client.get("/waits.json").json().keys() == {"error"}
        with pages.client(has_token=False) as viewer:
            login = viewer.get(pages.new_link())
        assert (login.status_code, "set-cookie" in login.headers) == (503, False)


def test_a_bug_is_a_short_page_and_its_place_is_recorded(
    own_pages: RunningPages, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """No traceback reaches a viewer or the terminal; the audit log has the line."""

    async def broken(_: object) -> None:
        raise KeyError(TOKEN)

    monkeypatch.setitem(PAGES, "waits", broken)  # type: ignore[arg-type]
    with own_pages.client() as client:
        page, data = client.get("/waits"), client.get("/waits.json")
    assert page.status_code == data.status_code == 500
    for text in (page.text, data.text):
        assert "internal error (KeyError)" in text
        assert not re.search(r"Traceback|\.py|4711", text)
    assert re.search(r"KeyError in broken of .*test_access\.py, line \d+", own_pages.records[0]["error"])
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_a_connection_with_broken_requests_writes_nothing_to_the_terminal(
    pages: RunningPages, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Requests in pieces, with bad bodies, one after the other on a connection that is reset at any time."""
    chance = random.Random(7)  # noqa: S311
    host = f"Host: 127.0.0.1:{pages.port}\r\nAuthorization: Bearer {TOKEN}\r\n"
    chunked, long = "Transfer-Encoding: chunked\r\n\r\n", "Content-Length: 70000\r\n\r\n"
    parts = [
        *(f"{method} {path} HTTP/1.1\r\n{host}" for method in ("GET", "POST") for path in ("/waits", "/", "/x")),
        *("\r\n", chunked, chunked, "zz\r\n\r\n", "5\r\nabcde\r\n0\r\n\r\n", long, "a" * 70_000, "\0", "\xff"),
        *("Upgrade: websocket\r\nConnection: upgrade\r\n", "Expect: 100-continue\r\n", "Connection: close\r\n\r\n"),
    ]
    for _ in range(150):
        with socket.create_connection(("127.0.0.1", pages.port), timeout=20) as connection:
            with contextlib.suppress(ConnectionError):
                for part in chance.choices(parts, k=chance.randint(1, 9)):
                    connection.sendall(part.encode("latin-1"))
                    time.sleep(chance.choice((0, 0, 0.002)))
                if chance.random() < 0.3:
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with pages.client() as client:
        assert client.get("/waits").status_code == 200
    gc.collect()  # a task reports an error when it is deleted
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")
    assert [each for each in caplog.records if each.name in {"asyncio", "uvicorn.error"}] == []


@pytest.mark.parametrize(
    "data", [b"", b"GET / HTTP/1.1\r\nHost: x", b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nx"]
)
def test_a_connection_without_a_complete_request_is_closed(
    pages: RunningPages, data: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a program without the token could use up all connections."""
    monkeypatch.setattr(server, "SILENCE", 0.2)
    with socket.create_connection(("127.0.0.1", pages.port), timeout=20) as connection:
        connection.sendall(data)
        assert b"Traceback" not in b"".join(iter(lambda: _received(connection), b""))


def _received(connection: object) -> bytes:
    try:
        return connection.recv(65536)  # type: ignore[attr-defined, no-any-return]
    except ConnectionResetError:
        return b""
