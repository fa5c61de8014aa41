"""Delivery of messages: what receivers get, and what happens if they refuse."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psutil
import pytest
import requests

from restate_lab.alerts import sender
from restate_lab.alerts.alert import Alert, Event, Message, without_markup
from restate_lab.alerts.delivery import (
    AlertmanagerReceiver,
    AppriseReceiver,
    Receiver as AlertReceiver,
    Senders,
    create_receivers,
)
from restate_lab.alerts.store import OpenAlert
from restate_lab.errors import ArgumentError
from support.alert_receiver import alert_receiver
from support.starts import runs

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


ALERTMANAGER = AlertmanagerReceiver("x", "alertmanager 1", "http://am:9093", KEEP)


@pytest.fixture(scope="module")
def senders() -> Iterator[Senders]:
    with contextlib.closing(Senders()) as running:
        yield running


def send(senders: Senders, receiver: AlertReceiver, event: Event = Event.OPENED) -> str:
    """Send a message through the process, and return the reason of a failure."""
    reasons: queue.SimpleQueue[str] = queue.SimpleQueue()
    senders.get().send(receiver.address, receiver.content(message(event)), lambda _, reason: reasons.put(reason))
    return reasons.get(timeout=60)


def process_of(senders: Senders) -> psutil.Process:
    return psutil.Process(senders.get()._process.pid)


def test_a_message_has_a_title_and_one_fact_per_line(senders: Senders) -> None:
    with alert_receiver() as receiver:
        (service,) = create_receivers(senders, [receiver.to], [], keep=KEEP)
        assert send(senders, service) == ""
        assert send(senders, service, Event.RESOLVED) == ""
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


def test_a_refusal_has_the_status_and_no_address(senders: Senders, capfd: pytest.CaptureFixture[str]) -> None:
    with alert_receiver() as receiver:
        receiver.received.status = 503
        (service,) = create_receivers(senders, [f"{receiver.to}?token=geheim"], [], keep=KEEP)
        assert service.label == "json 1"
        assert send(senders, service) == "it refused the message with HTTP 503"
    reason = send(senders, service)
    assert "geheim" not in repr(service)
    assert reason == "it did not accept the message"
    assert capfd.readouterr() == ("", "")


def test_counts_and_texts_for_alertmanager_are_annotations_and_labels_never_change() -> None:
    (opened,) = ALERTMANAGER.content(message(Event.OPENED))
    (resolved,) = ALERTMANAGER.content(message(Event.RESOLVED))
    (refreshed,) = ALERTMANAGER.repetition([OpenAlert(ALERT, AT)], AT + timedelta(hours=1)) or ()
    assert ALERTMANAGER.repetition([], AT) is None
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
    worse, before = ALERTMANAGER.content(message(Event.WORSE, previous="warning"))
    assert (worse["labels"]["severity"], before["labels"]["severity"]) == ("critical", "warning")
    assert before["endsAt"] < worse["endsAt"]
    (ahead,) = ALERTMANAGER.repetition([OpenAlert(ALERT, AT + timedelta(days=30))], AT) or ()
    assert ahead["startsAt"] <= ahead["endsAt"], "Alertmanager refuses all alerts of the request otherwise"


def test_alertmanager_gets_no_markup_and_the_same_fingerprint() -> None:
    texts = dict.fromkeys(
        ("subject", "title", "cause", "shared", "draining", "blocks", "note"), "<!channel> evil.example"
    )
    alert = replace(ALERT, **texts, ids=("<!channel>",))  # type: ignore[arg-type]
    (sent,) = ALERTMANAGER.content(replace(message(Event.OPENED), alert=alert))
    assert "<!channel>" not in json.dumps(sent)
    assert "evil.example" not in json.dumps(sent)
    assert sent["labels"]["fingerprint"] == alert.fingerprint


def test_a_refusal_of_alertmanager_has_its_status_and_a_lost_connection_its_kind(senders: Senders) -> None:
    with alert_receiver() as receiver:
        receiver.received.status = 400
        (service,) = create_receivers(senders, [], [receiver.alertmanager], keep=KEEP)
        assert send(senders, service) == "it refused the alerts with HTTP 400"
    assert send(senders, service) == "it did not respond (ConnectError)"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["json", "xml", "form", "alertmanager"])
def test_a_redirect_is_a_failure_whose_reason_has_the_host_to_which_it_leads(
    senders: Senders, scheme: str, status: int
) -> None:
    with alert_receiver() as receiver:
        receiver.received.status, receiver.received.location = status, "https://sso.example:8443/login?token=geheim"
        to = [] if scheme == "alertmanager" else [f"{scheme}://127.0.0.1:{receiver.port}/x?redirect=yes"]
        (service,) = create_receivers(senders, to, [] if to else [receiver.alertmanager], keep=KEEP)
        reason = send(senders, service)
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
    senders: Senders, scheme: str, content_type: str, body: bytes, *, is_accepted: bool
) -> None:
    with alert_receiver() as receiver:
        receiver.received.page = (content_type, body)
        to = [] if scheme == "alertmanager" else [f"{scheme}://127.0.0.1:{receiver.port}/{'x' * 24}"]
        (service,) = create_receivers(senders, to, [] if to else [receiver.alertmanager], keep=KEEP)
        reason = send(senders, service)
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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise
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

    def sent(title: str, cause: str) -> str:
        posted.clear()
        alert = replace(ALERT, link="", page="", title=title, cause=cause, note=title, blocks=title, ids=(title,))
        content = AppriseReceiver("x", "x", address).content(replace(message(Event.OPENED), alert=alert))
        assert sender.send(address, content) == ""
        assert "Fingerprint" in "".join(posted)
        return "".join(posted).encode().decode("unicode_escape" if "\\u" in "".join(posted) else "utf-8")

    monkeypatch.setattr(requests.Session, "send", accept)
    sender.service(address).request_rate_per_sec = 0
    before, after = sent("words", "words"), sent("@all [x](https://evil.example)", " ".join(HOSTILE))
    for name in ("evil.example", "java.lang", "://evil", "://10", "/kill", ":fire:", "(met)", "](", "&colon;", "&#64;"):
        assert name not in after
    for sign in "@#[]*~`|":  # those of the service itself, such as its own bold title
        assert after.count(sign) == before.count(sign)


def test_an_optional_receiver_that_fails_is_a_failure(senders: Senders) -> None:
    with alert_receiver() as receiver:
        receiver.received.status = 503
        (service,) = create_receivers(senders, [f"{receiver.to}?optional=yes"], [], keep=KEEP)
        assert send(senders, service) == "it refused the message with HTTP 503"


@pytest.mark.parametrize("address", ["slack://", "nonsense://secret-token", "secret-token", "mailto://"])
def test_a_wrong_address_is_refused_with_its_position_and_without_its_token(
    senders: Senders, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ArgumentError, match="receiver number 2 of --to") as raised:
        create_receivers(senders, ["json://127.0.0.1:9/x", address], [], keep=KEEP)
    assert "secret-token" not in str(raised.value)
    assert "json://host:port/path" in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_an_address_without_scheme_or_host_and_a_repeated_receiver_are_refused(senders: Senders) -> None:
    for address in ("localhost:9093", "ftp://x", "http://"):
        with pytest.raises(ArgumentError, match=r"use for example http://127\.0\.0\.1:9093"):
            create_receivers(senders, [], [address], keep=KEEP)
    with pytest.raises(ArgumentError, match="a receiver is there twice"):
        create_receivers(senders, ["json://h/a", "json://h/a"], [], keep=KEEP)


def test_the_identity_of_a_receiver_has_its_service_and_no_token(senders: Senders) -> None:
    to = ["json://geheim@h/a", "jsons://geheim@h/a", f"slack://T1JJ3T3L2/A1BRTD4JD/{'t' * 24}"]
    receivers = create_receivers(senders, to, ["http://am:9093", "https://am:9093"], keep=KEEP)
    kinds = [each.id.partition(":")[0] for each in receivers]
    assert kinds == ["json", "json", "slack", "alertmanager", "alertmanager"]
    assert len({each.id for each in receivers}) == len(receivers)
    assert all(re.fullmatch(r"\w+:[0-9a-f]{12}", each.id) for each in receivers)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of apprise
def test_the_key_of_pagerduty_is_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    posted: list[Any] = []
    monkeypatch.setattr(requests.Session, "send", lambda _, request, **__: posted.append(json.loads(request.body)))
    address = f"pagerduty://{'a' * 20}@{'b' * 32}?action=map"
    with contextlib.suppress(AttributeError):  # there is no response
        sender.send(address, AppriseReceiver("x", "x", address).content(message(Event.OPENED)))
    assert posted[0]["dedup_key"] == ALERT.fingerprint


def test_the_process_has_no_address_and_no_signal_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is in a variable of ``watch``, and Ctrl-C or SIGTERM for all processes ends no delivery."""
    with alert_receiver() as receiver, contextlib.closing(Senders()) as own:
        receiver.received.delay = 0.3
        to = f"{receiver.to}?token=geheim"
        monkeypatch.setenv("RESTATE_LAB_WATCH_TO", to)
        (service,) = create_receivers(own, [to], [], keep=KEEP)
        process = process_of(own)
        assert not any("geheim" in text for text in (*process.cmdline(), *process.environ().values()))
        assert os.getsid(process.pid) == process.pid
        threading.Timer(0.1, process.send_signal, [signal.SIGTERM]).start()
        assert send(own, service) == ""
        assert process_of(own) == process


def test_the_process_ends_with_its_parent_and_a_delivery_without_it_is_a_failure() -> None:
    with alert_receiver() as receiver, contextlib.closing(Senders()) as own:
        receiver.received.drips = "body"
        (service,) = create_receivers(own, [receiver.to], [], keep=KEEP)
        process, pipe = process_of(own), own.get()._process.stdin
        threading.Timer(0.1, pipe.close).start()  # as the end of the parent does
        assert send(own, service) == "its process ended before there was a response"
        assert not runs(process)
        receiver.received.drips = ""
        assert send(own, service) == ""


def test_the_process_imports_only_what_it_needs() -> None:
    script = (
        f"import runpy, sys; runpy.run_path({sender.__file__!r}); print(len(sys.modules), 'restate_lab' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=True)
    number, has_package = done.stdout.split()
    assert int(number) < 150
    assert has_package == "False"
