"""The journal that a replay sends, and the results that a person gives for commands after the record."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab.protocol.commands import COMMAND, RecordedCommand, command_of
from restate_lab.protocol.entries import Entry, entry_of, message_of, payload_of, type_of
from restate_lab.protocol.messages import PROPOSE_RUN_COMPLETION, Message
from restate_lab.protocol.wire import bytes_field, bytes_of, number_field, number_of
from restate_lab.testing.journal import Journal

_COMPLETED_ALONE = frozenset({"CompletePromise"})  # its result says only that it was done
_VOID_IF_NONE = frozenset({"GetLazyState", "PeekPromise", "Sleep", "CompletePromise"})
_AWAKEABLE, _SIGNAL = "Awakeable ", "Named signal: "
_RUN_RESULT = "Notification: Run"


class Path:
    """The messages of a journal without its Output, and the commands among them; a replay can append more."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = list(messages)
        commands = self.commands
        if commands and commands[-1].type == "Output":  # fixed code ends differently, or goes on
            del self.messages[commands[-1].index]
        self.recorded = len(self.messages)

    @property
    def commands(self) -> list[RecordedCommand]:
        """Return the commands in order; their indexes are places in ``messages``."""
        kinds = [(index, type_of(message) or "", message) for index, message in enumerate(self.messages)]
        return [command_of(*each) for each in kinds if each[1].startswith(COMMAND)]

    @property
    def open_commands(self) -> list[RecordedCommand]:
        """Return the commands whose results are not in the journal."""
        completed = self._completed()
        return [each for each in self.commands if each.completion is not None and each.completion not in completed]

    @property
    def last(self) -> int:
        """Return the index of the last recorded entry."""
        return self.recorded - 1

    def without_last_command(self) -> list[Message]:
        """Return the messages without the last command; its notifications stay."""
        at = self.commands[-1].index
        return [*self.messages[:at], *self.messages[at + 1 :]]

    def add_results(self, messages: Sequence[Message]) -> None:
        """Append the results that the SDK proposes for steps that ran."""
        for kind, body in messages:
            if kind == PROPOSE_RUN_COMPLETION:
                value, failure = bytes_of(body, 14), bytes_of(body, 15)
                result = (
                    bytes_field(6, failure) if value is None else bytes_field(5, bytes_field(1, value), keep_empty=True)
                )
                number = number_field(1, number_of(body, 1) or 0)
                self.messages.append((message_of({"type": _RUN_RESULT})[0], number + result))

    def new_calls(self) -> list[int]:
        """Return the ids of completions by which new calls get the id of their invocation, and that are open."""
        entries = [entry_of(message) for message in self.messages[self.recorded :]]
        done = {each.get("completion_id") for each in entries if each["type"] == "Notification: CallInvocationId"}
        wanted = (each.get("invocation_id_completion_id") for each in entries)
        return [each for each in wanted if each is not None and each not in done]

    def _completed(self) -> set[int | None]:
        kinds = ((type_of(message), message[1]) for message in self.messages)
        return {
            number_of(body, 1)
            for kind, body in kinds
            if kind and not kind.startswith(COMMAND) and kind != "Notification: Signal"
        }


@dataclass(frozen=True, slots=True)
class Answers:
    """Results by the name of a command: "Run ship", "Payments/charge", "Sleep", "awakeable", "signal NAME".

    ``run_steps`` are steps that get their result by running. ``invocation`` is the id that each new call gets.
    """

    values: Mapping[str, Any]
    run_steps: frozenset[str]
    invocation: str

    def __bool__(self) -> bool:
        return bool(self.values or self.run_steps)

    def has(self, command: RecordedCommand) -> bool:
        """Return whether a command needs no result, or has one here."""
        if command.completion is None or command.type in _COMPLETED_ALONE or command.key in self.values:
            return True
        return command.type == "Run" and command.name in self.run_steps

    def complete(self, path: Path) -> None:
        """Append the results of the open commands of a path that have an answer."""
        for command in path.open_commands:
            if command.key in self.values or command.type in _COMPLETED_ALONE:
                value = self.values.get(command.key)
                result = {"completion_id": command.completion, **_result(command, value)}
                path.messages.append(message_of({"type": f"Notification: {command.type}", **result}))
        for number in path.new_calls():
            entry = {
                "type": "Notification: CallInvocationId",
                "completion_id": number,
                "invocation_id": self.invocation,
            }
            path.messages.append(message_of(entry))

    def signal(self, path: Path, awaited: Sequence[str]) -> None:
        """Append the signals that are awaited and have an answer."""
        for text in awaited:
            name = "awakeable" if text.startswith(_AWAKEABLE) else text.replace(_SIGNAL, "signal ", 1)
            if name not in self.values:
                continue
            id_: dict[str, Any] = {"signal_name": name.removeprefix("signal ")}
            if name == "awakeable":
                id_ = {"signal_id": _signal_index(text.removeprefix(_AWAKEABLE))}
            path.messages.append(
                message_of({"type": "Notification: Signal", **id_, **_outcome(name, self.values[name])})
            )


def with_results(journal: Journal, results: Mapping[str, Any]) -> tuple[Message, ...]:
    """Return the messages of a journal in which the results of some commands are others.

    Raises:
        ValueError: a command is not in the journal, or has no result, or a value is not JSON.
    """
    entries: list[Entry] = list(journal.entries)
    for key, value in results.items():
        commands = [each for each in journal.commands if each.key == key]
        if not commands:
            names = ", ".join(repr(each.key) for each in journal.commands if each.completion is not None)
            raise ValueError(f"results has {key!r}, which is not in the record; it has {names or 'no results'}.")
        places = [at for each in commands for at in _places_of_result(entries, each)]
        if not places:
            raise ValueError(f"results has {key!r}, which has no recorded result; pass answers={{{key!r}: …}}.")
        for at in places:
            kept = {name: each for name, each in entries[at].items() if name not in {"value", "void", "failure"}}
            entries[at] = {**kept, **_result(commands[0], value)}
    return tuple(message_of(each) for each in entries)


def _places_of_result(entries: Sequence[Entry], command: RecordedCommand) -> list[int]:
    if command.type == "GetEagerState":
        return [command.index]
    return [
        at
        for at, entry in enumerate(entries)
        if entry["type"] == f"Notification: {command.type}" and entry.get("completion_id") == command.completion
    ]


def _result(command: RecordedCommand, value: Any) -> dict[str, Any]:
    if command.type == "GetLazyStateKeys":
        return {"state_keys": list(value)}
    if value is None and command.type in _VOID_IF_NONE | {"GetEagerState"}:
        return {"void": True}
    return _outcome(command.key, value)


def _outcome(name: str, value: Any) -> dict[str, Any]:
    """Return a value as the result of a command; an exception is a failure."""
    if isinstance(value, Exception):
        return {
            "failure": {"code": getattr(value, "status_code", 500), "message": getattr(value, "message", str(value))}
        }
    if isinstance(value, bytes):
        return {"value": payload_of(value)}
    if value is None:
        return {"value": ""}
    try:
        return {"value": json.dumps(value)}
    except (TypeError, ValueError) as error:
        raise ValueError(f"the value for {name!r} is not JSON: {error}") from error


def _signal_index(awakeable: str) -> int:
    """Return the index of the signal in the id of an awakeable, which is its last 4 bytes."""
    text = awakeable.removeprefix("sign_1")
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[-4:])
