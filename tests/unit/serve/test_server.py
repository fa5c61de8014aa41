"""The options of the server, its token, TLS, and its end at a signal."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import stat
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trustme
from cryptography.hazmat.primitives import serialization
from typer.testing import CliRunner

from restate_lab.cli import app
from restate_lab.errors import ArgumentError
from restate_lab.serve import server
from restate_lab.serve.options import ServerOptions
from restate_lab.serve.server import bind, token_of
from support.page_servers import TOKEN, running_pages
from support.raw_server import raw_server
from support.sample_rows import SampleRows

PROXY = {"behind_proxy": True, "url": "https://lab.example.org"}
REFUSED: dict[str, dict[str, Any]] = {
    "use HOST:PORT": {"listen": "9180"},
    "use HOST:PORT, ": {"listen": "127.0.0.1:\u0669"},
    "use HOST:PORT, such": {"listen": "127.0.0.1:70000"},
    "TLS needs both files": {"certificate": Path("c.pem")},
    "needs --url, the address under which viewers reach the proxy": {"behind_proxy": True},
    "0.0.0.0 can be reached by others": {"listen": "0.0.0.0:9180"},
    "192.168.0.7 can be reached by others": {"listen": "192.168.0.7:9180"},
    "127.evil.example can be reached by others": {"listen": "127.evil.example:9180"},
    "0.0.0.0:9180 needs --url": {"listen": "0.0.0.0:9180", "certificate": Path("c.pem"), "key": Path("k.pem")},
    "would send the cookie unencrypted": PROXY | {"url": "http://lab.example.org"},
    "use an address without a path": PROXY | {"url": "https://lab.example.org/restate"},
    "without a path, such": PROXY | {"url": "https://me:pw@lab.example.org"},
    "without a path, such as": PROXY | {"url": "https://lab.example.org:x"},
    "such as https": PROXY | {"url": "ftp://lab.example.org"},
    "such as https:": PROXY | {"url": "https://lab.example.org?x"},
    "such as https:/": PROXY | {"url": "https://b\u00fccher.example"},
}
NO_URLS = (
    "https://a b",
    "https://*",
    "https://a/#",
    "https://a/?",
    "https://a:0",
    "https://a:",
    "HTTPS://a",
    " https://a",
)
HOSTS: list[tuple[dict[str, Any], set[str]]] = [
    ({}, {"127.0.0.1:9180", "localhost:9180"}),
    ({"listen": "[::1]:9180"}, {"[::1]:9180", "localhost:9180"}),
    ({"listen": "localhost:80"}, {"localhost", "localhost:80"}),
    (PROXY, {"lab.example.org", "lab.example.org:443"}),
    (PROXY | {"listen": "0.0.0.0:9180", "url": "https://LAB.example.org:8443/"}, {"LAB.example.org:8443"}),
    ({"url": "http://localhost:8000"}, {"localhost:8000"}),
]
COMMAND = (sys.executable, "-c", "from restate_lab.cli import main; main()")
FILES = 256
SOON = 15  # seconds: half of the time limit of a reading


def _client_hello() -> bytes:
    """Return the first bytes of a TLS handshake."""
    sent = ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost").do_handshake()
    return sent.read()


CLIENT_HELLO = _client_hello()
BROKEN = (
    b"",
    b"",
    CLIENT_HELLO[:20],
    CLIENT_HELLO,
    b"GARBAGE\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x",
    b"\x16\x03\x01\r\n",
)


@pytest.mark.parametrize("message", REFUSED)
def test_an_unsafe_or_invalid_address_is_refused(message: str) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        ServerOptions(**REFUSED[message])


@pytest.mark.parametrize("url", NO_URLS)
def test_an_address_of_viewers_that_no_browser_opens_is_refused(url: str) -> None:
    with pytest.raises(ArgumentError, match="use an address without a path"):
        ServerOptions(behind_proxy=True, url=url)


@pytest.mark.parametrize(("options", "hosts"), HOSTS)
def test_the_server_answers_its_own_names_only(options: dict[str, Any], hosts: set[str]) -> None:
    assert ServerOptions(**options).hosts(ServerOptions(**options).port) == hosts


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file"),
        ("short", "has 5 characters; use 20 to 1,000"),
        ("x" * 2_000, "has 2,000 characters"),
        ("twenty characters\nwith a line", "characters that a header cannot have"),
        ("\u00e4" * 30, "characters that a header cannot have"),
        (b"\xff" * 30, "is not a text"),
    ],
)
def test_a_token_that_cannot_be_used_is_refused(text: str | bytes | None, message: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    if text is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    options = ServerOptions(token_file=file, warn=lambda _: None)
    with pytest.raises(ArgumentError, match=message) as error, token_of(options, 1):
        pass
    assert text is None or str(text) not in str(error.value)


def test_a_token_of_a_file_is_used_and_kept(tmp_path: Path) -> None:
    """If others can read the file, this is a warning, because the file of a container can have any mode."""
    file, warnings = tmp_path / "token", list[str]()
    file.write_text(f"{TOKEN}\n")
    file.chmod(0o644)
    with token_of(ServerOptions(token_file=file, warn=warnings.append), 1) as (token, _):
        assert token.reveal() == TOKEN
    assert warnings == [f"other users of this machine can read or change the token in {file}; run: chmod 600 {file}"]
    file.chmod(0o600)
    with token_of(ServerOptions(token_file=file, warn=warnings.append), 1):
        pass
    assert len(warnings) == 1
    assert file.read_text() == f"{TOKEN}\n"


def test_a_token_is_made_for_each_start_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only its owner can read it; the token of a server that was killed is replaced, and its file is not followed."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    victim = tmp_path / "victim"
    victim.write_text("kept")
    tokens = []
    for _ in range(2):
        with token_of(ServerOptions(listen="[::1]:0"), 1234) as (token, where):
            (file,) = (tmp_path / "restate_lab" / "serve").iterdir()
            assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (token.reveal(), 0o600)
            assert str(file) in where
            tokens.append(token.reveal())
        assert not file.exists()
        file.symlink_to(victim)
    assert tokens[0] != tokens[1]
    assert len(tokens[0]) > 40
    assert victim.read_text() == "kept"


def test_a_port_in_use_and_a_foreign_address_are_errors() -> None:
    with bind(ServerOptions(listen="127.0.0.1:0")) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ArgumentError, match=f"127.0.0.1:{port} cannot be used: .*; choose another --listen"):
            bind(ServerOptions(listen=f"127.0.0.1:{port}"))
    with pytest.raises(ArgumentError, match="cannot be used"):
        bind(ServerOptions(listen="192.0.2.1:9180", **PROXY))


def test_an_ipv6_address(tmp_path: Path) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running_pages({"made": SampleRows()}, tmp_path, listen="[::1]:0") as pages, pages.client() as client:
        assert pages.url == f"http://[::1]:{pages.port}"
        assert client.get("/").status_code == 200
        assert client.get("/", headers={"host": f"localhost:{pages.port}"}).status_code == 200
        assert client.get("/", headers={"host": "[::1]"}).status_code == 421


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[trustme.CA, Path, Path]:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(b"".join(each.bytes() for each in issued.cert_chain_pems))
    key.write_bytes(issued.private_key_pem.bytes())
    return authority, chain, key


def test_with_tls_the_cookie_is_for_this_host_and_tls_only(
    certificate: tuple[trustme.CA, Path, Path], tmp_path: Path
) -> None:
    authority, chain, key = certificate
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    with running_pages({"made": SampleRows()}, tmp_path, certificate=chain, key=key) as pages:
        with pages.client(verify=trust, has_token=False) as client:
            cookie = client.get(pages.new_link()).headers["set-cookie"]
            assert client.get("/waits").status_code == 200
        assert pages.url.startswith("https://")
        assert cookie.startswith(f"__Host-restate_lab_{pages.port}=")
        assert cookie.endswith("; HttpOnly; Max-Age=43200; Path=/; SameSite=strict; Secure")
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"http://127.0.0.1:{pages.port}/", trust_env=False)
    context = ServerOptions(certificate=chain, key=key).tls()
    assert context is not None
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_certificate_that_cannot_be_used_is_an_error(
    certificate: tuple[trustme.CA, Path, Path], tmp_path: Path
) -> None:
    _, chain, key = certificate
    other = tmp_path / "other.pem"
    other.write_bytes(trustme.CA().issue_cert("127.0.0.1").private_key_pem.bytes())
    locked = tmp_path / "locked.pem"
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    password = serialization.BestAvailableEncryption(b"secret")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked.write_bytes(private.private_bytes(pem, form, password))
    for first, second in ((chain, other), (chain, tmp_path / "none.pem"), (key, key), (chain, chain), (chain, locked)):
        with pytest.raises(ArgumentError, match=r"cannot be used: .+; pass PEM files of a pair, without a password"):
            ServerOptions(certificate=first, key=second).tls()


def test_behind_a_proxy_the_record_has_the_address_of_the_viewer(tmp_path: Path) -> None:
    """Without --behind-proxy, a viewer cannot choose the address in the record."""
    forwarded = {"x-forwarded-for": "203.0.113.9", "x-forwarded-host": "evil.example", "x-forwarded-proto": "http"}
    expected = {"lab.example.org": "203.0.113.9", "": "127.0.0.1"}
    for host, address in expected.items():
        options = {"behind_proxy": True, "url": f"https://{host}"} if host else {}
        with running_pages({"made": SampleRows()}, tmp_path / (host or "plain"), **options) as pages:
            local = f"http://127.0.0.1:{pages.port}"
            with pages.client(headers=forwarded | ({"host": host} if host else {})) as client:
                assert client.get(f"{local}/waits").status_code == 200
                cookie = client.get(f"{local}/login", params={"code": pages.new_link().partition("=")[2]})
            assert cookie.headers["set-cookie"].endswith("Secure") is bool(host)
            assert [each["client"] for each in pages.records] == [address, address]


def test_without_the_extra_the_error_has_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in sys.modules if each.startswith(("restate_lab.serve.", "uvicorn", "starlette"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = CliRunner().invoke(app, ["serve", "-e", "http://127.0.0.1:1"])
    assert result.exit_code == 1
    assert "pip install 'restate-lab[serve]'" in " ".join(result.output.split())


def test_silent_and_broken_connections_keep_nobody_away(
    certificate: tuple[trustme.CA, Path, Path], tmp_path: Path
) -> None:
    """They are more than the files that the process may open. It serves meanwhile, writes nothing, and closes all."""
    authority, chain, key = certificate
    trust, token = ssl.create_default_context(), tmp_path / "token"
    authority.configure_trust(trust)
    token.write_text(TOKEN)
    token.chmod(0o600)
    tls = ("--tls-certificate", str(chain), "--tls-key", str(key))
    with ExitStack() as stack:
        own = ("--token-file", str(token))
        processes = [_start(stack, "http://127.0.0.1:1", tmp_path, *own, *each, files=FILES) for each in ((), tls)]
        for process in processes:
            url = httpx.URL(_link_of(process)).join("/")
            headers = {"authorization": f"Bearer {TOKEN}", "connection": "close"}
            with httpx.Client(base_url=url, verify=trust, trust_env=False, timeout=20, headers=headers) as client:
                with ExitStack() as strangers:
                    _send_broken(strangers, url.port)
                    for path in ("/health", "/page.js", "/nothing") * 5:
                        assert client.get(path).status_code == (404 if path == "/nothing" else 200)
                assert client.get("/health").status_code == 200
            _wait_until_all_are_closed(process, url.port)
            process.send_signal(signal.SIGTERM)
            output, _ = process.communicate(timeout=SOON)
            assert (process.returncode, output) == (0, "")


def _send_broken(strangers: ExitStack, port: int | None) -> None:
    """Open more connections than the server may have, all without a complete request; each eighth will be reset."""
    for number in range(FILES * 2):
        stranger = strangers.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20))
        with contextlib.suppress(ConnectionError):
            stranger.sendall(BROKEN[number % len(BROKEN)])
        if number % 8 == 0:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _wait_until_all_are_closed(process: subprocess.Popen[str], port: int | None) -> None:
    ends = time.monotonic() + 20
    while any(each.laddr.port == port and each.raddr for each in psutil.Process(process.pid).net_connections("tcp4")):
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_a_tls_handshake_has_a_time_limit(
    certificate: tuple[trustme.CA, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SILENCE", 0.2)
    _, chain, key = certificate
    with running_pages({"made": SampleRows()}, tmp_path, certificate=chain, key=key) as pages:
        for data in (b"", CLIENT_HELLO[:20], CLIENT_HELLO):
            with socket.create_connection(("127.0.0.1", pages.port), timeout=20) as connection:
                connection.sendall(data)
                while connection.recv(65536):
                    pass


def _is_silent(_connection: socket.socket, _number: int) -> bool:
    return True


def test_a_signal_ends_the_server_soon(tmp_path: Path) -> None:
    """SIGTERM and Ctrl-C end it with exit code 0 and without the token, also while readings hang and viewers wait."""
    with ExitStack() as stack:
        silent = stack.enter_context(raw_server(_is_silent))
        processes = [_start(stack, silent.address, tmp_path / name) for name in ("term", "int")]
        for link in map(_link_of, processes):
            viewer = stack.enter_context(httpx.Client(trust_env=False, follow_redirects=False, timeout=0.5))
            viewer.get(link)
            with pytest.raises(httpx.ReadTimeout):
                viewer.get(httpx.URL(link).join("/"))
        tokens = list(tmp_path.glob("*/restate_lab/serve/*.token"))
        assert len(tokens) == 2
        for process, number in zip(processes, (signal.SIGTERM, signal.SIGINT), strict=True):
            process.send_signal(number)
            output, _ = process.communicate(timeout=SOON)
            assert (process.returncode, output) == (0, "")
        assert not any(each.exists() for each in tokens)


def _start(
    stack: ExitStack, address: str, state: Path, *options: str, files: int | None = None
) -> subprocess.Popen[str]:
    """Start the command; ``files`` is the number that it may open."""
    command = [*COMMAND, "serve", "-e", address, "--listen", "127.0.0.1:0", *options]
    if files is not None:
        command = ["sh", "-c", f'ulimit -n {files}; exec "$@"', "sh", *command]
    env = os.environ | {"XDG_STATE_HOME": str(state), "PYTHONUNBUFFERED": "1"}
    process = stack.enter_context(
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env)
    )
    stack.callback(process.kill)
    return process


def _link_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    first, second = process.stdout.readline(), process.stdout.readline()
    assert re.fullmatch(
        r"Read-only pages of \S+ at https?://127\.0\.0\.1:\d+\. Programs send the token in \S+\n", first
    )
    return second.removeprefix("Open, once: ").strip()
