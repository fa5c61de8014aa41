"""The story "agents" of the demo: each agent has its outcome, and its notebook explains them.

Its services run in an environment of their own, which is installed into the developer's cache. That takes most of a
minute of processor time, so these tests are long.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import nbformat
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab import demo
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.install import install_agents
from restate_lab.demo.notebook import run_notebook
from restate_lab.demo.run import NOTEBOOKS, agent_services, notebook_environment
from restate_lab.demo.stories.agents import AGENTS
from support.clusters import NEWEST, PLAIN, running_demo
from support.isolation import original_environment
from support.statuses import statuses

pytestmark = [pytest.mark.server, pytest.mark.long, pytest.mark.timeout(900)]  # seconds; the first test installs

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / NOTEBOOKS["agents"]
TOKENS = ["input_tokens", "output_tokens"]


@dataclass
class Story:
    running: Embedded
    lab: rl.Lab
    ledger: pd.DataFrame

    def id(self, role: str) -> str:
        return self.running.roles[role]

    def conversation(self, role: str, **options: object) -> rl.Conversation:
        return rl.conversation(self.lab, self.id(role), **options)  # type: ignore[arg-type]

    def tools(self, role: str) -> list[tuple[str | None, str]]:
        """Return the name of each tool of an agent, and how its result is known."""
        return [(turn.tool, turn.how) for turn in self.conversation(role).turns if turn.role == "tool"]

    def paid(self, *roles: str) -> pd.DataFrame:
        ids = [self.id(role) for role in roles]
        return self.ledger[self.ledger["invocation_id"].isin(ids) & (self.ledger["status"] == 200)]


@pytest.fixture(scope="module", params=[NEWEST, PLAIN])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("agents")
    with original_environment():
        more = agent_services(folder)
    with (
        running_demo(request.param, folder, story=AGENTS, more=more) as running,
        rl.connect(running.server.admin_url, read_only=True) as lab,
    ):
        yield Story(running, lab, demo.ledger(folder=folder))


@pytest.fixture(scope="module")
def runs(story: Story) -> pd.DataFrame:
    by_id = {id_: role for role, id_ in story.running.roles.items()}
    runs = rl.agent_runs(story.lab)
    return runs.set_index(runs["id"].map(by_id))


def test_every_agent_has_its_outcome(story: Story, runs: pd.DataFrame) -> None:
    now = statuses(story.lab)
    final = {step.role: step.reaches for step in AGENTS}
    retrying = {"backing-off", "running"}  # an attempt may be running now
    assert {role for role, status in final.items() if now[story.id(role)] not in {status, *retrying}} == set()
    expected = {
        "parallel": ("Pydantic AI", 2, 4),
        "nested": ("OpenAI Agents", 2, 1),
        "nested_scout": ("Pydantic AI", 2, 4),
        "loop": ("OpenAI Agents", 6, 6),
        "refused": ("OpenAI Agents", 1, 0),
        "turn_1": ("OpenAI Agents", 2, 1),
        "turn_2": ("OpenAI Agents", 2, 1),
        "turn_3": ("OpenAI Agents", 1, 0),
        "typescript": ("Vercel AI", 2, 1),
        "waiting": ("OpenAI Agents", 2, 2),
        "approved": ("OpenAI Agents", 3, 2),
        "killed": ("OpenAI Agents", 2, 2),
        "restarted": ("OpenAI Agents", 3, 2),
    }
    found = {row.Index: (row.framework, row.model_calls, row.tool_calls) for row in runs.itertuples()}
    assert found == expected


def test_the_journals_have_every_token_that_was_paid(story: Story, runs: pd.DataFrame) -> None:
    paid = story.ledger[story.ledger["status"] == 200].groupby("invocation_id")[TOKENS].sum().sum(axis="columns")
    assert dict(zip(runs["id"], runs["spent_tokens"], strict=True)) == paid.to_dict()


def test_tools_are_matched(story: Story) -> None:
    """Parallel tools, the call of another agent and a plain tool are matched by order, sessions and Vercel by id."""
    both = [("get_weather", "by order")] * 2 + [("get_hotel_price", "by order")] * 2
    assert story.tools("parallel") == story.tools("nested_scout") == both
    assert story.tools("nested") == [("ask_scout", "by order")]
    assert story.tools("loop") == [("find_ferry", "by order")] * 6
    assert story.tools("turn_1") == story.tools("turn_2") == story.tools("typescript") == [("get_weather", "by id")]
    assert [tool for tool, _ in story.tools("approved")] == ["reserve_seat", "ask_manager"]


def test_the_texts_of_each_conversation_equal_the_ledger(story: Story) -> None:
    for role in ("parallel", "nested", "typescript", "approved", "turn_3"):
        texts = [turn.text for turn in story.conversation(role).turns if turn.role == "assistant"]
        assert texts == [None if pd.isna(text) else text for text in story.paid(role)["text"]], role


def test_nested_agents_and_sessions_are_one_conversation(story: Story) -> None:
    """`depth=2` has the turns of the scout, and `session=True` all turns of the traveller."""
    depths = [turn.depth for turn in story.conversation("nested", depth=2).turns]
    assert (depths.count(1), depths.count(2)) == (4, 7)
    session = story.conversation("turn_2", session=True)
    assert list(dict.fromkeys(turn.id for turn in session.turns)) == [story.id(f"turn_{n}") for n in (1, 2, 3)]


def test_a_restart_from_the_last_step_pays_no_step_twice(story: Story, runs: pd.DataFrame) -> None:
    restarted, killed = runs.loc["restarted"], runs.loc["killed"]
    assert restarted["restarted_from"] == killed["id"]
    assert restarted["saved_tokens"] == killed["spent_tokens"] > 0 == killed["wasted_tokens"]
    assert story.paid("killed", "restarted")["step"].tolist() == [0, 1, 2]
    assert len(story.paid("killed")) == 2


def test_the_typescript_agent_has_its_whole_prompt(story: Story) -> None:
    """The conversation begins with the instructions, and no header of the provider is shown."""
    conversation = story.conversation("typescript")
    assert [turn.role for turn in conversation.turns] == ["system", "user", "assistant", "tool", "assistant"]
    assert conversation.turns[0].text == "You answer questions about the weather. Call the tool for each city."
    assert "canary" not in json.dumps(conversation.messages()) + str(conversation) + str(conversation.frame.to_dict())


def test_the_environment_of_the_agents_has_only_their_packages(story: Story) -> None:
    with original_environment():
        environment = install_agents()
    assert environment.is_complete()
    site = next(environment.home.glob("python/lib/python*/site-packages"))
    assert not list(site.glob("pandas*"))
    assert story.running.more.keys() == {"travel", "typescript"}
    story.running.check()


def test_the_notebook_explains_every_agent(story: Story, tmp_path: Path) -> None:
    """It only reads, so it runs twice with the same result: each cause is found, and the ledger proves the tokens."""
    running = story.running
    env = notebook_environment(running.folder, running.server.admin_url, running.server.ingress_url)
    for attempt in (1, 2):
        done = run_notebook(NOTEBOOK, tmp_path / f"{attempt}.ipynb", env=env)
        assert not done.failure, done.failure
        cells = nbformat.read(done.executed, as_version=4).cells
        output = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}
        assert not [each for each in chain(*output.values()) if each.output_type == "stream"]
        plain = {id_: outputs[-1].data["text/plain"] for id_, outputs in output.items()}
        assert "1 critical · 2 warnings" in plain["doctor"]
        for cause, role in (("agent_models", "refused"), ("agent_tools", "loop"), ("agent_waits", "waiting")):
            assert f"{cause} [{story.id(role)}]" in " ".join(plain["found"].split())
        assert plain["loop"].count("find_ferry") == 6
        assert "the refusal is in the journal" in plain["refused"]
        assert "waits for its tool “ask_manager”" in plain["waiting"]
        for picture in ("spend", "approved"):
            assert "<svg" in output[picture][-1].data["text/html"]
        assert plain["parallel"].count("by order") == 4
        assert "  user\n    Compare Rome and Oslo" in plain["nested"]
        assert [plain["session"].count(city) > 0 for city in ("Lisbon", "Porto")] == [True, True]
        assert plain["paid-once"] == plain["same-tokens"] == "True"
        assert plain["typescript"].splitlines()[1] == "system"
        assert plain["messages"].startswith("[{'role': 'system'")
