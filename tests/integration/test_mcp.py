"""The tools for an assistant, with the official client over stdio and a real cluster with the incident."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE
from threading import Event
from typing import Any

import pandas as pd
import platformdirs
import pytest

import restate_lab as rl
from restate_lab.analysis.contrast import compare_sides
from restate_lab.export.json_text import journal_json, rows_of
from restate_lab.mcp.approvals import ApprovalStore
from support.bench import wait_for
from support.clusters import Cluster
from support.forked import restate_lab
from support.mcp_sessions import Assistant, RawClient, mcp_session, text_of
from support.tcp_relay import Fault, TcpRelay, tcp_relay

pytestmark = pytest.mark.server

ALL_ROWS = 500
READ = re.compile(rb"(?:GET \S+|POST /query) HTTP")


@pytest.fixture(scope="module")
def audit(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("audit")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESTATE_LAB_AUDIT", str(folder))
        yield folder


@pytest.fixture(scope="module")
def relay(incident: Cluster) -> Iterator[TcpRelay]:
    """Record every request between the servers and the cluster."""
    with tcp_relay(incident.admin_url) as line:
        yield line


@pytest.fixture(scope="module")
def evidence(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Evidence]:
    path = tmp_path_factory.mktemp("mcp") / "incident.evidence"
    with rl.connect(incident.admin_url, read_only=True) as lab:
        rl.freeze(lab, path, payloads=True, progress=False)
    with rl.open_evidence(path) as frozen:
        yield frozen


@pytest.fixture(scope="module")
def archive(incident: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("mcp") / "months"
    with rl.connect(incident.admin_url, read_only=True) as lab:
        rl.archive(lab, where, cluster_name="prod", progress=False)
    return where


@pytest.fixture(scope="module")
def assistant(relay: TcpRelay, evidence: rl.Evidence, archive: Path, audit: Path) -> Iterator[Assistant]:
    """Give a session without --allow-changes, on the cluster, and on evidence and an archive of it."""
    paths = ("--evidence", str(evidence.path), "--evidence", str(archive))
    with mcp_session("-e", relay.url, *paths) as session:
        yield session


def changes(relay: TcpRelay) -> list[bytes]:
    """Return the first lines of the requests that are not reads."""
    return [head.partition(b"\r\n")[0] for head in relay.heads if not READ.match(head)]


def check_equal(output: dict[str, Any], expected: dict[str, Any]) -> None:
    """Check that the data is the library's own answer: each list is equal, or its first rows and a note."""
    notes = {note["part"]: note for note in output["truncated"] if "total" in note}
    shown = output["data"]
    for name, value in json.loads(json.dumps(expected, default=rows_of)).items():
        part = value
        if isinstance(value, list) and name in notes:
            assert notes[name]["total"] == len(value)
            part = value[: notes[name]["shown"]]
        assert shown[name] == part, name


def test_each_tool_returns_the_json_of_the_librarys_result(
    assistant: Assistant, evidence: rl.Evidence, incident: Cluster
) -> None:
    options: dict[str, Any] = {"source": "incident"}
    many = {**options, "rows": ALL_ROWS}
    id_, agent = incident.ids("hot_key_queue")[0], incident.roles["agent_denver"]
    found = assistant.call("doctor", **many)
    expected = rl.doctor(evidence).to_json()
    check_equal(found, {name: expected[name] for name in ("verdict", "worst", "not_read")})
    titles = expected["findings"]["title"].tolist()
    assert [row["title"] for row in found["data"]["findings"]] == titles[: len(found["data"]["findings"])]
    shared = compare_sides(evidence, "failed", service="Settlements")
    check_equal(assistant.call("contrast", service="Settlements", **many), shared.to_json())
    check_equal(assistant.call("why", invocation_id=id_, **options), rl.why(evidence, id_).to_json())
    told = rl.story(evidence, id_).to_json()
    check_equal(assistant.call("story", invocation_id=id_, **many), {name: told[name] for name in ("summary", "ended")})
    check_equal(assistant.call("waits", **many), rl.waits(evidence).to_json())
    check_equal(assistant.call("ask", question="overview", **many), {"rows": rl.ask(evidence, "overview")})
    for payloads in (False, True):
        own = journal_json(rl.journal(evidence, agent, payloads=payloads))
        check_equal(assistant.call("journal", invocation_id=agent, payloads=payloads, **many), own)
    own = rl.conversation(evidence, agent).to_json()
    del own["messages"]
    check_equal(assistant.call("conversation", invocation_id=agent, payloads=True, **many), own)
    state = rl.state(evidence, "Inventory", "mug").frame
    check_equal(
        assistant.call("state", service="Inventory", key="mug", values=True, **many),
        {"state": state[["key", "value", "encoding", "size"]].to_dict("records")},
    )
    check_equal(assistant.call("questions", rows=ALL_ROWS), {"questions": rl.questions()})
    same = rl.compare(evidence, evidence).to_json()
    check_equal(assistant.call("compare", before="incident", after="incident"), same)


