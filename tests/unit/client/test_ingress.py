"""IngressClient without a server: arguments that are never sent, and responses that no real ingress gives on demand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from restate_lab import errors
from restate_lab.audit import AuditLog
from restate_lab.client.ingress import IngressClient, IngressTransport
from restate_lab.client.settings import Settings
from restate_lab.redaction import Secret

INV = "inv_1gAaZyCx2a2b3ZBGB0x5Xx5wTjfHW9cI0x"
AWAKEABLE = "sign_1x3PmOpi1vZkBohBAQ4zE3j3_fz6ZOTusAAAAEQ"
OLD = {"x-restate-id": INV}
NEW = {**OLD, "x-restate-error-source": "invocation"}
INGRESS = {"x-restate-error-source": "ingress"}


class Ingress:
    """Gives its responses in turn, the last one for all later requests, and records its requests."""

    def __init__(self, folder: Path, *answers: httpx.Response) -> None:
        self.requests: list[httpx.Request] = []
        self._left = list(answers)
        self._folder = folder
        settings = Settings(
            environment="prod",
            admin_url="http://127.0.0.1:9070",
            ingress_url="http://127.0.0.1:8080/base",
            token=None,
            token_source="",
            chosen_by="the argument",
        )
        transport = IngressTransport(
            settings,
            "http://127.0.0.1:8080/base",
            read_only=False,
            timeout=5,
            audit=AuditLog(folder),
            transport=httpx.MockTransport(self._answer),
        )
        self.client = IngressClient(transport)

    @property
    def outcomes(self) -> list[str]:
        lines = [line for file in self._folder.glob("*.jsonl") for line in file.read_text().splitlines()]
        return [record["outcome"] for record in map(json.loads, lines) if record["kind"] == "result"]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return self._left.pop(0) if len(self._left) > 1 else self._left[0]


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Ingress]:
    return lambda *answers: Ingress(tmp_path / "audit", *(answers or (httpx.Response(200),)))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda i: i.call("", "h"), "service must be non-empty text"),
        (lambda i: i.call("S", None), "handler must be a text"),
        (lambda i: i.call("S", "h", key=""), "key must be non-empty text"),
        (lambda i: i.call("S", "h", key=5), "key must be a text"),
        (lambda i: i.call("S", "h", {1, 2}), "body cannot be written as JSON"),
        (lambda i: i.call("S", "h", float("nan")), "body cannot be written as JSON"),
        (lambda i: i.call("S", "h", headers={"x": "a\nb"}), "invalid character"),
        (lambda i: i.call("S", "h", idempotency_key="a\nb"), "idempotency_key"),
        (lambda i: i.call("S", "h", idempotency_key="a", headers={"Idempotency-Key": "b"}), "given twice"),
        (lambda i: i.send("S", "h", delay="later"), "delay is 'later'; use seconds"),
        (lambda i: i.send("S", "h", delay=timedelta(seconds=-5)), "a duration must not be negative"),
        (lambda i: i.send("S", "h", delay=True), "delay must be seconds.*got True"),
        (lambda i: i.attach(), "identify one invocation"),
        (lambda i: i.attach(INV, workflow="W", key="k"), "identify one invocation"),
        (lambda i: i.attach(INV, key="k"), "identify one invocation"),
        (lambda i: i.attach("nope"), "is not the id of one invocation"),
        (lambda i: i.attach(workflow="W"), "key must be non-empty text"),
        (lambda i: i.output(service="S", handler="h"), "idempotency_key must be non-empty text"),
        (lambda i: i.output(idempotency_key="k"), "service must be non-empty text"),
        (lambda i: i.output(service="S", handler="h", idempotency_key="a/b"), "cannot be part of a URL path"),
        (lambda i: i.status(), "identify one invocation"),
        (lambda i: i.status(INV, scope="s"), "scope cannot be combined with invocation_id"),
        (lambda i: i.status(workflow="W", key="k", scope=""), "scope must be non-empty text"),
        (lambda i: i.resolve_awakeable("sign_1"), "is not the id of an awakeable"),
        (lambda i: i.resolve_awakeable(INV, 1), "is not the id of an awakeable"),
        (lambda i: i.reject_awakeable(AWAKEABLE, ""), "message must be non-empty text"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_sent(
    serve: Callable[..., Ingress], call: Callable[[Any], Any], words: str
) -> None:
    ingress = serve()
    with pytest.raises(errors.ArgumentError, match=words):
        call(ingress.client)
    assert ingress.requests == []
    assert ingress.outcomes == []


def test_path_body_content_type_key_and_delay_are_sent_where_the_ingress_expects_them(
    serve: Callable[..., Ingress],
) -> None:
    ingress = serve(httpx.Response(202, json={"invocationId": INV, "status": "Accepted"}))
    ingress.client.send(
        "S", "h", {"a": 1}, key="k/1", delay="90s", idempotency_key="i", headers={"X-Token": Secret("s")}
    )
    (request,) = ingress.requests
    assert request.url.raw_path == b"/base/S/k%2F1/h/send?delay=PT90S"
    assert (request.content, request.headers["content-type"]) == (b'{"a": 1}', "application/json")
    assert (request.headers["idempotency-key"], request.headers["x-token"]) == ("i", "s")


def test_none_sends_neither_a_body_nor_a_content_type(serve: Callable[..., Ingress]) -> None:
    ingress = serve(httpx.Response(200, headers=OLD))
    assert ingress.client.call("S", "h") is None
    assert ingress.requests[0].content == b""
    assert "content-type" not in ingress.requests[0].headers


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "outcome"),
    [
        (418, OLD, {"code": 418, "message": "tea"}, errors.InvocationFailed, "done"),
        (418, NEW, {"code": 418, "message": "tea", "source": "invocation"}, errors.InvocationFailed, "done"),
        (503, NEW, {"code": 503, "message": "tea"}, errors.InvocationFailed, "done"),
        (504, OLD, {"code": 504, "message": "tea"}, errors.InvocationFailed, "done"),
        (404, INGRESS, {"code": 404, "message": "service 'S' not found"}, errors.NotFound, "refused"),
        (404, {}, {"message": "service 'S' not found"}, errors.NotFound, "refused"),
        (404, OLD, {"message": "a gateway that copies headers"}, errors.NotFound, "refused"),
        (401, {}, {"message": "who are you"}, errors.AccessDenied, "refused"),
        (429, {}, {"message": "too many"}, errors.RateLimited, "refused"),
        (502, {}, {"message": "bad gateway"}, errors.OutcomeUnknown, "unknown"),
        (500, INGRESS, {"code": 500, "message": "broken"}, errors.ServerFailed, "refused"),
        (
            409,
            NEW,
            {"code": 409, "message": "the workflow method was already invoked"},
            errors.Conflict,
            "refused",
        ),
    ],
)
def test_a_failure_of_a_handler_of_the_ingress_and_of_a_gateway_are_distinct_errors(
    serve: Callable[..., Ingress],
    status: int,
    headers: dict[str, str],
    body: dict[str, Any],
    kind: type[Exception],
    outcome: str,
) -> None:
    ingress = serve(httpx.Response(status, headers=headers, json=body))
    with pytest.raises(kind) as caught:
        ingress.client.call("S", "h")
    assert type(caught.value) is kind
    assert ingress.outcomes == [outcome]


def test_attach_and_output_send_one_request_whatever_its_status(serve: Callable[..., Ingress]) -> None:
    for status, headers in [(503, NEW), (503, {}), (429, {})]:
        ingress = serve(httpx.Response(status, headers=headers, json={"code": status, "message": "no"}))
        with pytest.raises(errors.RestateLabError):
            ingress.client.output(INV)
        assert len(ingress.requests) == 1


def test_an_attach_that_is_not_found_reads_the_output_to_tell_who_says_so(serve: Callable[..., Ingress]) -> None:
    words = {"code": 404, "message": "not found"}
    unknown = serve(httpx.Response(404, headers=NEW, json=words), httpx.Response(404, headers=INGRESS, json=words))
    with pytest.raises(errors.NotFound):
        unknown.client.attach(INV)
    failed = serve(httpx.Response(404, headers=NEW, json=words))
    with pytest.raises(errors.InvocationFailed):
        failed.client.attach(INV)
    assert [request.url.path.rpartition("/")[2] for request in failed.requests] == ["attach", "output"]


@pytest.mark.parametrize(
    ("answer", "raw", "expected"),
    [
        (httpx.Response(200, headers=OLD, json=[1]), False, [1]),
        (httpx.Response(200, headers=OLD, json=[1]), True, b"[1]"),
        (httpx.Response(200, content=b"\xff", headers={**OLD, "content-type": "image/png"}), False, b"\xff"),
        (httpx.Response(200, headers=OLD, html="<html>"), False, b"<html>"),
        (httpx.Response(200, headers=OLD, content=b"x"), False, b"x"),
        (httpx.Response(200, headers=OLD), False, None),
        (httpx.Response(200, headers=OLD), True, b""),
    ],
)
def test_json_is_decoded_other_content_is_bytes_and_raw_is_always_bytes(
    serve: Callable[..., Ingress], answer: httpx.Response, raw: bool, expected: Any
) -> None:
    assert serve(answer).client.call("S", "h", raw=raw) == expected


LOGIN = httpx.Response(200, html="<html><title>Sign in</title></html>")


@pytest.mark.parametrize(
    ("call", "answer"),
    [
        *((lambda i: i.send("S", "h"), answer) for answer in (
            LOGIN, httpx.Response(202, text="<html>"), httpx.Response(202, json={"ok": 1}), httpx.Response(202, json=[])
        )),
        *((lambda i: i.call("S", "h"), answer) for answer in (
            LOGIN, httpx.Response(200, json={"ok": 1}), httpx.Response(200), httpx.Response(202, headers=OLD)
        )),
        *((lambda i: i.resolve_awakeable(AWAKEABLE, 1), answer) for answer in (LOGIN, httpx.Response(200))),
        (lambda i: i.reject_awakeable(AWAKEABLE, "no"), LOGIN),
    ],
)  # fmt: skip
def test_a_change_with_a_response_that_the_ingress_never_sends_is_unknown(
    serve: Callable[..., Ingress], call: Callable[[Any], Any], answer: httpx.Response
) -> None:
    ingress = serve(answer)
    with pytest.raises(errors.OutcomeUnknown):
        call(ingress.client)
    assert ingress.outcomes == ["unknown"]


def test_a_login_page_is_not_the_outcome_of_an_invocation(serve: Callable[..., Ingress]) -> None:
    for answer in (LOGIN, httpx.Response(200, json={"ok": 1})):
        for read in (serve(answer).client.attach, serve(answer).client.output):
            with pytest.raises(errors.ServerFailed, match="not from a Restate ingress"):
                read(INV)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(200, html="<html><title>Login</title></html>"), errors.ServerFailed),
        (httpx.Response(200, json={"stage": "started"}), errors.ServerFailed),
        (httpx.Response(200, json=[]), errors.ServerFailed),
        (httpx.Response(404, json={"message": "invocation not found"}, headers=INGRESS), errors.NotFound),
        (httpx.Response(404, html="<html><title>Not here</title></html>"), errors.NotFound),
    ],
)
def test_a_page_is_not_a_stage(serve: Callable[..., Ingress], answer: httpx.Response, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        serve(answer).client.status(INV)


def test_a_response_that_only_claims_to_be_json_is_refused_with_advice(serve: Callable[..., Ingress]) -> None:
    answer = httpx.Response(200, content=b"{", headers={**OLD, "content-type": "application/json"})
    with pytest.raises(errors.ServerFailed, match="raw=True"):
        serve(answer).client.call("S", "h")
