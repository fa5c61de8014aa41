"""``agent_runs`` and ``conversation`` on real agents: they equal the ledger of the model that the agents called."""

from __future__ import annotations

import contextlib
import json
import math
import re
import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.cli import app
from restate_lab.demo.model import server as model_server
from restate_lab.demo.model.replies import ENCRYPTED_REASONING
from restate_lab.export.spans import span_records
from restate_lab.panels._base.source import PanelSource
from restate_lab.server import has_vqueues
from support.agent_bench import AgentBench, running_agent_bench
from support.agent_ledger import parsed, steps_in_ledger, steps_of
from support.agent_replays import is_recorded_end, recorded_end, replay_agents
from support.archive_bench import tables_of
from support.bench import wait_for
from support.clusters import NEWEST, PLAIN

pytestmark = pytest.mark.server

RESPONSES, CHAT, PYDANTIC, WRAPPED = (
    "OpenAIAgent/responses",
    "OpenAIAgent/chat",
    "PydanticAgent/chat",
    "PydanticAgent/wrapped",
)
CASES: dict[str, tuple[str, ...]] = {
    RESPONSES: (
        *("parallel", "equal", "mixed", "two-steps", "broken", "nested", "approval", "fails", "hostile", "canary"),
        "text-and-call",
    ),
    CHAT: ("parallel", "limited", "handoff", "plain"),
    PYDANTIC: ("parallel", "two-steps", "approval", "limited", "broken"),
    "PydanticAgent/responses": ("equal",),
    WRAPPED: ("parallel", "fails"),
    "OpenAIAgent/limited": ("loop",),
}
SESSION = "OpenAISession/k1/responses"
FOR_A_SESSION = ("parallel", "equal", "two-steps")
SURE = {"by id", "by order"}
IDLE = """
SELECT max(e.appended_at) - max(j.appended_at) AS idle
FROM sys_journal j JOIN sys_journal_events e ON e.id = j.id AND e.event_type = 'Suspended'
WHERE j.id = :id"""
CANARIES = [canary for value in model_server.CANARIES.values() for canary in re.findall(r"canary-\w+", value)]
CANARY = "canary"  # in prompts, arguments and texts