def test_an_archive_answers_as_a_source(assistant: Assistant, archive: Path, incident: Cluster) -> None:
    """An archive of the command line is a source of its name, for questions and for the changes after a deployment."""
    kinds = {row["name"]: row["kind"] for row in assistant.call("sources")["data"]["sources"]}
    assert (kinds["incident"], kinds["months"]) == ("evidence", "history")
    deployment = incident.roles["orders_deployment"]
    with rl.open_history(archive) as history:
        check_equal(assistant.call("ask", question="coverage", source="months"), {"rows": rl.ask(history, "coverage")})
        own = rl.before_after(history, deployment)
    changed = assistant.call("before_after", deployment_or_time=deployment, source="months", rows=ALL_ROWS)
    check_equal(changed, {"summary": own.summary, "comparisons": rows_of(own.comparisons)})


def test_payloads_are_returned_only_if_an_argument_asks_for_them(assistant: Assistant, incident: Cluster) -> None:
    agent = incident.roles["agent_denver"]
    for tool, arguments, flag, payload in (
        ("conversation", {"invocation_id": agent}, "payloads", "What is the weather in Denver?"),
        ("journal", {"invocation_id": agent}, "payloads", "What is the weather in Denver?"),
        ("state", {"service": "Inventory", "key": "mug"}, "values", '"value"'),
    ):
        for wanted in (False, True):
            text = json.dumps(assistant.call(tool, **arguments, **{flag: wanted})["data"])
            assert (payload in text) == wanted, (tool, wanted)
    shared = assistant.call("contrast", service="Settlements")
    assert shared["data"]["payloads"] is False
    assert "region" not in json.dumps(shared)


def solve(assistant: Assistant) -> dict[str, tuple[str, str]]:
    """Return the root cause of each critical finding, from results alone: its invocation, and the next step."""
    causes = {}
    for finding in assistant.call("doctor")["data"]["findings"]:
        if finding["severity"] == "critical":
            reason = assistant.call("why", invocation_id=finding["ids"][0])["data"]
            causes[finding["title"]] = reason["chain"][-1]["id"], reason["options"][0]["action"]
    return causes


def test_the_incident_is_solved_in_ten_calls(assistant: Assistant, incident: Cluster) -> None:
    before = assistant.calls
    causes = solve(assistant)
    assert assistant.calls - before <= 10
    roles = {id_: re.sub(r"(_503|_timeout|_blocked)?(_\d+)?$", "", role) for role, id_ in incident.roles.items()}
    found = {(roles[id_], step) for id_, step in causes.values()}
    # These are critical only after a while, or not on every kind of server.
    assert found - {("unreachable", "bring the code back"), ("paused_by_hand", "resume")} == {
        ("deadlock_pair", "cancel"),
        ("deadlock_self", "cancel"),
        ("hot_key_holder", "resolve_awakeable"),
        ("mismatch", "bring the code back"),
        ("paused", "resume"),
        ("pinned_to_removed", "bring the code back"),
        ("storm", "repair"),
    }


def test_a_plan_can_be_made_and_shown_without_the_flag(assistant: Assistant, incident: Cluster) -> None:
    """A plan for the rows of a question has their number and effects, and tells that this server cannot execute it."""
    made = assistant.call("plan", action="resume", question="retry_storm_ids", parameters={"service": "Payments"})
    assert made["data"]["targets"] == len(incident.ids("storm_503")) + len(incident.ids("storm_timeout"))
    assert "read-only" in made["data"]["next"]
    assert made["data"]["warnings"] == []
    (warning,) = assistant.call("plan", action="resume", question="retry_storm_ids")["data"]["warnings"]
    assert "will fail again: 3 Loyalty/redeem have no deployment (RT0011)" in warning
    shown = assistant.call("show_plan", plan=made["data"]["plan"], rows=5, skip=5)["data"]
    assert [row["id"] for row in shown["invocations"]] == [row["id"] for row in made["data"]["invocations"]][5:10]


