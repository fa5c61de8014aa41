"""Delivery of messages: what receivers get, and what happens if they refuse."""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import requests

from restate_lab.alerts.alert import Alert, Event, Message, without_markup
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
        "Cause: ﹤b﹥AC04﹤∕b﹥",
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


def test_alertmanager_gets_no_markup_and_the_same_fingerprint() -> None:
    posted: list[Any] = []

    def accept(request: httpx.Request) -> httpx.Response:
        posted.extend(json.loads(request.content))
        return httpx.Response(200)

    texts = dict.fromkeys(
        ("subject", "title", "cause", "shared", "draining", "blocks", "note"), "<!channel> evil.example"
    )
    alert = replace(ALERT, **texts, ids=("<!channel>",))  # type: ignore[arg-type]
    assert alertmanager(accept).send(replace(message(Event.OPENED), alert=alert)) == ""
    (sent,) = posted
    assert "<!channel>" not in json.dumps(sent)
    assert "evil.example" not in json.dumps(sent)
    assert sent["labels"]["fingerprint"] == alert.fingerprint


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


PAGES = (
    ("text/html", b"<html><form>login", False),
    ("text/html; charset=utf-8", b"\r\n<!-- sso --><form>", False),
    ("", b"\xef\xbb\xbf<!DOCTYPE HTML><title>Sign in</title>", False),
    ("application/json", b"<HTML lang=en>", False),
    ("application/xhtml+xml", b'<?xml version="1.0"?><!DOCTYPE html>', False),
    ("text/html", b"ok", True),  # Slack
    ("application/json", b'{"status": "<html>"}', True),
    ("text/xml", b'<?xml version="1.0"?><accepted/>', True),
)


@pytest.mark.parametrize(
    ("scheme", "content_type", "body", "is_accepted"),
    [
        *(("json", *each) for each in PAGES),
        *(("alertmanager", *each) for each in PAGES),
        *((scheme, *PAGES[0]) for scheme in ("xml", "form", "mmost")),
    ],
)
def test_a_page_with_status_200_is_a_failure_with_its_reason(
    scheme: str, content_type: str, body: bytes, *, is_accepted: bool
) -> None:
    with alert_receiver() as receiver:
        receiver.received.page = (content_type, body)
        to = [] if scheme == "alertmanager" else [f"{scheme}://127.0.0.1:{receiver.port}/{'x' * 24}"]
        (service,) = create_receivers(to, [] if to else [receiver.alertmanager], keep=KEEP)
        reason = service.send(message(Event.OPENED))
    assert receiver.received.requests == 1
    assert ("HTML page, such as a login page" in reason) is not is_accepted
    assert (reason == "") is is_accepted


