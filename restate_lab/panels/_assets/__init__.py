"""The scripts and styles that panels send to the browser; each is one text, joined from files by subject."""

from __future__ import annotations

from importlib.resources import files

__all__ = ["read_assets"]


def read_assets(*names: str) -> str:
    """Return these files of this folder as one text; what stands in one is known in those after it."""
    folder = files("restate_lab.panels")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)
