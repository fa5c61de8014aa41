"""Replay recorded agents in a process with their packages, without a network and without a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from restate_lab.debugging import record_of
from restate_lab.demo.embedded import model_settings
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.environment import clean_environment
from support.agent_bench import AgentBench

HERE = Path(__file__).parent
NOWHERE = "http://127.0.0.1:9"


def replay_agents(
    bench: AgentBench, ids: Mapping[str, str], app: str, folder: Path, python: str = sys.executable
) -> dict[str, dict[str, Any]]:
    """Record invocations by their names, and return the result of ``replay_records`` for each."""
    folder.mkdir()
    for name, id_ in ids.items():
        record_of(bench.lab, id_).save(folder / f"{name}.json")
    modules = (HERE.parents[1], HERE, HERE / "integrations")
    env = clean_environment(
        **model_settings(NOWHERE),
        **{FOLDER_VARIABLE: str(bench.folder), "PYTHONPATH": os.pathsep.join(map(str, modules))},
        LANGSMITH_TRACING="false",
    )
    command = [python, str(HERE / "replay_records.py"), app, str(folder)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return {result["name"]: result for result in map(json.loads, done.stdout.splitlines())}


def recorded_end(path: Path) -> tuple[str, Any]:
    """Return how a recorded invocation ended: ("returns", its value), ("fails", its message), or ("", None)."""
    content = json.loads(path.read_text("utf-8"))
    last = content["entries"][-1]
    if last["type"] != "Command: Output":
        return "", None
    return ("fails", last["failure"]["message"]) if "failure" in last else ("returns", json.loads(last["value"]))


def is_recorded_end(result: Mapping[str, Any], end: tuple[str, Any]) -> bool:
    """Return whether a replay ended as recorded; one that was killed stops at its open command, or fails as before."""
    outcome, value = end
    if not outcome:
        return result["outcome"] in {"step without result", "waits"} or bool(result.get("is_as_in_production"))
    if outcome == "fails":
        return result["outcome"] == "fails" and bool(result.get("is_as_in_production"))
    return (result["outcome"], result.get("returned")) == (outcome, value)