HOSTILE = {
    "@everyone @channel @here": "﹫everyone ﹫channel ﹫here",
    "<!channel> <@U123> <#C1> <users/all> <at>x</at>": "﹤!channel﹥ ﹤﹫U123﹥ ﹤﹟C1﹥ ﹤users/all﹥ ﹤at﹥x﹤∕at﹥",
    "#general ~town @**all** {@participants}": "﹟general ∼town ﹫﹡﹡all﹡﹡ {﹫participants}",
    "[open](https://evil.example/login)": "［open］(https:∕∕evil·example/login)",
    "<https://evil.example|open> [open|evil.example]": "﹤https:∕∕evil·example¦open﹥ ［open¦evil·example］",
    "[open][1] ![x](//evil.example) [[evil]]": "［open］［1］ !［x］(∕∕evil·example) ［［evil］］",
    "evil.example www.evil.example evil.xn--p1ai a@evil.example": "evil·example www·evil·example evil·xn--p1ai "
    "a﹫evil·example",
    "http://10.0.0.1:80 10.0.0.1 \\\\evil\\share ftp://x": "http:∕∕10·0.0.1:80 10·0.0.1 ﹨﹨evil﹨share ftp:∕∕x",
    "https&colon;//evil.example &#64;all &lt;b>": "https﹠colon;∕∕evil·example ﹠﹟64;all ﹠lt;b﹥",
    "**b** _i_ __u__ a__b__ ~~s~~": "﹡﹡b﹡﹡ ＿i＿ ＿＿u＿＿ a＿＿b＿＿ ∼∼s∼∼",
    "||x|| `c` $$x$$ $[spin x]": "¦¦x¦¦ 'c' ﹩﹩x﹩﹩ ﹩［spin x］",
    "<b>b</b> <img src=x> > quote": "﹤b﹥b﹤∕b﹥ ﹤img src=x﹥ ﹥ quote",
    "/kill_all :fire: (met)all(met) [CQ:at,qq=all]": "∕kill_all ∶fire: （met)all（met) ［CQ:at,qq=all］",
    "java.lang.Error: order.id": "java·lang·Error: order·id",
    "Payments/charge retries write_ledger (RT0016), 12.5 % at 03:14:15, 1.82s, v1.7.12": "",
    "“charge provider” is down: HTTP 503; std::io::Error in a-b, e-mail 4711": "",
}
SERVICES = (
    f"discord://{'1' * 18}/{'a' * 60}",
    "mmost://localhost/3ccdd113474722377935511fc85d3dd4",
    "gchat://workspace/key/token",
    f"workflows://localhost/{'a' * 20}/{'b' * 20}",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general",
    "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/#general?format=text",
    "tgram://123456789:abcdefg_hijklmnop/12315544/",
    "tgram://123456789:abcdefg_hijklmnop/12315544/?format=markdown",
    f"rocket://web/{'t' * 26}@localhost/#Channel",
    "matrixs://token@localhost?mode=hookshot",
    f"zulip://botname@apprise/{'a' * 32}",
    f"wxteams://{'a' * 80}",
    f"mailgun://user@localhost.localdomain/{'a' * 32}-{'b' * 8}-{'c' * 8}",
    f"pagerduty://{'a' * 20}@{'b' * 32}",
    f"lark://{'a' * 36}",
    f"flock://{'a' * 24}",
    "kook://Bot%20x/123",
    *(f"{scheme}://localhost/x" for scheme in ("json", "xml", "form", "ntfy", "gotify")),
)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_text_without_markup_has_no_sign_that_a_chat_reads_and_stays_readable(text: str) -> None:
    assert without_markup(text) == (HOSTILE[text] or text)
    assert without_markup(without_markup(text)) == without_markup(text)
    assert without_markup(text).isprintable()


@pytest.mark.parametrize("address", SERVICES, ids=lambda address: address.partition("://")[0])
def test_what_is_sent_about_a_cluster_has_no_mention_link_or_formatting(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The addresses of many services are fixed, so the test takes what apprise gives to its library for HTTP."""
    posted: list[str] = []

    def accept(_: requests.Session, request: requests.PreparedRequest, **__: Any) -> requests.Response:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body or "")
        posted.append(urllib.parse.unquote_plus(body) if "urlencoded" in str(request.headers) else body)
        response = requests.Response()
        response.status_code, response._content, response.url = 200, b"ok", str(request.url)
        return response

    def send(title: str, cause: str) -> str:
        posted.clear()
        alert = replace(ALERT, link="", page="", title=title, cause=cause, note=title, blocks=title, ids=(title,))
        service.send(replace(message(Event.OPENED), alert=alert))
        assert "Fingerprint" in "".join(posted)
        return "".join(posted).encode().decode("unicode_escape" if "\\u" in "".join(posted) else "utf-8")

    monkeypatch.setattr(requests.Session, "send", accept)
    (service,) = create_receivers([address], [], keep=KEEP)
    assert isinstance(service, AppriseReceiver)
    service.service.request_rate_per_sec = 0
    before, after = send("words", "words"), send("@all [x](https://evil.example)", " ".join(HOSTILE))
    for name in ("evil.example", "java.lang", "://evil", "://10", "/kill", ":fire:", "(met)", "](", "&colon;", "&#64;"):
        assert name not in after
    for sign in "@#[]*~`|":  # those of the service itself, such as its own bold title
        assert after.count(sign) == before.count(sign)


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
