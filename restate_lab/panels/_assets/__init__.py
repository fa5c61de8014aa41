"""The scripts and styles that panels send to the browser; several files are joined into one text."""

from __future__ import annotations

from importlib.resources import files


def read_assets(*names: str) -> str:
    """Return these files of the folder ``panels`` as one text; later files can use the functions of earlier ones."""
    folder = files("restate_lab.panels")
    return "\n".join(folder.joinpath(name).read_text("utf-8") for name in names)
