"""Panels without a browser that somebody looks at, and what they say."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from restate_lab.panels._base.panel import Panel

__all__ = ["closing", "mark_visible", "panel_threads"]


def mark_visible(*panels: Panel) -> None:
    """Say what the views of these panels say every ten seconds: that a reader can see them."""
    for panel in panels:
        panel._head._handle_custom_msg({"type": "alive", "view": "reader", "in_sight": True}, [])


@contextlib.contextmanager
def closing(*panels: Panel) -> Iterator[None]:
    """Have panels looked at, and close them; they leave no thread."""
    mark_visible(*panels)
    try:
        yield
    finally:
        for panel in panels:
            panel.close()
    assert panel_threads() == []


def panel_threads() -> list[str]:
    """Return the names of the threads that panels have."""
    return [each.name for each in threading.enumerate() if each.name.startswith("restate-lab")]
