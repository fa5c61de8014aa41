"""AdminClient without a server: arguments that are never sent, odd responses, and recorded shapes.

Features that no test can reach are compared with shapes from the server's own description and its public documentation:
deployments on AWS Lambda, tokens minted by Google, and a gateway (like the one of Restate Cloud) that passes on neither
`/openapi` nor an empty 404.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pyarrow as pa
import pytest

from restate_lab import errors
from restate_lab.audit import AuditLog
from restate_lab.client.admin import AdminClient, effects
from restate_lab.client.models import DeleteRule, GoogleIdTokenAuth, UpsertRule
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from support.row_source import RowSource
from support.shaped import reshape

CANARY = "canary-77aa"
INV = "inv_1gAaZyCx2a2b3ZBGB0x5Xx5wTjfHW9cI0x"
DP = "dp_14yqifhlPIRPw7VsqkRWQjn"
VQ = "vq_1gKrtw7jHPrP6oObi5TfrnpEzkKPuKJphp"
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:greeter:3"
VERSION = {"version": "1.7.12", "min_admin_api_version": 2, "max_admin_api_version": 4, "features": {"vqueues": True}}


class _Rows(RowSource):
    """The server's SQL: each statement returns the next rows."""

    def __init__(self, rows: list[list[dict[str, Any]]]) -> None:
        self._next = rows

    def tables(self) -> pd.DataFrame:
        return pd.DataFrame([("sys_locks", "lock_name")], columns=["table", "column"])

    def rows(self, statement: str, params: Mapping[str, Any], **_: Any) -> pa.Table:
        rows = self._next.pop(0) if len(self._next) > 1 else self._next[0]
        return reshape(pa.Table.from_pylist(rows), statement)


class Server:
    """Answers by method and path, and records its requests."""

    def __init__(self, answers: Mapping[str, Any], audit: Path, rows: list[list[dict[str, Any]]] | None = None) -> None:
        self.requests: list[httpx.Request] = []
        self._answers = answers
        self._rows = rows or []
        settings = Settings(
            environment="prod",
            admin_url="http://127.0.0.1:9070",
            ingress_url=None,
            token=None,
            token_source="",
            chosen_by="the argument",
        )
        transport = Transport(
            settings,
            "http://127.0.0.1:9070",
            read_only=False,
            timeout=5,
            audit=AuditLog(audit),
            transport=httpx.MockTransport(self._answer),
        )
        self.admin = AdminClient(transport, source=_Rows(self._rows))

    @property
    def body(self) -> Any:
        return json.loads(self.requests[-1].content)

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.get(f"{request.method} {request.url.raw_path.decode()}", httpx.Response(404))
        return answer if isinstance(answer, httpx.Response) else httpx.Response(200, json=answer)


