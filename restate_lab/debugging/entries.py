"""The entries of a journal as lines of text, beside the lines of the user's code that issue them.

A line has texts of the cluster: names, keys, results. Each is shown as one line, in which invisible characters are
escaped, so that it cannot change what a terminal shows.
"""

from __future__ import annotations

import contextlib
import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from restate_lab._text import escape_invisible, one_line
from restate_lab.payload_json import mask_secrets
from restate_lab.protocol.commands import RecordedCommand
from restate_lab.protocol.entries import Entry
from restate_lab.redaction import MASK, is_secret_name
from restate_lab.testing.frames import place_in_frames, stack_of
from restate_lab.testing.journal import Failure, Journal

_WIDTH = 160  # characters of a result in a line
_SIGNALS = frozenset({"sys_resolve_signal", "sys_reject_signal", "sys_cancel"})
_METHODS = (
    *("sys_get_state", "sys_get_state_keys", "sys_set_state", "sys_clear_state", "sys_clear_all_state", "sys_sleep"),
    *("sys_call", "sys_send", "sys_run", "sys_resolve_awakeable", "sys_reject_awakeable", "sys_get_promise"),
    *("sys_peek_promise", "sys_complete_promise_success", "sys_complete_promise_failure", "attach_invocation"),
    *_SIGNALS,
)
"""The methods of the SDK's state machine that issue a command."""


def plain(text: str) -> str:
    """Return a text of the cluster as one line that a terminal shows as it is."""
    return escape_invisible(text, lines=False)


def say(text: str) -> None:
    """Print a text; a stdout that fails is not an error of the code that runs."""
    with contextlib.suppress(OSError):
        print(escape_invisible(text), flush=True)  # noqa: T201 - a person reads it


def describe_journal(journal: Journal) -> str:
    """Return the lines before the entries: the invocation, and its error in production."""
    key = f" {journal.key!r}" if journal.key else ""
    name = plain(f"{journal.service}/{journal.handler}{key} {journal.id}")
    return (
        f"{name}, {len(journal.entries)} entries. No step runs; code outside of steps runs.\n"
        f"In production: {describe_failure(journal.error)}\n{_line_of(journal, journal.commands[0])}"
    )


def describe_failure(failure: Failure | None) -> str:
    """Return the error in production as one line: "KeyError('price') at /app/orders.py:41"."""
    if failure is None:
        return "not known"
    name = failure.type if failure.type and not failure.message.startswith(failure.type) else ""
    text = ": ".join(part for part in (name, failure.message) if part) or "an unknown error"
    where = f" at {failure.file}:{failure.line}" if failure.file and failure.line else ""
    return plain(f"{one_line(text, _WIDTH)}{where}{' inside of the step' if failure.in_step else ''}")


def follow(journal: Journal, context: Any, say: Callable[[str], object]) -> None:
    """Call ``say`` with each recorded command and its line of code, when the code of an SDK's context has issued it."""
    left = (each for each in journal.commands if each.type not in {"Input", "Output"})

    def following(method: str, original: Callable[..., Any]) -> Callable[..., Any]:
        signature = inspect.signature(original)

        def call(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)  # it raises if the code takes another path than the journal
            command = _issued(journal, left, method, signature.bind(*args, **kwargs).arguments)
            if command is not None:
                say(f"{_line_of(journal, command)}{_code_beside()}")
            return result

        return call

    for method in _METHODS:
        if hasattr(context.vm, method):  # older SDKs have less
            setattr(context.vm, method, following(method, getattr(context.vm, method)))


def _issued(
    journal: Journal, left: Iterator[RecordedCommand], method: str, arguments: Mapping[str, Any]
) -> RecordedCommand | None:
    """Return the command that a call issued; not one of the SDK itself, which cancels the calls of a cancelled one."""
    for command in left:
        target = journal.entries[command.index].get("invocation_id")
        is_of_sdk = method not in _SIGNALS or arguments["invocation_id"] != target
        if command.type != "SendSignal" or not is_of_sdk:
            return command
    return None


def _code_beside() -> str:
    """Return the line of the user's code that has called the SDK; "" if there is none."""
    place = place_in_frames(stack_of(sys._getframe()))  # noqa: SLF001 - frames are what a debugger is about
    if place is None:
        return ""
    code = linecache.getline(place.file, place.line).strip()
    return f"\n    {plain(f'{place}: {code}')}"


def _line_of(journal: Journal, command: RecordedCommand) -> str:
    """Return an entry with its recorded result: "entry 3: Run 'price' -> 7"."""
    entry = journal.entries[command.index]
    parameter = entry.get("parameter")
    arguments = f" {one_line(_payload(parameter, ''), _WIDTH)}" if parameter else ""
    return plain(f"entry {command.index}: {command}{arguments}{_result_text(journal, entry, command)}")


def _result_text(journal: Journal, entry: Entry, command: RecordedCommand) -> str:
    own = _result_of(entry, command.name)
    if command.completion is None or own is not None:
        sign = "=" if command.type == "SetState" else "->"
        return "" if own is None else f" {sign} {own}"
    results = (
        _result_of(each, command.name) or "nothing"
        for each in journal.entries
        if each["type"].startswith("Notification: ")
        and each.get("completion_id") == command.completion
        and each["type"] != "Notification: Signal"
    )
    return f" -> {next(results, 'no recorded result')}"


def _result_of(entry: Entry, name: str) -> str | None:
    """Return the result in an entry; None if it has none."""
    if "failure" in entry:
        failure = entry["failure"]
        return one_line(f"failure {failure.get('code', '')}: {failure.get('message', '')}", _WIDTH)
    if "value" in entry:
        return one_line(_payload(entry["value"], name), _WIDTH) or "nothing"
    if "state_keys" in entry:
        return one_line(", ".join(entry["state_keys"]), _WIDTH) or "no keys"
    return "nothing" if "void" in entry else None


def _payload(payload: Any, name: str) -> str:
    """Return a payload for display, masked as in a journal; ``name`` is that of its step or state."""
    if not isinstance(payload, str):
        return f"{len(payload.get('base64', '')) * 3 // 4} bytes"
    return MASK if is_secret_name(name) else mask_secrets(payload.encode()).decode()
