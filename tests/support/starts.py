"""Which modules of a run start servers, JupyterLabs and browsers: each process of the run adds lines to one file."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from restate_lab.demo.process import Process

_FILE = "TESTS_STARTS"
"""The variable with the path of the file."""
_PROGRAMS = {"restate-server": "restate-server", "jupyterlab": "JupyterLab"}
"""What a command contains → the name of the program in the summary."""
Starts = Counter[tuple[str, str]]
"""(program, module) → how often the module started it."""


def record_starts(patch: pytest.MonkeyPatch, file: str) -> None:
    """Add each program that `demo.process.Process` starts to the file, and what `note_start` gets."""
    start = Process.__init__

    def recorded(self: Process, command: Sequence[str], **options: Any) -> None:
        for part, program in _PROGRAMS.items():
            if any(Path(word).name == part for word in command):
                _add(file, program)
        start(self, command, **options)

    patch.setenv(_FILE, file)
    patch.setattr(Process, "__init__", recorded)


def note_start(program: str) -> None:
    """Add a program that the current test starts in another way."""
    _add(os.environ[_FILE], program)


def _add(file: str, program: str) -> None:
    module = os.environ.get("PYTEST_CURRENT_TEST", "").partition("::")[0].removeprefix("tests/")
    with Path(file).open("a") as lines:
        lines.write(f"{program}\t{module}\n")


def read_starts(file: str) -> Starts:
    """Return how often each module of the run started each program."""
    lines = Path(file).read_text().splitlines()
    return Counter((program, module) for program, _, module in (line.partition("\t") for line in lines))


def describe_starts(starts: Starts) -> list[str]:
    """Return one line per program, with the modules that started it, the most frequent first."""
    lines = []
    for program in sorted({program for program, _ in starts}):
        modules = [(module, count) for (name, module), count in starts.most_common() if name == program]
        total = sum(count for _, count in modules)
        lines.append(f"{total} {program}: " + ", ".join(f"{count} {module}" for module, count in modules))
    return lines
