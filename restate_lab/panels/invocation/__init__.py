"""One invocation in a panel: its failure, the actions, the live journal, links, and collapsed sections below them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import ipywidgets as widgets
import pandas as pd

from restate_lab.analysis.agents.result import Conversation
from restate_lab.analysis.ids import check_invocation_id
from restate_lab.analysis.story import Story
from restate_lab.errors import NotFound
from restate_lab.panels._base.panel import LivePanel
from restate_lab.panels._base.view import View
from restate_lab.panels.actions.bar import ActionBar
from restate_lab.panels.invocation.detail import InvocationDetail
from restate_lab.panels.invocation.reader import InvocationContent
from restate_lab.reads import Reads


class InvocationView(View):
    """Show one invocation; links to related invocations open them in its place.

    The journal has live bars in its rows; expanded calls show the journals of their callees below. Payloads are read
    when their section is opened, with secret fields masked. ``opened`` is called with the id of a link, and
    ``show_waits`` with the ids of a deadlock, and ``list_ids`` with ids and a name. ``frame`` is the journal, ``why``
    the explanation, ``conversation`` and ``story`` those that are shown, and ``id`` the invocation ID. If a workflow,
    or a call with an idempotency key, is purged and called again, the id has a new run: the view shows that run and
    reports that it is another one.
    """

    def __init__(
        self,
        host: LivePanel,
        *,
        tz: str,
        opened: Callable[[str], object],
        show_waits: Callable[[Sequence[str]], object],
        list_ids: Callable[[Sequence[str], str], object],
    ) -> None:
        super().__init__(host)
        self.id = ""
        self._created: datetime | None = None
        self._target = ""
        self._before: list[tuple[str, datetime | None]] = []
        self.actions = ActionBar(
            self.source, guard=host.guard, say=host.say, acted=host.ask, label=lambda _: "", reads=self.reads,
            has_row_apart=True,
        )  # fmt: skip
        self.detail = InvocationDetail(
            self.source,
            guard=host.guard,
            open_invocation=opened,
            show_waits=show_waits,
            list_invocations=list_ids,
            write=host.files.write,
            ask=host.ask,
            actions=self.actions,
            tz=tz,
        )
        self.add_class("rl-invocation")
        top = widgets.Box((self.detail.title, self.actions.row))
        top.add_class("rl-top")
        self.children = (top, self.detail)

    def show_invocation(self, invocation_id: str, /, *, row: Mapping[Any, Any] | None = None) -> None:
        """Show another invocation with the next read; until then, its row in the list, or else its id.

        ``row`` also selects the run; None selects the current one.
        """
        created_at = row["created_at"] if row else None
        if check_invocation_id(invocation_id) != self.id:
            if self.id:
                self._before.append((self.id, self._created))
            self.id, self._created = invocation_id, created_at
            self.actions.reset()
            self.actions.offer([])
        elif created_at is not None:
            self._created = created_at
        if self.content is None:
            self._target = str(row["target"]) if row else ""
            self.detail.begin({"id": self.id, **(row or {})})

    def back(self) -> bool:
        """Return to the previous invocation; return False if there is none."""
        if not self._before:
            return False
        self.id, self._created = self._before.pop()
        self.actions.reset()
        return True

    def leave(self) -> None:
        """Forget the invocation, and those before it."""
        self.id, self._before = "", []
        self.actions.reset()

    @property
    def title(self) -> str:  # type: ignore[override] # depends on the open invocation
        """Return the target of the invocation; "" as long as it is not known."""
        return str(self.content.row["target"]) if self.content else self._target

    @property
    def content(self) -> InvocationContent | None:
        """Return the data of the invocation, or None before the first read."""
        content = self.detail.content
        return content if content and content.row["id"] == self.id else None

    @property
    def frame(self) -> pd.DataFrame:
        """Return the journal, as ``rl.journal`` does; empty before the first read."""
        return self.content.journal if self.content else pd.DataFrame()

    @property
    def why(self) -> Any:
        """Return the shown Explanation, or None before the first read."""
        return self.content.why if self.content else None

    @property
    def conversation(self) -> Conversation | None:
        """Return the shown Conversation of an agent's invocation, or None: only its open section is read."""
        return self.detail.conversation.shown

    @property
    def story(self) -> Story | None:
        """Return the story of the invocation, or None: it is read when its section is opened."""
        return self.detail.story.result

    @property
    def selected(self) -> list[str]:
        """Return the id as a list, for the action buttons."""
        return [self.id] if self.id else []

    @selected.setter
    def selected(self, ids: Iterable[str]) -> None:
        """Ignore the ids: the selection is always the open invocation."""

    @property
    def sql(self) -> str:
        """Return the statement that reads the facts."""
        return Reads(self.source).statement("journal/facts")

    @property
    def params(self) -> Mapping[str, Any]:
        """Return the values of its parameters."""
        return {"id": self.id}

    def read(self) -> InvocationContent:
        """Read the invocation."""
        try:
            return self.detail.read(self.reads, self.id)
        except NotFound:
            self.actions.offer([])  # no action applies to an invocation that no longer exists
            if self.content is None:
                self.detail.journal.show_missing("the invocation does not exist")
            raise

    def show(self, content: InvocationContent) -> None:
        """Show the invocation, unless another one was opened during its read."""
        if content.row["id"] != self.id:
            return
        created = content.row["created_at"]
        self._created = self._created or created
        self.detail.show(content, reviewed=self._created)
        rows = pd.DataFrame({"id": [self.id], "created_at": [created], "failure": [content.row["failure"]]})
        kinds = pd.DataFrame({"status": [content.row["status"]], "in_vqueue": [content.row["in_vqueue"]]})
        self.actions.offer(rows, kinds)
        if content.has_new_conversation_only:
            self.host.let_draw()
            self.host.ask()

    def wait_for_action(self, within: float, /) -> bool:
        """Wait for the plan, the check or the execution in progress."""
        return self.actions.wait(timeout=within) and self.detail.story.wait(within)

    def static(self) -> Iterator[str]:
        """Yield the invocation as HTML."""
        yield from self.detail.static_html()
