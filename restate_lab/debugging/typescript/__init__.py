"""The test of a record for an app in TypeScript or JavaScript: its files, and what it does when it runs once."""

from __future__ import annotations

from restate_lab.debugging.typescript.files import HELPER, NOT_REFUSED_IN_NODE, RUNNERS, SUFFIXES, files_of
from restate_lab.debugging.typescript.run import NodeOutcome, run_once

__all__ = ["HELPER", "NOT_REFUSED_IN_NODE", "RUNNERS", "SUFFIXES", "NodeOutcome", "files_of", "run_once"]
