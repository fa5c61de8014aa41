"""The two ways of the transport: the repeated requests, the refused ones, and the error for each response."""

from __future__ import annotations

import json
import math
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.audit import AuditLog, audit_log
from restate_lab.client import (
    _bodies as bodies,
    _http as network,
    _recovery as comeback,
    _recovery as repeating,
    transport as transport_module,
)
from restate_lab.client.responses import SUCCESS
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.redaction import Secret
from support.tracebacks import our_locals

TOKEN = "canary-7f3a"
KILLED = SUCCESS["kill_invocation"]
Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Transport]:
    def make(
        *answers: httpx.Response | Exception | Handler,
        read_only: bool = False,
        handles_health: bool = False,
        **settings: Any,
    ) -> Transport:
        left = list(answers)

        def handle(request: httpx.Request) -> httpx.Response:
            if request.url.path.endswith("/health") and not handles_health:  # the server is away
                raise httpx.ConnectError("[Errno 111] Connection refused")
            answer = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(answer, Exception):
                raise answer
            return answer if isinstance(answer, httpx.Response) else answer(request)

        values = {
            "environment": "prod",
            "admin_url": "http://127.0.0.1:9070/base",
            "ingress_url": None,
            "token": Secret(TOKEN),
            "token_source": "RESTATE_AUTH_TOKEN",
            "chosen_by": "the argument",
        }
        return Transport(
            Settings(**{**values, **settings}),
            "http://127.0.0.1:9070/base",
            read_only=read_only,
            timeout=5,
            audit=AuditLog(tmp_path / "audit"),
            transport=httpx.MockTransport(handle),
        )

    return make


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waited: list[float] = []
    monkeypatch.setattr(transport_module.time, "sleep", waited.append)
    return waited


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in (folder / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]


def json_error(status: int, message: str, code: str | None = None) -> httpx.Response:
    return httpx.Response(status, json={"message": message, "restate_code": code})


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (json_error(401, "no token"), errors.AccessDenied, "RESTATE_AUTH_TOKEN"),
        (httpx.Response(403), errors.AccessDenied, "prod"),
        (json_error(404, "The requested invocation 'inv_1' does not exist"), errors.NotFound, "inv_1"),
        (json_error(409, "already completed", "RT0099"), errors.Conflict, "RT0099"),
        (httpx.Response(410), errors.Conflict, "410"),
        (json_error(425, "still scheduled"), errors.Conflict, "still scheduled"),
        (httpx.Response(400, text="Invalid URL: bad format"), errors.RequestRefused, "bad format"),
        (httpx.Response(405), errors.RequestRefused, "(no message)"),
        (json_error(500, "it broke", "META0003"), errors.ServerFailed, "META0003"),
        (httpx.Response(501), errors.ServerFailed, "501"),
        (httpx.Response(302, headers={"location": "https://login.example/"}), errors.ServerFailed, "login.example"),
        (
            httpx.Response(404, html="<html><title>Default backend</title></html>"),
            errors.NotFound,
            "an HTML page (Default backend)",
        ),
        (httpx.Response(400, headers={"content-type": "application/json"}, text="{bro"), errors.RequestRefused, "{bro"),
    ],
)
def test_each_refusal_becomes_one_class_with_the_place_and_the_reason(
    make: Callable[..., Transport], answer: httpx.Response, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=r"GET /x on prod \(http://127.0.0.1:9070/base\)") as caught:
        make(answer).read("GET", "/x")
    assert words in str(caught.value)


def test_the_message_for_a_401_without_a_token_explains_how_to_provide_one(make: Callable[..., Transport]) -> None:
    with pytest.raises(errors.AccessDenied, match="No token is configured for prod"):
        make(httpx.Response(401), token=None, token_source="").read("GET", "/x")


@pytest.mark.parametrize(
    "trouble",
    [
        httpx.ReadError("Connection reset by peer"),
        httpx.RemoteProtocolError("closed"),
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.Response(429),
        httpx.Response(429, headers={"retry-after": "1"}, json={"message": "Rate limited"}),
        httpx.Response(502),
        httpx.Response(503),
        httpx.Response(504),
        json_error(500, "Datafusion error: External error: connection closed"),
        json_error(500, "Datafusion error: External error: connect throttled; 276ms left in throttling window"),
        json_error(500, "Datafusion error: External error: handshake failed: tcp connect error"),
        json_error(500, "Datafusion error: External error: node lookup for partition 1 failed"),
        json_error(500, "Datafusion error: External error: expecting a partition store"),
        json_error(500, "Datafusion error: External error: the peer dropped the reply port for this request"),
        json_error(500, "Datafusion error: External error: node N1:2 was shut down or removed"),
        json_error(500, "Datafusion error: External error: partition 2 doesn't exist on this node, this is benign if"),
        json_error(500, "Datafusion error: Internal error: No such scanner. It could have expired due to"),
    ],
)
def test_a_read_is_repeated_after_a_temporary_failure(
    make: Callable[..., Transport], no_waiting: list[float], trouble: httpx.Response | Exception
) -> None:
    transport = make(trouble, trouble, httpx.Response(200, text="fine"))
    assert transport.read("POST", "/query").text == "fine"
    assert len(no_waiting) == 2