@pytest.fixture
def serve(tmp_path: Path) -> Callable[..., Server]:
    def serve(answers: Mapping[str, Any] | None = None, *rows: list[dict[str, Any]]) -> Server:
        return Server({"GET /version": VERSION, **(answers or {})}, tmp_path / "audit", list(rows))

    return serve


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda a: a.kill_invocation("nope", reason="INC-42"), "invocation_id 'nope' is not the id of one invocation"),
        (lambda a: a.kill_invocation(INV[:-1], reason="INC-42"), "is not the id of one invocation"),
        (lambda a: a.kill_invocation(INV[:-1] + "-", reason="INC-42"), "is not the id of one invocation"),
        (
            lambda a: a.cancel_invocation(None, reason="INC-42"),
            "invocation_id must be a text; got a NoneType: lab.admin.cancel_invocation",
        ),
        (lambda a: a.pause_invocation(DP), "inv_1 and 33 more"),
        (lambda a: a.purge_invocation(f"{INV} ", reason="INC-42"), "is not the id"),
        (lambda a: a.purge_journal(INV.upper(), reason="INC-42"), "case-sensitive"),
        (lambda a: a.resume_invocation(INV, deployment="newest"), "deployment must be 'latest', 'keep' or the id"),
        (
            lambda a: a.restart_as_new_invocation(INV, from_index=-1, reason="INC-42"),
            "from_index must be a whole number from 0 to 4294967295",
        ),
        (lambda a: a.restart_as_new_invocation(INV, from_index=2**32, reason="INC-42"), "from_index"),
        (lambda a: a.restart_as_new_invocation(INV, from_index=True, reason="INC-42"), "from_index"),
        (lambda a: a.get_deployment(INV), "deployment"),
        (lambda a: a.delete_deployment(DP, force="yes", reason="INC-42"), "force must be True or False; got 'yes'"),
        (lambda a: a.bulk_delete_deployments(DP, reason="INC-42"), "deployments must be a list of ids"),
        (lambda a: a.bulk_delete_deployments([], reason="INC-42"), "deployments is empty"),
        (lambda a: a.bulk_delete_deployments([INV], reason="INC-42"), "dp_1 and 22 more"),
        (lambda a: a.create_deployment(), "uri or arn is required"),
        (lambda a: a.create_deployment(uri="http://h", arn=ARN), "cannot be combined"),
        (lambda a: a.create_deployment(uri="localhost:9080"), "is not a URI with a scheme"),
        (lambda a: a.create_deployment(uri="ftp://host/x"), "uri must begin with http:// or https://"),
        (lambda a: a.create_deployment(arn="greeter"), "arn must be the ARN of a Lambda function"),
        (lambda a: a.create_deployment(arn=ARN, use_http_11=True), "use_http_11 can only be combined with uri"),
        (lambda a: a.create_deployment(arn=ARN, auth=GoogleIdTokenAuth()), "auth can only be combined with uri"),
        (lambda a: a.create_deployment(uri="http://h", assume_role_arn="arn:x"), "can only be combined with arn"),
        (lambda a: a.create_deployment(uri="http://h", metadata={"a": 1}), r"metadata\['a'\] must be text, not a int"),
        (lambda a: a.create_deployment(uri="http://h", additional_headers=[("a", "b")]), "must be a mapping"),
        (lambda a: a.create_deployment(uri="http://h", additional_headers={"a b": "c"}), "not a valid HTTP header"),
        (lambda a: a.create_deployment(uri="http://h", dry_run="false"), "dry_run must be True or False"),
        (lambda a: a.get_service(""), "service must be non-empty text"),
        (lambda a: a.get_service_handler("s", None), "handler must be a text; got a NoneType"),
        (lambda a: a.modify_service("s"), "needs at least one of"),
        (lambda a: a.modify_service("s", abort_timeout=timedelta(seconds=-1)), "a duration must not be negative"),
        (lambda a: a.modify_service("s", abort_timeout=True), "abort_timeout must be seconds, .* or None; got True"),
        (
            lambda a: a.modify_service("s", journal_retention="tomorrow"),
            "journal_retention is 'tomorrow'; use seconds",
        ),
        (lambda a: a.modify_service_state("s", "", new_state={}, reason="INC-42"), "object_key must be non-empty text"),
        (
            lambda a: a.modify_service_state("s", "k", new_state={"a": "text"}, reason="INC-42"),
            r"new_state\['a'\] must be bytes, not str",
        ),
        (lambda a: a.modify_service_state("s", "k", new_state=[1], reason="INC-42"), "new_state must be a mapping"),
        (lambda a: a.get_subscription("sub_1"), "'sub_1' is not the id of one subscription"),
        (lambda a: a.create_subscription(source="topic", sink="service://S/h"), "source 'topic' is not a URI"),
        (lambda a: a.list_subscriptions(sink="S/h"), "sink 'S/h' is not a URI"),
        (lambda a: a.create_kafka_cluster("", properties={}), "name must be non-empty text"),
        (lambda a: a.get_kafka_cluster("k", include_subscriptions=1), "include_subscriptions must be True or False"),
        (lambda a: a.upsert_rules([]), "rules is empty"),
        (lambda a: a.upsert_rules("a"), "rules must be a list"),
        (lambda a: a.upsert_rules([{"pattern": "a"}]), r"must only have UpsertRule\(…\)"),
        (lambda a: UpsertRule("a", limits={"memory": 1}), "unknown limit 'memory' in limits; choose from: concurrency"),
        (lambda a: UpsertRule("a", limits={"concurrency": 0}), "a whole number from 1"),
        (lambda a: UpsertRule("a", precondition="exists"), "precondition"),  # type: ignore[arg-type]
        (lambda a: DeleteRule(""), "pattern must be non-empty text"),
        (lambda a: a.pause_vqueue(INV), "is not the id of one vqueue"),
    ],
)
def test_a_wrong_argument_is_named_and_nothing_is_sent(
    serve: Callable[..., Server], call: Callable[[Any], Any], words: str, tmp_path: Path
) -> None:
    server = serve()
    with pytest.raises(errors.ArgumentError, match=words):
        call(server.admin)
    assert server.requests == []
    assert not list(tmp_path.rglob("*.jsonl"))


