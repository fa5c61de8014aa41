"""The program that sends messages: a process of its own, which can be ended when a receiver does not respond in time.

``delivery`` starts this file. A line of stdin is a JSON list: the number of a delivery, the address of the receiver,
and the content: a list of alerts for Alertmanager, the parts of a message for a service of apprise, or null to check
the address. A line of stdout has the number, and the reason of a failure or ""; for a check, the kind of service or "".
An address can contain a token, so nothing else is printed. The program ends with its stdin. It imports only what the
receivers need, because it often starts for one message.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any
from urllib.parse import urljoin, urlsplit

_SECONDS = 10.0  # without a response
_REDIRECTS = range(300, 400)
_LONGEST_START = 1000  # bytes of a response that show whether it is a page
_A_PAGE = "it responded with an HTML page, such as a login page, which does not confirm a delivery"
_THREAD = threading.local()


def main() -> None:
    """Send what arrives on stdin, each delivery in its own thread."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all processes: the parent ends this
    results = os.dup(1)
    os.dup2(2, 1)  # a library could print
    for line in sys.stdin:
        number, address, content = json.loads(line)
        if not isinstance(content, list):
            record_responses()
        threading.Thread(target=_deliver, args=(results, number, address, content), daemon=True).start()
    os._exit(0)


def _deliver(results: int, number: int, address: str, content: Any) -> None:
    try:
        reason = _kind_of(address) if content is None else send(address, content)
    except Exception as error:  # noqa: BLE001 - a defect of one service must not end the alerts
        reason = f"it could not be used ({type(error).__name__})"
    os.write(results, f"{json.dumps([number, reason])}\n".encode())


def send(address: str, content: Any) -> str:
    """Send a content to an address, and return "" if it was accepted, otherwise the reason."""
    return _post(f"{address}/api/v2/alerts", content) if isinstance(content, list) else _notify(address, content)


@functools.cache
def record_responses() -> None:
    """Let requests keep the responses of each delivery: apprise returns only whether a service accepted a message."""
    from requests.adapters import HTTPAdapter  # noqa: PLC0415 - of an extra

    original = HTTPAdapter.send

    def recorded(*args: Any, **options: Any) -> Any:
        response = original(*args, **options)
        _responses().append(response)
        return response

    HTTPAdapter.send = recorded  # type: ignore[method-assign]


def _responses() -> list[Any]:
    """Return the responses in this thread, which has one delivery."""
    return _THREAD.__dict__.setdefault("responses", [])  # type: ignore[no-any-return]


def _kind_of(address: str) -> str:
    found = service(address)
    return "" if found is None else type(found).__name__.removeprefix("Notify").lower()  # one for json:// and jsons://


@functools.cache
def service(address: str) -> Any:
    """Return the service of apprise at an address, which keeps its pauses between messages; None without one."""
    import apprise  # noqa: PLC0415 - an extra

    # Without its own limit, it sends in the thread of the caller.
    asset = apprise.AppriseAsset(http_redirects=False, service_timeout=0, async_mode=False)
    found = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if found is not None:
        found.redirects = found.optional = False  # an address can set both, and a failure would be a success
    return found


def _notify(address: str, content: dict[str, Any]) -> str:
    """Send a message as plain text, with its fingerprint where the service has a field for it."""
    import apprise  # noqa: PLC0415 - an extra

    receiver, everything = service(address), apprise.Apprise()
    fields = {name: content.pop(name) for name in ("fingerprint", "event")}
    if hasattr(receiver, "dedup"):  # PagerDuty merges messages by it
        receiver.dedup = fields["fingerprint"]
    if hasattr(receiver, "payload_extras"):  # of JSON, form and XML messages
        receiver.payload_extras |= fields
    everything.add(receiver)
    is_accepted = everything.notify(**content, body_format="text")
    for each in reversed(_responses()):
        if each.status_code in _REDIRECTS:
            return _redirect_reason(each.url, each.headers.get("location", ""))
        if each.ok and _is_page(each.headers.get("content-type", ""), each.content):
            return _A_PAGE
    refused = [each.status_code for each in _responses() if not each.ok]
    if is_accepted:
        return ""
    return f"it refused the message with HTTP {refused[-1]}" if refused else "it did not accept the message"


def _post(address: str, alerts: Sequence[dict[str, Any]]) -> str:
    import httpx  # noqa: PLC0415 - services of apprise do not need it

    try:
        with httpx.Client(timeout=_SECONDS) as client, client.stream("POST", address, json=alerts) as response:
            start = next(response.iter_bytes(), b"")
    except httpx.HTTPError as error:
        return f"it did not respond ({type(error).__name__})"
    if response.status_code in _REDIRECTS:
        return _redirect_reason(address, response.headers.get("location", ""))
    if not response.is_success:
        return f"it refused the alerts with HTTP {response.status_code}"
    return _A_PAGE if _is_page(response.headers.get("content-type", ""), start) else ""


def _is_page(content_type: str, body: bytes) -> bool:
    """Return whether a response is an HTML page, and not a short text such as "ok", which Slack sends as text/html."""
    start = body[:_LONGEST_START].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html")) or ("html" in content_type and start.startswith(b"<"))


def _redirect_reason(address: str, location: str) -> str:
    """Return the target of a redirect, without its path, which can contain a token."""
    try:
        target = urlsplit(urljoin(address, location))
        place = f"{target.scheme}://{target.hostname}{f':{target.port}' if target.port else ''}"
    except ValueError:
        return "it redirects"
    return f"it redirects to {place}; use the address to which it redirects"


if __name__ == "__main__":
    main()