def test_results_are_cut_and_the_rest_can_be_read(assistant: Assistant) -> None:
    """A small budget returns the first rows, and skip returns the following ones until all were returned."""
    everything = assistant.call("ask", question="overview", source="incident", rows=ALL_ROWS)["data"]["rows"]
    rows: list[Any] = []
    while len(rows) < len(everything):
        rows += assistant.call("ask", question="overview", source="incident", rows=9, skip=len(rows))["data"]["rows"]
    assert rows == everything


def test_invalid_arguments_are_errors_and_the_session_goes_on(assistant: Assistant) -> None:
    assert "choose from" in assistant.error("why", invocation_id="inv_1" + "0" * 33, source="prod")
    assert "overview" in assistant.error("ask", question="overviw")
    assert "is not an invocation id" in assistant.error("why", invocation_id="'; DROP TABLE state; --")
    assert "Unknown tool" in assistant.error("execute_plan", plan="plan-01234567", reason="INC-1")
    assert assistant.error("why", invocation_id="x" * 200_000).startswith("the arguments have")


def test_a_session_without_the_flag_sends_no_change(assistant: Assistant, relay: TcpRelay, audit: Path) -> None:
    """After every tool was called, only reads reached the cluster, and the audit log has no change but each call."""
    assert "execute_plan" not in assistant.tools
    assistant.call("freeze")
    assert len(relay.heads) > 50
    assert changes(relay) == []
    assert rl.audit_log(audit).empty
    reads = rl.audit_log(audit, reads=True)
    assert len(reads) == assistant.calls
    assert set(reads["client"]) == {"scripted 1.0"}
    assert {"doctor", "why", "plan", "execute_plan"} <= set(reads["tool"])


