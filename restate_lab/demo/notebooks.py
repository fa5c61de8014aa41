"""The notebooks that come with restate_lab: in the package when it is installed, beside it in a checkout."""

from __future__ import annotations

import shutil
from pathlib import Path

from restate_lab.errors import RestateLabError

__all__ = ["FIRST_NOTEBOOK", "NOTEBOOK_OF", "copy_notebooks"]

FIRST_NOTEBOOK = "01_first_look.ipynb"
NOTEBOOK_OF = {"incident": "03_incident.ipynb"}
"""Story → the notebook that tells it and is opened with it; with any other it is the first."""


def copy_notebooks(folder: Path) -> None:
    """Copy the notebooks into a folder; one that is there already may have been worked on, and stays."""
    folder.mkdir(parents=True, exist_ok=True)
    for notebook in _sources():
        if not (folder / notebook.name).exists():
            shutil.copyfile(notebook, folder / notebook.name)


def _sources() -> list[Path]:
    here = Path(__file__).resolve()
    for folder in (here.parent / "notebooks", here.parents[2] / "notebooks"):
        if found := sorted(folder.glob("*.ipynb")):
            return found
    raise RestateLabError("this installation of restate_lab has no notebooks; install it again")
