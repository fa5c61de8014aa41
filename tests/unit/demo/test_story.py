"""The story, its execution, and its services.

Tests import the agent and JupyterLab themselves: that takes seconds, and each worker collects every module.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from restate_lab.demo import fix
from restate_lab.demo.faults import FOLDER_VARIABLE, is_fixed
from restate_lab.demo.install import AgentEnvironment
from restate_lab.demo.stories import STORIES, player
from restate_lab.demo.stories.first_look import FIRST_LOOK
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import Send
from restate_lab.errors import SettingsError, TimedOut
from restate_lab.status import STATUSES


class FakeApi:
    """Accepts sends and gives every invocation its status at the second poll."""

    def __init__(self, reaches: dict[str, str]) -> None:
        self.sent: list[tuple[str, Any, str | None]] = []
        self.looks = 0
        self._reaches = reaches

    def send(self, handler: str, body: Any, *, delay: str | None = None, idempotency_key: str | None = None) -> str:
        self.sent.append((handler, body, delay))
        return f"inv_{handler}"

    def statuses(self, ids: Iterable[str]) -> dict[str, str]:
        self.looks += 1
        return {id_: self._reaches[id_] if self.looks > 1 else "ready" for id_ in ids}


STORY = (Send("first", "agent/run", "hi", "succeeded"), Send("later", "Inventory/a/restock", 1, "scheduled", "1h"))


def test_play_sends_waits_and_remembers(tmp_path: Path) -> None:
    """A story is sent in order, waited for, and its roles are returned and written to a file."""
    api = FakeApi({"inv_agent/run": "succeeded", "inv_Inventory/a/restock": "scheduled"})
    roles = play(api, STORY, tmp_path)  # type: ignore[arg-type]
    assert api.sent == [("agent/run", "hi", None), ("Inventory/a/restock", 1, "1h")]
    assert api.looks == 2
    assert roles == json.loads((tmp_path / "roles.json").read_text())
    assert roles == {"first": "inv_agent/run", "later": "inv_Inventory/a/restock"}


def test_a_story_that_was_played_in_the_folder_is_not_sent_again(tmp_path: Path) -> None:
    (tmp_path / "roles.json").write_text('{"first": "inv_1"}')
    api = FakeApi({})
    assert play(api, STORY, tmp_path) == {"first": "inv_1"}  # type: ignore[arg-type]
    assert not api.sent


def test_play_names_the_invocation_that_is_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(player, "SETTLED_WITHIN", 0.0)
    api = FakeApi({"inv_agent/run": "backing-off", "inv_Inventory/a/restock": "scheduled"})
    api.looks = 1
    with pytest.raises(TimedOut, match=r"first is backing-off, not succeeded$"):
        play(api, STORY, tmp_path)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_roles_are_unique_and_statuses_known() -> None:
    assert len({step.role for step in FIRST_LOOK}) == len(FIRST_LOOK)
    assert {step.reaches for step in FIRST_LOOK} <= set(STATUSES)


def test_weather_fails_for_denver_until_it_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only Denver fails, `fix` repairs it while everything runs, and the weather is the same each time."""
    from restate_lab.demo.services.agent import WeatherDown, current_weather

    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    assert current_weather("Detroit") == current_weather("Detroit") != current_weather("Lisbon")
    with pytest.raises(WeatherDown, match="Denver"):
        current_weather("Denver")
    fix("weather")
    assert is_fixed("weather")
    assert "°C" in current_weather("Denver")


def test_fix_needs_a_demo_and_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FOLDER_VARIABLE, raising=False)
    with pytest.raises(SettingsError, match="demo folder not known"):
        fix()
    with pytest.raises(ValueError, match=r"wether.*weather"):
        fix("wether", folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_agents_find_their_own_packages_and_this_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The programs of the agents run with the other environment; a demo that continues replaces the links."""
    from restate_lab.demo import run

    for cache in (tmp_path / "old", tmp_path / "new"):
        monkeypatch.setattr(run, "install_agents", lambda cache=cache: AgentEnvironment(cache))
        travel, typescript = run.agent_services(tmp_path)
        code = tmp_path / "agents"
        assert travel.command[0] == str(cache / "python" / "bin" / "python")
        assert travel.env == {"PYTHONPATH": str(code)}
        assert (code / "restate_lab").resolve() == Path(run.__file__).parents[1].resolve()
        assert sorted(each.name for each in code.iterdir()) == [
            "node_modules",
            "package.json",
            "restate_lab",
            "weather_agent.ts",
        ]
        assert (code / "node_modules").readlink() == cache / "node" / "node_modules"
        assert typescript.command[-1] == str(code / "weather_agent.ts")


@pytest.mark.parametrize(
    ("played", "noted", "wanted", "expected"),
    [
        (False, None, "agents", "agents"),
        (True, "agents", "incident", "agents"),  # its invocations need the services of their story
        (True, None, "first-look", "first-look"),  # from a version that did not note the story
    ],
)
def test_a_kept_folder_continues_its_own_story(
    tmp_path: Path, *, played: bool, noted: str | None, wanted: str, expected: str
) -> None:
    """The story of a folder is noted before it is played, and is valid once it was played."""
    from restate_lab.demo import run

    if played:
        (tmp_path / "roles.json").write_text('{"first": "inv_1"}')
    if noted:
        (tmp_path / "story.txt").write_text(noted)
    assert run._story_of(tmp_path, wanted) == expected
    assert played or (tmp_path / "story.txt").read_text() == wanted


def test_a_notebook_that_exists_is_not_copied_again(tmp_path: Path) -> None:
    from restate_lab.demo.run import NOTEBOOKS, copy_notebooks

    copy_notebooks(tmp_path / "new")
    assert all((tmp_path / "new" / name).is_file() for name in NOTEBOOKS.values())
    assert set(NOTEBOOKS) == set(STORIES)
    first = tmp_path / "new" / NOTEBOOKS["incident"]
    first.write_text("mine")
    copy_notebooks(tmp_path / "new")
    assert first.read_text() == "mine"


def test_a_copied_notebook_names_this_python_as_jupyterlab_does(tmp_path: Path) -> None:
    """Otherwise JupyterLab corrects the metadata when it opens the notebook, and marks it as changed."""
    from ipykernel.ipkernel import IPythonKernel
    from ipykernel.kernelspec import get_kernel_dict

    from restate_lab.demo.run import NOTEBOOKS, copy_notebooks

    copy_notebooks(tmp_path)
    content = json.loads((tmp_path / NOTEBOOKS["incident"]).read_text("utf-8"))
    spec = get_kernel_dict()
    assert content["metadata"]["language_info"] == IPythonKernel.language_info
    assert content["metadata"]["kernelspec"] == {
        "display_name": spec["display_name"],
        "language": spec["language"],
        "name": "python3",
    }


def test_the_settings_of_the_demo_are_its_own_and_are_written_once(tmp_path: Path) -> None:
    """JupyterLab finds the layout under the name of its default workspace; a layout that the user left stays."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    from restate_lab.demo.jupyter import WORKSPACE, _write_settings

    _write_settings(tmp_path)
    workspace = tmp_path / "workspaces" / WORKSPACE
    manager = WorkspacesManager(str(tmp_path / "workspaces"))
    assert manager.load("default")["data"]["layout-restorer:data"] == {"left": {"collapsed": True}}
    workspace.write_text("{}")
    _write_settings(tmp_path)
    assert workspace.read_text() == "{}"
