"""The HTTP/2 of services: one connection carries all requests of a server's partition."""

from __future__ import annotations

from pathlib import Path

import httpx

from restate_lab.demo.embedded import start_services
from support import echo_services

MANY = 1100  # hypercorn closes a connection by itself after fewer requests


def test_a_line_stays_however_many_requests_it_carries(tmp_path: Path) -> None:
    """A closed connection is an error of each attempt on it, and there are thousands of attempts in a storm."""
    services, uri = start_services(tmp_path, str(echo_services.__file__))
    with services, httpx.Client(base_url=uri, http1=False, http2=True, trust_env=False, timeout=60) as client:
        numbers = [client.get("/discover").extensions["stream_id"] for _ in range(MANY)]
    assert numbers == list(range(1, 2 * MANY, 2)), "streams of one connection"
