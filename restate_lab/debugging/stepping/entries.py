"""The entries of a journal as lines of text, and the place of a replay among them.

A line has texts of the cluster: names, keys, results. Each is shown as one line, in which invisible characters are
escaped, so that it cannot change what a terminal shows.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from types import FrameType, MappingProxyType
from typing import Any

from restate_lab._text import escape_invisible, one_line
from restate_lab.protocol.commands import RecordedCommand, describe_command
from restate_lab.protocol.entries import Entry
from restate_lab.testing.journal import Failure, Journal

_WIDTH = 160  # characters of a result in a line
_CANCEL_SIGNAL = 1
_SIGNALS = frozenset({"sys_resolve_signal", "sys_reject_signal", "sys_cancel"})
METHODS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sys_get_state": ("GetEagerState", "GetLazyState"),
        "sys_get_state_keys": ("GetEagerStateKeys", "GetLazyStateKeys"),
        "sys_set_state": ("SetState",),
        "sys_clear_state": ("ClearState",),
        "sys_clear_all_state": ("ClearAllState",),
        "sys_sleep": ("Sleep",),
        "sys_call": ("Call",),
        "sys_send": ("OneWayCall",),
        "sys_run": ("Run",),
        "sys_resolve_awakeable": ("CompleteAwakeable",),
        "sys_reject_awakeable": ("CompleteAwakeable",),
        "sys_get_promise": ("GetPromise",),
        "sys_peek_promise": ("PeekPromise",),
        "sys_complete_promise_success": ("CompletePromise",),
        "sys_complete_promise_failure": ("CompletePromise",),
        "sys_resolve_signal": ("SendSignal",),
        "sys_reject_signal": ("SendSignal",),
        "sys_cancel": ("SendSignal",),
        "attach_invocation": ("AttachInvocation",),
    }
)
"""The methods of the SDK's state machine that issue a command → the types of this command."""


def plain(text: str) -> str:
    """Return a text of the cluster as one line that a terminal shows as it is."""
    return escape_invisible(text, lines=False)


def describe_failure(failure: Failure) -> str:
    """Return the error in production as one line: "KeyError('price') at /app/orders.py:41"."""
    name = failure.type if failure.type and not failure.message.startswith(failure.type) else ""
    text = ": ".join(part for part in (name, failure.message) if part) or "an unknown error"
    where = f" at {failure.file}:{failure.line}" if failure.file and failure.line else ""
    return plain(f"{one_line(text, _WIDTH)}{where}{' inside of the step' if failure.in_step else ''}")


