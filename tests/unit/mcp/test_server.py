"""The server: any arguments get an answer or a short error, and each call is recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import httpx
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

import restate_lab as rl
from restate_lab.audit import AuditLog
from restate_lab.client.lab import Lab
from restate_lab.client.settings import load_settings
from restate_lab.errors import ArgumentError, MissingExtra
from restate_lab.mcp import serve
from restate_lab.sources import Sources, open_sources
from support.mcp_sessions import text_of
from support.sample_rows import SampleRows

if TYPE_CHECKING:
    from mcp_types import CallToolResult

    from restate_lab.mcp.server import LabServer

ID = "inv_1" + "0" * 33
CHANGES = {"execute_plan", "replay"}
ARGUMENTS = ("invocation_id", "question", "parameters", "source", "rows", "skip", "checks", "service", "key", "scope",
             "values", "payloads", "depth", "before", "after", "deployment_or_time", "window", "action", "ids", "plan",
             "reason", "deployment", "sample", "include_callees", "time", "unknown")  # fmt: skip
VALUES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from([ID, "resume", "overview", "dp_1", "http://127.0.0.1:9", "7d", "plan-01234567", "[" * 500])
    | st.lists(st.text(max_size=40), max_size=4)
    | st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(max_size=20), max_size=3)
)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabServer]:
    from restate_lab.mcp.server import build_server

    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    network = httpx.MockTransport(lambda _: httpx.Response(403, json={"message": "forbidden"}))
    with ExitStack() as stack:
        lab = stack.enter_context(Lab(load_settings("http://127.0.0.1:9070"), network=network))
        yield build_server(Sources(stack, [lab]), allow_changes=True, audit=AuditLog(tmp_path / "audit"))


def call(server: LabServer, name: str, arguments: dict[str, Any]) -> CallToolResult:
    from mcp_types import CallToolResult

    result = anyio.run(server.call_tool, name, arguments)
    assert isinstance(result, CallToolResult)
    return result


def tool_names(server: LabServer) -> set[str]:
    return {tool.name for tool in anyio.run(server.list_tools)}


def test_tools_that_change_exist_only_if_they_are_allowed(server: LabServer, tmp_path: Path) -> None:
    """Without --allow-changes, the connection is read-only and the executing tools do not exist."""
    from restate_lab.mcp.server import build_server

    assert tool_names(server) >= CHANGES
    with open_sources(["http://127.0.0.1:9070"], []) as sources:
        assert sources.lab.read_only
        reading = build_server(sources, allow_changes=False, audit=AuditLog(tmp_path))
        assert tool_names(reading) == tool_names(server) - CHANGES
        assert "Unknown tool" in text_of(call(reading, "execute_plan", {"plan": "plan-01234567", "reason": "INC-1"}))


def test_allow_changes_does_not_override_the_variable_and_needs_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESTATE_LAB_READ_ONLY", "1")
    with pytest.raises(ArgumentError, match="RESTATE_LAB_READ_ONLY"):
        serve("http://127.0.0.1:9070", allow_changes=True)


def test_a_session_freezes_a_few_times_only(server: LabServer) -> None:
    """Copies of the cluster do not fill the disk: after the maximum, the tool is refused before it reads."""
    errors = [text_of(call(server, "freeze", {})) for _ in range(6)]
    assert all(error.startswith("AccessDenied") for error in errors[:5])
    assert "which is the maximum" in errors[5]


def test_without_the_sdk_the_error_has_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(MissingExtra, match=r"restate-lab\[mcp\]"):
        serve("http://127.0.0.1:9070")


def test_an_error_of_the_library_is_its_message_without_a_traceback(server: LabServer) -> None:
    result = call(server, "why", {"invocation_id": ID})
    assert result.is_error
    assert text_of(result).startswith("AccessDenied: ")
    assert "Traceback" not in text_of(result)


def test_a_cluster_without_services_is_not_healthy_for_an_assistant(
    server: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likeliest cause is a wrong address: the verdict is "incomplete", and the finding asks for the address."""
    monkeypatch.setattr(Sources, "get", lambda *_: SampleRows(sys_service=[], sys_deployment=[]))
    text = text_of(call(server, "doctor", {}))
    data = json.loads(text.partition("\n")[2])["data"]
    assert data["verdict"] == "incomplete"
    assert [(row["check"], row["title"]) for row in data["findings"]] == [
        ("services", "no service is registered at made")
    ]
    assert "healthy" not in text
    assert [row["part"] for row in data["not_read"] if row["applies"]] == ["services"]


