"""The commands of a journal: what the code of a handler did, with the names that people know it by."""

from __future__ import annotations

from dataclasses import dataclass

from restate_lab.protocol.messages import Message
from restate_lab.protocol.wire import number_of, text_of

COMMAND = "Command: "
"""The beginning of an ``entry_type`` that is a command."""
_KEYED = frozenset(
    ("GetLazyState", "SetState", "ClearState", "GetEagerState", "GetPromise", "PeekPromise", "CompletePromise")
)
_CALLS = frozenset(("Call", "OneWayCall"))
_LONGEST = 80  # characters of a name


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """A command of a journal: its index in the journal, its type ("Run"), its name or target, and its completion id."""

    index: int
    type: str
    name: str = ""
    completion: int | None = None

    def __str__(self) -> str:
        return describe_command(self.type, self.name)

    @property
    def key(self) -> str:
        """Return how a person names the command in an argument: "Run ship", "Payments/charge" for a call, "Sleep"."""
        if self.type == "Call":
            return self.name
        return f"{self.type} {self.name}" if self.name else self.type


def command_of(index: int, kind: str, message: Message) -> RecordedCommand:
    """Return the command in a message; ``kind`` is its ``entry_type``, and ``index`` its place in the journal."""
    name, body = kind.removeprefix(COMMAND), message[1]
    shown = text_of(body, 12)
    if not shown and name in _CALLS:
        shown = f"{text_of(body, 1)}/{text_of(body, 2)}"
    elif not shown and name in _KEYED:
        shown = text_of(body, 1)
    return RecordedCommand(index, name, shown, number_of(body, 11))


def describe_command(kind: str, name: str) -> str:
    """Return a command as one line of text: "Run 'charge'", "Call Payments/charge", "Output".

    Characters that cannot be seen are escaped.
    """
    if not name:
        return kind or "a command"
    plain = " ".join(name.split())
    plain = repr(plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…")
    return f"{kind} {plain[1:-1]}" if kind in _CALLS else f"{kind} {plain}"
