"""The names of clusters that can be completed: the environments of the restate CLI."""

from __future__ import annotations

from pathlib import Path

from restate_lab.client.cli_config import read_config, read_variables
from restate_lab.errors import SettingsError

__all__ = ["environments"]


def environments() -> list[str]:
    """Return the environments that the restate CLI knows here; none where its configuration is broken."""
    try:
        return read_config(read_variables(None), Path()).names
    except SettingsError:
        return []
