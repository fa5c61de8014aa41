"""Agents of all other integrations: their conversations and tokens equal the ledger of the model that they called.

The packages of each integration are installed into the user's cache when these tests first run.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.analysis.agents.model import TOKENS
from restate_lab.cli import app
from restate_lab.client.schema import tables_of
from restate_lab.demo.model.replies import ENCRYPTED_REASONING
from restate_lab.demo.model.server import CANARIES
from restate_lab.errors import RestateLabError
from restate_lab.export.spans import span_records
from support.agent_ledger import parsed, steps_in_ledger, steps_of, tools_of
from support.agent_replays import is_recorded_end, recorded_end, replay_agents
from support.bench import wait_for
from support.clusters import NEWEST, PLAIN
from support.integrations.bench import INTEGRATIONS, Matrix, running_matrix
from support.integrations.environments import python_environment_of
from support.integrations.mlflow_server import running_mlflow

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(1_500)]

CASES = (
    *("text", "one", "parallel", "equal", "mixed", "two-steps", "plain", "text-and-call", "limited", "refuse"),
    *("broken", "fails", "canary", "hostile"),
)
ADK = "ADKAgent/{key}/ask"
HANDLERS = [handler for each in INTEGRATIONS.values() for handler in each.handlers]
IMPOSSIBLE = {
    (ADK, "broken"),  # Gemini's arguments are an object
    ("VercelAgent5/responses", "refuse"),  # tested on its own
}
UNKNOWN = {
    **dict.fromkeys(("LangChainAgent/chat", "VercelAgent7/chat", "VercelAgent5/chat"), ("reasoning",)),
    "PlainAgent/message": (*TOKENS, "response_id"),
    ADK: ("response_id",),
}
"""The fields that an integration does not write to its journal, which must be unknown."""
SURE = {"by id", "by order"}
SECRETS = (
    *(canary for value in CANARIES.values() for canary in re.findall(r"canary-\w+", value)),
    ENCRYPTED_REASONING,
    base64.b64encode(ENCRYPTED_REASONING.encode()).decode(),
)
PRIVATE = (*SECRETS, "canary", "Rome", "cannot help", "Ignore all earlier", "I check the weather first")
"""Parts of prompts, responses and arguments; the names of steps and the texts of errors are the author's."""


@dataclass
class Trial:
    """The matrix after all agents ran: id → (handler, case)."""

    matrix: Matrix
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)
    source: dict[str, str] = field(default_factory=dict)
    """The id of a restart → that of the invocation that was killed."""
    ledger: list[dict[str, Any]] = field(default_factory=list)
    conversations: dict[str, rl.Conversation] = field(default_factory=dict)
    explanations: dict[str, rl.Explanation] = field(default_factory=dict)
    diagnosis: rl.Diagnosis | None = None

    @property
    def lab(self) -> Any:
        return self.matrix.bench.lab

    def play(self) -> None:
        bench = self.matrix.bench
        cases = [(each, case) for case in CASES for each in HANDLERS if (each, case) not in IMPOSSIBLE]
        for id_ in [self.send(*each) for each in cases]:
            self.end(id_)
        self.crash()
        killed = [self.send(handler, "stuck") for handler in HANDLERS]
        points = {id_: self.stuck_at(id_) for id_ in killed}
        self.explanations = {id_: rl.why(self.lab, id_) for id_ in killed}
        self.diagnosis = rl.doctor(self.lab)
        for id_ in killed:
            self.lab.admin.kill_invocation(id_, reason="a test")
            self.end(id_)
        with bench.repaired():
            for id_, index in points.items():
                new = self.lab.admin.restart_as_new_invocation(id_, from_index=index - 1, reason="a test")
                self.source[str(new.new_invocation_id)] = id_
            for new, id_ in self.source.items():
                self.runs[new] = (self.runs[id_][0], "restarted")
                self.end(new)
        self.ledger = bench.ledger()
        self.conversations = {id_: rl.conversation(self.lab, id_) for id_ in self.runs}

    def send(self, handler: str, case: str) -> str:
        """Start an agent; with a prompt of its own, because requests to Gemini have no ids of calls."""

        def send() -> str | None:
            try:
                return self.matrix.bench.send(
                    handler.format(key=f"key-{len(self.runs)}"), f"[{case}] canary-prompt for {handler}"
                )
            except RestateLabError:  # the ingress does not know the services yet
                return None

        id_ = str(wait_for(send))
        self.runs[id_] = (handler, case)
        return id_

    def crash(self) -> None:
        """Kill the services of each integration while its agents wait for a response of the model."""
        for name, services in self.matrix.services.items():
            ids = [self.send(handler, "late") for handler in INTEGRATIONS[name].handlers]
            for id_ in ids:
                wait_for(lambda: self.waits_for_model(id_))  # noqa: B023 - called at once
            services.kill()
            for id_ in ids:
                self.end(id_)

    def end(self, id_: str) -> None:
        wait_for(lambda: self.matrix.bench.status(id_) == "completed", within=240)

    def waits_for_model(self, id_: str) -> bool:
        turn = rl.conversation(self.lab, id_).open_turn
        return turn is not None and (turn.role, turn.turn) == ("assistant", 2)

    def stuck_at(self, id_: str) -> int:
        conversation = wait_for(
            lambda: rl.conversation(self.lab, id_),
            lambda each: each.open_turn is not None and bool(each.open_turn.attempts),
            within=120,
        )
        assert conversation.open_turn.arguments == {"city": "Denver"}
        return int(conversation.open_turn.journal_index)

    def answers(self, id_: str) -> list[dict[str, Any]]:
        """Return the responses that the journal must have: of each step the last one, also those of a killed run.

        A crash loses earlier responses to the same step.
        """
        return list({each["step"]: each for each in self.requests(id_) if each["status"] == 200}.values())

    def requests(self, id_: str) -> list[dict[str, Any]]:
        return [each for each in self.ledger if each["invocation_id"] in {id_, self.source.get(id_)}]