def test_an_internal_error_shows_neither_its_message_nor_a_path(
    server: LabServer, monkeypatch: pytest.MonkeyPatch
) -> None:

    def fail(*_: object, **__: object) -> None:
        raise KeyError("/home/me/secret")

    monkeypatch.setattr("restate_lab.mcp.reads.explain", fail)
    text = text_of(call(server, "why", {"invocation_id": ID}))
    assert text == "why failed with an internal error (KeyError); this is a bug in restate_lab."


@pytest.mark.parametrize("name", ["why", "ask", "plan", "execute_plan", "no such tool"])
def test_oversized_arguments_are_refused_before_they_are_parsed(
    server: LabServer, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp.server.mcpserver.MCPServer.call_tool", None)
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    for arguments in ({"invocation_id": "x" * 10**7}, {"ids": [ID] * 10_000}, {"parameters": nested}):
        assert "the maximum is 100,000" in text_of(call(server, name, arguments))


def test_each_call_is_recorded(server: LabServer, tmp_path: Path) -> None:
    """A record has the tool, its arguments without secrets, the size of the result or the error, and the client."""
    result = call(server, "questions", {})
    call(server, "state", {"service": "Account", "key": "k", "token": "hunter2", "scope": "http://me:hunter2@host"})
    call(server, "why", {})
    reads = rl.audit_log(tmp_path / "audit", reads=True)
    assert reads["tool"].tolist() == ["questions", "state", "why"]
    assert reads["bytes"][0] == len(text_of(result).encode())
    assert reads["rows"][0] == len(rl.questions())
    assert reads["error"].isna().tolist() == [True, False, False]
    assert set(reads["client"]) == {"an unknown client"}
    assert "Account" in reads["arguments"][1]
    assert "hunter2" not in "".join(reads["arguments"])
    assert rl.audit_log(tmp_path / "audit").empty


def test_a_call_that_cannot_be_recorded_is_an_error(server: LabServer, tmp_path: Path) -> None:
    (tmp_path / "audit").write_text("not a folder")
    result = call(server, "questions", {})
    assert result.is_error
    assert "audit record cannot be written" in text_of(result)


def test_the_arguments_of_a_tool_are_described(server: LabServer) -> None:
    """Every tool has a description and an output schema, and every call is documented as data."""
    for tool in anyio.run(server.list_tools):
        assert tool.description
        assert tool.output_schema is not None
        assert set(tool.output_schema["required"]) == {"source", "at", "data", "truncated", "queries", "rows"}
    assert text_of(call(server, "questions", {})).startswith("The JSON below is data from a Restate cluster.")


def check_any_arguments(server: LabServer, name: str, arguments: dict[str, Any]) -> None:
    result = call(server, name, arguments)
    text = text_of(result)
    result.model_dump_json()
    assert "internal error" not in text, text
    assert "Traceback" not in text
    assert len(text) < 120_000
    if not result.is_error:
        assert json.loads(text.partition("\n")[2]) == result.structured_content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_arguments_get_an_answer(server: LabServer, data: st.DataObject) -> None:
    """Arguments of any type and content end in a result or a short error, never in a crash."""
    name = data.draw(st.sampled_from([*sorted(tool_names(server)), "", "x" * 10_000]))
    check_any_arguments(server, name, data.draw(st.dictionaries(st.sampled_from(ARGUMENTS), VALUES, max_size=5)))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_each_of_100_000_calls_with_random_arguments_gets_an_answer(server: LabServer) -> None:
    names = sorted(tool_names(server))

    @settings(max_examples=100_000, database=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(names), st.dictionaries(st.sampled_from(ARGUMENTS), VALUES, max_size=5))
    def run(name: str, arguments: dict[str, Any]) -> None:
        check_any_arguments(server, name, arguments)

    run()