def test_a_long_wrong_value_is_shortened_in_the_message(serve: Callable[..., Server]) -> None:
    with pytest.raises(errors.ArgumentError) as caught:
        serve().admin.kill_invocation("x" * 10_000, reason="INC-42")
    assert len(str(caught.value)) < 300


def test_the_error_about_the_value_of_a_header_names_only_the_header(serve: Callable[..., Server]) -> None:
    for value in (f"{CANARY}\r\nx: y", f"{CANARY}ü", [CANARY]):
        with pytest.raises(errors.ArgumentError, match="authorization") as caught:
            serve().admin.create_deployment(uri="http://h", additional_headers={"authorization": value})
        assert CANARY not in str(caught.value)


def test_arn_role_and_headers_of_a_lambda_deployment_are_sent_as_the_api_describes_them(
    serve: Callable[..., Server], tmp_path: Path
) -> None:
    answer = httpx.Response(201, json={"id": DP, "services": [], "sdk_version": "restate-sdk-typescript/1.9.0"})
    server = serve({"POST /deployments": answer})
    made = server.admin.create_deployment(
        arn=ARN, assume_role_arn="arn:aws:iam::1:role/r", additional_headers={"x-api-key": CANARY}, breaking=True
    )
    assert server.body == {
        "arn": ARN,
        "assume_role_arn": "arn:aws:iam::1:role/r",
        "additional_headers": {"x-api-key": CANARY},
        "force": False,
        "breaking": True,
        "dry_run": False,
    }
    assert (made.id, made.is_new, made.is_dry_run) == (DP, True, False)
    assert CANARY not in "".join(file.read_text() for file in tmp_path.rglob("*.jsonl"))


def test_a_deployment_is_moved_to_a_new_arn_as_the_api_describes_it(serve: Callable[..., Server]) -> None:
    answer = {
        "id": DP,
        "arn": ARN,
        "compression": "Zstd",
        "created_at": "2026-11-25T01:12:41.135000000Z",
        "services": [],
    }
    server = serve({f"PATCH /deployments/{DP}": answer})
    moved = server.admin.update_deployment(DP, arn=ARN)
    assert server.body == {"arn": ARN, "overwrite": False, "dry_run": False}
    assert (moved.arn, moved.uri, moved.compression) == (ARN, None, "Zstd")


def test_a_google_identity_is_sent_and_read_back_in_the_form_of_the_api(serve: Callable[..., Server]) -> None:
    shape = {"GoogleIdToken": {"audience": "https://run.app"}}
    deployment = {"id": DP, "uri": "https://run.app/", "auth": shape, "services": []}
    server = serve({"POST /deployments": {"id": DP, "services": []}, f"GET /deployments/{DP}": deployment})
    server.admin.create_deployment(uri="https://run.app", auth=GoogleIdTokenAuth(audience="https://run.app"))
    assert server.body["auth"] == shape
    read = server.admin.get_deployment(DP).auth
    assert read is not None
    assert read.google_id_token == GoogleIdTokenAuth(audience="https://run.app")


def test_names_are_one_segment_of_the_path(serve: Callable[..., Server]) -> None:
    for name, sent in [("a/b", "a%2Fb"), ("50%", "50%25"), ("ü ?#", "%C3%BC%20%3F%23"), ("..", "%2E%2E")]:
        server = serve()
        with pytest.raises(errors.RestateLabError):
            server.admin.get_service(name)
        assert server.requests[0].url.raw_path.decode() == f"/services/{sent}"


