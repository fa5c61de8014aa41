"""Deliver messages: through apprise (Slack, Teams, PagerDuty, mail, webhooks), and to the API of Alertmanager.

Each receiver has a thread of its own and a time limit for each delivery, so that a slow receiver delays nothing else.
The address of a receiver can contain a token. It is never shown or stored: texts have the receiver's scheme and
position, and the state file has the kind of service and a hash.
"""

from __future__ import annotations

import contextlib
import ctypes
import hashlib
import logging
import sys
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import FrameType, MappingProxyType
from typing import Any, Self
from urllib.parse import urljoin, urlsplit

import httpx

from restate_lab._public import import_extra
from restate_lab._text import format_duration, join
from restate_lab.alerts import THREAD_NAME
from restate_lab.alerts.alert import Alert, Event, Message, without_markup
from restate_lab.alerts.store import OpenAlert
from restate_lab.analysis.doctor.model import Severity
from restate_lab.errors import ArgumentError

DELIVERY_SECONDS = 30.0
"""The time limit of one delivery, from the connection to the end of the response."""
_SECONDS = 10.0  # without a response
_REDIRECTS = range(300, 400)
_LONGEST_START = 1000  # bytes of a response that show whether it is a page
_A_PAGE = "it responded with an HTML page, such as a login page, which does not confirm a delivery"
_KINDS = MappingProxyType({Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.NOTE: "info"})


@dataclass(frozen=True, slots=True)
class Receiver(ABC):
    """A receiver of messages.

    ``id`` is its identity in the state file, the service and a hash of the address ("slack:0123456789ab"). ``label`` is
    its name for people.
    """

    id: str
    label: str

    @abstractmethod
    def send(self, message: Message) -> str:
        """Send a message and return "" if it was accepted, otherwise the reason."""

    def refresh(self, alerts: Sequence[OpenAlert], now: datetime) -> str:  # noqa: ARG002 - for those that forget
        """Repeat the open alerts, if the receiver forgets them otherwise; return "" or the reason of a failure."""
        return ""


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The end of a delivery: ``reason`` is "" if it was accepted. Without a message, the open alerts were repeated."""

    courier: Courier
    number: int
    message: Message | None
    reason: str


@dataclass(slots=True, eq=False)
class Courier:
    """Delivers to one receiver in a thread, one delivery at a time; ``report`` gets each result.

    ``limit`` is the time limit of a delivery in seconds. The timeouts of the libraries are for one read, so a receiver
    that sends one byte at a time would keep them for ever.

    ``refreshes`` is whether the open alerts must be repeated to the receiver, ``is_busy`` whether the result of a
    delivery is not known yet, and ``was_late`` whether a delivery has exceeded the time limit.
    """

    receiver: Receiver
    report: Callable[[DeliveryResult], None]
    limit: float = DELIVERY_SECONDS
    refreshes: bool = False
    is_busy: bool = False
    was_late: bool = False
    _message: Message | None = None
    _number: int = 0
    _thread: threading.Thread | None = None
    _late_thread: threading.Thread | None = None
    _ends: float = 0.0
    _rests_until: float = 0.0

    @property
    def is_free(self) -> bool:
        """Return whether the next delivery can begin: a thread that was ended late may still run for some seconds."""
        is_over = self._late_thread is None or not self._late_thread.is_alive()
        return not self.is_busy and is_over and time.monotonic() >= self._rests_until

    def start(self, message: Message | None, deliver: Callable[[], str]) -> None:
        """Begin a delivery, of a message or of the open alerts."""
        self._number += 1
        self._message, self.is_busy, self._ends = message, True, time.monotonic() + self.limit
        work = (self._number, message, deliver)
        self._thread = threading.Thread(target=self._run, args=work, name=THREAD_NAME, daemon=True)
        self._thread.start()

    def conclude(self, result: DeliveryResult, *, pause: float) -> bool:
        """Accept a result, and begin nothing for ``pause`` seconds after a failure.

        Return False for a result that came after the time limit: its failure was accepted before.
        """
        if not self.is_busy or result.number != self._number:
            return False
        self.is_busy = False
        if result.reason:
            self._rests_until = time.monotonic() + pause
        return True

    def late_result(self) -> DeliveryResult | None:
        """Return the failure of a delivery that has exceeded the time limit, and end its thread; otherwise None."""
        if not self.is_busy or time.monotonic() < self._ends:
            return None
        self.was_late, self._late_thread = True, self._thread
        if self._thread is not None and self._thread.is_alive() and self._thread.ident is not None:
            # Raised in that thread when its present read returns. So a message that counts as failed is not sent later,
            # when another one about the same alert may have arrived.
            ident = ctypes.c_ulong(self._thread.ident)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ident, ctypes.py_object(SystemExit))
        reason = f"it did not complete its response within {format_duration(self.limit)}"
        return DeliveryResult(self, self._number, self._message, reason)

    def _run(self, number: int, message: Message | None, deliver: Callable[[], str]) -> None:
        with contextlib.suppress(SystemExit):  # it took too long
            try:
                reason = deliver()
            except Exception as error:  # noqa: BLE001 - a defect of one service must not end the alerts
                reason = f"it could not be used ({type(error).__name__})"
            self.report(DeliveryResult(self, number, message, reason))


@dataclass(frozen=True, slots=True)
class AppriseReceiver(Receiver):
    """A receiver of apprise, such as ``slack://…`` or ``json://host/path``."""

    service: Any

    def send(self, message: Message) -> str:
        """Send a message as plain text, with its fingerprint where the service has a field for it."""
        apprise = import_library("apprise")
        self._set_fingerprint(message)
        everything = apprise.Apprise()
        everything.add(self.service)
        kind = "success" if message.event is Event.RESOLVED else _KINDS[Severity(message.alert.severity)]
        with _ResponseLog() as responses:
            result = everything.notify(title=message.title, body=message.body, notify_type=kind, body_format="text")
        return responses.reason(is_accepted=bool(result))

    def _set_fingerprint(self, message: Message) -> None:
        """Let PagerDuty merge messages, and give JSON, form and XML messages the fields that a program needs."""
        if hasattr(self.service, "dedup"):
            self.service.dedup = message.alert.fingerprint
        if hasattr(self.service, "payload_extras"):
            self.service.payload_extras |= {"fingerprint": message.alert.fingerprint, "event": message.event.value}


