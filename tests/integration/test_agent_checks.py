"""What the doctor, ``why`` and ``redrive`` report about real agents, without the text of a payload."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import restate_lab as rl
from restate_lab.analysis.invocations.filters import ALL, Filters
from restate_lab.analysis.invocations.reader import read_rows
from support.advice import contradictions
from support.agent_bench import AgentBench, running_agent_bench
from support.bench import wait_for
from support.clusters import NEWEST, PLAIN

pytestmark = pytest.mark.server

RESPONSES, PYDANTIC, LIMITED, UNJOURNALED = (
    "OpenAIAgent/responses",
    "PydanticAgent/chat",
    "OpenAIAgent/limited",
    "OpenAIAgent/unjournaled",
)
ENDING = {
    RESPONSES: ("broken", "fails-again", "slow", "one", "equal", "parallel", "canary", "large"),
    LIMITED: ("loop",),
}
STAYING = {
    RESPONSES: ("refuse", "unknown-tool", "stuck", "approval"),
    PYDANTIC: ("refuse", "stuck", "approval"),
    UNJOURNALED: ("one",),
}
CHECKS = ("agent_models", "agent_tools", "agent_tokens", "agent_waits")
SOON = {"awakeable": "1s", "agent_call": "1s"}
PROMPT = "canary-prompt"
PAYLOADS = ("canary", "Rome", "Denver", "Bonn", "cannot help", "May I book")


@dataclass
class Cast:
    """A bench on which agents have run, and (handler, script) → id."""

    bench: AgentBench
    ids: dict[tuple[str, str], str] = field(default_factory=dict)

    @property
    def lab(self) -> rl.Lab:
        return self.bench.lab

    def diagnose(self, thresholds: Mapping[str, object]) -> rl.Diagnosis:
        return rl.doctor(self.lab, checks=CHECKS, thresholds=thresholds)

    def play(self) -> None:
        for handler, scripts in [*ENDING.items(), *STAYING.items()]:
            self.ids |= {(handler, name): self.bench.send(handler, f"[{name}] {PROMPT}") for name in scripts}
        for handler, scripts in ENDING.items():
            for name in scripts:
                self.bench.until(self.ids[handler, name], "completed")
        for handler in (RESPONSES, PYDANTIC):
            self.bench.until(self.ids[handler, "approval"], "suspended")


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(PLAIN, marks=pytest.mark.long)])
def cast(request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cast]:
    with running_agent_bench(request.param, tmp_path_factory.mktemp("agents")) as bench:
        cast = Cast(bench)
        cast.play()
        yield cast


@pytest.fixture(scope="module")
def diagnosis(cast: Cast) -> rl.Diagnosis:
    """Return the diagnosis once each agent has failed often enough, or has waited for long enough."""
    return wait_for(
        lambda: cast.diagnose(SOON),
        lambda each: len(each.by_severity("critical")) >= 4 and len(found(each, "for a person")) == 2,
        within=60,
    )


def found(diagnosis: rl.Diagnosis, text: str) -> list[tuple[str, str, list[str]]]:
    rows = diagnosis.findings[diagnosis.findings["title"].str.contains(text, regex=False)]
    return sorted(zip(rows["where"], rows["severity"], rows["ids"], strict=True))


def test_each_problem_is_found_with_its_ids(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    ids = cast.ids
    expected = {
        "equal arguments, up to 6 times": [(LIMITED, "warning", [ids[LIMITED, "loop"]])],
        "“find_station” again after it failed, up to 2 failures": [
            (RESPONSES, "note", [ids[RESPONSES, "fails-again"]])
        ],
        "“get_weather” with malformed arguments": [(RESPONSES, "note", [ids[RESPONSES, "broken"]])],
        "a refusal of the model": [(each, "critical", [ids[each, "refuse"]]) for each in (RESPONSES, PYDANTIC)],
        "a call of an unknown tool": [(RESPONSES, "critical", [ids[RESPONSES, "unknown-tool"]])],
        "model is not journaled": [(UNJOURNALED, "critical", [ids[UNJOURNALED, "one"]])],
        "journaled tokens; the median is": [(RESPONSES, "warning", [ids[RESPONSES, "large"]])],
        "for a person in the tool “ask_person”": [(RESPONSES, "warning", [ids[RESPONSES, "approval"]])],
        "for a person in one of the tools “ask_person”, “get_weather”": [
            (PYDANTIC, "warning", [ids[PYDANTIC, "approval"]])
        ],
    }
    assert {text: found(diagnosis, text) for text in expected} == expected
    long = found(diagnosis, "without a recorded error")
    assert [each for each in long if ids[RESPONSES, "slow"] in each[2]]
    assert len(diagnosis.findings) == sum(map(len, expected.values())) + len(long)


def test_the_named_questions_find_what_the_doctor_finds(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    assert len(diagnosis.findings) > 0
    ids = cast.ids
    loops, waits, tools, spend = (
        rl.ask(cast.lab, f"agent_{name}", limit=None) for name in ("loops", "waits", "tools", "spend")
    )
    assert loops.loc[0, ["id", "tool", "equal_calls"]].tolist() == [ids[LIMITED, "loop"], "get_weather", 6]
    assert len(rl.ask(cast.lab, "agent_loops", at_least=7)) == 0
    assert set(waits["id"]) == {ids[RESPONSES, "approval"], ids[PYDANTIC, "approval"]}
    assert waits.set_index("id").loc[ids[RESPONSES, "approval"], "tools"] == ["ask_person"]
    assert len(rl.ask(cast.lab, "agent_waits", older_than="1h")) == 0
    runs = rl.agent_runs(cast.lab)
    assert spend[["runs", "model_calls", "tool_calls"]].sum().tolist() == [
        len(runs),
        *runs[["model_calls", "tool_calls"]].sum(),
    ]
    assert spend["spent_tokens"].sum() == runs["spent_tokens"].sum()
    assert tools["calls"].sum() == runs["tool_calls"].sum()
    assert [text for text in PAYLOADS if text in f"{loops.to_csv()} {waits.to_csv()} {tools.to_csv()}"] == []
    assert waits.attrs["question"] == "agent_waits"
    assert waits.attrs["queries"]


def test_with_usual_thresholds_waits_and_calls_are_normal(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    assert len(diagnosis.findings) > 0
    usual = cast.diagnose({})
    assert not found(usual, "for a person")
    assert not found(usual, "without a recorded error")


def test_findings_have_no_payload(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    shown = f"{diagnosis} {diagnosis.findings.to_csv()} {diagnosis._repr_html_()} {json.dumps(diagnosis.queries)}"
    assert "get_weather" in shown
    assert [text for text in PAYLOADS if text in shown] == []


def test_unread_runs_make_a_diagnosis_incomplete(cast: Cast) -> None:
    diagnosis = cast.diagnose({"agent_runs": 2})
    reasons = diagnosis.not_read.set_index("part")["reason"]
    assert diagnosis.verdict == "incomplete"
    assert "only the 2 newest runs of agents in flight were read" in reasons["agent_tools"]
    assert "only the 2 newest runs of agents that ended recently were read" in reasons["agent_tools"]


def test_evidence_without_payloads_is_not_incomplete(cast: Cast, tmp_path: Path) -> None:
    rl.freeze(cast.lab, tmp_path / "bare.evidence", progress=False)
    with rl.open_evidence(tmp_path / "bare.evidence") as bare:
        diagnosis = rl.doctor(bare, checks=CHECKS)
    assert set(diagnosis.not_read["part"]) == set(CHECKS)
    assert not diagnosis.not_read["applies"].any()


def test_why_names_the_tool_and_the_model(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    """The wait has the tool, the step's name, the model if it is known, and the turn; no argument."""
    del diagnosis  # by now every agent waits or fails
    model = "gpt-4o-2024-08-06"
    expected = {
        (RESPONSES, "stuck"): "waits for its tool “get_weather” (step “get weather”), called by the model in turn 2",
        (PYDANTIC, "stuck"): f"waits for its tool “get_weather” (step “get weather”), called by {model} in turn 2",
        (RESPONSES, "approval"): "waits for its tool “ask_person”, called by the model in turn 1",
        (PYDANTIC, "approval"): f"waits for one of its tools “ask_person”, “get_weather”, called by {model} in turn 1",
        (PYDANTIC, "refuse"): f"repeats turn 1 in every attempt: {model} refused, and the refusal is in the journal",
    }
    explanations = {key: rl.why(cast.lab, cast.ids[key]) for key in expected}
    agents = {key: dict(each.facts)["agent"] for key, each in explanations.items()}
    assert agents == expected
    assert f"It {dict(explanations[PYDANTIC, 'stuck'].facts)['agent']}." in explanations[PYDANTIC, "stuck"].summary
    assert "agent" not in dict(rl.why(cast.lab, cast.ids[RESPONSES, "one"]).facts)
    for key, error in (
        ((RESPONSES, "refuse"), "ModelRefusalError(…)"),
        ((PYDANTIC, "refuse"), "ContentFilterError(…)"),
    ):
        why = rl.why(cast.lab, cast.ids[key])
        assert error in str(why)
        assert "cannot help" not in f"{why} {why._repr_html_()} {why.facts}"
    assert "agent" not in dict(rl.why(cast.lab, cast.ids[UNJOURNALED, "one"]).facts)