def strings_of(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
        yield from re.findall(r"[\w.:/-]+", value)
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from strings_of(each)


def test_an_assistant_that_repeats_everything_executes_nothing(relay: TcpRelay, incident: Cluster, audit: Path) -> None:
    with mcp_session("-e", relay.url, "--allow-changes") as assistant:
        plan = assistant.call("plan", action="kill", ids=[incident.ids("storm_503")[0]])["data"]["plan"]
        for _ in range(2):
            first = assistant.call("execute_plan", plan=plan, reason="INC-42")
            assert first["data"]["status"].startswith("waiting")
            waiting = assistant.call("replay", deployment="http://127.0.0.1:9", service="Payments")
            assert waiting["data"]["status"].startswith("waiting")
        tokens = {token for text in assistant.received for token in strings_of(json.loads(text))}
        fitting = sorted(token for token in tokens if 3 <= len(token) < 100)
        for token in fitting[:: len(fitting) // 50]:
            assistant.result("execute_plan", plan=plan, reason=token)
            assistant.result("execute_plan", plan=token, reason="INC-42")
        last = assistant.call("execute_plan", plan=plan, reason="INC-42")
        assert last["data"]["status"].startswith("waiting")
        everything = "".join(assistant.received)
    assert changes(relay) == []
    assert rl.audit_log(audit).empty
    nonces = [json.loads(file.read_text())["nonce"] for file in approvals().glob("*.pending")]
    assert nonces
    assert not any(nonce in everything for nonce in nonces)


def approvals() -> Path:
    return platformdirs.user_state_path("restate_lab") / "approvals"


def approve(plan: str, answer: Any) -> tuple[int, str]:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([*restate_lab(), "mcp", "approve", plan], stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown, answered = "", False
    while True:
        ready, _, _ = select.select([ours], [], [], 30)
        try:
            part = os.read(ours, 65536).decode("utf-8", "replace") if ready else ""
        except OSError:  # the terminal is closed
            part = ""
        if not part:
            break
        shown += part
        if not answered and "Answer:" in shown:
            os.write(ours, f"{answer(shown)}\n".encode())
            answered = True
    os.close(ours)
    return process.wait(timeout=30), shown


def code_of(shown: str) -> str:
    found = re.search(r"To approve, type: (\S+ [a-z0-9]{4})", " ".join(shown.split()))
    assert found is not None, shown
    return found[1]


def test_a_person_approves_in_a_terminal(relay: TcpRelay, incident: Cluster, audit: Path) -> None:
    """A client without forms waits for the terminal; a wrong answer and a pipe do not approve; a plan executes once."""
    id_ = incident.ids("paused")[0]
    with mcp_session("-e", relay.url, "--allow-changes") as assistant:
        planned = assistant.call("plan", action="resume", ids=[id_])["data"]
        plan, undo = planned["plan"], planned["undo"]
        assert "has the placeholder" in assistant.error("execute_plan", plan=plan, reason="...")
        waiting = assistant.call("execute_plan", plan=plan, reason="INC-42: the API is back")["data"]
        assert waiting["command"] == f"restate-lab mcp approve {plan}"
        piped = subprocess.run([*restate_lab(), "mcp", "approve", plan], input=b"1\n", capture_output=True, check=False)
        assert piped.returncode == 2
        assert b"terminal only" in piped.stderr
        code, shown = approve(plan, lambda _: "1")
        assert (code, "not approved" in shown) == (1, True)
        assert assistant.call("execute_plan", plan=plan, reason="INC-42: the API is back")["data"] == waiting
        assert changes(relay) == []
        code, shown = approve(plan, code_of)
        assert code == 0
        for part in (id_, "resume 1 of 1", undo, "Reason: INC-42: the API is back"):
            assert part in " ".join(shown.split())
        cut = {"action": "resume", "question": "retry_storm_ids", "parameters": {"limit": 2}}
        assert "more rows than its limit" in assistant.error("plan", **cut)
        other = assistant.call("execute_plan", plan=plan, reason="another reason")["data"]
        assert other["status"].startswith("waiting")
        code, _ = approve(plan, code_of)
        done = assistant.call("execute_plan", plan=plan, reason="another reason")["data"]
        assert (done["status"], [row["id"] for row in done["outcomes"]]) == ("executed", [id_])
        assert "already executed" in assistant.error("execute_plan", plan=plan, reason="another reason")
        assert code_of(shown).split()[1] not in "".join(assistant.received)
    assert len(changes(relay)) == 1
    (row,) = rl.audit_log(audit).to_dict("records")
    assert row["reason"] == "another reason (through restate-lab mcp for scripted 1.0, approved in a terminal)"
    relay.heads.clear()


@pytest.mark.parametrize("mode", [pytest.param("legacy", marks=pytest.mark.long), "auto"])
def test_a_person_approves_in_the_client(mode: str, incident: Cluster, audit: Path, relay: TcpRelay) -> None:
    """A client with forms asks the person: a refusal and a wrong answer send nothing, the number executes the plan."""
    from mcp_types import ElicitResult

    questions: list[str] = []
    answers = [
        ElicitResult(action="decline"),
        ElicitResult(action="cancel"),
        ElicitResult(action="accept", content={"answer": "yes"}),
        ElicitResult(action="accept", content={"answer": 1}),
        ElicitResult(action="accept", content={"answer": ["1"]}),
        ElicitResult(action="accept"),
        ElicitResult(action="accept", content={"answer": "1"}),
    ]

    def person(message: str) -> ElicitResult:
        questions.append(message)
        if message.startswith("Recorded journals"):
            return ElicitResult(action="accept", content={"answer": message.rsplit(maxsplit=1)[-1]})
        return answers[len(questions) - 1]

    id_ = incident.ids("paused")[1] if mode == "legacy" else incident.roles["paused_by_hand"]
    before = len(rl.audit_log(audit))
    with mcp_session("-e", relay.url, "--allow-changes", mode=mode, person=person) as assistant:
        plan = assistant.call("plan", action="resume", ids=[id_])["data"]["plan"]
        asked = {"plan": plan, "reason": "INC-42"}
        assert "declined" in assistant.error("execute_plan", **asked)
        assert "declined" in assistant.error("execute_plan", **asked)
        assert "not the requested text" in assistant.error("execute_plan", **asked)
        for _ in range(3):
            assert "answer to the form is malformed" in assistant.error("execute_plan", **asked)
        assert changes(relay) == []
        done = assistant.call("execute_plan", **asked)["data"]
        assert done["status"] == "executed"
        code, mismatches = incident.roles["returns_deployment"], incident.ids("mismatch")
        replayed = assistant.call("replay", deployment=code, ids=mismatches)["data"]
        assert (replayed["verdict"], len(replayed["rows"])) == ("diverges", len(mismatches))
    assert replayed["address"] in questions[7]
    assert mismatches[0] in questions[7]
    assert id_ in questions[0]
    assert "resume 1 invocation on" in questions[0]
    row = rl.audit_log(audit).iloc[-1]
    assert len(rl.audit_log(audit)) == before + 1
    assert row["reason"] == "INC-42 (through restate-lab mcp for scripted 1.0, approved in the client)"
    relay.heads.clear()


GARBAGE = (
    b"garbage",
    b"\xff\xfe\x00",
    b"{}",
    b"[" * 100_000,
    b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"why","arguments":{"invocation_id":"\\ud83d"}}}',
    b'{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"why","arguments":[]}}',
    b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"' + b"x" * 3_000_000 + b'","arguments":{}}}',
)


