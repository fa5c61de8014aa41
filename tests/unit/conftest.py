"""Unit tests start no server and no process that could outlive them: they need no session fixture for either."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def no_process_left() -> None:
    """Replace the fixture of the suite that searches for processes of servers."""


@pytest.fixture(scope="module", autouse=True)
def idle_clusters_end() -> None:
    """Replace the fixture of the suite that ends servers."""


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns after each few instructions, so that a race shows up."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
