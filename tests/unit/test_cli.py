"""The command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import restate_lab
from restate_lab.cli import app
from restate_lab.errors import RestateLabError


def call(*arguments: str) -> Any:
    return CliRunner().invoke(app, list(arguments))


def test_version() -> None:
    """`--version` prints the version and nothing else."""
    assert call("--version").output == f"restate-lab {restate_lab.__version__}\n"


def test_help_names_every_option_of_the_demo() -> None:
    """`demo --help` explains each option."""
    help_text = call("demo", "--help").output
    for option in ("--no-browser", "--once", "--keep", "--vqueues", "--server", "--story"):
        assert option in help_text


@pytest.mark.parametrize("code", [0, 1])
def test_demo_passes_its_options_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int) -> None:
    """Each option reaches the demo, and its exit code the shell."""
    seen: dict[str, Any] = {}

    def run_demo(**options: Any) -> int:
        seen.update(options)
        return code

    monkeypatch.setattr("restate_lab.demo.run.run_demo", run_demo)
    options = ["--no-browser", "--once", "--keep", str(tmp_path), "--vqueues", "--server", "/bin/sh"]
    result = call("demo", *options, "--story", "incident")
    assert result.exit_code == code
    assert seen == {
        "browser": False,
        "once": True,
        "keep": tmp_path,
        "vqueues": True,
        "server": Path("/bin/sh"),
        "story": "incident",
    }


def test_errors_are_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of ours is printed without a traceback, with exit code 1."""

    def run_demo(**_: Any) -> int:
        raise RestateLabError("npm could not install it")

    monkeypatch.setattr("restate_lab.demo.run.run_demo", run_demo)
    result = call("demo")
    assert result.exit_code == 1
    assert result.output == "restate-lab: npm could not install it\n"
