"""The meaning of a response to a change: errors of gateways, the form of a success, and the audit log."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from restate_lab import errors
from restate_lab.audit import AuditLog, audit_log
from restate_lab.client.admin import AdminClient
from restate_lab.client.responses import SUCCESS
from restate_lab.client.settings import Settings
from restate_lab.client.transport import Transport
from restate_lab.redaction import Secret
from support.row_source import RowSource

TOKEN = "canary-7f3a"
KILLED = SUCCESS["kill_invocation"]
ADDRESS = "http://127.0.0.1:9070"
STATUSES = (408, 420, 499, 500, 502, 503, 504, 507, 520, 521, 524, 530, 561, 598, 599)
Make = Callable[[httpx.Response], Transport]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Give a transport that gets one response; a second request fails the test."""

    def make(answer: httpx.Response) -> Transport:
        answers = iter([answer])
        return Transport(
            Settings("prod", ADDRESS, None, Secret(TOKEN), "RESTATE_AUTH_TOKEN", "the argument"),
            ADDRESS,
            read_only=False,
            timeout=5,
            audit=AuditLog(tmp_path / "audit"),
            transport=httpx.MockTransport(lambda _: next(answers)),
        )

    return make


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for file in (folder / "audit").glob("*.jsonl") for line in file.read_text().splitlines()]


@pytest.mark.parametrize(
    "body",
    [
        {"html": "<html><title>520: Web server is returning an unknown error</title></html>"},
        {"text": "upstream connect error or disconnect/reset before headers. reset reason: connection termination"},
        {"json": {"message": "Service Unavailable"}},
        {"json": {"kind": "Status", "status": "Failure", "message": "timed out", "reason": "Timeout", "code": 504}},
        {"json": ["restate_code", "message"]},
        {"content": b"{bro", "headers": {"content-type": "application/json"}},
        {"content": b" "},
    ],
    ids=["page", "envoy", "aws", "kubernetes", "list", "broken", "blank"],
)
def test_what_a_gateway_says_of_a_change_is_lost(make: Make, tmp_path: Path, body: dict[str, Any]) -> None:
    """An error that Restate did not write does not decide: the change is unknown, never refused, and sent once."""
    for status in STATUSES:
        transport = make(httpx.Response(status, **body))
        with pytest.raises(errors.OutcomeUnknown, match="read the current state"):
            transport.change("PATCH", "/x", action="kill", targets=["inv_1"], success=KILLED)
    outcomes = [record["outcome"] for record in records(tmp_path) if record["kind"] == "result"]
    assert outcomes == ["unknown"] * len(STATUSES)


ENVOY = "upstream connect error or disconnect/reset before headers. "


@pytest.mark.parametrize(
    ("status", "text", "never"),
    [
        (503, "no healthy upstream", True),
        (503, ENVOY + "reset reason: connection failure", True),
        (503, ENVOY + "reset reason: remote connection failure, transport failure reason: refused", True),
        (503, ENVOY + "reset reason: connection timeout", True),
        (503, ENVOY + "reset reason: overflow", True),
        (503, ENVOY + "retried and the latest reset reason: connection failure", False),
        (503, ENVOY + "reset reason: connection termination", False),
        (502, "no healthy upstream", False),
        (503, "", False),
    ],
)
def test_a_hint_that_nothing_was_forwarded(make: Make, status: int, text: str, never: bool) -> None:
    """It is passed on with the error, which still reports an unknown outcome."""
    with pytest.raises(errors.OutcomeUnknown) as caught:
        make(httpx.Response(status, text=text)).change("PATCH", "/x", action="k", targets=["i"], success=KILLED)
    assert caught.value.never_forwarded is never


PAGE = "<html><title>Sign in</title></html>"