@pytest.fixture(scope="module", params=[NEWEST, PLAIN])
def trial(request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trial]:
    with running_matrix(request.param, tmp_path_factory.mktemp("matrix")) as matrix:
        trial = Trial(matrix)
        trial.play()
        yield trial


def expected(handler: str, answers: list[dict[str, Any]], steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the steps in the ledger, without what this integration does not write."""
    unknown = {name: "" if name == "reasoning" else None for name in UNKNOWN.get(handler, ())}
    in_ledger = [each | unknown for each in steps_in_ledger(answers)]
    for step, own in zip(in_ledger, steps, strict=False):
        if handler == ADK:  # the SDK makes ids of its own, and has only the reason of a refusal
            step["calls"] = [(mine[0], *call[1:]) for call, mine in zip(step["calls"], own["calls"], strict=False)]
            step["refusal"] = "SAFETY" if step["refusal"] else ""
        if handler.startswith("Vercel") and own["text"]:  # a refusal is also the text
            step["text"] = step["text"] or step["refusal"]
    return in_ledger


def test_the_journaled_steps_equal_the_ledger(trial: Trial) -> None:
    runs = rl.agent_runs(trial.lab, ids=list(trial.runs)).set_index("id")
    wrong = []
    for id_, run in trial.runs.items():
        answers, steps = trial.answers(id_), steps_of(trial.conversations[id_])
        right = expected(run[0], answers, steps)
        numbers = ("model_calls", "tool_calls", *TOKENS)
        counted = [None if pd.isna(runs.loc[id_, name]) else runs.loc[id_, name] for name in numbers]
        sums = [None if None in (each := [step[name] for step in right]) else sum(each) for name in TOKENS]
        if steps != right or counted != [len(right), sum(len(step["calls"]) for step in right), *sums]:
            wrong.append((run, steps, right, counted))
    assert wrong == []
    assert Counter(handler for handler, _ in trial.runs.values()).keys() == set(HANDLERS)


def test_matches_equal_the_ledger_or_are_reported_as_unsure(trial: Trial) -> None:
    """A result that is known by id or by order is the one that the model got from the tool at this place."""
    wrong, known = [], Counter[str]()
    for id_, run in trial.runs.items():
        conversation, requests = trial.conversations[id_], trial.requests(id_)
        results = {result["id"]: result["output"] for each in requests for result in each["tool_results"]}
        models = [turn for turn in conversation.turns if turn.role == "assistant" and turn.framework]
        for model, answer in zip(models, trial.answers(id_), strict=True):
            for turn, call in zip(tools_of(list(conversation.turns), model), answer["tool_calls"], strict=True):
                known[turn.how] += 1
                if turn.how in SURE and call["id"] in results and value(turn.result) != value(results[call["id"]]):
                    wrong.append((run, turn.tool, turn.how, turn.result, results[call["id"]]))
    assert wrong == []
    assert known["by id"] + known["by order"] > 200
    assert known["guessed"] < 15


def test_a_response_that_the_client_cannot_read_may_have_been_paid(trial: Trial) -> None:
    """Vercel AI 5 cannot read a refusal of the Responses API: the step fails, and its tokens are not in the journal."""
    id_ = trial.matrix.bench.run("VercelAgent5/responses", "[refuse] go")
    assert trial.matrix.bench.answers(id_)
    (run,) = rl.agent_runs(trial.lab, ids=[id_]).to_dict("records")
    assert run["model_calls"] == 0
    assert pd.isna(run["input_tokens"])
    assert run["possibly_paid_calls"] > 0


def value(result: Any) -> Any:
    """Return the value of a result; ADK sends a value that is not an object in one."""
    result = parsed(result)
    return result["result"] if isinstance(result, dict) and result.keys() == {"result"} else result


def test_why_names_the_tool_that_failed(trial: Trial) -> None:
    agents = {trial.runs[id_][0]: dict(each.facts).get("agent", "") for id_, each in trial.explanations.items()}
    expected = "waits for its tool “get_weather” (step “get weather”), called by "
    assert [(handler, agent) for handler, agent in agents.items() if not agent.startswith(expected)] == []
    assert agents.keys() == set(HANDLERS)


def test_payloads_and_secrets_are_nowhere_by_default(trial: Trial, tmp_path: Path) -> None:
    """No prompt, response or argument is in a list, explanation, finding, report, span or evidence without a request.

    A conversation has them, but never a provider's headers or encrypted reasoning.
    """
    runs = rl.agent_runs(trial.lab)
    conversations = list(trial.conversations.values())
    assert trial.diagnosis is not None
    report = rl.Report("Agents", source=trial.lab).add(runs)
    for each in [*conversations[::7], trial.diagnosis, *trial.explanations.values()]:
        report = report.add(each)
    rl.freeze(trial.lab, tmp_path / "all.evidence", progress=False)
    with rl.open_evidence(tmp_path / "all.evidence") as evidence:
        tables = sorted(set(tables_of(evidence)["table"]))
        frozen = [evidence.sql(f'SELECT * FROM "{table}"').to_csv() for table in tables]
    shown = {
        "runs": f"{runs.to_csv()} {runs.attrs!r}",
        "why": "".join(f"{each} {each._repr_html_()} {each.facts}" for each in trial.explanations.values()),
        "doctor": f"{trial.diagnosis} {trial.diagnosis.findings.to_csv()} {trial.diagnosis._repr_html_()}",
        "spans": repr(span_records(conversations)) + repr(span_records(runs)),
        "report": report.write(tmp_path / "agents.html").read_text("utf-8"),
        "evidence": "".join(frozen),
        "list": CliRunner().invoke(app, ["agents", "-e", trial.lab.settings.admin_url, "--json"]).stdout,
    }
    assert [(name, word) for name, text in shown.items() for word in PRIVATE if word in text] == []
    read = "".join(
        f"{each} {each._repr_html_()} {each.frame.to_csv()} {json.dumps(each.messages())}" for each in conversations
    )
    assert "canary-argument" in read
    assert [secret for secret in SECRETS if secret in read] == []


def test_mlflow_shows_the_same_tree_and_tokens(trial: Trial, tmp_path: Path) -> None:
    """Spans of conversations and of runs arrive once, however often they are sent, with the journal's own times."""
    ids = [id_ for id_, (_, case) in trial.runs.items() if case in {"parallel", "canary"}]
    conversations = [trial.conversations[id_] for id_ in ids]
    records = span_records(conversations)
    with running_mlflow(tmp_path) as mlflow:
        for _ in range(2):
            assert rl.export_spans(conversations, mlflow.endpoint, headers=mlflow.headers) == len(records)
        traces = mlflow.traces()
    spans = [span for trace in traces for span in trace["spans"]]
    assert len(traces) == len(ids)
    assert sorted((span["id"], span["parent"], span["name"], span["start"], span["end"]) for span in spans) == sorted(
        (f"{each.span_id:016x}", f"{each.parent_id:016x}" if each.parent_id else None, each.name, each.start, each.end)
        for each in records
    )
    kind = "openinference.span.kind"
    assert {span["id"]: span["kind"] for span in spans} == {
        f"{each.span_id:016x}": each.attributes[kind] for each in records
    }
    tokens = sorted(
        (each["input_tokens"] or 0, each["output_tokens"] or 0) for each in (c.tokens for c in conversations)
    )
    shown = [trace["tokens"] or {} for trace in traces]
    assert sorted((each.get("input_tokens", 0), each.get("output_tokens", 0)) for each in shown) == tokens
    assert "canary" not in str(traces)


@pytest.mark.parametrize(
    ("service", "module"), [("LangChainAgent", "langchain_services"), ("PlainAgent", "plain_services")]
)
def test_agents_of_python_replay_to_their_recorded_end(trial: Trial, service: str, module: str, tmp_path: Path) -> None:
    """In the environment of the integration, without a network: no model gets a request."""
    ids = {f"{handler} {case}".replace("/", "-"): id_ for id_, (handler, case) in trial.runs.items()}
    ids = {name: id_ for name, id_ in ids.items() if name.startswith(service)}
    requests = len(trial.matrix.bench.ledger())
    python = str(python_environment_of("openai"))
    results = replay_agents(trial.matrix.bench, ids, f"{module}:app", tmp_path / "records", python)
    wrong = [
        each
        for name, each in results.items()
        if not is_recorded_end(each, recorded_end(tmp_path / "records" / f"{name}.json"))
    ]
    assert wrong == []
    assert len(results) == len(ids) > 0
    assert len(trial.matrix.bench.ledger()) == requests
