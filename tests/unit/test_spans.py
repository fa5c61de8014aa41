"""Spans of conversations and runs, sent to a server on this machine; the receiver decodes OpenTelemetry's protobuf."""

from __future__ import annotations

import dataclasses
import gzip
import json
import socket
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

import restate_lab as rl
from restate_lab import errors
from restate_lab.analysis.agents.prices import price_table
from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.agents.summary import RunJournals, summarize
from restate_lab.analysis.agents.turns import Turn
from restate_lab.export import dataset
from support.raw_server import Talk, raw_server, respond_with
from support.sample_rows import SampleRows
from support.stories import id_of, large_story, sample_story

ACCEPTED = respond_with(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
REFUSED = respond_with(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\nno room")
START = datetime(2026, 11, 28, 3, tzinfo=UTC)
CALLER, CALLEE = "inv_1" + "0" * 32 + "a", "inv_1" + "0" * 32 + "b"
SECRETS = ("the prompt", "the answer", "the argument", "the result", "the error", "the thought")


def turn(role: str, index: int | None, *, id_: str = CALLER, second: int | None = None, **fields: Any) -> Turn:
    started = None if second is None else START + timedelta(seconds=second)
    depth = 1 if id_ == CALLER else 2
    return Turn(id_, depth, role, "journal", journal_index=index, started=started, **fields)


def conversation(**fields: Any) -> Conversation:
    """Return a conversation whose second tool calls another agent, and whose last step is open and failing."""
    second = timedelta(seconds=1)
    model = {"model": "gpt-4o", "duration": second, "input_tokens": 100, "output_tokens": 20, "cached_tokens": 40}
    turns = (
        turn("user", 0, second=0, text="the prompt"),
        turn("assistant", 1, second=1, turn=1, reasoning="the thought", finish="tool_calls", response_id="r1", **model),
        turn("tool", None, turn=1, tool="add", call_id="c1", arguments={"x": "the argument"}, result="the result"),
        turn(
            "tool", 3, second=2, turn=1, tool="ask", call_id="c2", callee=CALLEE, name="Helper/ask", duration=2 * second
        ),
        turn("assistant", 1, id_=CALLEE, second=3, turn=1, text="the answer", **model),
        turn("tool", 5, second=5, turn=2, tool="get_weather", status="open", attempts=3, error="the error"),
    )
    known = {"source": "local", "version": "1.7.12", "read_at": START + timedelta(seconds=60), "turns": turns}
    return Conversation(**{"id": CALLER, "target": "Agent/run", "status": "backing-off", **known, **fields})


def export(runs: Any, response: Talk = ACCEPTED, **options: Any) -> tuple[list[Any], str]:
    with raw_server(response) as server:
        assert rl.export_spans(runs, f"{server.address}/v1/traces", **options) > 0
        (request,) = server.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/traces ")
    decoded = ExportTraceServiceRequest.FromString(body)
    return list(decoded.resource_spans[0].scope_spans[0].spans), request.decode("latin-1")


def attributes(span: Any) -> dict[str, Any]:
    values = {each.key: each.value for each in span.attributes}
    return {name: getattr(value, value.WhichOneof("value")) for name, value in values.items()}


def seconds(span: Any) -> tuple[int, int]:
    """Return start and end in seconds since START."""
    start = int(START.timestamp())
    return span.start_time_unix_nano // 10**9 - start, span.end_time_unix_nano // 10**9 - start


def test_the_span_of_an_agent_has_those_of_its_models_tools_and_called_agents() -> None:
    spans, _ = export(conversation(session="Agent/k"))
    kinds = [attributes(span)["openinference.span.kind"] for span in spans]
    assert kinds == ["AGENT", "LLM", "TOOL", "TOOL", "TOOL", "AGENT", "LLM"]
    agent, model, plain, ask, stuck, callee, inner = spans
    assert [span.name for span in spans[:3]] == ["invoke_agent Agent/run", "chat gpt-4o", "execute_tool add"]
    assert {span.trace_id for span in spans} == {agent.trace_id}
    assert [span.parent_span_id for span in spans] == [
        b"", *[agent.span_id] * 4, ask.span_id, callee.span_id,
    ]  # fmt: skip
    assert [seconds(span) for span in (agent, model, plain, ask, stuck)] == [(0, 60), (1, 2), (2, 2), (2, 4), (5, 60)]
    tokens = attributes(model)
    assert (tokens["llm.token_count.prompt"], tokens["llm.token_count.total"]) == (100, 120)
    assert tokens["gen_ai.usage.cache_read.input_tokens"] == 40
    assert (attributes(ask)["tool.name"], attributes(ask)["gen_ai.tool.call.id"]) == ("ask", "c2")
    assert attributes(agent)["session.id"] == "Agent/k"
    assert attributes(inner)["restate.invocation_id"] == CALLEE
    assert [span.status.code for span in spans] == [0, 0, 0, 0, 2, 0, 0]


def test_without_payloads_no_prompt_answer_argument_result_or_error_is_sent() -> None:
    spans, received = export(conversation())
    assert [text for text in SECRETS if text in received] == []
    spans, received = export(conversation(), payloads=True)
    assert [text for text in SECRETS if text not in received] == ["the thought"]
    assert spans[4].status.message == "the error"
    assert attributes(spans[0])["input.value"] == "the prompt"
    assert json.loads(attributes(spans[2])["gen_ai.tool.call.arguments"]) == {"x": "the argument"}


def test_a_second_export_has_the_same_ids_and_no_two_spans_share_one() -> None:
    first, second = (export(conversation())[0] for _ in range(2))
    assert [(span.trace_id, span.span_id) for span in first] == [(span.trace_id, span.span_id) for span in second]
    assert len({span.span_id for span in first}) == len(first)
    other, _ = export(conversation(id=CALLEE))
    assert other[0].trace_id != first[0].trace_id


def test_each_run_is_one_span_with_its_tokens_and_a_failed_run_is_an_error() -> None:
    row: dict[str, Any] = dict.fromkeys(summarize(RunJournals({}, [], {}, None, {}), price_table(None), START).columns)
    row |= {"id": CALLER, "service": "Agent", "handler": "run", "key": "k", "status": "failed"}
    row |= {"created_at": START, "completed_at": START + timedelta(seconds=9), "input_tokens": 7, "output_tokens": 2}
    (span,), _ = export(pd.DataFrame([row]))
    assert (span.name, seconds(span), span.status.code) == ("invoke_agent Agent/run", (0, 9), 2)
    values = attributes(span)
    assert (values["llm.token_count.total"], values["session.id"]) == (9, "Agent/k")
    assert "llm.token_count.prompt_details.cache_read" not in values


def test_a_refused_export_is_an_error_with_the_reason_and_without_headers() -> None:
    with raw_server(REFUSED) as server, pytest.raises(errors.ServerFailed, match="0 of 7 spans have arrived") as caught:
        rl.export_spans(conversation(), server.address, headers={"authorization": "Bearer canary"}, timeout="2s")
    assert b"authorization: bearer canary" in server.requests[0].lower()
    assert "canary" not in str(caught.value)
    assert "400" in caught.value.reason


def answer(body: bytes = b"", status: str = "200 OK", kind: str = "application/x-protobuf", more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


THREE_REJECTED = ExportTraceServiceResponse(
    partial_success=ExportTracePartialSuccess(rejected_spans=3, error_message="quota of canary")
).SerializeToString()
JSON_REJECTED = b'{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "quota of canary"}}'
LOCATION = "location: http://127.0.0.1:1/login?canary\r\n"


@pytest.mark.parametrize(
    ("response", "problem"),
    [
        (answer(status="301 Moved", more=LOCATION), "301, a redirect to http://127.0.0.1:1/login"),
        (answer(status="302 Found", more=LOCATION), "302, a redirect to"),
        (answer(status="307 Temporary", more=LOCATION), "307, a redirect to"),
        (answer(status="308 Permanent", more=LOCATION), "308, a redirect to"),
        (answer(status="304 Not Modified", kind="text/plain"), "304"),
        (answer(b"<html><title>Log in</title>", kind="text/html"), "an HTML page (Log in)"),
        (answer(b"<!doctype html>", kind="text/plain"), "an HTML page"),
        (answer(b"no", "401 Unauthorized", "text/plain"), "401 no"),
        (answer(THREE_REJECTED), "it rejected 3 spans (quota of"),
        (answer(THREE_REJECTED, kind="application/octet-stream"), "it rejected 3 spans"),
        (answer(JSON_REJECTED, kind="application/json"), "it rejected 3 spans (quota of"),
        (answer(b"[", kind="application/json"), "the response is not OTLP"),
        (answer(b"\xff\xff"), "the response is not OTLP"),
        (answer(gzip.compress(bytes(9 << 20)), more="content-encoding: gzip\r\n"), "content-encoding 'gzip'"),
        (answer(bytes(2 << 20)), "the response body exceeds 1 MiB"),
        (answer(status="503 Busy", more="retry-after: 99\r\n"), "503"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_response_other_than_2xx_or_with_rejected_spans_is_an_error(response: bytes, problem: str) -> None:
    with raw_server(respond_with(response)) as server, pytest.raises(errors.ServerFailed) as caught:
        rl.export_spans(conversation(), server.address, headers={"authorization": "Bearer canary"}, timeout="2s")
    assert problem in caught.value.reason
    assert "canary" not in str(caught.value)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "response",
    [
        answer(),
        answer(ExportTraceServiceResponse().SerializeToString()),
        answer(b"{}", kind="application/json"),
        answer(b'{"partialSuccess": {}}', kind="application/json"),
        answer(b"ok", "202 Accepted", "text/plain"),
    ],
)
def test_each_form_of_success_is_accepted_after_a_busy_response(response: bytes) -> None:
    with raw_server(respond_with(answer(status="503 Busy", more="retry-after: 0.01\r\n"), response)) as server:
        assert rl.export_spans(conversation(), server.address) == 7
    assert len(server.requests) == 2


def test_the_environment_adds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No header, login or proxy of the environment is used on this machine, and another endpoint gets the proxy only.

    OpenTelemetry's exporter, which would use them, is not on the path, and neither is requests.
    """
    netrc = tmp_path / "netrc"
    netrc.write_text(
        "machine 127.0.0.1 login ada password canary\nmachine collector.example login ada password canary\n"
    )
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    for name in ("HEADERS", "TRACES_HEADERS"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{name}", "authorization=Bearer canary,x-tenant=canary")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    for name in ("requests", "opentelemetry.exporter.otlp.proto.http"):
        monkeypatch.setitem(sys.modules, name, None)
    with raw_server(ACCEPTED) as proxy, raw_server(ACCEPTED) as collector:
        for name in ("http_proxy", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.address)
            monkeypatch.setenv(name.upper(), proxy.address)
        monkeypatch.setenv("no_proxy", "")
        headers = {"authorization": "Bearer own", "accept-encoding": "gzip"}
        rl.export_spans(conversation(), collector.address, payloads=True, headers=headers)
        assert (len(collector.requests), proxy.requests) == (1, [])
        rl.export_spans(conversation(), "http://collector.example:4318/v1/traces", headers=headers)
        assert proxy.requests[0].startswith(b"POST http://collector.example:4318/v1/traces ")
    for request in (*collector.requests, *proxy.requests):
        head = request.partition(b"\r\n\r\n")[0].lower()
        assert b"authorization: bearer own" in head
        assert b"canary" not in request
        assert head.count(b"accept-encoding:") == 1
        assert b"accept-encoding: identity" in head


def test_a_closed_port_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(errors.ServerFailed, match="did not accept the spans"):
        rl.export_spans(conversation(), f"http://127.0.0.1:{port}/v1/traces", timeout="20s")


@pytest.mark.parametrize("endpoint", ["127.0.0.1:4318", "http://user:pass@127.0.0.1/v1/traces", "http://a?b=c", 4318])
def test_an_endpoint_is_a_whole_address_without_a_password(endpoint: Any) -> None:
    with pytest.raises(
        errors.ArgumentError, match=r"the whole address of an OTLP endpoint|endpoint must be a text"
    ) as caught:
        rl.export_spans(conversation(), endpoint)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize("runs", [None, [1], "inv_1", pd.DataFrame({"id": ["a"]})])
def test_only_conversations_and_the_frame_of_agent_runs_are_exported(runs: Any) -> None:
    with pytest.raises(errors.ArgumentError, match="takes a Story, a Conversation"):
        rl.export_spans(runs, "http://127.0.0.1:4318/v1/traces")


def test_a_story_is_one_trace_with_a_span_per_member_and_entry_and_a_link_per_other_edge() -> None:
    """A callee is in the span of the call; a one-way call and a completed awakeable are links to their entries."""
    story = sample_story()
    spans, _ = export(story)
    assert len(spans) == len(story.members) + len(story.entries)
    assert len({span.trace_id for span in spans}) == 1
    assert len({span.span_id for span in spans}) == len(spans)
    by_place = {
        (attributes(span)["restate.invocation_id"], attributes(span).get("restate.journal_index")): span
        for span in spans
    }
    order, payment, mail, agent, stock, approval = (by_place[id_of(number), None] for number in range(1, 7))
    entries = {index: by_place[id_of(1), index] for index in range(6)}
    assert order.parent_span_id == b""
    assert {each.parent_span_id for each in entries.values()} == {order.span_id}
    parents = [each.parent_span_id for each in (payment, mail, agent, stock)]
    assert parents == [entries[index].span_id for index in (1, 2, 3, 5)]
    assert approval.parent_span_id == order.span_id  # no edge of the story created it
    links = {span.name: [(link.span_id, link.trace_id, attributes(link)["restate.edge"]) for link in span.links]
             for span in spans if span.links}  # fmt: skip
    assert links == {
        "Mail/send": [(entries[2].span_id, order.trace_id, "one-way call")],
        "Order/place": [(by_place[id_of(6), 2].span_id, order.trace_id, "awakeable")],
    }
    assert [entries[index].name for index in (1, 4)] == ["Call Payments/charge", "Sleep cool down"]
    assert [entries[index].kind for index in (1, 2, 4)] == [3, 4, 1]
    assert (attributes(agent)["llm.token_count.total"], "gen_ai.operation.name" in attributes(order)) == (4_210, False)
    assert max(span.end_time_unix_nano for span in spans) == order.end_time_unix_nano == entries[5].end_time_unix_nano


def test_the_spans_of_a_story_have_no_failure_text_without_payloads_and_always_the_same_ids() -> None:
    """A member has the same span in a history, where the id of an earlier run has its time."""
    without, received = export(sample_story())
    assert "no answer" not in received
    assert [span.status.message for span in without if span.status.code == 2] == [
        "the invocation failed", "the entry failed",
    ]  # fmt: skip
    _, received = export(sample_story(), payloads=True)
    assert "[500] no answer" in received
    story = sample_story()
    earlier = f"{id_of(6)}@2026-11-30T14:03:30.000Z"
    parts = {name: getattr(story, name).replace(id_of(6), earlier) for name in ("members", "edges", "entries")}
    again, _ = export(dataclasses.replace(story, **parts))
    assert [(each.span_id, each.parent_span_id) for each in again] == [
        (each.span_id, each.parent_span_id) for each in without
    ]


def test_any_text_of_the_cluster_is_a_text_in_a_span() -> None:
    """OTLP cannot have half of a character, as in a name that was cut within an emoji."""
    story = sample_story()
    half, key = (pd.Series([text] * len(story.entries), dtype=object) for text in ("<b>\x1b[31m\ud83d", 'k"\n'))
    members, entries = story.members.assign(handler=half[:6], key=key[:6]), story.entries.assign(name=half)
    spans, _ = export(dataclasses.replace(story, members=members, entries=entries))
    assert spans[0].name == "Order/<b>\x1b[31m?"
    assert attributes(spans[0])["restate.key"] == 'k"\n'
    assert {span.name.rpartition(" ")[2] for span in spans if " " in span.name} == {"<b>\x1b[31m?"}


def test_a_story_of_thousands_is_sent_in_several_requests() -> None:
    with raw_server(ACCEPTED) as server:
        assert rl.export_spans(large_story(1_200), server.address) == 1_200
        assert len(server.requests) == 3


def test_payloads_over_http_to_another_machine_cause_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.export.spans.send_spans", lambda *_, **__: None)
    with pytest.warns(errors.UnencryptedWarning, match="without encryption"):
        rl.export_spans(conversation(), "http://collector.example/v1/traces", payloads=True)
    assert rl.export_spans(conversation(), "http://collector.example/v1/traces") == 7


def test_each_line_of_a_dataset_is_a_run_and_an_existing_file_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "conversation", lambda *_, **__: conversation())
    path = rl.save_dataset(SampleRows(), [CALLER], tmp_path / "runs.jsonl")
    (line,) = path.read_text("utf-8").splitlines()
    row = json.loads(line)
    assert (row["id"], row["models"], row["input_tokens"]) == (CALLER, "gpt-4o", 200)
    assert [message["role"] for message in row["messages"]] == ["user", "assistant", "tool"]
    with pytest.raises(errors.ArgumentError, match="already exists"):
        rl.save_dataset(SampleRows(), [CALLER], path)
    with pytest.raises(errors.ArgumentError, match=r"must end with \.jsonl"):
        rl.save_dataset(SampleRows(), [CALLER], tmp_path / "runs.csv")
