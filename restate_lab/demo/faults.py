"""The switches of the demo: break a service on purpose, and repair it while the demo runs.

For each repaired problem there is an empty file in the demo's folder. Notebooks, tests and services read this file.
"""

from __future__ import annotations

import os
from pathlib import Path

from restate_lab.errors import SettingsError

FOLDER_VARIABLE = "RESTATE_LAB_DEMO_FOLDER"
PROBLEMS = ("weather",)


def fix(problem: str = "weather", *, folder: Path | None = None) -> None:
    """Repair a problem of the demo: with "weather", the weather service responds for Denver again.

    ``folder`` is the demo's folder; None means the folder of the JupyterLab that the demo started.

    Raises:
        ValueError: the problem is unknown.
        SettingsError: the folder of the demo is not known.

    """
    switch = _switch(problem, folder)
    switch.parent.mkdir(parents=True, exist_ok=True)
    switch.touch()


def break_again(problem: str = "weather", *, folder: Path | None = None) -> None:
    """Undo a repair, so that a notebook can run again; the arguments are the same as for ``fix``."""
    _switch(problem, folder).unlink(missing_ok=True)


def is_fixed(problem: str = "weather", *, folder: Path | None = None) -> bool:
    """Return whether the problem has been repaired."""
    return _switch(problem, folder).exists()


def _switch(problem: str, folder: Path | None) -> Path:
    if problem not in PROBLEMS:
        raise ValueError(f"unknown problem {problem!r}; choose from {', '.join(PROBLEMS)}")
    return demo_folder(folder) / "fixed" / problem


def demo_folder(folder: Path | None = None) -> Path:
    """Return the folder of the demo: ``folder``, or that of the JupyterLab that the demo started.

    Raises:
        SettingsError: the folder of the demo is not known.

    """
    known = folder or os.environ.get(FOLDER_VARIABLE)
    if known is None:
        raise SettingsError(f"demo folder not known; run this in the demo's JupyterLab, or set {FOLDER_VARIABLE}")
    return Path(known)
