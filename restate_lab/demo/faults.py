"""The switches of the demo: what is broken on purpose, and how to repair it while everything runs.

A repaired problem is an empty file in the demo's folder, so that a notebook, a test and the services see the same.
"""

from __future__ import annotations

import os
from pathlib import Path

from restate_lab.errors import SettingsError

__all__ = ["FOLDER_VARIABLE", "PROBLEMS", "break_again", "fix", "is_fixed"]

FOLDER_VARIABLE = "RESTATE_LAB_DEMO_FOLDER"
PROBLEMS = ("weather",)


def fix(problem: str = "weather", *, folder: Path | None = None) -> None:
    """Repair what the demo broke on purpose: "weather" makes the weather service answer for Denver again.

    ``folder`` is the demo's; None takes the one that the demo's own JupyterLab knows.

    Raises:
        ValueError: there is no such problem.
        SettingsError: no demo is known here.

    """
    switch = _switch(problem, folder)
    switch.parent.mkdir(parents=True, exist_ok=True)
    switch.touch()


def break_again(problem: str = "weather", *, folder: Path | None = None) -> None:
    """Take a repair back, so that a notebook can tell its story once more; the rest is as in ``fix``."""
    _switch(problem, folder).unlink(missing_ok=True)


def is_fixed(problem: str = "weather", *, folder: Path | None = None) -> bool:
    """Return whether that problem has been repaired."""
    return _switch(problem, folder).exists()


def _switch(problem: str, folder: Path | None) -> Path:
    if problem not in PROBLEMS:
        raise ValueError(f"the demo has no problem {problem!r}; it has: {', '.join(PROBLEMS)}")
    known = folder or os.environ.get(FOLDER_VARIABLE)
    if known is None:
        raise SettingsError(f"no demo is known here: run this in the demo's JupyterLab, or set {FOLDER_VARIABLE}")
    return Path(known) / "fixed" / problem