class _ResponseLog:
    """Collects the responses that this thread gets: apprise returns only whether a service accepted a message.

    All of its services that use HTTP call requests, each in its own way. A profile function of this thread sees what
    their calls return, and changes nothing.
    """

    def __init__(self) -> None:
        self._kind = import_library("requests").Response
        self._found: list[Any] = []
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._see)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _see(self, _: FrameType, event: str, value: object) -> None:
        if event == "return" and isinstance(value, self._kind):
            self._found.append(value)

    def reason(self, *, is_accepted: bool) -> str:
        """Return why a message was not accepted; "" if it was, as far as the service reported."""
        for each in reversed(self._found):
            if each.status_code in _REDIRECTS:
                return _redirect_reason(each.url, each.headers.get("location", ""))
            if each.ok and _is_page(each.headers.get("content-type", ""), each.content):
                return _A_PAGE
        if is_accepted:
            return ""
        statuses = [each.status_code for each in reversed(self._found) if not each.ok]
        return f"it refused the message with HTTP {statuses[0]}" if statuses else "it did not accept the message"


def _is_page(content_type: str, body: bytes) -> bool:
    """Return whether a response is an HTML page, and not a short text such as "ok", which Slack sends as text/html."""
    start = body[:_LONGEST_START].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return start.startswith((b"<!doctype html", b"<html")) or ("html" in content_type and start.startswith(b"<"))


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver(Receiver):
    """An Alertmanager, by its address. ``keep`` is how long it keeps an alert that no later visit repeats."""

    address: str
    keep: timedelta
    network: httpx.BaseTransport | None = None

    def send(self, message: Message) -> str:
        """Send the alert, and end it under its earlier severity, which is a label."""
        end = message.at if message.event is Event.RESOLVED else message.at + self.keep
        alerts = [_alert_json(message.alert, message.opened_at, end)]
        if message.event is Event.WORSE and message.previous not in {"", message.alert.severity}:
            earlier = _alert_json(message.alert, message.opened_at, message.at)
            alerts.append(earlier | {"labels": earlier["labels"] | {"severity": message.previous}})
        return self._post(alerts)

    def refresh(self, alerts: Sequence[OpenAlert], now: datetime) -> str:
        """Repeat the open alerts, which Alertmanager ends otherwise."""
        end = now + self.keep
        return self._post([_alert_json(each.alert, each.opened_at, end) for each in alerts]) if alerts else ""

    def _post(self, alerts: Sequence[dict[str, Any]]) -> str:
        address = f"{self.address}/api/v2/alerts"
        try:
            with (
                httpx.Client(timeout=_SECONDS, transport=self.network) as client,
                client.stream("POST", address, json=list(alerts)) as response,
            ):
                start = next(response.iter_bytes(), b"")
        except httpx.HTTPError as error:
            return f"it did not respond ({type(error).__name__})"
        if response.status_code in _REDIRECTS:
            return _redirect_reason(address, response.headers.get("location", ""))
        if not response.is_success:
            return f"it refused the alerts with HTTP {response.status_code}"
        return _A_PAGE if _is_page(response.headers.get("content-type", ""), start) else ""


