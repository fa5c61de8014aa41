"""An S3 server in its own process (moto), and a gateway in front of it."""

from __future__ import annotations

import contextlib
import http.client
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from restate_lab.demo.process import Process
from restate_lab.demo.server import free_ports
from restate_lab.environment import clean_environment
from support.bench import wait_for
from support.integrations.environments import python_environment_of

GATEWAY = Path(__file__).with_name("s3_gateway.py")
BUCKET = "archives"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "AWS_REGION": "us-east-1"}


def s3_settings(address: str) -> dict[str, str]:
    return {**CREDENTIALS, "AWS_ENDPOINT_URL": address, "AWS_ALLOW_HTTP": "true"}


def request(address: str, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    """Send a request to the server; it accepts any credentials."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=10)
    with contextlib.closing(connection):
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()


@contextlib.contextmanager
def running_s3(folder: Path) -> Iterator[str]:
    """Start moto with an empty bucket, and give its address."""
    (port,) = free_ports(1)
    command = [str(python_environment_of("s3")), "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = Process(command, env=clean_environment(), log=folder / "s3.log")
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(lambda: _is_created(address))
        yield address
    finally:
        process.stop()


def _is_created(address: str) -> bool:
    with contextlib.suppress(OSError):
        return request(address, "PUT", f"/{BUCKET}")[0] == 200
    return False


@contextlib.contextmanager
def gateway(
    address: str, folder: Path, *, without: str = "-", status: int = 0, port: int | None = None
) -> Iterator[str]:
    """Give the address of a gateway that removes a header of each request, or answers each with a status.

    It is a process, because some calls of deltalake hold Python's lock while they wait for a response.
    """
    port = port or free_ports(1)[0]
    command = [sys.executable, str(GATEWAY), address, str(port), without, str(status)]
    process = Process(command, env=clean_environment(), log=folder / f"gateway-{port}.log")
    try:
        own = f"http://127.0.0.1:{port}"
        wait_for(lambda: _answers(own))
        yield own
    finally:
        process.stop()


def _answers(address: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(request(address, "GET", "/")[0])
    return False