def test_equal_durations_are_sent_alike_and_none_is_not_sent(serve: Callable[..., Server]) -> None:
    server = serve({"PATCH /services/s": {"name": "s", "handlers": []}})
    server.admin.modify_service("s", abort_timeout=timedelta(hours=2, milliseconds=5), inactivity_timeout=0)
    assert server.body == {"abort_timeout": "PT7200.005S", "inactivity_timeout": "PT0S"}


def test_preconditions_and_expected_versions_of_rules_are_sent_in_the_form_of_the_api(
    serve: Callable[..., Server],
) -> None:
    server = serve({"PUT /limits/rules": [], "POST /limits/rules/bulk-delete": []})
    server.admin.upsert_rules([UpsertRule("a", {"concurrency": 2}, precondition=3), UpsertRule("b", description="why")])
    assert server.body == [
        {
            "pattern": "a",
            "limits": {"concurrency": 2},
            "disabled": False,
            "precondition": {"type": "matches", "version": 3},
        },
        {"pattern": "b", "limits": {}, "disabled": False, "description": "why"},
    ]
    server.admin.bulk_delete_rules([DeleteRule("a", expected_version=0), "b"], reason="INC-42")
    assert server.body == [{"pattern": "a", "expected_version": 0}, {"pattern": "b"}]


def document(*operations: str) -> dict[str, Any]:
    return {"info": {}, "paths": {f"/{name}": {"get": {"operationId": name}} for name in operations}}


@pytest.mark.parametrize(
    ("answers", "kind"),
    [
        ({"GET /openapi": document("version"), "GET /version": {"version": "1.6.1"}}, errors.NotOnThisServer),
        ({"GET /openapi": httpx.Response(404), "GET /version": {"version": "1.6.1"}}, errors.NotOnThisServer),
        ({"GET /openapi": httpx.Response(200, text="<html>")}, errors.NotFound),
        ({"GET /openapi": document("list_kafka_clusters")}, errors.NotFound),
        ({"GET /kafka-clusters": httpx.Response(404, json={"message": "no such thing"})}, errors.NotFound),
        ({"GET /kafka-clusters": httpx.Response(405), "GET /openapi": document("version")}, errors.NotOnThisServer),
    ],
)
def test_what_a_server_lacks_is_told_by_two_signs(
    serve: Callable[..., Server], answers: Mapping[str, Any], kind: type[Exception]
) -> None:
    """An empty 404 or 405 is NotOnThisServer only if the server's description, or its version, confirms it."""
    with pytest.raises(kind, match="kafka"):
        serve(answers).admin.list_kafka_clusters()


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, html="<html><title>Login</title></html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"services": [{"name": 5, "x-token": CANARY}]}),
        httpx.Response(200, json={"services": [{"name": "s", "metadata": {"token": [CANARY]}}]}),
    ],
)
def test_a_response_that_the_api_does_not_send_is_refused_by_operation_without_its_content(
    serve: Callable[..., Server], answer: httpx.Response
) -> None:
    with pytest.raises(errors.ServerFailed, match="list_services") as caught:
        serve({"GET /services": answer}).admin.list_services()
    assert CANARY not in str(caught.value)
    assert caught.value.__cause__ is None


def test_only_the_501_of_a_removal_without_force_is_translated(serve: Callable[..., Server]) -> None:
    with pytest.raises(errors.ServerFailed):
        serve(
            {f"DELETE /deployments/{DP}": httpx.Response(500, json={"message": "broken", "restate_code": None})}
        ).admin.delete_deployment(DP, reason="INC-42")


