"""The ingress on real servers of each kind: calls, sends, outcomes, awakeables."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.client.ingress import InvocationStage, SentInvocation
from restate_lab.redaction import Secret
from support.bench import Bench, running_bench, wait_for
from support.clusters import KINDS, server_binary

CANARY = "canary-4b8e"
NO_INVOCATION = "inv_1gAaZyCx2a2b3ZBGB0x5Xx5wTjfHW9aaaa"

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    try:
        server_binary(request.param)
    except errors.RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with running_bench(request.param, tmp_path_factory.mktemp("bench")) as bench:
        yield bench


def awakeable_of(bench: Bench, invocation_id: str) -> str:
    """Return the id of the awakeable that blocks Echo/wait or Counter/hold."""
    found: str = wait_for(lambda: bench.ingress.call("Counter", "value", key=invocation_id))
    return found


def records(bench: Bench) -> list[dict[str, Any]]:
    lines = [line for file in bench.audit.glob("*.jsonl") for line in file.read_text("utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def test_a_call_sends_and_returns_json(bench: Bench) -> None:
    """JSON is sent and returned unchanged, text outside ASCII too; an empty body becomes None."""
    assert bench.ingress.call("Echo", "say", "grüße ✓") == "grüße ✓"
    assert bench.ingress.call("Echo", "nothing") is None
    assert bench.ingress.call("Echo", "say", "x", raw=True) == b'"x"'


def test_a_handler_may_return_a_page(bench: Bench) -> None:
    """A handler may return an HTML page: the ingress adds the invocation's id, which a login page does not have."""
    page = b"<html><title>Sign in</title></html>"
    assert bench.ingress.call("Echo", "page", idempotency_key="a page") == page
    sent = bench.ingress.send("Echo", "page")
    assert bench.ingress.attach(sent.invocation_id) == page
    assert bench.ingress.output(sent.invocation_id) == page


@pytest.mark.parametrize("key", ["plain", "a/b", "50% off?#", "..", "é ü", "send"])
def test_a_key_may_be_any_text(bench: Bench, key: str) -> None:
    before = bench.ingress.call("Counter", "add", 0, key=key)
    assert bench.ingress.call("Counter", "add", 2, key=key) == before + 2
    sql = "SELECT service_key FROM state WHERE service_name = 'Counter' AND service_key = :key"
    assert bench.lab.arrow(sql, key=key).num_rows == 1


def test_bytes_go_as_they_are(bench: Bench) -> None:
    """Bytes are sent as bytes and a response that is not JSON is bytes; a custom content type is kept."""
    body = bytes(range(256))
    assert bench.ingress.call("Echo", "raw", body) == body[::-1]
    assert bench.ingress.call("Echo", "say", b'"x"', headers={"Content-Type": "application/json"}) == "x"


def test_headers_reach_the_handler_and_no_record(bench: Bench) -> None:
    """A header arrives, a Secret one too; neither it nor the body is in the audit log."""
    assert bench.ingress.call("Echo", "header", "x-team", headers={"x-team": "tests"}) == "tests"
    assert bench.ingress.call("Echo", "header", "x-api-key", headers={"x-api-key": Secret(CANARY)}) == CANARY
    bench.ingress.call("Echo", "say", CANARY)
    call = [each for each in records(bench) if each.get("targets") == ["Echo/say"]]
    assert call[0]["action"] == "call"
    assert CANARY not in json.dumps(records(bench))


def test_a_failure_of_the_handler_is_its_answer(bench: Bench) -> None:
    """A terminal failure is InvocationFailed with the handler's code and message; the audit log has "done"."""
    with pytest.raises(errors.InvocationFailed, match=r"inv_.*\[418\] no coffee") as caught:
        bench.ingress.call("Echo", "fail", "no coffee", reason="tea")
    assert (caught.value.status, caught.value.reason) == (418, "no coffee")
    change = next(each["change"] for each in records(bench) if each.get("reason") == "tea")
    result = next(each for each in records(bench) if each["kind"] == "result" and each["change"] == change)
    assert (result["outcome"], result["status"]) == ("done", 418)


