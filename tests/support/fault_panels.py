"""Panels without a browser: mark them as visible, close them, and list their threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from restate_lab.panels.panel import Panel


def mark_visible(*panels: Panel) -> None:
    """Send the message that a visible view sends every ten seconds."""
    for panel in panels:
        panel.head.receive({"type": "alive", "view": "reader", "in_sight": True})


@contextlib.contextmanager
def closing(*panels: Panel) -> Iterator[None]:
    """Mark panels as visible, close them at the end, and check that no thread of theirs is left."""
    mark_visible(*panels)
    try:
        yield
    finally:
        for panel in panels:
            panel.close()
    assert panel_threads() == []


def panel_threads() -> list[str]:
    """Return the names of the threads that belong to panels."""
    return [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")]
