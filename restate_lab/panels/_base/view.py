"""One view of a panel: what it reads and how it shows that; the panel around it has the toolbar, threads and errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

if TYPE_CHECKING:
    from restate_lab.panels._base.panel import LivePanel

__all__ = ["View"]


class View(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The base of the views; a panel shows one at a time.

    ``read`` runs in the panel's thread or in the caller's, one at a time, and touches no widget. ``show`` runs right
    after it, in the same thread: traits may be set from any thread, and nothing may print.
    """

    title = ""

    def __init__(self, host: LivePanel) -> None:
        self.host = host
        self.source = host.source
        self.reads = host.reads
        super().__init__()
        self.add_class("rl-view")

    @abstractmethod
    def read(self) -> Any:
        """Return what the view shows; it reads from ``self.reads``."""

    @abstractmethod
    def show(self, content: Any, /) -> None:
        """Show what ``read`` returned."""

    @property
    def sql(self) -> str:
        """Return the statement of the last read, which runs with ``params``; "" if there is none."""
        return ""

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's ``:name`` parameters."""
        return {}

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows that the view shows."""
        return pd.DataFrame()

    @property
    def selected(self) -> list[Any]:
        """Return the ids of the selected rows."""
        return []

    @selected.setter
    def selected(self, ids: Iterable[Any]) -> None:
        """Select rows by their ids, where the view has a selection."""

    def static(self) -> Iterable[str]:
        """Yield escaped HTML of the content, for pages without widgets."""
        return ()

    def close_parts(self) -> None:
        """Close the widgets and threads that the view made."""

    # What the panel does for its views

    def guard(self, act: Callable[..., object], /, *, by_reader: bool = True) -> Callable[..., None]:
        """Return a handler that calls ``act`` and shows its errors in the panel."""
        return self.host.guard(act, by_reader=by_reader)

    def say(self, text: str, /) -> None:
        """Show one line about what happened; from any thread."""
        self.host.say(text)

    def fail(self, error: Exception, /) -> None:
        """Show an error in the panel; from any thread."""
        self.host.fail(error)

    def ask(self, *_: object) -> None:
        """Read soon, in the panel's thread."""
        self.host.ask()
