"""Agents with 100,000 entries in their journals, and with payloads of 50 MB: their turns and notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import RestateServer
from support.bench import wait_for
from support.clusters import NEWEST, server_binary
from support.long_agent_services import STEPS, TOKENS

pytestmark = [pytest.mark.server, pytest.mark.long]
SERVICES = Path(__file__).parents[1] / "support" / "long_agent_services.py"
SUCCEEDED = "SELECT status FROM sys_invocation WHERE id = :id AND status = 'completed'"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    folder = tmp_path_factory.mktemp("long")
    services, address = start_services(folder, str(SERVICES))
    with services, RestateServer(server_binary(NEWEST)) as server:
        with rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit") as lab:
            lab.admin.create_deployment(uri=address)
            yield lab


def send(lab: rl.Lab, handler: str, size: int) -> str:
    return str(wait_for(lambda: _sent(lab, handler, size)))


def _sent(lab: rl.Lab, handler: str, size: int) -> str | None:
    try:
        return str(lab.ingress.send("LongAgent", handler, size, key=f"{handler}-{size}").invocation_id)
    except rl.errors.RestateLabError:
        return None  # the ingress does not know the service yet


def until_completed(lab: rl.Lab, id_: str) -> None:
    wait_for(lambda: lab.arrow(SUCCEEDED, id=id_, progress=False).num_rows, within=280)


def tools_of(conversation: rl.Conversation) -> list[tuple[Any, Any, Any]]:
    return [(turn.arguments, turn.result, turn.how) for turn in conversation.turns if turn.role == "tool"]


def test_a_hundred_thousand_entries_open_like_a_thousand(lab: rl.Lab) -> None:
    """All calls of models and their tools are read in two scans, and other steps are not, which a note reports."""
    short, long = (send(lab, "run", entries) for entries in (1_000, 100_000))
    until_completed(lab, short)
    until_completed(lab, long)
    first, second = rl.conversation(lab, short), rl.conversation(lab, long)
    assert second.tokens == first.tokens
    assert second.tokens["input_tokens"] == STEPS * TOKENS[0]
    assert tools_of(second) == tools_of(first)
    assert len(tools_of(second)) == STEPS - 1
    assert any("100," in note and "only those near its calls of models were read" in note for note in second.notes)
    assert first.notes == ()
    assert [sum("FROM sys_journal WHERE" in each["sql"] for each in read.queries) for read in (first, second)] == [1, 2]
    runs = rl.agent_runs(lab, ids=[short, long])
    assert runs["input_tokens"].tolist() == [STEPS * TOKENS[0]] * 2


def test_a_large_payload_is_not_read_and_reported(lab: rl.Lab) -> None:
    """The server accepts it; its tokens are not in a sum, and notes report that."""
    id_ = send(lab, "large", 20)
    until_completed(lab, id_)
    conversation = rl.conversation(lab, id_)
    assert conversation.tokens["input_tokens"] == TOKENS[0]
    assert any("more than 16 MiB: 1 payload" in note for note in conversation.notes)
    (note,) = rl.agent_runs(lab, ids=[id_])["note"]
    assert "not read, because they are too large: 1 payload" in note


def test_a_payload_that_the_server_refuses(lab: rl.Lab) -> None:
    """Fifty mebibytes are above the limit of a message (32.25 MiB): the step never gets a result, and is repeated."""
    id_ = send(lab, "large", 50)
    limit = "hit message size limit"
    turn = wait_for(lambda: rl.conversation(lab, id_).open_turn, lambda turn: turn and limit in (turn.error or ""))
    assert (turn.role, turn.input_tokens) == ("assistant", None)
    assert limit in dict(rl.why(lab, id_).facts)["error"]
    assert rl.agent_runs(lab, ids=[id_])["possibly_paid_calls"].tolist() == [1]
    lab.admin.kill_invocation(id_, reason="a test")  # a repetition of the test has the same key
