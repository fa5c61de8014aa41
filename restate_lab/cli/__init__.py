"""The command ``restate-lab``."""

from __future__ import annotations

from restate_lab.cli.app import app, main

__all__ = ["app", "main"]
