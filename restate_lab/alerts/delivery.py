"""Deliver messages: through apprise (Slack, Teams, PagerDuty, mail, webhooks), and to the API of Alertmanager.

A process of its own sends them. Each receiver has a time limit for each delivery: the process of a delivery that takes
longer is ended, so that a slow receiver delays nothing else, and its message does not arrive later.
The address of a receiver can contain a token. It is never shown or stored, and the process gets it on stdin: texts have
the receiver's scheme and position, and the state file has the kind of service and a hash.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import queue
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

from restate_lab._public import require_packages
from restate_lab._text import format_duration, join
from restate_lab.alerts import THREAD_NAME
from restate_lab.alerts.alert import Alert, Event, Message, without_markup
from restate_lab.alerts.store import OpenAlert
from restate_lab.analysis.doctor.model import Severity
from restate_lab.errors import ArgumentError

DELIVERY_SECONDS = 30.0
"""The time limit of one delivery, from the connection to the end of the response."""
_PROGRAM = Path(__file__).with_name("sender.py")
_NUMBERS = itertools.count(1)  # of deliveries
_IDLE = 10.0  # seconds without a delivery after which the process ends
_ENDED = "its process ended before there was a response"
_KINDS = MappingProxyType({Severity.CRITICAL: "failure", Severity.WARNING: "warning", Severity.NOTE: "info"})


@dataclass(frozen=True, slots=True)
class Receiver(ABC):
    """A receiver of messages.

    ``id`` is its identity in the state file, the service and a hash of the address ("slack:0123456789ab"). ``label`` is
    its name for people.
    """

    id: str
    label: str
    address: str = field(repr=False)

    @abstractmethod
    def content(self, message: Message) -> Any:
        """Return what the process sends for a message."""

    def repetition(self, alerts: Sequence[OpenAlert], now: datetime) -> Any:  # noqa: ARG002 - for those that forget
        """Return what repeats the open alerts; None if nothing is to repeat, or the receiver does not forget them."""
        return None


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """The end of a delivery: ``reason`` is "" if it was accepted. Without a message, the open alerts were repeated."""

    courier: Courier
    number: int
    message: Message | None
    reason: str


class SenderProcess:
    """A process that sends; it ends with this process, or when the last delivery after ``give_up`` is over."""

    def __init__(self) -> None:
        variables = {name: value for name, value in os.environ.items() if not name.startswith("RESTATE_")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables,  # RESTATE_LAB_WATCH_TO can have the addresses
            start_new_session=True,  # without Ctrl-C, which must not end a delivery
            text=True,
        )
        self._reports: dict[int, Callable[[int, str], None]] = {}
        self._used_at = time.monotonic()
        self._is_given_up = False
        threading.Thread(target=self._read, name=THREAD_NAME, daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Return whether it has ended."""
        return self._process.poll() is not None

    @property
    def is_usable(self) -> bool:
        """Return whether it can begin a delivery."""
        return not self._is_given_up and not self.is_over

    @property
    def is_idle(self) -> bool:
        """Return whether it has had nothing to send for some seconds."""
        return not self._reports and time.monotonic() > self._used_at + _IDLE

    def send(self, address: str, content: Any, report: Callable[[int, str], None]) -> int:
        """Begin a delivery, and return its number; ``report`` gets the number and the reason of a failure."""
        number, self._used_at = next(_NUMBERS), time.monotonic()
        self._reports[number] = report
        try:
            print(json.dumps([number, address, content]), file=self._process.stdin, flush=True)
        except (OSError, ValueError):
            self._report(number, _ENDED)
        return number

    def give_up(self, number: int) -> None:
        """End a delivery. The process of other ones ends after them, and begins none until then."""
        self._is_given_up = True
        self._report(number, None)

    def end(self) -> None:
        """End it at once."""
        self._process.kill()

    def _read(self) -> None:
        with suppress(OSError), self._process:
            for line in self._process.stdout or ():
                self._report(*json.loads(line))
        for number in list(self._reports):
            self._report(number, _ENDED)

    def _report(self, number: int, reason: str | None) -> None:
        report = self._reports.pop(number, None)
        if report is not None and reason is not None:
            report(number, reason)
        if self._is_given_up and not self._reports:
            self.end()


class Senders:
    """Has the process that sends, which starts with the first delivery, and ends when nothing is to send."""

    def __init__(self) -> None:
        self._process: SenderProcess | None = None

    def get(self) -> SenderProcess:
        """Return the process for the next delivery."""
        if self._process is None or not self._process.is_usable:
            self._process = SenderProcess()
        return self._process

    def end_if_idle(self) -> None:
        """End the process if it has had nothing to send for some seconds."""
        if self._process is not None and self._process.is_idle:
            self.close()

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.end()
            self._process = None


