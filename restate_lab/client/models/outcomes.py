"""Results of changes: the status, what it means, and what was read afterwards."""

from __future__ import annotations

from typing import ClassVar

from restate_lab.client.models._base import Model

__all__ = ["ChangeResult", "RestartedInvocation", "StateChange"]


class ChangeResult(Model):
    """The result of a change whose response has no body.

    ``verb`` is the operation, ``target`` the id it went to, ``status`` the HTTP status and ``note`` what that means.
    ``took_effect``: True was seen by reading afterwards, False was seen not to be so; None means that it is yet to
    come, or that nothing was read. ``state`` is the status that was read, None where the row is gone or none was read.
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
    """The new invocation, which has the old one's input and, with ``from_index``, the beginning of its journal."""

    line: ClassVar[tuple[str, ...]] = ("new_invocation_id", "restarted_from")

    new_invocation_id: str
    restarted_from: str | None = None


class StateChange(Model):
    """What came of a change of state.

    ``applied`` True means that the state was read back and is the new one. None means that the change waits behind
    ``queued_behind``, the invocation that holds the object at this moment.
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