@pytest.mark.parametrize("code", [401, 404, 429, 470, 502, 503, 504])
def test_the_code_of_a_failure_is_the_handlers_own(bench: Bench, code: int) -> None:
    """A handler that fails with the status of a gateway, a limit or a login is still InvocationFailed."""
    with pytest.raises(errors.InvocationFailed) as caught:
        bench.ingress.call("Echo", "fail_with", code)
    assert caught.value.status == code
    id_ = bench.ingress.send("Echo", "fail_with", code).invocation_id
    bench.until(id_, "completed")
    started = time.monotonic()
    for ask in (bench.ingress.output, bench.ingress.attach):
        with pytest.raises(errors.InvocationFailed) as kept:
            ask(id_)
        assert (kept.value.status, kept.value.reason) == (code, "not found")
    assert time.monotonic() - started < 9  # repeated, each would take ten


def test_what_the_ingress_refuses_is_not_the_handlers(bench: Bench) -> None:
    """An unknown service or handler, a missing key, a body of the wrong kind: refused, not failed."""
    refused: list[tuple[type[errors.RequestRefused], str, Callable[[], Any]]] = [
        (errors.NotFound, "Nope", lambda: bench.ingress.call("Nope", "say", "x")),
        (errors.NotFound, "nope", lambda: bench.ingress.send("Echo", "nope")),
        (errors.NotFound, r"it\. Did you mean 'Echo'\?$", lambda: bench.ingress.call("Ecko", "say", "x")),
        (errors.NotFound, r"version\. Did you mean 'say'\?$", lambda: bench.ingress.send("Echo", "sayy", "x")),
        (errors.RequestRefused, "needs key=", lambda: bench.ingress.call("Counter", "add", 1)),
        (errors.RequestRefused, "a service must not have it", lambda: bench.ingress.send("Echo", "say", "x", key="k")),
        (errors.RequestRefused, "400", lambda: bench.ingress.call("Echo", "say", b"x")),
        (errors.RequestRefused, "400", lambda: bench.ingress.call("Echo", "nothing", "x")),
    ]
    for kind, words, ask in refused:
        with pytest.raises(kind, match=words):
            ask()


def test_a_private_service_is_refused(bench: Bench) -> None:
    bench.admin.modify_service("Echo", public=False)
    try:

        def refused() -> bool:
            try:
                return bool(bench.ingress.call("Echo", "say", "x") != "x")
            except errors.RequestRefused:
                return True

        wait_for(refused)
    finally:
        bench.admin.modify_service("Echo", public=True)
    wait_for(lambda: not refused())


def test_a_send_is_taken_once_per_idempotency_key(bench: Bench) -> None:
    """The first is accepted; the second, and a call with the same key, return the first one."""
    first = bench.ingress.send("Echo", "say", "x", idempotency_key="once")
    again = bench.ingress.send("Echo", "say", "y", idempotency_key="once")
    assert first == SentInvocation(first.invocation_id, "Accepted", None)
    assert again == SentInvocation(first.invocation_id, "PreviouslyAccepted", None)
    assert bench.ingress.call("Echo", "say", "z", idempotency_key="once") == "x"


@pytest.mark.parametrize("delay", [timedelta(hours=1, milliseconds=500), "1h 500ms", "PT1H0.5S"])
def test_a_send_is_delayed(bench: Bench, delay: timedelta | str) -> None:
    """A delay in any spelling becomes a start time, and until then the invocation is scheduled."""
    sent = bench.ingress.send("Echo", "say", "x", delay=delay)
    assert sent.execution_time is not None
    wait = sent.execution_time - datetime.now(UTC)
    assert timedelta(minutes=59) < wait <= timedelta(hours=1, seconds=1)
    assert bench.status(sent.invocation_id) == "scheduled"
    bench.admin.kill_invocation(sent.invocation_id, reason="INC-42")