@dataclass(slots=True, eq=False)
class Courier:
    """Delivers to one receiver, one delivery at a time; ``report`` gets each result.

    ``limit`` is the time limit of a delivery in seconds. The timeouts of the libraries are for one read, so a receiver
    that sends one byte at a time would keep them for ever.

    ``refreshes`` is whether the open alerts must be repeated to the receiver, and ``is_busy`` whether the result of a
    delivery is not known yet.
    """

    receiver: Receiver
    senders: Senders
    report: Callable[[DeliveryResult], None]
    limit: float = DELIVERY_SECONDS
    refreshes: bool = False
    is_busy: bool = False
    _message: Message | None = None
    _number: int = 0
    _process: SenderProcess | None = None
    _late: SenderProcess | None = None
    _ends: float = 0.0
    _rests_until: float = 0.0

    @property
    def was_late(self) -> bool:
        """Return whether a delivery has exceeded the time limit."""
        return self._late is not None

    @property
    def is_free(self) -> bool:
        """Return whether the next delivery can begin: the process of one that was late also has those of others."""
        is_over = self._late is None or self._late.is_over
        return not self.is_busy and is_over and time.monotonic() >= self._rests_until

    def start(self, message: Message | None, content: Any) -> None:
        """Begin a delivery, of a message or of the open alerts."""
        self._message, self.is_busy, self._ends = message, True, time.monotonic() + self.limit
        try:
            self._process = self.senders.get()
        except OSError as error:  # of a machine without memory, for example
            self._number = 0
            self._report(0, f"no process could be started for it ({error.strerror})")
        else:
            self._number = self._process.send(self.receiver.address, content, self._report)

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
        """Return the failure of a delivery that has exceeded the time limit, and end it; otherwise None.

        So a message that counts as failed is not sent later, when another one about the same alert may have arrived.
        """
        if not self.is_busy or time.monotonic() < self._ends or self._process is None:
            return None
        self._late = self._process
        self._late.give_up(self._number)
        reason = f"it did not complete its response within {format_duration(self.limit)}"
        return DeliveryResult(self, self._number, self._message, reason)

    def _report(self, number: int, reason: str) -> None:
        self.report(DeliveryResult(self, number, self._message, reason))


class AppriseReceiver(Receiver):
    """A receiver of apprise, such as ``slack://…`` or ``json://host/path``."""

    def content(self, message: Message) -> dict[str, str]:
        """Return the parts of a message."""
        is_over = message.event is Event.RESOLVED
        return {
            "title": message.title,
            "body": message.body,
            "notify_type": "success" if is_over else _KINDS[Severity(message.alert.severity)],
            "fingerprint": message.alert.fingerprint,
            "event": message.event.value,
        }


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver(Receiver):
    """An Alertmanager. ``keep`` is how long it keeps an alert that no later visit repeats."""

    keep: timedelta

    def content(self, message: Message) -> list[dict[str, Any]]:
        """Return the alert, and its end under its earlier severity, which is a label."""
        end = message.at if message.event is Event.RESOLVED else message.at + self.keep
        alerts = [_alert_json(message.alert, message.opened_at, end)]
        if message.event is Event.WORSE and message.previous not in {"", message.alert.severity}:
            earlier = _alert_json(message.alert, message.opened_at, message.at)
            alerts.append(earlier | {"labels": earlier["labels"] | {"severity": message.previous}})
        return alerts

    def repetition(self, alerts: Sequence[OpenAlert], now: datetime) -> list[dict[str, Any]] | None:
        """Return the open alerts, which Alertmanager ends otherwise."""
        return [_alert_json(each.alert, each.opened_at, now + self.keep) for each in alerts] or None


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


def create_receivers(
    senders: Senders, to: Sequence[str], alertmanager: Sequence[str], *, keep: timedelta
) -> list[Receiver]:
    """Return the receivers for addresses of apprise, which a process checks, and of Alertmanager.

    Raises:
        ArgumentError: an address is not valid, or is there twice.
        MissingExtra: apprise is not installed.
    """
    receivers: list[Receiver] = [_apprise_receiver(senders, address, at) for at, address in enumerate(to, 1)]
    receivers += [_alertmanager(address, at, keep) for at, address in enumerate(alertmanager, 1)]
    if len({each.id for each in receivers}) < len(receivers):
        raise ArgumentError("a receiver is there twice; name each address of --to and --alertmanager once.")
    return receivers


def _apprise_receiver(senders: Senders, address: str, at: int) -> AppriseReceiver:
    require_packages("restate-lab watch", "apprise", extra="watch")
    scheme = address.partition("://")[0] if "://" in address else ""
    kinds: queue.SimpleQueue[str] = queue.SimpleQueue()
    senders.get().send(address, None, lambda _, kind: kinds.put(kind))
    kind = kinds.get()
    if not kind.isidentifier():
        shown = f"{scheme}://…" if scheme.isalnum() else "without a scheme"
        raise ArgumentError(
            f"the receiver number {at} of --to ({shown}) is not an address that apprise accepts; use for example "
            "slack://…, pagerduty://…, mailto://… or json://host:port/path. `apprise --details` lists all of them."
        )
    return AppriseReceiver(_id_of(kind, address), f"{scheme} {at}", address)


def _alertmanager(address: str, at: int, keep: timedelta) -> AlertmanagerReceiver:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ArgumentError(
            f"the address number {at} of --alertmanager is not valid; use for example http://127.0.0.1:9093."
        )
    return AlertmanagerReceiver(_id_of("alertmanager", address), f"alertmanager {at}", address.rstrip("/"), keep)


def _id_of(kind: str, address: str) -> str:
    return f"{kind}:{hashlib.sha256(address.encode()).hexdigest()[:12]}"