def test_a_journaled_response_is_one_finding_and_why_puts_a_resume_last(cast: Cast, diagnosis: rl.Diagnosis) -> None:
    del diagnosis  # by now every agent waits or fails
    whole = rl.doctor(cast.lab, thresholds=SOON)
    stuck = {cast.ids[key] for key in ((RESPONSES, "refuse"), (PYDANTIC, "refuse"), (RESPONSES, "unknown-tool"))}
    reported = whole.findings[[bool(stuck & set(ids)) for ids in whole.findings["ids"]]]
    assert set(reported["check"]) == {"agent_models"}
    assert contradictions(cast.lab, whole) == []
    for id_ in stuck:
        options = rl.why(cast.lab, id_).options
        assert options["action"].iloc[0] == "kill, change the code, restart"
        assert "repair" not in set(options["action"])


def test_lists_and_questions_have_no_refusal(cast: Cast) -> None:
    """The text with which a model refused is a payload; a list and a question have the class of the error."""
    names = ("retry_storm", "error_onset", "failing_deployments", "error_families", "terminal_failures", "paused")
    frames = [rl.ask(cast.lab, name) for name in names] + [read_rows(cast.lab, Filters(status=(ALL,))).frame]
    texts = [frame.to_csv() for frame in frames]
    assert not [text for text in texts if "cannot help" in text]
    assert sum("ModelRefusalError(…)" in text for text in texts) >= 3


def test_redrive_shows_the_tokens_that_are_spent_again(cast: Cast) -> None:
    """The tokens are those that the ledger has for the repeated calls of the model, and none if all steps are kept."""
    id_ = cast.ids[LIMITED, "loop"]
    paid = [each["input_tokens"] + each["output_tokens"] for each in cast.bench.answers(id_)]
    assert len(paid) == 6
    plans = [rl.redrive(cast.lab, [id_], overrides=overrides) for overrides in ({}, {id_: 2}, {id_: 0})]
    assert [each.frame["repeated_tokens"].tolist() for each in plans] == [[0], [sum(paid[1:])], [sum(paid)]]
    assert f"and spends about {sum(paid):,} journaled tokens again" in str(plans[-1])
    assert "tokens" not in str(plans[0])
