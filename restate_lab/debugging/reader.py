"""Read one invocation with its journal and its error in production from a source, as a record."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any

from restate_lab.analysis.ids import describe_missing
from restate_lab.analysis.replay.reader import RecordingReader
from restate_lab.analysis.replay.recording import Recording
from restate_lab.client.arguments import time_limit
from restate_lab.client.lab import innermost_source, is_lab
from restate_lab.errors import NotFound, NotReplayable, RestateLabError, TimedOut
from restate_lab.payload_json import read
from restate_lab.protocol.entries import entry_of
from restate_lab.protocol.mismatch import MISMATCH
from restate_lab.reads import Reads
from restate_lab.testing.frames import place_in_text
from restate_lab.testing.journal import Failure, Journal

_EVENTS = """
SELECT after_journal_entry_index AS entry, event_json FROM sys_journal_events
WHERE id = :id AND event_type IN ('TransientError', 'Paused') ORDER BY appended_at, after_journal_entry_index"""
_ATTEMPT = """
SELECT last_attempt_server AS sdk, last_failure AS message,
  coalesce(pinned_deployment_id, last_attempt_deployment_id) AS deployment
FROM sys_invocation WHERE id = :id"""
_TERMINAL = "TerminalError"
_LAST_LINE = re.compile(r"^(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*): ", re.MULTILINE)
_NODE_STACK = re.compile(r"([A-Za-z_$][\w$]*)(?::.*?)?\n +at ", re.DOTALL)
_TYPE = re.compile(r"(?:[A-Za-z_]\w*\.)*(?P<name>[A-Za-z_]\w*)\(|(?P<js>[A-Z]\w*Error)\b")


def read_journal_of(reads: Reads, id_: str) -> Journal:
    """Return an invocation with its journal; the error is the one in production that a replay should meet.

    Raises:
        NotFound: there is no such invocation.
        NotReplayable: its journal was purged, has no payloads or masked ones, or has an unknown form.
    """
    reader = RecordingReader(reads)
    rows = reader.rows([id_])
    if id_ not in rows:
        raise NotFound(describe_missing(reads, id_), status=404)
    for recordings, moved in reader.recordings(rows, {}):
        if moved:
            raise NotReplayable(f"{id_} changed while it was read; read it again.")
        return _journal(reads, recordings[0])
    raise NotReplayable(f"{id_} was not read.")


def _journal(reads: Reads, recording: Recording) -> Journal:
    start, row = recording.start, recording.row
    if start is None or not recording.messages:
        reason = recording.obstacle.reason if recording.obstacle else "its journal has no input"
        raise NotReplayable(f"{recording.id} cannot be replayed: {reason}.")
    attempt = _attempt(reads, recording.id)
    entries = tuple(entry_of(message) for message in recording.messages)
    return Journal(
        service=str(row["service"]),
        handler=str(row["handler"]),
        id=start.debug_id,
        id_bytes=start.id,
        protocol=start.version,
        seed=start.seed,
        entries=entries,
        key=start.key,
        scope=start.scope,
        limit_key=start.limit_key,
        idempotency_key=start.idempotency_key,
        created_at=_timestamp(row["created_at"]),
        sdk=str(attempt.get("sdk") or _sdk_of(reads, attempt.get("deployment"))),
        status=str(row["status"]),
        error=_failure(reads, recording, entries, attempt),
    )


def _timestamp(value: Any) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z") if value else ""


def _sdk_of(reads: Reads, deployment: str | None) -> str:
    """Return the SDK of a deployment from the Admin API; "" if the source has none, or does not know it any more.

    The server forgets the SDK of the last attempt when an invocation ends or, with vqueues, backs off.
    """
    lab = innermost_source(reads)
    if not deployment or not is_lab(lab):
        return ""
    try:
        with time_limit(reads.seconds_left):
            return str(lab.admin.get_deployment(deployment).sdk_version or "")
    except TimedOut:
        raise
    except RestateLabError:
        return ""


def _attempt(reads: Reads, id_: str) -> Mapping[str, Any]:
    if not reads.has("sys_invocation.last_attempt_server"):
        return {}
    rows = reads.query(_ATTEMPT, {"id": id_}).to_pylist()
    return rows[-1] if rows else {}


def _failure(
    reads: Reads, recording: Recording, entries: Sequence[Mapping[str, Any]], attempt: Mapping[str, Any]
) -> Failure | None:
    """Return the failure with which an invocation ended, or the last error of an open or killed one."""
    if recording.has_output:
        at = recording.commands[-1].index
        failure = entries[at].get("failure")
        if failure is None:
            return None
        return Failure(_TERMINAL, failure.get("message", ""), failure.get("code"), at - 1)
    rows = reads.query(_EVENTS, {"id": recording.id}).to_pylist() if reads.has("sys_journal_events.event_json") else []
    for row in reversed(rows):
        failure = _failure_of_event(recording, row)
        if failure is not None:
            return failure
    message = attempt.get("message")
    return Failure(_type_name(message), message) if message else None


def _failure_of_event(recording: Recording, row: Mapping[str, Any]) -> Failure | None:
    try:
        event = read(row["event_json"] or "{}")
    except (ValueError, RecursionError):
        return None
    event = event.get("last_failure") or event
    message, code, command = event.get("error_message"), event.get("error_code"), event.get("related_command_index")
    if not isinstance(message, str):
        return None
    in_step = isinstance(command, int) and code != MISMATCH and command < len(recording.commands)
    entry = recording.commands[command].index if in_step else row["entry"]
    stack = str(event.get("error_stacktrace") or "")
    place = None if in_step else place_in_text(stack)
    return Failure(
        _type_in_node_stack(stack) or _type_name(message) or _type_in_stack(stack),
        message,
        code if isinstance(code, int) else None,
        entry,
        in_step,
        *((place.file, place.line, place.function) if place else ()),
    )


def _type_name(message: str) -> str:
    """Return the name of the class of an error, from its text; "" if it does not have one."""
    found = _TYPE.match(message)
    return (found["name"] or found["js"]) if found else ""


def _type_in_node_stack(stack: str) -> str:
    """Return the name of the class in the first line of the text of a stack of Node.js; "" for another text.

    The message of such an error does not have the name, and can look like a call: "price(...) is not a function".
    """
    found = _NODE_STACK.match(stack)
    return found[1] if found else ""


def _type_in_stack(stack: str) -> str:
    """Return the name of the class in the last line of Python's text of a stack; "" if it has none.

    The message of a ``RetryableError`` does not have the name.
    """
    names: list[str] = _LAST_LINE.findall(stack)
    return names[-1] if names else ""