def test_output_and_attach_by_each_name(bench: Bench) -> None:
    """An outcome is found by id, by idempotency key (with and without key), and by workflow."""
    plain = bench.ingress.send("Echo", "say", "plain", idempotency_key="name:1~x@y")
    bench.ingress.send("Counter", "add", 3, key="by/name", idempotency_key="k1")
    bench.ingress.send("Signup", "run", "ann", key="by/name")
    wait_for(lambda: bench.status(plain.invocation_id) == "completed")
    bench.ingress.call("Signup", "approve", "bob", key="by/name")
    assert bench.ingress.attach(plain.invocation_id) == "plain"
    assert bench.ingress.attach(service="Echo", handler="say", idempotency_key="name:1~x@y") == "plain"
    by_key = {"service": "Counter", "handler": "add", "key": "by/name", "idempotency_key": "k1"}
    assert bench.ingress.attach(**by_key) == 3  # type: ignore[arg-type]
    assert bench.ingress.attach(workflow="Signup", key="by/name") == "ann approved by bob"
    assert bench.ingress.output(plain.invocation_id, raw=True) == b'"plain"'
    assert bench.ingress.output(**by_key) == 3  # type: ignore[arg-type]
    assert bench.ingress.output(workflow="Signup", key="by/name") == "ann approved by bob"


def test_a_workflow_runs_once_per_key(bench: Bench) -> None:
    """A second send returns the first invocation, a second call is a Conflict that names it."""
    first = bench.ingress.send("Signup", "run", "ann", key="twice")
    assert bench.ingress.send("Signup", "run", "eve", key="twice").status == "PreviouslyAccepted"
    with pytest.raises(errors.Conflict, match=first.invocation_id):
        bench.ingress.call("Signup", "run", "eve", key="twice")
    bench.admin.kill_invocation(first.invocation_id, reason="INC-42")


def test_what_has_not_ended_is_not_ready(bench: Bench) -> None:
    """output() of a waiting invocation is NotReady, attach() waits for it within its limit."""
    id_ = bench.ingress.send("Echo", "wait").invocation_id
    awakeable = awakeable_of(bench, id_)
    with pytest.raises(errors.NotReady):
        bench.ingress.output(id_)
    with pytest.raises(errors.TimedOut):
        bench.ingress.attach(id_, timeout=0.5)
    timer = threading.Timer(0.5, bench.ingress.resolve_awakeable, [awakeable, "done"])
    timer.start()
    assert bench.ingress.attach(id_, timeout=30) == "got done"
    timer.join()
    assert bench.ingress.output(id_) == "got done"


def test_what_does_not_exist_is_not_found(bench: Bench) -> None:
    for ask in (bench.ingress.output, bench.ingress.attach):
        with pytest.raises(errors.NotFound):
            ask(NO_INVOCATION)
        for name in (
            {"service": "Echo", "handler": "say", "idempotency_key": "never"},
            {"workflow": "Signup", "key": "never"},
        ):
            with pytest.raises(errors.NotFound):
                ask(**name)