@pytest.mark.parametrize(
    ("operation", "answer"),
    [
        ("kill_invocation", httpx.Response(200, html=PAGE)),
        ("kill_invocation", httpx.Response(200, text=f"\n {PAGE}")),
        ("kill_invocation", httpx.Response(200, json={"error": "sign in"})),
        ("kill_invocation", httpx.Response(204)),
        ("delete_deployment", httpx.Response(202, html=PAGE)),
        ("delete_deployment", httpx.Response(200)),
        ("modify_service_state", httpx.Response(200)),
        ("create_deployment", httpx.Response(200, html=PAGE)),
        ("create_deployment", httpx.Response(200, html=PAGE, headers={"content-type": "application/json"})),
        ("create_deployment", httpx.Response(200, json={"error": "sign in"})),
        ("create_deployment", httpx.Response(200, json=[])),
        ("create_deployment", httpx.Response(200)),
        ("restart_as_new_invocation", httpx.Response(200, json={})),
        ("restart_as_new_invocation", httpx.Response(200, text='{"new_invocation_id": "inv_2"}')),
        ("bulk_delete_rules", httpx.Response(200, json={})),
        ("batch", httpx.Response(200, json={"succeeded": []})),
    ],
)
def test_success_is_what_the_operation_returns(
    make: Make, tmp_path: Path, operation: str, answer: httpx.Response
) -> None:
    """Another status or body under 2xx comes from another server: unknown, in the audit log too."""
    with pytest.raises(errors.OutcomeUnknown, match="success "):
        make(answer).change("POST", "/x", action=operation, targets=["x"], success=SUCCESS[operation])
    assert records(tmp_path)[-1]["outcome"] == "unknown"
    assert "success " in records(tmp_path)[-1]["error"]


def test_a_redirect_is_not_followed_and_its_target_is_named(make: Make, tmp_path: Path) -> None:
    login = httpx.Response(307, headers={"location": f"https://login.example/?token={TOKEN}"})
    with pytest.raises(errors.OutcomeUnknown, match=r"not followed.*login\.example.*current state") as caught:
        make(login).change("PATCH", "/x", action="k", targets=["i"], success=KILLED)
    assert TOKEN not in str(caught.value)


def test_the_audit_log_has_the_new_id_of_a_single_restart(make: Make, tmp_path: Path) -> None:
    answer = httpx.Response(200, json={"new_invocation_id": "inv_2"})
    success = SUCCESS["restart_as_new_invocation"]
    make(answer).change("PATCH", "/x", action="restart", targets=["inv_1"], success=success)
    written = audit_log(tmp_path / "audit", change=records(tmp_path)[0]["change"])
    assert written["new_id"].tolist() == ["inv_2"]


DP, SUB = "dp_" + "1" * 23, "sub_" + "1" * 23
READS: dict[str, Callable[[AdminClient], object]] = {
    "version": lambda admin: admin.version(),
    "health": lambda admin: admin.health(),
    "cluster_health": lambda admin: admin.cluster_health(),
    "list_deployments": lambda admin: admin.list_deployments(),
    "get_deployment": lambda admin: admin.get_deployment(DP),
    "list_services": lambda admin: admin.list_services(),
    "get_service": lambda admin: admin.get_service("s"),
    "get_service_openapi": lambda admin: admin.get_service_openapi("s"),
    "list_service_handlers": lambda admin: admin.list_service_handlers("s"),
    "get_service_handler": lambda admin: admin.get_service_handler("s", "h"),
    "list_subscriptions": lambda admin: admin.list_subscriptions(),
    "get_subscription": lambda admin: admin.get_subscription(SUB),
    "list_kafka_clusters": lambda admin: admin.list_kafka_clusters(),
    "get_kafka_cluster": lambda admin: admin.get_kafka_cluster("k"),
}


@pytest.mark.parametrize("read", READS)
@pytest.mark.parametrize("kind", ["text/html", "application/json"])
def test_a_login_page_is_a_success_for_no_read(make: Make, read: str, kind: str) -> None:
    page = httpx.Response(200, content=PAGE.encode(), headers={"content-type": kind})
    with pytest.raises(errors.ServerFailed, match="It may be from a proxy"):
        READS[read](AdminClient(make(page), source=RowSource()))


def test_the_table_of_reads_has_every_read_of_the_admin_api() -> None:
    methods = {name for name, value in inspect.getmembers(AdminClient, callable) if not name.startswith("_")}
    assert set(READS) == (methods - set(SUCCESS)) | {"health"}