class JournalCursor:
    """Follow the commands that the code issues in a recorded journal.

    ``index`` is that of the entry at which the code is: 0 for the Input, and None after the last recorded command.
    """

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.index: int | None = 0
        self._all = {each.index: each for each in journal.commands}
        commands = [each for each in self._all.values() if each.type != "Output"]
        self._next = {a.index: b for a, b in itertools.pairwise(commands)}
        self._commands = {each.index: each for each in commands}
        self._is_cancelled = any(
            each["type"] == "Notification: Signal" and each.get("signal_id") == _CANCEL_SIGNAL
            for each in journal.entries
        )

    def follow(self, context: Any, arrive: Callable[[str, FrameType], object]) -> None:
        """Call ``arrive`` for each command of an SDK's context before it is issued.

        Its arguments are the line for the command, and the frame of the SDK that issues it.
        """

        def following(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                line = self._issue(method, inspect.signature(original).bind(*args, **kwargs).arguments)
                arrive(line, sys._getframe(1))  # noqa: SLF001 - frames are what a debugger is about
                return original(*args, **kwargs)

            return call

        for method in METHODS:
            if hasattr(context.vm, method):  # older SDKs have less
                setattr(context.vm, method, following(method, getattr(context.vm, method)))

    def _issue(self, method: str, arguments: Mapping[str, Any]) -> str:
        """Move to the command that a call of the SDK's method issues, and return the line for it."""
        command = self._following(self.index)
        while command and self._is_of_sdk(command, method, arguments):
            command = self._following(command.index)
        self.index = None if command is None else command.index
        if command is None:
            return plain(f"after the record: {_describe_issued(method, arguments)}. It is new, so the replay ends here")
        line = f"entry {self.line_of(command.index)}"
        if _is_same(command, method, arguments):
            return line
        return f"{line}\n   the code issues {plain(_describe_issued(method, arguments))} instead: the replay ends here"

    def _following(self, index: int | None) -> RecordedCommand | None:
        return None if index is None else self._next.get(index)

    def _is_of_sdk(self, command: RecordedCommand, method: str, arguments: Mapping[str, Any]) -> bool:
        """Return whether the SDK has issued a command by itself: a cancelled invocation cancels its calls."""
        if not self._is_cancelled or command.type != "SendSignal":
            return False
        target = self.journal.entries[command.index].get("invocation_id")
        return method not in _SIGNALS or arguments.get("invocation_id") != target

    def command_at(self, index: int) -> int | None:
        """Return the index of the command at which to stop for an entry: its own, or that of which it is the result.

        None if there is no such command in the rest of the journal.
        """
        entries = self.journal.entries
        if not 0 <= index < len(entries):
            return None
        number = entries[index].get("completion_id")
        for command in self._commands.values():
            entry = entries[command.index]
            if number is not None and number in {command.completion, entry.get("invocation_id_completion_id")}:
                return command.index
        return min((at for at in self._commands if at >= index), default=None)

    def lines(self) -> list[str]:
        """Return a line for each command and each signal; "->" marks the entry at which the code is."""
        shown = [
            at
            for at, entry in enumerate(self.journal.entries)
            if entry["type"].startswith("Command: ") or entry["type"] == "Notification: Signal"
        ]
        return [f"{'->' if at == self.index else '  '} entry {self.line_of(at)}" for at in shown]

    def line_of(self, index: int) -> str:
        """Return an entry with its recorded result: "3: Run 'price' -> 7"."""
        entry = self.journal.entries[index]
        kind = entry["type"].partition(": ")[2]
        command = self._all.get(index)
        name = str(command) if command else describe_command(kind, str(entry.get("signal_name") or ""))
        arguments = f" {one_line(_payload(entry['parameter']), _WIDTH)}" if entry.get("parameter") else ""
        return plain(f"{index}: {name}{arguments}{self._result_text(entry, kind, command)}")

    def _result_text(self, entry: Entry, kind: str, command: RecordedCommand | None) -> str:
        own = _result_of(entry)
        if command is None or command.completion is None or own is not None:
            sign = "=" if kind == "SetState" else "->"
            return "" if own is None else f" {sign} {own}"
        results = (
            _result_of(each) or "nothing"
            for each in self.journal.entries
            if each["type"].startswith("Notification: ")
            and each.get("completion_id") == command.completion
            and each["type"] != "Notification: Signal"
        )
        return f" -> {next(results, 'no recorded result')}"


def _result_of(entry: Entry) -> str | None:
    """Return the result in an entry; None if it has none."""
    if "failure" in entry:
        failure = entry["failure"]
        return one_line(f"failure {failure.get('code', '')}: {failure.get('message', '')}", _WIDTH)
    if "value" in entry:
        return one_line(_payload(entry["value"]), _WIDTH) or "nothing"
    if "state_keys" in entry:
        return one_line(", ".join(entry["state_keys"]), _WIDTH) or "no keys"
    return "nothing" if "void" in entry else None


def _payload(payload: Any) -> str:
    return payload if isinstance(payload, str) else f"{len(payload.get('base64', '')) * 3 // 4} bytes"


def _describe_issued(method: str, arguments: Mapping[str, Any]) -> str:
    return describe_command(METHODS[method][0], _name_in(method, arguments))


def _is_same(command: RecordedCommand, method: str, arguments: Mapping[str, Any]) -> bool:
    """Return whether a recorded command is the one that is issued, as far as its name tells."""
    return command.type in METHODS[method] and command.name in {"", _name_in(method, arguments)}


def _name_in(method: str, arguments: Mapping[str, Any]) -> str:
    if "service" in arguments:
        return f"{arguments['service']}/{arguments.get('handler')}"
    return "" if method in _SIGNALS else str(arguments.get("entry_name") or arguments.get("name") or "")
