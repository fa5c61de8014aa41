"""The ingress address that a server reports, and whether the token is sent there."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab
from restate_lab.client.settings import Settings
from restate_lab.errors import ServerFailed, SettingsError
from restate_lab.redaction import Secret

TOKEN = "canary-7f3a"
SENT = {"invocationId": "inv_1", "status": "Accepted"}


def sent_to(
    tmp_path: Path, admin: str, named: str | None, *, token: str | None = TOKEN, ingress: str | None = None
) -> list[httpx.Request]:
    """Return the requests of a send through the ingress, whatever it raises."""
    requests: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/version"):
            return httpx.Response(200, json={"version": "1.7.12", "ingress_endpoint": named})
        requests.append(request)
        return httpx.Response(202, json=SENT)

    secret = Secret(token) if token else None
    settings = Settings("prod", admin, ingress, secret, "RESTATE_AUTH_TOKEN" if token else "", "the argument")
    with Lab(settings, audit=AuditLog(tmp_path), network=httpx.MockTransport(handle)) as lab:
        lab.ingress.send("S", "h")
    return requests


@pytest.mark.parametrize(
    ("admin", "named"),
    [
        ("https://x.env.us.restate.cloud:9070", "https://x.env.us.restate.cloud:8080/"),
        ("http://restate.example:9070", "http://RESTATE.example:8080"),
        ("http://restate.example:9070", "https://restate.example"),
        ("http://127.0.0.1:9070", "http://localhost:8080"),
        ("http://localhost:9070/base", "http://[::1]:8080"),
        ("unix:/run/admin.sock", "http://127.0.0.1:8080"),
    ],
)
def test_the_token_goes_to_the_same_host(tmp_path: Path, admin: str, named: str) -> None:
    """Any port is allowed, with the same scheme or a more secure one."""
    (request,) = sent_to(tmp_path, admin, named)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("admin", "named"),
    [
        ("https://restate.example:9070", "http://restate.example:8080"),
        ("https://restate.example:9070", "https://ingress.restate.example"),
        ("https://restate.example:9070", "https://restate.example.evil.example"),
        ("https://restate.example:9070", "https://10.0.0.1:8080"),
        ("https://restate.example:9070", "http://127.0.0.1:8080"),
        ("http://127.0.0.1:9070", "http://10.0.0.1:8080"),
        ("http://restate.example:9070", "unix:/tmp/ingress.sock"),
        ("unix:/run/admin.sock", "http://restate.example:8080"),
    ],
)
def test_the_token_goes_nowhere_else(tmp_path: Path, admin: str, named: str) -> None:
    """An address that only the server reported is refused; the user's own, and one without a token, are used."""
    with pytest.raises(SettingsError, match=r"connect\(ingress_url=") as caught:
        sent_to(tmp_path, admin, named)
    assert TOKEN not in str(caught.value)
    assert len(sent_to(tmp_path, admin, named, token=None)) == 1
    (request,) = sent_to(tmp_path, admin, named, ingress=named)
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("named", [None, "", "http://u:p@restate.example", "ftp://x", "http://[::1", "not an address"])
def test_an_address_that_cannot_be_used_is_said_to_be_one(tmp_path: Path, named: str | None) -> None:
    """It is an error of the server, with a workaround."""
    with pytest.raises(ServerFailed, match=r"connect\(ingress_url="):
        sent_to(tmp_path, "http://restate.example:9070", named)
