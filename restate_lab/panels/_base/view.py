"""One view of a panel: it reads and shows its content; the panel around it has the toolbar, threads and errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.panels._base.blocks import Block, Blocks
from restate_lab.panels._base.refresher import SHARE
from restate_lab.panels._base.source import params_of, query_of

if TYPE_CHECKING:
    from restate_lab.panels._base.panel import LivePanel


class View(widgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """The base of the views; a panel shows one at a time.

    ``read`` runs in the thread of the panel or of the caller, one at a time, and must not touch widgets. ``show`` runs
    right after it in the same thread. It can set traits, because they can be set from any thread, but must not print.
    """

    title = ""
    grid: Any = None
    """The Grid of a view whose rows can be selected."""
    share = SHARE
    """Reading takes at most about one part in so many of the time, as ``Pace`` has it."""

    def __init__(self, host: LivePanel) -> None:
        self.host = host
        self.source = host.source
        self.reads = host.reads
        super().__init__()
        self.add_class("rl-view")

    @abstractmethod
    def read(self) -> Any:
        """Read the content of the view from ``self.reads`` and return it."""

    @abstractmethod
    def show(self, content: Any, /) -> None:
        """Show the result of ``read``."""

    @property
    def sql(self) -> str:
        """Return the statement of ``frame``, which runs with ``params``; "" if it has none."""
        return query_of(self.frame)

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of the statement's ``:name`` parameters."""
        return params_of(self.frame)

    @property
    def frame(self) -> pd.DataFrame:
        """Return the rows that the view shows."""
        return pd.DataFrame()

    @property
    def selected(self) -> list[Any]:
        """Return the ids of the selected rows; a row is deselected when a read has a new run of its id."""
        return self.grid.selected if self.grid is not None else []

    @selected.setter
    def selected(self, ids: Iterable[Any]) -> None:
        """Select rows by their ids, if the view has a grid."""
        if self.grid is not None:
            self.grid.selected = ids

    def wait_for_action(self, within: float, /) -> bool:  # noqa: ARG002 - this view has no action
        """Wait at most ``within`` seconds for a plan, check or change in progress; return whether it has ended."""
        return True

    def static(self) -> Iterable[str]:
        """Yield escaped HTML of the content, for pages without widgets."""
        return ()

    def close_parts(self) -> None:
        """End the threads of the view, and close widgets that are not among its children."""


class UnavailableView(View):
    """One line that says why this source has nothing for a view."""

    def __init__(self, host: LivePanel, *, title: str, reason: str) -> None:
        super().__init__(host)
        self.title = title
        self._line = Blocks(Block("", reason))
        self.children = (self._line,)

    def static(self) -> Iterable[str]:
        """Yield the line."""
        yield self._line.static_html()