@dataclass
class Trial:
    """A bench whose agents have run: (handler, script) → id, and the ids of a killed one and of its restart."""

    bench: AgentBench
    ids: dict[tuple[str, str], str] = field(default_factory=dict)
    stuck: rl.Conversation | None = None
    waiting: rl.Conversation | None = None
    times: dict[str, datetime] = field(default_factory=dict)
    """The times at which one agent was stuck, and at which one was waiting."""
    killed: str = ""
    refused: str = ""
    restarted: str = ""

    ledger: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, rl.Conversation] = field(default_factory=dict)

    @property
    def lab(self) -> Any:
        return self.bench.lab

    def conversation(self, id_: str) -> rl.Conversation:
        if id_ not in self.known:
            self.known[id_] = rl.conversation(self.lab, id_)
        return self.known[id_]

    def play(self) -> None:
        for handler, scripts in CASES.items():
            self.ids |= {(handler, name): self.bench.send(handler, f"[{name}] {CANARY}-prompt") for name in scripts}
        self.killed = self.bench.send(RESPONSES, "[stuck] go")
        self.refused = self.bench.send(RESPONSES, "[refuse] go")
        for name in FOR_A_SESSION:
            self.ids[SESSION, name] = self.bench.run(SESSION, f"[{name}] go")
        self.wait()
        self.kill_and_restart()
        self.approve()
        for id_ in self.ids.values():
            self.bench.until(id_, "completed")
        self.ledger = self.bench.ledger()

    def answers(self, id_: str) -> list[dict[str, Any]]:
        return [each for each in self.ledger if (each["invocation_id"], each["status"]) == (id_, 200)]

    def models(self, id_: str) -> list[Any]:
        """Return the turns of an invocation that are responses of a model."""
        return [turn for turn in self.conversation(id_).turns if (turn.role, turn.how) == ("assistant", "journal")]

    def tool_results(self, id_: str) -> dict[str, str]:
        """Return the results of tools by the ids of their calls, as the model got them."""
        own = [each for each in self.ledger if each["invocation_id"] == id_]
        return {result["id"]: result["output"] for each in own for result in each["tool_results"]}

    def wait(self) -> None:
        """Let two agents wait for a person."""
        for handler in (RESPONSES, PYDANTIC):
            self.bench.until(self.ids[handler, "approval"], "suspended")
        self.waiting = rl.conversation(self.lab, self.ids[RESPONSES, "approval"])
        self.times["waiting"] = self.lab.now

    def approve(self) -> None:
        """Let them continue, so late that an earlier resume by hand is excluded for the time when they waited."""
        idle = self.lab.sql(IDLE, id=self.ids[RESPONSES, "approval"])["idle"][0]
        earliest = self.times["waiting"] + (timedelta(seconds=1.1) + 1.2 * idle if pd.notna(idle) else timedelta())
        wait_for(lambda: self.lab.now > earliest)
        for handler in (RESPONSES, PYDANTIC):
            self.bench.approve(self.ids[handler, "approval"], "yes")

    def kill_and_restart(self) -> None:
        """Kill an agent whose tool fails, and restart it from its last good step once the tool works."""
        self.stuck = wait_for(
            lambda: rl.conversation(self.lab, self.killed),
            lambda each: each.open_turn is not None and bool(each.open_turn.attempts),
        )
        self.times["stuck"] = self.lab.now
        wait_for(lambda: rl.conversation(self.lab, self.refused).open_turn)
        for id_ in (self.killed, self.refused):
            self.lab.admin.kill_invocation(id_, reason="a test")
            self.bench.until(id_, "completed")
        with self.bench.repaired():
            index = self.stuck.open_turn.journal_index - 1
            restarted = self.lab.admin.restart_as_new_invocation(self.killed, from_index=index, reason="a test")
            self.restarted = str(restarted.new_invocation_id)
            self.bench.until(self.restarted, "completed")


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(PLAIN, marks=pytest.mark.long)])
def trial(request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with running_agent_bench(request.param, tmp_path_factory.mktemp("agents")) as bench:
        trial = Trial(bench)
        trial.play()
        yield trial


@pytest.fixture(scope="module")
def evidence(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> Iterator[rl.Evidence]:
    folder = tmp_path_factory.mktemp("frozen") / "agents.evidence"
    rl.freeze(trial.lab, folder, payloads=True, progress=False)
    with rl.open_evidence(folder) as opened:
        yield opened


def test_the_journaled_steps_equal_the_ledger(trial: Trial) -> None:
    ids = [*trial.ids.values(), trial.killed, trial.refused]
    steps = {id_: steps_of(trial.conversation(id_)) for id_ in ids}
    assert steps == {id_: steps_in_ledger(trial.answers(id_)) for id_ in ids}
    assert sum(map(len, steps.values())) > 50
    runs = rl.agent_runs(trial.lab, ids=ids).set_index("id")
    for id_ in ids:
        answers = trial.answers(id_)
        assert [runs.loc[id_, name] for name in TOKENS] == [sum(each[name] for each in answers) for name in TOKENS]
        assert runs.loc[id_, "model_calls"] == len(answers)
        assert runs.loc[id_, "tool_calls"] == sum(len(each["tool_calls"]) for each in answers)


def test_rows_of_runs_and_tools_equal_the_conversations(trial: Trial) -> None:
    ids = [*trial.ids.values(), trial.killed, trial.refused]
    runs = rl.agent_runs(trial.lab, ids=ids).set_index("id")
    turns = [turn for id_ in ids for turn in trial.conversation(id_).turns if turn.depth == 1]
    for id_ in ids:
        own = trial.conversation(id_)
        models = [turn for turn in own.turns if turn.role == "assistant" and turn.how == "journal"]
        assert dict(runs.loc[id_, list(TOKENS)]) == own.tokens
        assert runs.loc[id_, "model_calls"] == len(models)
        assert runs.loc[id_, "spent_tokens"] == sum(turn.input_tokens + turn.output_tokens for turn in models)
        cost = sum(turn.cost or 0 for turn in models)
        assert math.isnan(runs.loc[id_, "cost"]) or runs.loc[id_, "cost"] == pytest.approx(cost)
    tools = rl.ask(trial.lab, "agent_tools", ids=ids)
    calls = [turn for turn in turns if turn.role == "tool"]
    assert tools.groupby("tool")["calls"].sum().to_dict() == Counter(turn.tool for turn in calls)
    assert tools["failures"].sum() == sum(turn.status == "failed" for turn in calls)
    assert tools["open"].sum() == sum(turn.is_open for turn in calls)
    how = Counter(turn.how for turn in calls)
    assert tools["without_entry"].sum() == how["unknown"]
    assert how["guessed"] <= tools["unsure"].sum() < len(calls) / 4  # it reads no result, so it is sure less often
    assert (tools["p95_ms"].dropna() >= tools["median_ms"].dropna()).all()
    alone = tools.set_index("tool").loc[lambda rows: ~rows.index.duplicated(keep=False)]
    for tool, median in alone["median_ms"].dropna().items():
        times = [turn.duration for turn in calls if turn.tool == tool and turn.how in SURE and turn.journal_index]
        assert median == pytest.approx(1000 * statistics.median(time.total_seconds() for time in times if time))
    assert set(tools["service"]) == {id_[0].partition("/")[0] for id_ in trial.ids}


def test_matches_equal_the_ledger_or_are_reported_as_unsure(trial: Trial) -> None:
    """A result that is known by id or by order is the one that the model got from the tool with this call id."""
    known: Counter[str] = Counter()
    wrong = []
    for (handler, name), id_ in trial.ids.items():
        results = trial.tool_results(id_)
        for turn in trial.conversation(id_).turns:
            if turn.role != "tool" or turn.call_id not in results:
                continue
            known[turn.how] += 1
            if turn.how in SURE and parsed(turn.result) != parsed(results[turn.call_id]):
                wrong.append((handler, name, turn.tool, turn.how, turn.result, results[turn.call_id]))
    assert wrong == []
    assert known["by order"] > 25
    assert known["by id"] > 5
    assert known["guessed"] <= 8


def test_a_restart_does_not_pay_again(trial: Trial) -> None:
    runs = rl.agent_runs(trial.lab, ids=[trial.killed, trial.restarted, trial.refused]).set_index("id")

    def paid(id_: str) -> int:
        return sum(each["input_tokens"] + each["output_tokens"] for each in trial.answers(id_))

    assert runs["spent_tokens"].to_dict() == {id_: paid(id_) for id_ in runs.index}
    assert paid(trial.restarted) > 0
    assert runs.loc[trial.restarted, "saved_tokens"] == paid(trial.killed)
    assert runs.loc[trial.restarted, "restarted_from"] == trial.killed
    assert runs["wasted_tokens"].to_dict() == {trial.killed: 0, trial.restarted: 0, trial.refused: paid(trial.refused)}
    assert runs.loc[trial.restarted, "model_calls"] == 3
    calls = [turn for turn in trial.conversation(trial.restarted).turns if turn.role == "tool"]
    own = [turn for turn in calls if turn.started >= runs.loc[trial.restarted, "created_at"]]
    assert rl.ask(trial.lab, "agent_tools", ids=[trial.restarted])["calls"].sum() == len(own) < len(calls)


def test_the_open_step_is_marked(trial: Trial) -> None:
    """A failing tool, a wait for a person and a refused answer are the open turn, with their error or their wait."""
    assert trial.stuck is not None
    assert trial.waiting is not None
    turn = trial.stuck.open_turn
    assert turn is not None
    assert (turn.tool, turn.arguments, turn.how, turn.turn) == ("get_weather", {"city": "Denver"}, "by order", 2)
    assert "no answer from the weather service" in (turn.error or "")
    assert "no answer from the weather service" in trial.stuck._repr_html_()
    waiting = trial.waiting.open_turn
    assert waiting is not None
    assert (waiting.tool, waiting.entry_type) == ("ask_person", "Run, Signal")
    runs = rl.agent_runs(trial.lab, ids=[trial.ids[RESPONSES, "approval"], trial.ids[CHAT, "limited"]])
    assert runs["people_s"][0] > 0
    assert runs["people_s"][1] == 0
    assert runs["retries"][1] >= 2
    assert runs["backoff_s"][1] > 0
    assert (runs[["model_s", "tools_s"]] >= 0).all().all()


@pytest.mark.parametrize("is_archived", [False, pytest.param(True, marks=pytest.mark.long)])
def test_an_earlier_time_has_no_later_step(trial: Trial, tmp_path: Path, *, is_archived: bool) -> None:
    """Runs, conversations and waits at a time are those of that time, from the cluster or from an archive of later."""
    with contextlib.ExitStack() as stack:
        source = trial.lab
        if is_archived:
            rl.archive(trial.lab, tmp_path / "archive", cluster_name="c", payloads=True, progress=False)
            source = stack.enter_context(rl.open_history(tmp_path / "archive", live=trial.lab))
        for name, time in list(trial.times.items())[: 1 if is_archived else 2]:
            past = stack.enter_context(source.at(time))
            runs = rl.agent_runs(past).set_index("id")
            steps = {
                id_: [turn for turn in trial.models(id_) if turn.started + turn.duration <= time] for id_ in runs.index
            }
            assert runs["model_calls"].to_dict() == {id_: len(turns) for id_, turns in steps.items()}
            for column in ("input_tokens", "output_tokens"):
                sums = {id_: sum(getattr(turn, column) for turn in turns) for id_, turns in steps.items()}
                assert runs[column].to_dict() == sums
            assert len(runs) > 10
            assert trial.restarted not in runs.index
            if name == "waiting":
                _check_waiting(trial, past, runs)
        if not is_archived:
            options = ["-e", trial.lab.settings.admin_url, "--at", time.isoformat(), "--json"]
            listed = json.loads(CliRunner().invoke(app, ["agents", *options]).stdout)
            assert {row["id"]: row["model_calls"] for row in listed} == runs["model_calls"].to_dict()
            stuck = rl.conversation(past, trial.killed).open_turn
            assert stuck is not None
            assert "no answer from the weather service" in (stuck.error or "")
        assert rl.story(past, trial.killed).members["id"].tolist() == [trial.killed], "not its restart"


def _check_waiting(trial: Trial, past: rl.Source, runs: pd.DataFrame) -> None:
    """Check that an agent that waited is waiting, or is reported as unknown if the server records no suspensions."""
    assert trial.waiting is not None
    id_ = trial.waiting.id
    conversation = rl.conversation(past, id_)
    waits = rl.ask(past, "agent_waits", older_than="0s")["id"]
    findings = rl.doctor(past, checks=["agent_waits"], thresholds={"awakeable": "1ms"}).findings
    if has_vqueues(trial.lab):
        assert (runs["status"][id_], runs["people_s"][id_] > 0) == ("suspended", True)
        assert conversation.turns == trial.waiting.turns
        assert id_ in set(waits)
        assert any(id_ in ids for ids in findings["ids"])
    else:
        assert (runs["status"][id_], pd.isna(runs["people_s"][id_])) == ("unknown", True)
        assert "whether it waited for a person" in runs["note"][id_]
        assert "whether it waited for a person" in str(conversation)


def test_an_archive_without_payloads_hides_no_agent(trial: Trial, tmp_path: Path) -> None:
    """With its cluster, its runs have rows with unknown tokens and the reason; the runs of the server are read."""
    rl.archive(trial.lab, tmp_path / "archive", cluster_name="c", progress=False)
    with rl.open_history(tmp_path / "archive", live=trial.lab) as joined:
        new = trial.bench.run(RESPONSES, "[one] go")
        runs = rl.agent_runs(joined).set_index("id")
        conversation, spend = rl.conversation(joined, trial.killed), rl.ask(joined.at("1ms"), "agent_spend")
    unread = runs.loc[[trial.killed, trial.restarted, trial.ids[PYDANTIC, "parallel"]]]
    assert unread[["model_calls", "input_tokens", "spent_tokens", "cost"]].isna().all().all()
    assert unread["note"].str.contains("the archive has no payloads of this invocation").all()
    assert runs.loc[new, "model_calls"] == 2
    assert runs.attrs["without_payloads"] >= len(runs) - 1
    assert spend["runs_without_cost"].sum() >= len(runs) - 1
    assert f"{trial.killed}: the archive has no payloads" in " ".join(conversation.reasons)


def test_called_agents_and_sessions(trial: Trial) -> None:
    """A called agent is inserted below its call, and a session has the turns of all invocations of its object."""
    id_ = trial.ids[RESPONSES, "nested"]
    flat, nested = trial.conversation(id_), rl.conversation(trial.lab, id_, depth=2)
    inner = [turn for turn in nested.turns if turn.depth == 2]
    assert [turn for turn in nested.turns if turn.depth == 1] == list(flat.turns)
    assert [turn.role for turn in inner] == ["user", "assistant", "tool", "assistant"]
    assert inner[0].id == next(turn.callee for turn in flat.turns if turn.callee)
    last = trial.ids[SESSION, FOR_A_SESSION[-1]]
    session = rl.conversation(trial.lab, last, session=True)
    assert list(dict.fromkeys(turn.id for turn in session.turns)) == [
        trial.ids[SESSION, name] for name in FOR_A_SESSION
    ]
    with pytest.raises(rl.errors.ArgumentError, match="has no key"):
        rl.conversation(trial.lab, id_, session=True)


def test_a_session_with_a_nested_agent_is_one_story(trial: Trial) -> None:
    """Its members are the agents that called the model, each with the tokens of the ledger; others have none."""
    found = rl.story(trial.lab, trial.ids[RESPONSES, "nested"])
    members = found.members.set_index("id")
    assert len(members) == 2
    for id_, member in members.iterrows():
        answers = trial.bench.answers(str(id_))
        assert member["model_calls"] == len(answers) > 0
        assert member["tokens"] == sum(each["input_tokens"] + each["output_tokens"] for each in answers)
    assert list(found.edges["kind"]) == ["call"]


def test_evidence_gives_the_same_runs_and_turns(trial: Trial, evidence: rl.Evidence) -> None:
    live, frozen = rl.agent_runs(trial.lab), rl.agent_runs(evidence)
    assert len(live) > 25
    pd.testing.assert_frame_equal(live, frozen)
    chosen = [trial.ids[handler, scripts[0]] for handler, scripts in CASES.items()]
    for id_ in [*chosen, trial.ids[CHAT, "limited"], trial.killed, trial.restarted]:
        assert rl.conversation(evidence, id_).turns == trial.conversation(id_).turns


def test_secrets_of_providers_and_payloads_are_not_shown(trial: Trial) -> None:
    runs = rl.agent_runs(trial.lab)
    table = f"{runs.to_csv()} {json.dumps(runs.attrs)} {runs.attrs!r}"
    assert CANARY not in table
    assert "Rome" not in table
    conversations = [trial.conversation(id_) for id_ in trial.ids.values()]
    shown = [
        text
        for each in conversations
        for text in (
            str(each),
            each.frame.to_csv(),
            each._repr_html_(),
            json.dumps(each.messages()),
            repr(each.turns),
        )
    ]
    assert any(f"{CANARY}-argument" in text for text in shown)
    secrets = [*CANARIES, ENCRYPTED_REASONING, "canary-system-prompt"]
    assert [(secret, text[:80]) for text in [*shown, table] for secret in secrets if secret in text] == []


def test_hostile_text_stays_text(trial: Trial) -> None:
    conversation = trial.conversation(trial.ids[RESPONSES, "hostile"])
    assert "<script" not in conversation._repr_html_()
    assert "&lt;script&gt;" in conversation._repr_html_()
    assert "\x1b" not in str(conversation) + repr(conversation) + conversation._repr_html_()


def test_spans_have_the_tokens_of_the_ledger(trial: Trial) -> None:
    id_ = trial.ids[RESPONSES, "canary"]
    spans = span_records(trial.conversation(id_))
    models = [each.attributes for each in spans if each.attributes["openinference.span.kind"] == "LLM"]
    assert [each["llm.token_count.total"] for each in models] == [
        each["input_tokens"] + each["output_tokens"] for each in trial.answers(id_)
    ]
    assert CANARY not in repr(spans)
    assert CANARY in repr(span_records(trial.conversation(id_), has_payloads=True))
    assert len({each.span_id for each in spans}) == len(spans)


def test_a_report_has_payloads_on_request_only(trial: Trial, tmp_path: Path) -> None:
    conversation = trial.conversation(trial.ids[RESPONSES, "canary"])
    report = rl.Report("Agents", source=trial.lab)
    short, whole = (report.add(conversation, payloads=payloads) for payloads in (False, True))
    assert CANARY not in short.write(tmp_path / "short.html").read_text("utf-8")
    assert f"{CANARY}-argument" in whole.write(tmp_path / "whole.html").read_text("utf-8")


def test_the_command(trial: Trial) -> None:
    """The list has no payloads; with an id, the command prints the conversation."""
    id_, admin = trial.ids[RESPONSES, "canary"], trial.lab.settings.admin_url
    run = CliRunner().invoke
    listed = run(app, ["agents", "-e", admin, "--json"])
    assert {row["id"] for row in json.loads(listed.stdout)} >= {id_, trial.restarted}
    assert CANARY not in listed.stdout
    assert "gpt-4o" in run(app, ["agents", "-e", admin, "--service", "PydanticAgent"]).stdout
    assert str(trial.conversation(id_)).splitlines()[0] in run(app, ["agents", id_, "-e", admin]).stdout
    shown = json.loads(run(app, ["agents", id_, "-e", admin, "--json"]).stdout)
    assert shown["messages"] == trial.conversation(id_).messages()


def test_each_call_of_a_tool_has_its_result_right_after_it(trial: Trial) -> None:
    messages = rl.conversation(trial.lab, trial.ids[PYDANTIC, "parallel"]).messages()
    assert [each["role"] for each in messages] == ["user", "assistant", *["tool"] * 3, "assistant", "tool", "assistant"]
    calls = [call["id"] for call in messages[1]["tool_calls"]]
    assert [each["tool_call_id"] for each in messages[2:5]] == calls
    assert json.loads(messages[1]["tool_calls"][0]["function"]["arguments"]) == {"city": "Rome"}


def test_cost_has_exact_names_only(trial: Trial) -> None:
    """A model without a name or a price has no cost, and the frame reports it; own prices come first."""
    ids = [trial.ids[RESPONSES, "parallel"], trial.ids[PYDANTIC, "parallel"]]
    runs = rl.agent_runs(trial.lab, ids=ids)
    assert math.isnan(runs["cost"][0])
    assert runs["cost"][1] > 0
    assert runs.attrs["unpriced"] == ["a model without a name in the journal"]
    own = rl.agent_runs(trial.lab, ids=ids, prices={"gpt-4o-2024-08-06": (1, 1, 1), "*": (0, 0, 1_000_000)})
    assert own["cost"].tolist() == pytest.approx([own["output_tokens"][0], own["spent_tokens"][1] / 1e6])
    assert own.attrs["unpriced"] == []


def test_missing_payloads_are_an_error_or_a_note(trial: Trial, tmp_path: Path) -> None:
    rl.freeze(trial.lab, tmp_path / "bare.evidence", progress=False)
    with rl.open_evidence(tmp_path / "bare.evidence") as bare:
        for call in (lambda: rl.agent_runs(bare), lambda: rl.conversation(bare, trial.killed)):
            with pytest.raises(rl.errors.NotOnThisServer, match="payloads=True"):
                call()
    id_ = trial.bench.run(CHAT, "[plain] go")
    trial.lab.admin.purge_journal(id_, reason="a test")
    wait_for(lambda: not rl.conversation(trial.lab, id_).turns)
    conversation = rl.conversation(trial.lab, id_)
    assert any("was purged" in note for note in conversation.reasons)
    assert "no step of this invocation has the shape of a model response" in str(conversation)
    runs = rl.agent_runs(trial.lab, ids=[id_])
    assert runs["note"].tolist() == ["its journal was purged or not retained"]
    assert runs[["input_tokens", "model_s"]].isna().all().all()
    assert id_ not in set(rl.agent_runs(trial.lab)["id"])


def test_a_shape_of_the_user(trial: Trial) -> None:
    """A function reads payloads that have no known shape; without it, the step is a plain step."""

    def weather(payload: Any) -> rl.ModelStep | None:
        is_weather = isinstance(payload, dict) and "celsius" in payload
        return rl.ModelStep("weather", text=str(payload["celsius"]), input_tokens=7) if is_weather else None

    id_ = trial.ids[RESPONSES, "parallel"]
    plain, known = rl.agent_runs(trial.lab, ids=[id_]), rl.agent_runs(trial.lab, ids=[id_], shapes=[weather])
    assert known["model_calls"][0] == plain["model_calls"][0] + 3
    assert known["input_tokens"][0] == plain["input_tokens"][0] + 21
    assert known["note"][0] == "the tokens of 3 of 6 model calls are unknown"


def test_an_archive_has_the_steps_of_agents_without_text(trial: Trial, tmp_path: Path) -> None:
    rl.archive(trial.lab, tmp_path / "archive", cluster_name="c", progress=False)
    tables = tables_of(str(tmp_path / "archive"))
    ended, rows = set(tables["invocations"]["id"].to_pylist()), tables["agent_steps"].to_pylist()
    ids = [id_ for id_ in trial.ids.values() if id_ in ended]
    assert len(ids) > 20
    runs = rl.agent_runs(trial.lab, ids=ids).set_index("id")
    for id_ in ids:
        mine = [row for row in rows if row["id"] == id_]
        assert len(mine) == len(steps_of(trial.conversation(id_)))
        assert all(row["appended_at"] and row["service"] and row["handler"] for row in mine)
        if mine:
            assert sum(row["output_tokens"] or 0 for row in mine) == runs.loc[id_, "output_tokens"]
    assert CANARY not in repr(rows)


@pytest.mark.usefixtures("without_doctor")
def test_a_panel_shows_a_conversation_on_request(
    trial: Trial, evidence: rl.Evidence, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements: list[str] = []
    stream = PanelSource.stream

    def record(source: PanelSource, statement: str, /, **options: Any) -> Any:
        statements.append(statement)
        return stream(source, statement, **options)

    monkeypatch.setattr(PanelSource, "stream", record)
    id_, other = trial.ids[RESPONSES, "canary"], trial.ids[PYDANTIC, "parallel"]
    for source in (trial.lab, evidence):
        statements.clear()
        with contextlib.closing(panel_of(source, id_)) as panel:
            assert offers_conversation(panel)
            assert [each for each in statements if re.search(r"END AS (?:raw|entry_json)", each)] == []
            assert CANARY not in page_of(panel)
            click_conversation(panel)
            assert panel.view.conversation.turns == trial.conversation(id_).turns
            assert f"{CANARY}-argument" in page_of(panel)
            assert CANARY not in panel._repr_mimebundle_()["text/html"]
            panel.open_invocation(other)
            assert panel.wait()
            assert offers_conversation(panel)
            assert panel.view.conversation is None
            assert CANARY not in page_of(panel)
    assert panel.error == ""


@pytest.mark.usefixtures("without_doctor")
def test_a_panel_follows_a_conversation(trial: Trial) -> None:
    """With a read-only connection, an open tab shows the wait of the agent, and then its end."""
    id_ = trial.bench.send(RESPONSES, f"[approval] {CANARY}")
    trial.bench.until(id_, "suspended")
    with (
        rl.connect(trial.lab.settings.admin_url, read_only=True) as lab,
        contextlib.closing(panel_of(lab, id_)) as panel,
    ):
        click_conversation(panel)
        assert panel.view.conversation.open_turn.tool == "ask_person"
        first = panel.view.conversation
        panel.refresh()
        assert panel.view.conversation is first, "it made no progress"
        trial.bench.approve(id_, "yes")
        trial.bench.until(id_, "completed")
        panel.refresh()
        assert panel.view.conversation.turns == rl.conversation(lab, id_).turns
        assert panel.view.conversation.open_turn is None


@pytest.mark.usefixtures("without_doctor")
def test_a_list_of_agents_has_the_tokens_of_agent_runs(trial: Trial, evidence: rl.Evidence) -> None:
    for source in (trial.lab, evidence):
        with contextlib.closing(rl.Panel(source, status="all", service="OpenAIAgent", refresh=None)) as panel:
            assert panel.wait()
            rows = panel.frame[panel.frame["tokens"].notna()].head(5)
            runs = rl.agent_runs(source, ids=list(rows["id"]))
            assert rows["tokens"].tolist() == (runs["input_tokens"] + runs["output_tokens"]).tolist()
            assert rows["turn"].tolist() == runs["model_calls"].tolist()
            assert rows["cost"].isna().tolist() == runs["cost"].isna().tolist()
            assert rows.loc[rows["cost"].isna(), "agent_note"].str.contains("cost unknown").all()
            assert CANARY not in panel.frame.to_csv()
            panel.show_invocations(status="all")
            assert panel.wait()
            assert "tokens" not in panel.frame
            assert panel.error == ""


@pytest.fixture
def without_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let panels start without the doctor, which other tests have."""
    monkeypatch.setattr(rl.Panel, "run_doctor", lambda _: None)


def panel_of(source: rl.Source, id_: str) -> Any:
    panel = rl.Panel(source, open=id_, refresh=None)
    assert panel.wait()
    return panel


def offers_conversation(panel: Any) -> bool:
    return any(each["key"] == "conversation" and each["offered"] for each in panel.view.detail.folds.sections)


def click_conversation(panel: Any) -> None:
    panel.click("Conversation")
    assert panel.wait()


def page_of(panel: Any) -> str:
    """Return everything that the open invocation sends to the browser."""
    detail = panel.view.detail
    parts = [detail.title, *detail.children, *detail.conversation.children]
    return repr([each.get_state() for each in parts])


@pytest.mark.long  # the notebook of the weather agent replays one by day
def test_agents_replay_to_their_recorded_end(trial: Trial, tmp_path: Path) -> None:
    """Without a network, the code of each agent returns or fails as recorded, and the model gets no request.

    The journal of the killed one ends at its open tool. Bodies of tools run again where they are not steps.
    """
    ids = {f"{handler} {name}".replace("/", "-"): id_ for (handler, name), id_ in trial.ids.items()}
    ids |= {"killed": trial.killed, "refused": trial.refused, "restarted": trial.restarted}
    requests = len(trial.bench.ledger())
    results = replay_agents(trial.bench, ids, "agent_services:app", tmp_path / "records")
    ends = {name: recorded_end(tmp_path / "records" / f"{name}.json") for name in ids}
    wrong = [each for name, each in results.items() if not is_recorded_end(each, ends[name])]
    assert wrong == []
    assert results.keys() == ids.keys()
    assert len(trial.bench.ledger()) == requests