def bulk_delete(schema: Mapping[str, Any], parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Describe the operation with a schema of its body; the parts of a schema are in components."""
    texts = {"type": "array", "items": {"$ref": "#/components/schemas/Id"}}
    operation = {
        "operationId": "bulk_delete_deployments",
        "parameters": parameters or [],
        "requestBody": {"content": {"application/json": {"schema": schema}}},
    }
    return {
        "paths": {"/deployments/bulk-delete": {"post": operation}},
        "components": {
            "schemas": {"Id": {"type": "string"}, "Ids": texts, "Loop": {"$ref": "#/components/schemas/Loop"}}
        },
    }


IDS = {"$ref": "#/components/schemas/Ids"}
FORCE = [{"name": "force", "in": "query", "schema": {"type": "boolean"}}]


@pytest.mark.parametrize(
    ("document", "force", "expected"),
    [
        (bulk_delete({"properties": {"ids": IDS}, "required": ["ids"]}), False, ("", {"ids": [DP]})),
        (
            bulk_delete({"properties": {"ids": IDS, "force": {"type": ["boolean", "null"]}}}),
            True,
            ("", {"ids": [DP], "force": True}),
        ),
        (bulk_delete({"properties": {"ids": IDS}}, FORCE), True, ("force=true", {"ids": [DP]})),
        (bulk_delete(IDS, FORCE), False, ("", [DP])),
    ],
)
def test_the_form_of_a_bulk_removal_is_read_from_the_server(
    serve: Callable[..., Server], document: Mapping[str, Any], force: bool, expected: Any
) -> None:
    """The list of ids goes where the server's description has a list of texts, and force only where it has force."""
    server = serve(
        {
            "GET /openapi": document,
            "GET /deployments": {"deployments": []},
            "POST /deployments/bulk-delete": {},
            "POST /deployments/bulk-delete?force=true": {},
        }
    )
    result = server.admin.bulk_delete_deployments([DP, DP], force=force, reason="INC-42")
    (sent,) = [each for each in server.requests if each.method == "POST"]
    assert (sent.url.query.decode(), json.loads(sent.content)) == expected
    assert (result.removed, result.remaining) == ((DP,), ())


@pytest.mark.parametrize(
    ("document", "force", "words"),
    [
        (document("version"), False, "not supported by this server, Restate 1.7.12"),
        (httpx.Response(404), False, "not supported by this server, Restate 1.7.12"),
        (bulk_delete({"properties": {"a": IDS, "b": IDS}}), False, "properties: a, b"),
        (bulk_delete({"properties": {"ids": IDS, "mode": {}}, "required": ["ids", "mode"]}), False, "also needs mode"),
        (
            bulk_delete({"properties": {"ids": IDS}}, [{"name": "x", "in": "query", "required": True}]),
            False,
            "also needs x",
        ),
        (bulk_delete({"properties": {"ids": IDS}}), True, "no parameter force"),
        (bulk_delete({"$ref": "#/components/schemas/Loop"}), False, "have no end"),
        (bulk_delete({"$ref": "#/components/schemas/Missing"}), False, "does not know .'Missing'."),
        (httpx.Response(200, json=[]), False, "does not know"),
    ],
)
def test_a_bulk_removal_of_unknown_form_is_not_sent(
    serve: Callable[..., Server], document: Any, force: bool, words: str, tmp_path: Path
) -> None:
    """A server without the operation, or with another request, gets nothing, and the error has another way."""
    server = serve({"GET /openapi": document})
    with pytest.raises(errors.NotOnThisServer, match=words) as caught:
        server.admin.bulk_delete_deployments([DP], force=force, reason="INC-42")
    assert "delete_deployment" in str(caught.value)
    assert [each for each in server.requests if each.method != "GET"] == []
    assert not (tmp_path / "audit").exists()


@pytest.mark.parametrize(("left", "outcome"), [([], "done"), ([DP], "unknown")])
def test_a_lost_response_to_a_bulk_removal_is_resolved_by_reading(
    serve: Callable[..., Server], left: list[str], outcome: str, tmp_path: Path
) -> None:
    """If all deployments are gone after a lost response, the removal is done; otherwise its outcome is unknown."""
    server = serve(
        {
            "GET /openapi": bulk_delete({"properties": {"ids": IDS}}),
            "POST /deployments/bulk-delete": httpx.Response(502),
            "GET /deployments": {"deployments": [{"id": id_, "uri": "http://h"} for id_ in left]},
        }
    )
    if left:
        with pytest.raises(errors.OutcomeUnknown):
            server.admin.bulk_delete_deployments([DP], reason="INC-42")
    else:
        assert server.admin.bulk_delete_deployments([DP], reason="INC-42").removed == (DP,)
    records = [
        json.loads(line) for file in (tmp_path / "audit").glob("*.jsonl") for line in file.read_text().splitlines()
    ]
    assert [(each["kind"], each.get("outcome")) for each in records] == [("intent", None), ("result", outcome)]


def test_every_deployment_has_a_type(serve: Callable[..., Server]) -> None:
    """Before 1.8 the type follows from the address; the type of the server is kept, also a new one."""
    rows = [{"id": "a", "uri": "http://h"}, {"id": "b", "arn": ARN}, {"id": "c", "uri": "http://h", "type": "other"}]
    listed = serve({"GET /deployments": {"deployments": rows}}).admin.list_deployments()
    assert list(listed.frame["type"]) == ["http", "lambda", "other"]


def test_without_verification_one_request_is_sent_and_only_seen_facts_are_claimed(serve: Callable[..., Server]) -> None:
    for verb in ("cancel", "kill", "pause", "purge"):
        server = serve({f"PATCH /invocations/{INV}/{verb}": httpx.Response(200)})
        answer = getattr(server.admin, f"{verb}_invocation")(INV, verify=False, reason="INC-42")
        assert (answer.took_effect, answer.state) == (None, None)
        assert answer.note
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("verb", "status", "rows", "took_effect", "words"),
    [
        ("cancel", 202, [{"status": "paused"}], None, "it is woken"),
        ("cancel", 202, [{"status": "running"}], None, "at its next await"),
        ("cancel", 202, [{"status": "completed"}], True, "has ended"),
        ("cancel", 200, [], True, "had not started"),
        ("kill", 200, [], True, "had not started"),
        ("kill", 200, [{"status": "completed"}], True, "killed"),
        ("kill", 200, [{"status": "running"}], None, "still has status running"),
        ("pause", 200, [{"status": "suspended"}], False, "nothing changed"),
        ("pause", 202, [{"status": "running"}], None, "at once in a vqueue"),
        ("pause", 202, [{"status": "paused"}], True, "is paused"),
        ("purge", 200, [], True, "removed"),
        ("purge", 200, [{"status": "completed"}], None, "still has status completed"),
    ],
)
def test_status_and_row_decide_whether_a_change_took_effect(
    serve: Callable[..., Server],
    verb: str,
    status: int,
    rows: list[dict[str, Any]],
    took_effect: bool | None,
    words: str,
) -> None:
    server = serve({f"PATCH /invocations/{INV}/{verb}": httpx.Response(status)}, rows)
    answer = getattr(server.admin, f"{verb}_invocation")(INV, reason="INC-42")
    assert answer.took_effect is took_effect
    assert words in answer.note
    assert words in repr(answer)
    assert answer.state == (rows[0]["status"] if rows else None)