def test_the_stage_of_an_invocation_by_each_name(bench: Bench) -> None:
    """status() does not wait: it returns the stage by id, idempotency key or workflow."""
    ingress = bench.ingress
    waiting = ingress.send("Counter", "hold", key="by/stage", idempotency_key="held").invocation_id
    failed = ingress.send("Echo", "fail", "no").invocation_id
    later = ingress.send("Echo", "say", "x", delay="1h").invocation_id
    workflow = ingress.send("Signup", "run", "ann", key="by/stage").invocation_id
    bench.until(failed, "completed")
    bench.until(waiting, "suspended")
    bench.until(workflow, "suspended")
    by_request = {"service": "Counter", "key": "by/stage", "handler": "hold", "idempotency_key": "held"}
    stages: list[tuple[Callable[[], InvocationStage], InvocationStage]] = [
        (lambda: ingress.status(waiting), InvocationStage(waiting, "started")),
        (lambda: ingress.status(**by_request), InvocationStage(waiting, "started")),  # type: ignore[arg-type]
        (lambda: ingress.status(workflow="Signup", key="by/stage"), InvocationStage(workflow, "started")),
        (lambda: ingress.status(later), InvocationStage(later, "created")),
        (lambda: ingress.status(failed), InvocationStage(failed, "completed", 418, "no")),
    ]
    for read, expected in stages:
        assert read() == expected
    for missing in ({"workflow": "Signup", "key": "none"}, {**by_request, "key": "none"}):
        with pytest.raises(errors.NotFound):
            ingress.status(**missing)  # type: ignore[arg-type]
    for id_ in (waiting, later, workflow):
        bench.admin.kill_invocation(id_, reason="INC-42")


def test_awakeables(bench: Bench) -> None:
    """The first result counts: JSON, or a failure with a message; a malformed or foreign id is refused."""
    waiting = bench.ingress.send("Echo", "wait").invocation_id
    awakeable = awakeable_of(bench, waiting)
    bench.ingress.resolve_awakeable(awakeable, "yes", reason="a test")
    bench.ingress.resolve_awakeable(awakeable, "no")
    assert bench.ingress.attach(waiting, timeout=20) == "got yes"
    rejected = bench.ingress.send("Counter", "hold", key="reject").invocation_id
    bench.ingress.reject_awakeable(awakeable_of(bench, rejected), "not today, grüße")
    with pytest.raises(errors.InvocationFailed, match="not today, grüße") as caught:
        bench.ingress.attach(rejected, timeout=20)
    assert caught.value.status == 500
    with pytest.raises(errors.RequestRefused, match="bad awakeable id"):
        bench.ingress.resolve_awakeable(f"{awakeable[:-3]}zzz", 1)


def test_a_killed_invocation_fails_its_caller(bench: Bench) -> None:
    id_ = bench.ingress.send("Echo", "wait").invocation_id
    bench.until(id_, "suspended")
    bench.admin.kill_invocation(id_, reason="INC-42")
    with pytest.raises(errors.InvocationFailed) as caught:
        bench.ingress.attach(id_, timeout=20)
    assert (caught.value.status, caught.value.reason) == (409, "killed")


def test_a_call_that_exceeds_its_limit_has_an_unknown_outcome(bench: Bench) -> None:
    with pytest.raises(errors.OutcomeUnknown):
        bench.ingress.call("Echo", "busy", 1.5, idempotency_key="slow", timeout=0.4)
    assert bench.ingress.attach(service="Echo", handler="busy", idempotency_key="slow", timeout=20) == "done"


def test_a_read_only_connection_calls_nothing(bench: Bench) -> None:
    """Calls, sends and results of awakeables are refused, outcomes are still read."""
    done = bench.ingress.send("Echo", "say", "x").invocation_id
    bench.until(done, "completed")
    settings = bench.lab.settings
    with rl.connect(settings.admin_url, ingress_url=settings.ingress_url, read_only=True) as lab:
        for change in (
            lambda: lab.ingress.call("Echo", "say", "x"),
            lambda: lab.ingress.send("Echo", "say", "x"),
            lambda: lab.ingress.resolve_awakeable("sign_1x3PmOpi1vZkBohBAQ4zE3j3_fz6ZOTusAAAAEQ"),
            lambda: lab.ingress.reject_awakeable("sign_1x3PmOpi1vZkBohBAQ4zE3j3_fz6ZOTusAAAAEQ", "no"),
        ):
            with pytest.raises(errors.ReadOnly):
                change()
        assert lab.ingress.output(done) == "x"
