"""Results of changes: the HTTP status, its meaning, and the state that was read afterwards."""

from __future__ import annotations

from typing import ClassVar

from restate_lab.client.models._base import Model


class ChangeResult(Model):
    """The result of a change whose response has no body.

    ``verb`` is the operation, ``target`` the id, ``status`` the HTTP status, and ``note`` its meaning. ``took_effect``
    is True or False if that was read afterwards; None means that the effect is still pending, or was not read.
    ``state`` is the status that was read; None if the row does not exist or was not read.
    """

    line: ClassVar[tuple[str, ...]] = ("verb", "target", "status", "took_effect", "state")

    verb: str
    target: str
    status: int
    note: str
    took_effect: bool | None = None
    state: str | None = None

    @property
    def remark(self) -> str:
        """Return the note."""
        return self.note


class RestartedInvocation(Model):
    """The new invocation; it has the old one's input and, with ``from_index``, the beginning of its journal."""

    line: ClassVar[tuple[str, ...]] = ("new_invocation_id", "restarted_from")

    new_invocation_id: str
    restarted_from: str | None = None


class StateChange(Model):
    """The result of a change of state.

    ``applied`` True means that the new state was read back. None means that the change waits for ``queued_behind``, the
    invocation that holds the object now.
    """

    line: ClassVar[tuple[str, ...]] = ("service", "object_key", "scope", "applied", "queued_behind")

    service: str
    object_key: str
    scope: str | None = None
    status: int
    applied: bool | None = None
    queued_behind: str | None = None
    note: str = ""

    @property
    def remark(self) -> str:
        """Return the note."""
        return self.note
