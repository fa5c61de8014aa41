"""Delivery of messages: what receivers get, and what happens if they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from restate_lab.alerts.alert import Alert, Event, Message
from restate_lab.alerts.delivery import AlertmanagerReceiver, AppriseReceiver, create_receivers
from restate_lab.alerts.store import OpenAlert
from restate_lab.errors import ArgumentError
from support.alert_receiver import alert_receiver

AT = datetime(2026, 11, 28, 3, tzinfo=UTC)
KEEP = timedelta(minutes=5)
ALERT = Alert(
    cluster="prod",
    rule="paused",
    subject="Payments/payout",
    severity="critical",
    title="2 invocations of Payments/payout are paused",
    cause="<b>AC04</b>",
    blocks="3 Orders/place",
    ids=("inv_1", "inv_2"),
    next_step="restate-lab why inv_1 -e prod",
    link="http://127.0.0.1:9070/ui/invocations/inv_1",
    page="https://lab.example.com/?source=prod",
)


def message(event: Event, *, previous: str = "") -> Message:
    return Message(1, "one", event, ALERT, AT, AT + timedelta(minutes=2), previous)


def alertmanager(answer: Callable[[httpx.Request], httpx.Response]) -> AlertmanagerReceiver:
    return AlertmanagerReceiver("x", "alertmanager 1", "http://am:9093", KEEP, httpx.MockTransport(answer))


def test_a_message_has_a_title_and_one_fact_per_line() -> None:
    with alert_receiver() as receiver:
        (service,) = create_receivers([receiver.to], [], keep=KEEP)
        assert service.send(message(Event.OPENED)) == ""
        assert service.send(message(Event.RESOLVED)) == ""
    opened, resolved = receiver.received.messages
    assert opened["title"] == "[CRITICAL] prod: 2 invocations of Payments/payout are paused"
    assert opened["message"].splitlines() == [
        "Cause: <b>AC04</b>",
        "Blocks: 3 Orders/place",
        "Since: 2026-11-28 03:00:00 UTC",
        "Examples: inv_1, inv_2",
        "Next: restate-lab why inv_1 -e prod",
        "Web UI: http://127.0.0.1:9070/ui/invocations/inv_1",
        "Page: https://lab.example.com/?source=prod",
        "Rule: paused",
        f"Fingerprint: {ALERT.fingerprint}",
    ]
    assert (opened["type"], opened["fingerprint"], opened["event"]) == ("failure", ALERT.fingerprint, "opened")
    assert (resolved["type"], resolved["event"]) == ("success", "resolved")
    assert "Next:" not in resolved["message"]


def test_a_refusal_has_the_status_and_no_address(capfd: pytest.CaptureFixture[str]) -> None:
    with alert_receiver() as receiver:
        receiver.received.status = 503
        (service,) = create_receivers([f"{receiver.to}?token=geheim"], [], keep=KEEP)
        assert service.label == "json 1"
        assert service.send(message(Event.OPENED)) == "it refused the message with HTTP 503"
    reason = service.send(message(Event.OPENED))
    assert reason == "it did not accept the message"
    assert capfd.readouterr() == ("", "")


def test_counts_and_texts_for_alertmanager_are_annotations_and_labels_never_change() -> None:
    posted: list[Any] = []

    def accept(request: httpx.Request) -> httpx.Response:
        assert request.url == "http://am:9093/api/v2/alerts"
        posted.append(json.loads(request.content))
        return httpx.Response(200)

    receiver = alertmanager(accept)
    assert receiver.send(message(Event.OPENED)) == ""
    assert receiver.send(message(Event.RESOLVED)) == ""
    assert receiver.refresh([OpenAlert(ALERT, AT)], AT + timedelta(hours=1)) == ""
    assert receiver.refresh([], AT) == ""
    opened, resolved, refreshed = (each[0] for each in posted)
    assert opened["labels"] == resolved["labels"] == refreshed["labels"]
    assert opened["labels"] == {
        "alertname": "paused",
        "cluster": "prod",
        "subject": "Payments/payout",
        "severity": "critical",
        "fingerprint": ALERT.fingerprint,
        "job": "restate-lab",
    }
    assert opened["annotations"]["next_step"] == "restate-lab why inv_1 -e prod"
    assert opened["annotations"]["page"] == ALERT.page
    assert opened["startsAt"] == AT.isoformat()
    assert opened["endsAt"] == (AT + timedelta(minutes=7)).isoformat()
    assert resolved["endsAt"] == (AT + timedelta(minutes=2)).isoformat()
    assert refreshed["endsAt"] == (AT + timedelta(minutes=65)).isoformat()
    assert receiver.send(message(Event.WORSE, previous="warning")) == ""
    worse, before = posted[-1]
    assert (worse["labels"]["severity"], before["labels"]["severity"]) == ("critical", "warning")
    assert before["endsAt"] < worse["endsAt"]
    receiver.refresh([OpenAlert(ALERT, AT + timedelta(days=30))], AT)
    ((ahead,),) = posted[-1:]
    assert ahead["startsAt"] <= ahead["endsAt"], "Alertmanager refuses all alerts of the request otherwise"


def test_a_refusal_of_alertmanager_has_its_status_and_a_lost_connection_its_kind() -> None:
    assert (
        alertmanager(lambda _: httpx.Response(400)).send(message(Event.OPENED)) == "it refused the alerts with HTTP 400"
    )

    def lose(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    assert alertmanager(lose).send(message(Event.OPENED)) == "it did not respond (ConnectError)"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["json", "xml", "form", "alertmanager"])
def test_a_redirect_is_a_failure_whose_reason_has_the_host_to_which_it_leads(scheme: str, status: int) -> None:
    with alert_receiver() as receiver:
        receiver.received.status, receiver.received.location = status, "https://sso.example:8443/login?token=geheim"
        to = [] if scheme == "alertmanager" else [f"{scheme}://127.0.0.1:{receiver.port}/x?redirect=yes"]
        (service,) = create_receivers(to, [] if to else [receiver.alertmanager], keep=KEEP)
        reason = service.send(message(Event.OPENED))
    assert reason == "it redirects to https://sso.example:8443; use the address to which it redirects"


def test_an_optional_receiver_that_fails_is_a_failure() -> None:
    with alert_receiver() as receiver:
        receiver.received.status = 503
        (service,) = create_receivers([f"{receiver.to}?optional=yes"], [], keep=KEEP)
        assert service.send(message(Event.OPENED)) == "it refused the message with HTTP 503"


@pytest.mark.parametrize("address", ["slack://", "nonsense://secret-token", "secret-token", "mailto://"])
def test_a_wrong_address_is_refused_with_its_position_and_without_its_token(
    address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArgumentError, match="receiver number 2 of --to") as raised:
        create_receivers(["json://127.0.0.1:9/x", address], [], keep=KEEP)
    assert "secret-token" not in str(raised.value)
    assert "json://host:port/path" in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_an_address_without_scheme_or_host_and_a_repeated_receiver_are_refused() -> None:
    for address in ("localhost:9093", "ftp://x", "http://"):
        with pytest.raises(ArgumentError, match=r"use for example http://127\.0\.0\.1:9093"):
            create_receivers([], [address], keep=KEEP)
    with pytest.raises(ArgumentError, match="a receiver is there twice"):
        create_receivers(["json://h/a", "json://h/a"], [], keep=KEEP)


def test_the_identity_of_a_receiver_has_its_service_and_no_token() -> None:
    to = ["json://geheim@h/a", "jsons://geheim@h/a", f"slack://T1JJ3T3L2/A1BRTD4JD/{'t' * 24}"]
    receivers = create_receivers(to, ["http://am:9093", "https://am:9093"], keep=KEEP)
    kinds = [each.id.partition(":")[0] for each in receivers]
    assert kinds == ["json", "json", "slack", "alertmanager", "alertmanager"]
    assert len({each.id for each in receivers}) == len(receivers)
    assert all(re.fullmatch(r"\w+:[0-9a-f]{12}", each.id) for each in receivers)


def test_the_key_of_pagerduty_is_the_fingerprint() -> None:
    (receiver,) = create_receivers([f"pagerduty://{'a' * 20}@{'b' * 32}?action=map"], [], keep=KEEP)
    assert isinstance(receiver, AppriseReceiver)
    receiver._set_fingerprint(message(Event.OPENED))
    assert receiver.service.dedup == ALERT.fingerprint