def _redirect_reason(address: str, location: str) -> str:
    """Return the target of a redirect, without its path, which can contain a token."""
    try:
        target = urlsplit(urljoin(address, location))
        place = f"{target.scheme}://{target.hostname}{f':{target.port}' if target.port else ''}"
    except ValueError:
        return "it redirects"
    return f"it redirects to {place}; use the address to which it redirects"


def _alert_json(alert: Alert, opened_at: datetime, end: datetime) -> dict[str, Any]:
    """Return an alert for Alertmanager, without markup; only what never changes, and the severity, is a label."""
    plain = alert.plain()
    annotations = {
        "summary": plain.title,
        "description": plain.cause,
        **plain.additions,
        "blocks": plain.blocks,
        "examples": join(plain.ids),
        "next_step": plain.next_step,
        "page": plain.page,
    }
    return {
        "labels": {
            "alertname": alert.rule,
            "cluster": alert.cluster,
            "subject": without_markup(alert.subject),
            "severity": alert.severity,
            "fingerprint": alert.fingerprint,
            "job": "restate-lab",
        },
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": min(opened_at, end).isoformat(),  # otherwise Alertmanager refuses all alerts of the request
        "endsAt": end.isoformat(),
        **({"generatorURL": alert.link} if alert.link else {}),
    }


def create_receivers(to: Sequence[str], alertmanager: Sequence[str], *, keep: timedelta) -> list[Receiver]:
    """Return the receivers for addresses of apprise and of Alertmanager.

    Raises:
        ArgumentError: an address is not valid, or is there twice.
        MissingExtra: apprise is not installed.
    """
    receivers: list[Receiver] = [_apprise_receiver(address, at) for at, address in enumerate(to, 1)]
    receivers += [_alertmanager(address, at, keep) for at, address in enumerate(alertmanager, 1)]
    if len({each.id for each in receivers}) < len(receivers):
        raise ArgumentError("a receiver is there twice; name each address of --to and --alertmanager once.")
    return receivers


def _apprise_receiver(address: str, at: int) -> AppriseReceiver:
    apprise = import_library("apprise")
    scheme = address.partition("://")[0] if "://" in address else ""
    # Its messages can contain the token, and it imports a deprecated module of Python.
    with apprise.LogCapture(level=logging.CRITICAL), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        # Without its own limit, it sends in the thread of the caller: the threads of its pool are few, and all
        # receivers would share them. A courier has the limit.
        asset = apprise.AppriseAsset(http_redirects=False, service_timeout=0, async_mode=False)
        service = apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
    if service is None:
        shown = f"{scheme}://…" if scheme.isalnum() else "without a scheme"
        raise ArgumentError(
            f"the receiver number {at} of --to ({shown}) is not an address that apprise accepts; use for example "
            "slack://…, pagerduty://…, mailto://… or json://host:port/path. `apprise --details` lists all of them."
        )
    service.redirects = service.optional = False  # an address can set both, and a failure would be a success
    kind = type(service).__name__.removeprefix("Notify").lower()  # the same for json:// and jsons://
    return AppriseReceiver(_id_of(kind, address), f"{scheme} {at}", service)


def _alertmanager(address: str, at: int, keep: timedelta) -> AlertmanagerReceiver:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ArgumentError(
            f"the address number {at} of --alertmanager is not valid; use for example http://127.0.0.1:9093."
        )
    return AlertmanagerReceiver(_id_of("alertmanager", address), f"alertmanager {at}", address.rstrip("/"), keep)


def _id_of(kind: str, address: str) -> str:
    return f"{kind}:{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def import_library(name: str) -> Any:
    """Return a module of the extra ``watch``.

    Raises:
        MissingExtra: it is not installed.
    """
    return import_extra(name, "watch", purpose=f"restate-lab watch requires {name}")
