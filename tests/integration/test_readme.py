"""The commands that the README gives to a new user work."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import restate_lab as rl

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")


def test_the_two_commands_are_the_whole_set_up() -> None:
    """Each of the two commands starts with only Python, and installs exactly the declared package."""
    demo, tests = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    assert demo == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[demo]' && .venv/bin/restate-lab demo"
    assert tests == "python3 -m venv .venv && .venv/bin/pip install -q -e '.[dev]' && .venv/bin/pytest"
    command = Path(sys.executable).with_name("restate-lab")
    told = subprocess.run([command, "--version"], capture_output=True, text=True, check=True)
    assert rl.__version__ in told.stdout


def test_every_function_that_the_readme_names_exists() -> None:
    for name in set(re.findall(r"\brl\.(\w+)\(", README)):
        assert name in rl.__all__
    for name in set(re.findall(r"\blab\.(\w+)\(", README)):
        assert hasattr(rl.Lab, name)
