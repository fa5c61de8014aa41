"""What the README tells a newcomer to type works."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

import restate_lab as rl
from support.clusters import Cluster

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_the_lines_of_python_run(newest: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The README's python block runs as it stands, against the cluster that the environment names."""
    monkeypatch.setenv("RESTATE_ADMIN_URL", newest.admin_url)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    (block,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names: dict[str, object] = {}
    exec(block, names)  # noqa: S102 - our own text
    assert repr(names["lab"]).startswith(f"<Lab {newest.admin_url.removeprefix('http://')} at")


def test_the_two_commands_are_the_whole_set_up() -> None:
    """Each of the two commands begins with nothing but Python, and ends in what the package declares."""
    demo, tests = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert demo == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/restate-lab demo"
    assert tests == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"
    command = Path(sys.executable).with_name("restate-lab")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert rl.__version__ in told.stdout


def test_every_call_in_the_table_exists() -> None:
    """The names in "I want to … → call" are names of the package."""
    for name in set(re.findall(r"\brl\.(\w+)\(", README)):
        assert name in rl.__all__
    for name in set(re.findall(r"\blab\.(\w+)\(", README)):
        assert hasattr(rl.Lab, name)
