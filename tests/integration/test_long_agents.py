"""Agents with 100,000 entries in their journals, and with payloads of 50 MB: their turns and notes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.agents import read_conversation
from restate_lab.analysis.agents.builder import SearchedJournal
from restate_lab.analysis.agents.reader import AgentReader
from restate_lab.reads import Reads
from support import long_agent_services
from support.bench import once_served, running_bench, wait_for
from support.clusters import NEWEST
from support.long_agent_services import STEPS, TOKENS

SERVICES = Path(long_agent_services.__file__)
SUCCEEDED = "SELECT status FROM sys_invocation WHERE id = :id AND status = 'completed'"
pytestmark = [pytest.mark.server, pytest.mark.long]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Lab]:
    folder = tmp_path_factory.mktemp("long")
    with running_bench(NEWEST, folder, SERVICES, ready=None, env={}) as bench:
        yield bench.lab


def run_agent(lab: rl.Lab, handler: str, size: int) -> str:
    id_ = send_to_agent(lab, handler, size)
    wait_for(lambda: lab.arrow(SUCCEEDED, id=id_, progress=False).num_rows, within=280)
    return id_


def send_to_agent(lab: rl.Lab, handler: str, size: int) -> str:
    sent = once_served(lambda: lab.ingress.send("LongAgent", handler, size, key=f"{handler}-{size}"))
    return str(sent.invocation_id)


def tools_of(conversation: rl.Conversation) -> list[tuple[Any, Any, Any]]:
    return [(turn.arguments, turn.result, turn.how) for turn in conversation.turns if turn.role == "tool"]


def test_a_hundred_thousand_entries_open_like_a_thousand(lab: rl.Lab) -> None:
    """All calls of models and their tools are read in two scans, and other steps are not, which a note reports."""
    short, long = (run_agent(lab, "run", entries) for entries in (1_000, 100_000))
    first, second = rl.conversation(lab, short), rl.conversation(lab, long)
    assert second.tokens == first.tokens
    assert second.tokens["input_tokens"] == STEPS * TOKENS[0]
    assert tools_of(second) == tools_of(first)
    assert len(tools_of(second)) == STEPS - 1
    assert any("100," in note and "only those near its calls of models were read" in note for note in second.reasons)
    assert first.not_read.empty
    assert [sum("FROM sys_journal WHERE" in each["sql"] for each in read.queries) for read in (first, second)] == [1, 2]
    _is_read_in_one_scan(lab, long, second)
    runs = rl.agent_runs(lab, ids=[short, long])
    assert runs["input_tokens"].tolist() == [STEPS * TOKENS[0]] * 2


def _is_read_in_one_scan(lab: rl.Lab, id_: str, expected: rl.Conversation) -> None:
    """Check that a journal that was searched before is not searched again, unless it has grown since."""
    size = int(lab.sql("SELECT journal_size FROM sys_invocation WHERE id = :id", id=id_)["journal_size"].iloc[0])
    indexes = AgentReader(Reads(lab)).agents([id_])[id_]
    for searched, scans in ((SearchedJournal(id_, size, indexes), 1), (SearchedJournal(id_, size - 1, indexes), 2)):
        read = read_conversation(lab, id_, searched=searched)
        assert read.turns == expected.turns
        assert sum("FROM sys_journal WHERE" in each["sql"] for each in read.queries) == scans


def test_a_large_payload_is_not_read_and_reported(lab: rl.Lab) -> None:
    """The server accepts it; its tokens are not in a sum, and notes report that."""
    id_ = run_agent(lab, "large", 20)
    conversation = rl.conversation(lab, id_)
    assert conversation.tokens["input_tokens"] == TOKENS[0]
    _reports_one_unread(lab, id_, conversation)


def _reports_one_unread(lab: rl.Lab, id_: str, conversation: rl.Conversation) -> None:
    reason = "not read, because they have more than 16 MiB or are nested too deeply: 1 payload"
    (note,) = rl.agent_runs(lab, ids=[id_])["note"]
    assert [reason in text for text in (*conversation.reasons, note)] == [True, True]


def test_a_response_in_utf_16_is_read_and_one_that_is_too_deep_is_reported(lab: rl.Lab) -> None:
    """JSON in any encoding counts, also if the server searches it; JSON that cannot be parsed is in the notes."""
    id_ = run_agent(lab, "encoded", 50_000)
    conversation = rl.conversation(lab, id_)
    assert conversation.tokens["input_tokens"] == 2 * TOKENS[0]
    assert rl.agent_runs(lab, ids=[id_])["input_tokens"].tolist() == [2 * TOKENS[0]]
    _reports_one_unread(lab, id_, conversation)


def test_a_payload_that_the_server_refuses(lab: rl.Lab) -> None:
    """Fifty mebibytes are above the limit of a message (32.25 MiB): the step never gets a result, and is repeated."""
    id_ = send_to_agent(lab, "large", 50)
    limit = "hit message size limit"
    turn = wait_for(lambda: rl.conversation(lab, id_).open_turn, lambda turn: turn and limit in (turn.error or ""))
    assert (turn.role, turn.input_tokens) == ("assistant", None)
    assert limit in dict(rl.why(lab, id_).facts)["error"]
    assert rl.agent_runs(lab, ids=[id_])["possibly_paid_calls"].tolist() == [1]
    lab.admin.kill_invocation(id_, reason="a test")  # a repetition of the test has the same key
