"""The distributions that a container installs, and a folder in which Python finds only these.

The lists are those of ``pyproject.toml``; the distributions behind them are read from the environment of the tests.
"""

from __future__ import annotations

import importlib.metadata
import tomllib
from collections.abc import Collection, Iterable
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import restate_lab

PACKAGE = Path(restate_lab.__file__).parent
PROJECT = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text("utf-8"))["project"]
NOTEBOOK = ("anywidget", "ipywidgets", "jupyterlab", "matplotlib")
"""The required distributions that a container does not have."""
EXTRAS = ("history", "mcp", "serve", "watch")
"""The extras of a container."""


def required() -> list[str]:
    """Return the requirements of restate_lab without extras."""
    return list(PROJECT["dependencies"])


def required_in_container() -> list[str]:
    return [each for each in required() if Requirement(each).name not in NOTEBOOK]


def of_extras(*extras: str) -> list[str]:
    """Return the requirements of extras; an extra of restate_lab in them is replaced by its own requirements."""
    found: list[str] = []
    for text in (text for extra in extras for text in PROJECT["optional-dependencies"][extra]):
        each = Requirement(text)
        found += of_extras(*sorted(each.extras)) if each.name == "restate-lab" else [text]
    return found


def closure(requirements: Iterable[str]) -> set[str]:
    """Return the names of the distributions that pip would install for these requirements."""
    found: dict[str, set[str]] = {}
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        each = waiting.pop()
        name = canonicalize_name(each.name)
        new = {"", *each.extras} - found.get(name, set())
        if not new:
            continue
        found.setdefault(name, set()).update(new)
        behind = [Requirement(text) for text in importlib.metadata.requires(name) or []]
        waiting += [
            one for one in behind if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in new)
        ]
    return set(found)


def link(folder: Path, names: Collection[str]) -> Path:
    """Make a folder with links to the modules of these distributions and return it."""
    folder.mkdir()
    for name in names:
        distribution = importlib.metadata.distribution(name)
        for top in {each.parts[0] for each in distribution.files or ()} - {"..", "__pycache__"}:
            if not (folder / top).exists():  # several distributions can share a namespace
                (folder / top).symlink_to(Path(str(distribution.locate_file(top))))
    return folder


def link_restate_lab(folder: Path) -> None:
    """Add restate_lab to a folder: the package of this checkout, and the metadata that pip wrote for it."""
    (folder / PACKAGE.name).symlink_to(PACKAGE)
    files = importlib.metadata.distribution("restate-lab").files or ()
    (metadata,) = {each.parts[0] for each in files if each.parts[0].endswith(".dist-info")}
    (folder / metadata).symlink_to(Path(str(importlib.metadata.distribution("restate-lab").locate_file(metadata))))