def test_without_a_read_it_is_unknown_whether_a_change_took_effect() -> None:
    judges = [
        effects.cancel_finished,
        effects.cancel_accepted,
        effects.kill_effect,
        effects.pause_finished,
        effects.pause_accepted,
    ]
    assert [judge(effects.NOT_READ)[0] for judge in [*judges, effects.purge_effect]] == [None] * 6


def test_a_state_that_is_accepted_and_not_visible_is_an_unknown_outcome(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restate_lab.client.admin.state._SEEN_WITHIN", 0.05)
    server = serve({"GET /services/s": {"name": "s"}, "POST /services/s/state": httpx.Response(202)}, [])
    with pytest.raises(errors.OutcomeUnknown, match="s/k"):
        server.admin.modify_service_state("s", "k", new_state={"a": b"1"}, reason="INC-42")


def test_an_unknown_queue_is_not_found_and_without_vqueues_nothing_is_sent(serve: Callable[..., Server]) -> None:
    answers = {f"POST /vqueues/{VQ}/pause": httpx.Response(202), "GET /openapi": document("pause_vqueue")}
    with pytest.raises(errors.NotFound, match="although the server returned 202"):
        serve(answers, []).admin.pause_vqueue(VQ)
    without = serve({**answers, "GET /version": {"version": "1.7.12", "features": {"vqueues": False}}}, [])
    with pytest.raises(errors.NotOnThisServer, match="vqueues are disabled"):
        without.admin.pause_vqueue(VQ)
    assert [request.method for request in without.requests] == ["GET"]