@pytest.mark.parametrize(
    "away",
    [
        httpx.ConnectError("[Errno 111] Connection refused"),
        httpx.ReadError("[Errno 104] Connection reset by peer"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.Response(502),
        json_error(500, "Datafusion error: External error: node N1:2 was shut down or removed"),
    ],
)
def test_a_query_is_repeated_once_after_the_server_was_away(
    make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch, away: httpx.Response | Exception
) -> None:
    """A server that has just started answers queries with fewer rows for a short time: that result is discarded."""
    moment = [0.0]
    clock = SimpleNamespace(monotonic=lambda: moment[0], sleep=lambda seconds: moment.append(moment.pop() + seconds))
    for module in (bodies, comeback, repeating, transport_module):
        monkeypatch.setattr(module, "time", clock)
    transport = make(away, httpx.Response(200, text="few"), httpx.Response(200, text="all"))
    with transport.stream("POST", "/query", is_query=True) as answer:
        assert answer.read() == b"all"
    with transport.stream("POST", "/query", is_query=True) as answer:  # and from then on it is trusted
        assert answer.read() == b"all"
    transport = make(away, httpx.Response(200, text="the only one"), httpx.Response(500))
    assert transport.read("GET", "/version").text == "the only one"


def closes_at(path: str, *, times: float = math.inf, away: float = 0) -> tuple[Handler, list[str]]:
    """Return a server that closes the connection at one path, ``away`` times at any, and the list of its requests."""
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.removeprefix("/base"))
        if len(asked) <= away or (asked[-1] == path and asked.count(path) <= times):
            raise httpx.RemoteProtocolError("the server closed the connection without a response")
        return httpx.Response(200)

    return handle, asked


def test_a_request_that_breaks_its_connection_twice_is_an_error(
    make: Callable[..., Transport], no_waiting: list[float]
) -> None:
    """A server that closes the connection twice, but answers others, is not away: later queries do not wait."""
    handle, asked = closes_at("/query")
    transport = make(handle, handles_health=True)
    with pytest.raises(errors.ServerFailed, match="closed the connection twice while it worked on this statement"):
        transport.stream("POST", "/query", is_query=True).__enter__()
    assert asked == ["/query", "/health"] * 2
    with transport.stream("POST", "/other", is_query=True):
        assert asked[4:] == ["/other"]
    assert no_waiting == [0.1]


def test_a_server_that_is_away_is_not_taken_for_one_that_breaks(
    make: Callable[..., Transport], no_waiting: list[float]
) -> None:
    """While the server does not respond the request is repeated, and its response is not trusted for a short time."""
    for away, times in ((6, 0), (5, 3)):
        handle, asked = closes_at("/query", times=times, away=away)
        transport = make(handle, handles_health=True)
        with transport.stream("POST", "/query", is_query=True):
            assert asked[-2:] == ["/query", "/query"]
        assert 2 < no_waiting[-1] <= 3


def test_a_statement_is_repeated_while_a_node_dies(make: Callable[..., Transport], no_waiting: list[float]) -> None:
    """If other requests have just shown that the server was away, a statement that breaks twice is repeated."""
    handle, asked = closes_at("/query", times=3)
    transport = make(handle, handles_health=True)
    transport.note_return()
    with transport.stream("POST", "/query", is_query=True):
        assert asked.count("/query") >= 4


@pytest.mark.parametrize(
    "trouble",
    [
        json_error(500, "Datafusion error: External error: non valid invocation id"),
        json_error(500, "Datafusion error: Arrow error: Divide by zero error"),
        json_error(500, "something else"),
        json_error(500, "Datafusion error: Schema error: No field named 'connection closed'"),
        httpx.ConnectError("[Errno -2] Name or service not known"),
        httpx.ConnectError("certificate verify failed"),
        httpx.ConnectTimeout("no connection"),
        httpx.ReadTimeout("late"),
    ],
)
def test_a_read_is_not_repeated_if_waiting_cannot_help(
    make: Callable[..., Transport], no_waiting: list[float], trouble: httpx.Response | Exception
) -> None:
    with pytest.raises(errors.RestateLabError):
        make(trouble).read("POST", "/query")
    assert no_waiting == []


