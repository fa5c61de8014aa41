"""Deliver messages: through apprise (Slack, Teams, PagerDuty, mail, webhooks), and to the API of Alertmanager.

The address of a receiver can contain a token. It is never shown or stored: texts have the receiver's scheme and
position, and the state file has a hash.
"""

from __future__ import annotations

import hashlib
import logging
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Any, Protocol
from urllib.parse import urlsplit

import httpx

from restate_lab._public import import_extra
from restate_lab._text import join
from restate_lab.alerts.alert import Alert, Event, Message
from restate_lab.alerts.store import OpenAlert
from restate_lab.analysis.doctor.model import Severity
from restate_lab.errors import ArgumentError

__all__ = ["AlertmanagerReceiver", "AppriseReceiver", "Receiver", "create_receivers", "import_library"]

_SECONDS = 10.0
_HASH = 12
_STATUS = re.compile(r"error=(\d{3})\b")
_KINDS = MappingProxyType({Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.NOTE: "info"})


class Receiver(Protocol):
    """A receiver of messages."""

    @property
    def id(self) -> str:
        """Return its identity in the state file."""
        ...

    @property
    def label(self) -> str:
        """Return its name for people."""
        ...

    def send(self, message: Message) -> str:
        """Send a message and return "" if it was accepted, otherwise the reason."""
        ...

    def refresh(self, alerts: Sequence[OpenAlert], now: datetime) -> str:
        """Repeat the open alerts, if the receiver forgets them otherwise; return "" or the reason of a failure."""
        ...


@dataclass(frozen=True, slots=True)
class AppriseReceiver:
    """A receiver of apprise, such as ``slack://…`` or ``json://host/path``."""

    id: str
    label: str
    service: Any

    def send(self, message: Message) -> str:
        """Send a message as plain text, with its fingerprint where the service has a field for it."""
        apprise = import_library("apprise")
        self._set_fingerprint(message)
        everything = apprise.Apprise()
        everything.add(self.service)
        kind = "success" if message.event is Event.RESOLVED else _KINDS[Severity(message.alert.severity)]
        with apprise.LogCapture(level=logging.INFO) as log:
            is_accepted = everything.notify(
                title=message.title, body=message.body, notify_type=kind, body_format="text"
            )
            status = _STATUS.search(log.getvalue())
        if is_accepted:
            return ""
        return f"it refused the message with HTTP {status[1]}" if status else "it did not accept the message"

    def refresh(self, alerts: Sequence[OpenAlert], now: datetime) -> str:  # noqa: ARG002 - it forgets nothing
        """Do nothing: a message is kept by its receiver."""
        return ""

    def _set_fingerprint(self, message: Message) -> None:
        """Let PagerDuty merge messages, and give JSON, form and XML messages the fields that a program needs."""
        if hasattr(self.service, "dedup"):
            self.service.dedup = message.alert.fingerprint
        if hasattr(self.service, "payload_extras"):
            self.service.payload_extras |= {"fingerprint": message.alert.fingerprint, "event": message.event.value}


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver:
    """An Alertmanager, by its address. ``keep`` is how long it keeps an alert that no later visit repeats."""

    id: str
    label: str
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
        try:
            with httpx.Client(timeout=_SECONDS, transport=self.network) as client:
                response = client.post(f"{self.address}/api/v2/alerts", json=list(alerts))
        except httpx.HTTPError as error:
            return f"it did not respond ({type(error).__name__})"
        return "" if response.is_success else f"it refused the alerts with HTTP {response.status_code}"


def _alert_json(alert: Alert, opened_at: datetime, end: datetime) -> dict[str, Any]:
    """Return an alert for Alertmanager; only what never changes, and the severity, is a label."""
    annotations = {
        "summary": alert.title,
        "description": alert.cause,
        "blocks": alert.blocks,
        "examples": join(alert.ids),
        "next_step": alert.next_step,
    }
    return {
        "labels": {
            "alertname": alert.rule,
            "cluster": alert.cluster,
            "subject": alert.subject,
            "severity": alert.severity,
            "fingerprint": alert.fingerprint,
            "job": "restate-lab",
        },
        "annotations": {name: text for name, text in annotations.items() if text},
        "startsAt": opened_at.isoformat(),
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
        service = apprise.Apprise.instantiate(address, suppress_exceptions=True)
    if service is None:
        shown = f"{scheme}://…" if scheme.isalnum() else "without a scheme"
        raise ArgumentError(
            f"the receiver number {at} of --to ({shown}) is not an address that apprise accepts; use for example "
            "slack://…, pagerduty://…, mailto://… or json://host:port/path. `apprise --details` lists all of them."
        )
    return AppriseReceiver(_id_of(address), f"{scheme} {at}", service)


def _alertmanager(address: str, at: int, keep: timedelta) -> AlertmanagerReceiver:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ArgumentError(
            f"the address number {at} of --alertmanager is not valid; use for example http://127.0.0.1:9093."
        )
    return AlertmanagerReceiver(_id_of(address), f"alertmanager {at}", address.rstrip("/"), keep)


def _id_of(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()[:_HASH]


def import_library(name: str) -> Any:
    """Return a module of the extra ``watch``.

    Raises:
        MissingExtra: it is not installed.
    """
    return import_extra(name, "watch", purpose=f"restate-lab watch requires {name}")