@pytest.mark.long
def test_no_line_ends_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After malformed and too large lines, the next call is answered, and the end of stdin ends it."""
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path))
    hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "raw\x1b[2J", "version": "1"}}
    calls = (
        {"id": 1, "method": "initialize", "params": hello},
        {"id": 8, "method": "tools/call", "params": {"name": "questions", "arguments": {}}},
    )
    first, last = (json.dumps({"jsonrpc": "2.0", **each}).encode() for each in calls)
    done = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'
    command = [*restate_lab(), "mcp", "-e", "http://127.0.0.1:9"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n".join([first, done, *GARBAGE, last, b""]))
        process.stdin.flush()
        answers: dict[Any, dict[str, Any]] = {}
        while 8 not in answers:
            message = json.loads(process.stdout.readline())
            answers[message.get("id")] = message
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert answers[8]["result"]["structuredContent"]["rows"] > 20
    assert "error" in answers[6]
    assert b"Traceback" not in errors
    assert rl.audit_log(tmp_path, reads=True)["client"].iloc[-1] == "raw‹U+001B›[2J 1"


@pytest.mark.long
def test_of_40_equal_calls_one_gets_the_approval_and_the_others_send_nothing(incident: Cluster, audit: Path) -> None:
    arguments = {"deployment": incident.roles["returns_deployment"], "ids": incident.ids("mismatch")[:1]}
    with mcp_session("-e", incident.admin_url, "--allow-changes") as assistant:
        for _ in range(2):
            waiting = assistant.call("replay", **arguments)["data"]["id"]
            store = ApprovalStore()
            store.approve(store.load(waiting))
            calls = [
                assistant.portal.start_task_soon(assistant.client.call_tool, "replay", arguments) for _ in range(40)
            ]
            results = [call.result(timeout=60) for call in calls]
            data = [each.structured_content["data"] for each in results if not each.is_error]
            assert [each["verdict"] for each in data if "verdict" in each] == ["diverges"]
            assert all("another call used" in text_of(each) for each in results if each.is_error)


@contextmanager
def silent_address() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_the_server_ends_with_its_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled call is recorded at once, and the process ends with its client, also during long calls."""
    monkeypatch.setenv("RESTATE_LAB_AUDIT", str(tmp_path))
    with silent_address() as address, RawClient("-e", address) as client:
        for number in range(1, 9):  # more than the number of calls that read at the same time
            client.begin(number, "doctor")
        for number in (1, 8):
            client.send(method="notifications/cancelled", params={"requestId": number})
        wait_for(lambda: len(rl.audit_log(tmp_path, reads=True)) == 2)
        client.leave()
        assert client.errors() == ""
    reads = rl.audit_log(tmp_path, reads=True)
    assert list(reads["error"]) == ["cancelled"] * 8
    assert set(reads["tool"]) == {"doctor"}


def test_a_change_is_completed_without_its_client(incident: Cluster, audit: Path) -> None:
    """If the client leaves while a change is executed, its outcome is read and recorded before the server ends."""
    with rl.connect(incident.admin_url, ingress_url=incident.ingress_url) as lab:
        id_ = lab.ingress.send("Payments", "charge", {}, delay="1h").invocation_id
    is_gone = Event()

    def leave() -> None:
        client.leave()
        is_gone.set()
        time.sleep(1)  # the server knows it by now

    fault = Fault(where=rb"PATCH|DELETE|POST (?!/query)", passes=0, end="go on", times=1, meanwhile=leave)
    before = len(rl.audit_log(audit))
    with (
        tcp_relay(incident.admin_url, fault=fault) as slow,
        RawClient("-e", slow.url, "--allow-changes") as client,
    ):
        client.begin(1, "plan", action="kill", ids=[id_])
        plan = client.receive(1)["result"]["structuredContent"]["data"]["plan"]
        asked = {"plan": plan, "reason": "INC-42"}
        client.begin(2, "execute_plan", **asked)
        assert "waiting" in str(client.receive(2))
        store = ApprovalStore()
        store.approve(store.load(plan))
        client.begin(3, "execute_plan", **asked)
        assert is_gone.wait(30)
        assert client.errors() == ""
    assert fault.happened == 1
    changes = rl.audit_log(audit)
    assert len(changes) == before + 1
    assert changes["outcome"].iloc[-1] == "done"
    last = rl.audit_log(audit, reads=True).iloc[-1]
    assert (last["tool"], last["rows"]) == ("execute_plan", 1)
    assert pd.isna(last["error"])