def test_a_lasting_failure_is_reported_once_the_time_for_repeating_has_passed(
    make: Callable[..., Transport], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(errors.Unreachable, match="503"):
        make(httpx.Response(503)).read("GET", "/x", retry_for=0.3)
    lookup = json_error(500, "Datafusion error: External error: node lookup for partition 1 failed")
    with pytest.raises(errors.Unreachable, match="was lost or came back"):
        make(lookup).read("POST", "/query", retry_for=0.3)


def test_a_long_wait_is_shown_and_a_longer_one_is_not_waited_for(
    make: Callable[..., Transport], no_waiting: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Retry-After is respected within the time for repeating, shown above two seconds, and reported beyond."""
    limited = httpx.Response(429, headers={"retry-after": "4"}, json={"message": "Rate limited"})
    make(limited, httpx.Response(200)).read("GET", "/x")
    assert no_waiting == [4.0]
    assert "waiting 4s" in capsys.readouterr().err
    with pytest.raises(errors.RateLimited, match="wait 29s") as caught:
        make(httpx.Response(429, headers={"retry-after": "29"})).read("GET", "/x")
    assert caught.value.retry_after == 29
    assert no_waiting == [4.0]


def test_the_audit_log_has_the_intent_before_the_request_and_the_result_after_the_response(
    make: Callable[..., Transport], tmp_path: Path
) -> None:

    def handle(request: httpx.Request) -> httpx.Response:
        assert [record["kind"] for record in records(tmp_path)] == ["intent"]
        assert str(request.url) == "http://127.0.0.1:9070/base/invocations/inv_1/kill"
        return httpx.Response(200)

    make(handle).change(
        "PATCH", "/invocations/inv_1/kill", action="kill", targets=["inv_1"], success=KILLED, reason="INC-1"
    )
    intent, result = records(tmp_path)
    assert (intent["action"], intent["targets"], intent["reason"]) == ("kill", ["inv_1"], "INC-1")
    assert (intent["environment"], intent["address"]) == ("prod", "http://127.0.0.1:9070/base")
    assert (result["change"], result["outcome"]) == (intent["change"], "done")


@pytest.mark.parametrize(
    ("answer", "kind", "outcome"),
    [
        (json_error(409, "no"), errors.Conflict, "refused"),
        (httpx.Response(429), errors.RateLimited, "refused"),
        (json_error(503, "rpc for partition 1 at node N1:1 failed: not leader"), errors.Unreachable, "refused"),
        (json_error(503, "rpc for partition 1 at node N1:1 failed: lost leadership"), errors.OutcomeUnknown, "unknown"),
        (httpx.ConnectError("refused"), errors.Unreachable, "not sent"),
        (httpx.ReadError("reset"), errors.OutcomeUnknown, "unknown"),
        (httpx.RemoteProtocolError("closed"), errors.OutcomeUnknown, "unknown"),
        (httpx.ReadTimeout("late"), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(502), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(500, text="a page"), errors.OutcomeUnknown, "unknown"),
        (json_error(500, "says why"), errors.ServerFailed, "refused"),
        (httpx.DecodingError("not gzip"), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(504), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(501), errors.ServerFailed, "refused"),
        (httpx.Response(501, text="not here"), errors.OutcomeUnknown, "unknown"),
        (json_error(503, "of another kind"), errors.OutcomeUnknown, "unknown"),
        (json_error(500, "node N1:2 was shut down or removed"), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(302, headers={"location": "/login"}), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(304), errors.OutcomeUnknown, "unknown"),
        (httpx.Response(429, html="<h1>Too many</h1>"), errors.RateLimited, "refused"),
    ],
)
def test_a_change_is_sent_once_whatever_comes_back_and_its_outcome_recorded(
    make: Callable[..., Transport],
    tmp_path: Path,
    answer: httpx.Response | Exception,
    kind: type[Exception],
    outcome: str,
) -> None:
    transport = make(answer, AssertionError("sent twice"))
    with pytest.raises(kind):
        transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)
    assert [record.get("outcome") for record in records(tmp_path)] == [None, outcome]


def test_a_block_with_several_requests_has_one_intent_and_one_result(
    make: Callable[..., Transport], tmp_path: Path
) -> None:
    transport = make(httpx.Response(200), json_error(409, "no"))
    with transport.record("kill", ["inv_1", "inv_2"], reason="INC-1", request="two") as record:
        record.send("PATCH", "/1", success=KILLED)
        with pytest.raises(errors.Conflict):
            record.send("PATCH", "/2", success=KILLED)
    with transport.record("kill", ["inv_1"], reason=None, request="none") as record:
        record.result.update(outcome="mixed", outcomes={})
    with pytest.raises(ZeroDivisionError), transport.record("kill", [], reason=None, request="none"):
        raise ZeroDivisionError
    assert [record.get("outcome") for record in records(tmp_path)] == [None, "refused", None, "mixed", None, "not sent"]
    assert [record["kind"] for record in records(tmp_path)] == ["intent", "result"] * 3


def test_an_interrupted_change_is_written_down_as_unknown(make: Callable[..., Transport], tmp_path: Path) -> None:

    def stop(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(stop).change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)
    assert records(tmp_path)[-1]["outcome"] == "unknown"


def test_a_read_only_connection_sends_no_change_and_reads(make: Callable[..., Transport], tmp_path: Path) -> None:
    transport = make(httpx.Response(200), read_only=True)
    with pytest.raises(errors.ReadOnly, match="kill was not sent"):
        transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)
    assert transport.read("GET", "/x").status_code == 200
    assert records(tmp_path) == []


def test_without_an_audit_record_nothing_is_sent(make: Callable[..., Transport], tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("a file where the folder should be")
    with pytest.raises(errors.AuditFailed):
        make(AssertionError("sent")).change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)


def test_the_token_is_sent_and_never_shown(make: Callable[..., Transport]) -> None:

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        return httpx.Response(401)

    transport = make(handle)
    with pytest.raises(errors.AccessDenied) as caught:
        transport.read("GET", "/x")
    shown = "".join(traceback.TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert TOKEN not in shown + repr(vars(transport)) + repr(transport.settings) + str(caught.value.__dict__)
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(transport.settings)


def test_requests_have_our_user_agent_and_no_compression_on_loopback(make: Callable[..., Transport]) -> None:

    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["user-agent"].startswith("restate-lab/")
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200)

    make(handle).read("GET", "/x")


def test_the_cookie_of_a_load_balancer_is_sent_with_the_next_request(make: Callable[..., Transport]) -> None:
    asked: list[str | None] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"set-cookie": "server=two; path=/"})

    transport = make(handle)
    for path in ("/version", "/query", "/query"):
        transport.read("POST", path)
    assert asked == [None, "server=two", "server=two"]


def test_the_base_path_of_the_address_is_kept_for_queries_too(make: Callable[..., Transport]) -> None:
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(200)

    transport = make(handle)
    for path in ("/query", "/queries"):
        transport.read("POST", path)
    assert asked == ["http://127.0.0.1:9070/base/query", "http://127.0.0.1:9070/base/queries"]


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("http://127.0.0.1:9070", None),
        ("http://[::1]:9070", None),
        ("http://localhost:9070", None),
        ("http://admin.internal:9070", None),
        ("http://admin.example:9070", "http://proxy.example:3128"),
    ],
)
def test_proxies_come_from_the_environment_except_for_loopback(
    monkeypatch: pytest.MonkeyPatch, address: str, proxy: str | None
) -> None:
    """HTTP_PROXY and NO_PROXY apply, but never for loopback."""
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", ".internal")
    found = network._proxy_url(httpx.URL(address))
    assert (found and found.reveal()) == proxy


@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("ann:hunter2@127.0.0.1:1", "through the environment's proxy 127.0.0.1:1"),
        ("http://ann:hunter2@127.0.0.1:x", "not a valid address"),
        ("ftp://ann:hunter2@127.0.0.1:1", "not a valid address"),
        ("socks5://ann:hunter2@127.0.0.1:1", "httpx.socks"),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_and_its_password_not_shown(
    monkeypatch: pytest.MonkeyPatch, proxy: str, message: str
) -> None:
    """Without a scheme it is one for HTTP, as for other programs; an error does not include the address."""
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises((errors.SettingsError, errors.Unreachable), match=message) as caught:
        rl.connect("http://restate.example:9070")
    assert "hunter2" not in str(caught.value)
    if isinstance(caught.value, errors.SettingsError):
        assert "hunter2" not in our_locals(caught.value)


@pytest.mark.parametrize("timeout", [-1, float("nan"), float("inf"), "soon", True, 10**20])
def test_a_limit_that_is_none_is_refused_before_anything_is_sent(make: Callable[..., Transport], timeout: Any) -> None:
    """It is refused for a read and for a change; the audit log has no unknown outcome."""
    transport = make(httpx.Response(200))
    with pytest.raises(errors.ArgumentError, match=r"timeout (is|must be at most)"):
        transport.read("GET", "/version", timeout=timeout)
    with pytest.raises(errors.ArgumentError, match=r"timeout (is|must be at most)"):
        transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED, timeout=timeout)
    assert list(audit_log(transport.audit.folder)["outcome"]) == ["not sent"]


def test_a_closed_connection_is_an_error_and_recorded_as_not_sent(make: Callable[..., Transport]) -> None:
    transport = make(httpx.Response(200))
    transport.close()
    with pytest.raises(errors.ArgumentError, match="was closed"):
        transport.read("GET", "/version")
    with pytest.raises(errors.ArgumentError, match="was closed"):
        transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)
    assert list(audit_log(transport.audit.folder)["outcome"]) == ["not sent"]
