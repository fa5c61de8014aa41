"""The health check of a container: ``python -m restate_lab.serve.health`` has exit code 0 if the server responds.

``RESTATE_LAB_HEALTH`` is the address of the server in its container, such as ``http://127.0.0.1:9180/health`` for
``serve`` or ``http://127.0.0.1:9464/metrics`` for ``watch``. Without it, the exit code is always 0: the other commands
have no address. ``RESTATE_LAB_HEALTH_HOST`` is the name under which viewers reach ``serve``; it answers no other name.
A certificate is not verified, because it has that name and not the address.
"""

from __future__ import annotations

import os
import ssl
import sys
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

_SECONDS = 4.0


def check(address: str, host: str = "") -> str:
    """Send one request; return the problem, or "" if the status is 200."""
    url = urlsplit(address)
    connection = HTTPConnection(url.netloc, timeout=_SECONDS)
    if url.scheme == "https":
        connection = HTTPSConnection(url.netloc, timeout=_SECONDS, context=_unverified())
    try:
        connection.request("GET", url.path or "/", headers={"Host": host or url.netloc})
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return f"{address} does not respond: {error}"
    finally:
        connection.close()
    return "" if status == 200 else f"{address} responds with status {status}"


def _unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main() -> None:
    """Run the command."""
    address = os.environ.get("RESTATE_LAB_HEALTH", "")
    problem = check(address, os.environ.get("RESTATE_LAB_HEALTH_HOST", "")) if address else ""
    sys.exit(problem or 0)


if __name__ == "__main__":
    main()
