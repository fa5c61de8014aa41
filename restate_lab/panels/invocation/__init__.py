"""One invocation in a panel: its failure, the actions, the live journal, links, and folded sections below them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.statements import read_sql_file
from restate_lab.errors import NotFound
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.view import View
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.invocation.detail import InvocationDetail
from restate_lab.panels.invocation.reader import InvocationContent, Related

__all__ = ["InvocationView"]


class InvocationView(View):
    """Show one invocation; callers, callees, and what it waits for or blocks open in its place.

    The journal has live bars in its rows, and the journals of callees below their calls when they are expanded.
    Payloads are read when their section is opened, with secret fields masked. ``opened`` is called with the id of a
    link. ``frame`` is the journal, ``why`` the explanation, ``id`` the invocation. A workflow, or a call with an
    idempotency key, that was purged and called again has a new run with the same id: the view shows it, and says that
    it is not the one before.
    """

    def __init__(self, host: LivePanel, *, tz: str, opened: Callable[[str], object]) -> None:
        super().__init__(host)
        self.id = ""
        self._created: datetime | None = None
        self._before: list[tuple[str, datetime | None]] = []
        self.actions = ActionBar(
            self.source, guard=self.guard, say=self.say, acted=self.ask, label=lambda _: "", reads=self.reads
        )
        self.detail = InvocationDetail(
            self.source,
            guard=self.guard,
            open_invocation=opened,
            ask=self.ask,
            actions=self.actions,
            tz=tz,
        )
        top = widgets.Box([self.detail.title])
        top.add_class("rl-top")
        self.add_class("rl-invocation")
        self.children = (top, self.detail)

    def show_invocation(self, invocation_id: str, /, *, created_at: datetime | None = None) -> None:
        """Show another invocation with the next read; ``created_at`` is the run to show, None the one that exists."""
        if check_invocation_id(invocation_id) != self.id:
            if self.id:
                self._before.append((self.id, self._created))
            self.id, self._created = invocation_id, created_at
            self.actions.reset()
            self.actions.offer([], [])
        elif created_at is not None:
            self._created = created_at

    def back(self) -> bool:
        """Return to the invocation before this one; False where there is none."""
        if not self._before:
            self.id = ""
            self.actions.reset()
            return False
        self.id, self._created = self._before.pop()
        self.actions.reset()
        return True

    @property
    def title(self) -> str:  # type: ignore[override] # of the invocation that is open
        """Return the target of the invocation; "" before it was read."""
        return str(self.content.row["target"]) if self.content else ""

    @property
    def content(self) -> InvocationContent | None:
        """Return what was read of the invocation; None before."""
        content = self.detail.content
        return content if content and content.row["id"] == self.id else None

    @property
    def frame(self) -> pd.DataFrame:
        """Return the journal, as ``rl.journal`` does; empty before it was read."""
        return self.content.journal if self.content else pd.DataFrame()

    @property
    def why(self) -> Any:
        """Return the Explanation that is shown; None before it was read."""
        return self.content.why if self.content else None

    @property
    def status(self) -> str | None:
        """Return the status; None before it was read."""
        return str(self.content.row["status"]) if self.content else None

    @property
    def related(self) -> Sequence[Related]:
        """Return the caller, and the invocations that this one calls, waits for and blocks."""
        return self.content.related if self.content else ()

    @property
    def selected(self) -> list[str]:
        """Return the id as a list: the buttons act on it."""
        return [self.id] if self.id else []

    @selected.setter
    def selected(self, ids: Iterable[str]) -> None:
        """Ignore the ids: the selection is always the open invocation."""

    @property
    def sql(self) -> str:
        """Return the statement that gave the facts."""
        return read_sql_file(self.source, "analysis.journal", "facts")

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of its parameters."""
        return {"id": self.id}

    def read(self) -> InvocationContent:
        """Read the invocation."""
        try:
            return self.detail.read(self.reads, self.id)
        except NotFound:
            self.actions.offer([], [])  # nothing can be done with one that no longer exists
            raise

    def show(self, content: InvocationContent) -> None:
        """Show the invocation."""
        created = content.row["created_at"]
        self._created = self._created or created
        self.detail.show(content, reviewed=self._created)
        rows = pd.DataFrame({"id": [self.id], "created_at": [created], "failure": [content.row["failure"]]})
        self.actions.offer(rows, [str(content.row["status"])])

    def static(self) -> Iterator[str]:
        """Yield the invocation as HTML."""
        yield from self.detail.static_html()

    def close_parts(self) -> None:
        """Close the widgets, and end what is under way."""
        self.actions.close()
        self.detail.close()
