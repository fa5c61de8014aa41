"""Sending: the result of each id for each response, of the batch endpoint and of single calls; and calls never sent."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from restate_lab.actions.change import Change
from restate_lab.actions.execution.sender import BatchSender
from restate_lab.actions.rules import ACTIONS
from restate_lab.audit import AuditLog
from restate_lab.client.settings import load_settings
from restate_lab.client.transport import Transport

IDS = [f"inv_1{number:033d}" for number in range(4)]
A, B, C, D = IDS
Handle = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def sent() -> list[str]:
    return []


@pytest.fixture
def sender(tmp_path: Path, sent: list[str]) -> Iterator[Callable[..., BatchSender]]:
    """Give a Sender whose requests are answered by a function; ``sent`` has their paths."""
    contexts = []

    def make(
        answer: Handle, *, closed: set[str] | None = None, stop: Callable[[], bool] = lambda: False
    ) -> BatchSender:
        def handle(request: httpx.Request) -> httpx.Response:
            sent.append(request.url.path)
            return answer(request)

        network = httpx.MockTransport(handle)
        settings = load_settings("http://127.0.0.1:9070")
        transport = Transport(
            settings, settings.admin_url, read_only=False, timeout=5, audit=AuditLog(tmp_path), transport=network
        )
        context = transport.record("kill", IDS, reason="a test", request="a test")
        contexts.append(context)
        return BatchSender(context.__enter__(), transport.refused_batches if closed is None else closed, stop)

    yield make
    for context in contexts:
        context.__exit__(None, None, None)


def kinds(sender: BatchSender) -> dict[str, str]:
    return {id_: answer.kind for id_, answer in sender.results.items()}


def own(status: int, message: str) -> httpx.Response:
    return httpx.Response(status, json={"message": message, "restate_code": None})


def listed(succeeded: list[Any], failed: list[tuple[str, str]] = []) -> httpx.Response:  # noqa: B006
    body = {"succeeded": succeeded, "failed": [{"invocation_id": id_, "error": error} for id_, error in failed]}
    return httpx.Response(200, json=body)


def test_a_batch_says_for_each_id_what_came_of_it(sender: Callable[..., BatchSender], sent: list[str]) -> None:
    """Refused, not forwarded to the partition, possibly forwarded, and not named at all are distinct results."""
    failed = [
        (B, f"Invocation '{B}' not found"),
        (C, "rpc for partition 6 at node N2:1 failed: connect throttled; 290ms left in throttling window"),
        (D, "rpc for partition 6 at node N2:1 failed: internal error: connection closed"),
    ]
    one = sender(lambda request: listed([A], failed))
    one.send(Change(ACTIONS.KILL), [*IDS, "inv_1unnamed"])
    assert kinds(one) == {A: "taken", B: "refused", C: "not taken", D: "lost", "inv_1unnamed": "lost"}
    assert one.results[B].error == "Invocation not found"
    assert sent == ["/internal/invocations_batch_operations/kill"]


def test_a_restart_brings_the_new_ids_and_options_go_along(sender: Callable[..., BatchSender]) -> None:
    """The batch of restarts names pairs; the deployment is in the body."""
    bodies = []

    def answer(request: httpx.Request) -> httpx.Response:
        bodies.append(json.loads(request.content))
        return listed([{"old_invocation_id": A, "new_invocation_id": "inv_new"}])

    one = sender(answer)
    one.send(Change(ACTIONS.RESTART_AS_NEW, deployment="keep"), [A])
    assert one.results[A].new_id == "inv_new"
    assert bodies == [{"invocation_ids": [A], "deployment": "keep"}]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (httpx.Response(400, json={"message": "The request field 'deployment' is invalid."}), "refused"),
        (httpx.Response(429, headers={"retry-after": "7"}), "not taken"),
        (httpx.Response(503), "lost"),
        (httpx.Response(503, text="no healthy upstream"), "lost"),
        (own(503, "Error when routing the request internally. Reason: rpc for partition 1: not leader"), "not taken"),
        (own(503, "rpc for partition 1 at node N1:1 failed: lost leadership"), "lost"),
        (own(500, "broken"), "lost"),
        (httpx.Response(302, headers={"location": "/login"}), "lost"),
        (httpx.Response(502), "lost"),
        (httpx.Response(200, text="<html>please log in</html>"), "lost"),
        (httpx.ReadError("reset"), "lost"),
        (httpx.ReadTimeout("late"), "lost"),
        (httpx.ConnectError("refused"), "not taken"),
    ],
)
def test_an_answer_for_all_is_one_for_each(
    sender: Callable[..., BatchSender], sent: list[str], answer: httpx.Response | Exception, kind: str
) -> None:
    """Only requests that certainly had no effect may be sent again, and none of these leads to single calls."""

    def handle(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    one = sender(handle)
    one.send(Change(ACTIONS.KILL), IDS)
    assert kinds(one) == dict.fromkeys(IDS, kind)
    assert len(sent) == 1
    assert (one.results[A].wait == 7) == (isinstance(answer, httpx.Response) and answer.status_code == 429)


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_a_closed_endpoint_is_asked_once(sender: Callable[..., BatchSender], sent: list[str], status: int) -> None:
    """A response of a gateway or an older server about the endpoint leads to single calls, and is remembered."""
    one = sender(lambda request: httpx.Response(status if "internal" in request.url.path else 200))
    for _ in range(2):
        one.send(Change(ACTIONS.KILL), IDS)
        assert kinds(one) == dict.fromkeys(IDS, "taken")
    assert sum("internal" in path for path in sent) == 1
    assert len(sent) == 9


def test_one_malformed_id_does_not_keep_the_others(sender: Callable[..., BatchSender], sent: list[str]) -> None:
    """A 422 for the list leads to single calls, of which one is refused; the next list goes to the endpoint again."""

    def answer(request: httpx.Request) -> httpx.Response:
        if "internal" in request.url.path:
            return httpx.Response(422, text="Failed to deserialize the JSON body: invocation_ids[1]: bad length")
        return httpx.Response(400 if B in request.url.path else 202)

    one = sender(answer)
    one.send(Change(ACTIONS.KILL), IDS)
    assert kinds(one) == {A: "taken", B: "refused", C: "taken", D: "taken"}
    one.send(Change(ACTIONS.KILL), [A])
    assert sum("internal" in path for path in sent) == 2


def test_single_calls_end_with_the_first_that_is_not_taken(sender: Callable[..., BatchSender], sent: list[str]) -> None:
    """A busy server does not get hundreds of requests; ids that were not sent have no result."""
    one = sender(lambda request: httpx.Response(429), closed={"kill"})
    one.send(Change(ACTIONS.KILL), [f"inv_1{number:033d}" for number in range(200)])
    assert set(kinds(one).values()) == {"not taken"}
    assert len(sent) == len(one.results) < 20


def test_no_single_call_is_sent_after_a_stop(sender: Callable[..., BatchSender], sent: list[str]) -> None:
    one = sender(lambda request: httpx.Response(200), closed={"kill"}, stop=lambda: len(sent) >= 1)
    one.send(Change(ACTIONS.KILL), [f"inv_1{number:033d}" for number in range(200)])
    assert len(sent) == len(one.results) < 20


@pytest.mark.parametrize("closed", [set(), {"kill"}], ids=["batch", "single"])
def test_a_request_that_an_interrupt_met_is_lost_and_not_unsent(
    sender: Callable[..., BatchSender], closed: set[str]
) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    one = sender(interrupt, closed=closed)
    with pytest.raises(KeyboardInterrupt):
        one.send(Change(ACTIONS.KILL), IDS)
    assert set(kinds(one).values()) == {"lost"}


def test_a_single_restart_whose_response_has_no_id_is_lost(sender: Callable[..., BatchSender]) -> None:
    one = sender(lambda request: httpx.Response(200, json={}))
    one.send(Change(ACTIONS.RESTART_AS_NEW, from_index=2), [A])
    assert kinds(one) == {A: "lost"}


def test_the_index_and_the_deployment_are_parameters_of_a_single_call(sender: Callable[..., BatchSender]) -> None:
    urls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        urls.append(str(request.url))
        return httpx.Response(200, json={"new_invocation_id": "inv_new"})

    one = sender(answer)
    one.send(Change(ACTIONS.RESTART_AS_NEW, deployment="latest", from_index=2), [A])
    one.send(Change(ACTIONS.RESTART_AS_NEW, from_indexes={A: 5}), [A])
    address = f"http://127.0.0.1:9070/invocations/{A}/restart-as-new"
    assert urls == [f"{address}?deployment=latest&from=2", f"{address}?from=5"]
    assert one.results[A].new_id == "inv_new"


def test_an_expired_token_refuses_every_id_with_a_message(sender: Callable[..., BatchSender]) -> None:
    one = sender(lambda request: httpx.Response(401))
    one.send(Change(ACTIONS.KILL), IDS)
    assert set(kinds(one).values()) == {"refused"}
    assert "token" in str(one.results[A].error)


def test_equal_results_of_a_batch_are_one_object(sender: Callable[..., BatchSender]) -> None:
    """The memory for a batch does not grow with its ids: accepted ids share one result, with its time."""
    answer = {"succeeded": [A, B, C], "failed": [{"invocation_id": D, "error": "409 no"}]}
    sending = sender(lambda _: httpx.Response(200, json=answer))
    sending.send(Change(ACTIONS.KILL), IDS)
    assert len({id(sending.results[id_]) for id_ in (A, B, C)}) == 1
    times = {result.milliseconds for result in sending.results.values()}
    assert len(times) == 1
    assert None not in times
