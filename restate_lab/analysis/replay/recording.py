"""A recorded journal as it is sent to a deployment: its messages, its commands, and the identity of its invocation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from restate_lab._text import escape_invisible, one_line
from restate_lab.analysis.ids import decode_invocation_id, encode_invocation_id
from restate_lab.analysis.journal.encoding import body_of, encode_entry
from restate_lab.analysis.replay.identity import other_id, random_seed
from restate_lab.client.endpoint.messages import MESSAGE_TYPES, PROTOCOLS, Message, Start, number_of, text_of
from restate_lab.payload_json import read
from restate_lab.redaction import MASK

FITS, NOT_CHECKABLE, CANNOT_SAY = "fits", "not checkable", "cannot say"
_UNPINNED = 6  # the protocol version for a journal with only its input, which is not pinned to a deployment
_COMMAND = "Command: "
_OUTPUT = "Output"
_KEYED = frozenset(
    [*("GetLazyState", "SetState", "ClearState", "GetEagerState", "GetPromise", "PeekPromise", "CompletePromise")]
)
_CALLS = frozenset({"Call", "OneWayCall"})
_NEVER_STARTED = frozenset({"scheduled", "pending"})
_FROZEN = "the source does not have its payloads; frozen evidence has them if it was frozen with payloads=True"


@dataclass(frozen=True, slots=True)
class RecordedCommand:
    """A command of a journal: its index in the journal, its type ("Run"), its name or target, and its completion id."""

    index: int
    type: str
    name: str = ""
    completion: int | None = None

    def __str__(self) -> str:
        return describe_command(self.type, self.name)


@dataclass(frozen=True, slots=True)
class Obstacle:
    """The reason why a journal is not sent, and the verdict that follows."""

    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class Recording:
    """One invocation with its journal; ``row`` is its row of ``sys_invocation``.

    If the journal cannot be sent, ``obstacle`` is set and there is no ``start``. ``seed_is_known`` is False if the
    random numbers of the recorded attempts may have come from another seed.
    """

    row: Mapping[str, Any]
    commands: tuple[RecordedCommand, ...] = ()
    messages: tuple[Message, ...] = ()
    start: Start | None = None
    obstacle: Obstacle | None = None
    seed_is_known: bool = True

    @property
    def id(self) -> str:
        """Return the id of the invocation."""
        return str(self.row["id"])

    @property
    def has_output(self) -> bool:
        """Return whether the journal ends with the result of the handler; killed invocations have none."""
        return bool(self.commands) and self.commands[-1].type == _OUTPUT

    def without_last_command(self) -> tuple[Message, ...]:
        """Return the messages without the last command; its notifications stay."""
        at = self.commands[-1].index
        return (*self.messages[:at], *self.messages[at + 1 :])


def describe_command(kind: str, name: str) -> str:
    """Return a command as text: "Run 'charge'", "Call Payments/charge", "Output"."""
    if not name:
        return kind or "a command"
    plain = escape_invisible(one_line(name, 80))
    return f"{kind} {plain}" if kind in _CALLS else f"{kind} {plain!r}"


def recording_of(
    row: Mapping[str, Any],
    entries: Sequence[Mapping[str, Any]],
    *,
    as_restart: bool,
    has_unique_seeds: bool,
    last_entry: int | None = None,
) -> Recording:
    """Return the recording of an invocation from its row and its entries, in the order of their indexes.

    An entry has ``index, entry_type, name`` and ``raw`` or ``entry_json``; both are missing in evidence
    without payloads. ``as_restart`` gives it another id. With ``last_entry``, it has only the entries that a restart
    from there keeps.
    """
    obstacle = _find_obstacle(row, entries)
    if obstacle is not None:
        return Recording(row, obstacle=obstacle)
    try:
        messages = tuple(_message(entry) for entry in entries)
        if last_entry is not None:
            entries, messages = _kept_entries(entries, messages, last_entry)
    except ValueError as error:
        return Recording(row, obstacle=Obstacle(CANNOT_SAY, f"its journal cannot be encoded: {error}"))
    if messages and any(map(_is_masked, entries)):
        return Recording(row, obstacle=Obstacle(CANNOT_SAY, "values of its journal are masked"))
    commands = tuple(_command(entry, message) for entry, message in zip(entries, messages, strict=True) if _is(entry))
    is_known = not (has_unique_seeds and row["restarted_from"])
    start = _start(row, as_restart=as_restart, has_unique_seeds=has_unique_seeds)
    return Recording(row, commands, messages, start, seed_is_known=is_known)


def _kept_entries(
    entries: Sequence[Mapping[str, Any]], messages: Sequence[Message], last: int
) -> tuple[list[Mapping[str, Any]], tuple[Message, ...]]:
    """Return the entries up to the last one to keep, and the completions of these commands that come after it.

    Source: observed on 1.7.12; the server drops the later commands and their completions.
    """
    waiting = {
        number
        for entry, (_, body) in zip(entries, messages, strict=True)
        if entry["index"] <= last and _is(entry)
        for number in (number_of(body, 10), number_of(body, 11))
        if number is not None
    }
    kept = [
        (entry, message)
        for entry, message in zip(entries, messages, strict=True)
        if entry["index"] <= last or (_is_completion(entry) and number_of(message[1], 1) in waiting)
    ]
    return [entry for entry, _ in kept], tuple(message for _, message in kept)


def _is_completion(entry: Mapping[str, Any]) -> bool:
    return not _is(entry) and entry["entry_type"] != "Notification: Signal"


def _find_obstacle(row: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> Obstacle | None:
    version = row["protocol_version"]
    if row["status"] in _NEVER_STARTED:
        return Obstacle(FITS, "it has not started, so it has no recorded path")
    if not entries:
        reason = "the source has no entries of its journal: it was purged, was not kept, or was not frozen"
        return Obstacle(NOT_CHECKABLE, reason)
    if version is None and len(entries) > 1:
        return Obstacle(CANNOT_SAY, "it has no protocol version")
    if version is not None and version not in PROTOCOLS:
        problem = "has the old form of" if version < PROTOCOLS.start else "is newer than a check knows:"
        return Obstacle(NOT_CHECKABLE, f"its journal {problem} protocol version {version}")
    if all(entry.get("raw") is None and entry.get("entry_json") is None for entry in entries):
        return Obstacle(NOT_CHECKABLE, _FROZEN)
    return None


def _is(entry: Mapping[str, Any]) -> bool:
    return str(entry["entry_type"]).startswith(_COMMAND)


def _message(entry: Mapping[str, Any]) -> Message:
    kind = MESSAGE_TYPES.get(entry["entry_type"])
    if kind is None:
        raise ValueError(f"the entry type {entry['entry_type']!r} is unknown")
    return kind, body_of(entry)


def _is_masked(entry: Mapping[str, Any]) -> bool:
    """Return whether a value is masked that the code could read; the headers of the input are not compared."""
    if entry.get("raw") is not None:
        return False
    text = entry["entry_json"]
    content = read(text)
    command = content.get("Command", {})
    if "Input" in command:
        command["Input"]["headers"] = []
        return MASK.encode() in encode_entry(content)
    return MASK in text or MASK.encode() in encode_entry(content)


def _command(entry: Mapping[str, Any], message: Message) -> RecordedCommand:
    kind = str(entry["entry_type"]).removeprefix(_COMMAND)
    name = entry["name"] or _own_name(kind, message[1])
    return RecordedCommand(int(entry["index"]), kind, str(name), number_of(message[1], 11))


def _own_name(kind: str, body: bytes) -> str:
    """Return the state key, promise or called handler in a command; "" if it has none."""
    if kind in _CALLS:
        return f"{text_of(body, 1)}/{text_of(body, 2)}"
    return text_of(body, 1) if kind in _KEYED else ""


def _start(row: Mapping[str, Any], *, as_restart: bool, has_unique_seeds: bool) -> Start:
    own = decode_invocation_id(row["id"]) or b""
    sent = other_id(own) if as_restart else own
    # with unique seeds, a restart from a prefix keeps the seed of the first invocation
    seed = random_seed(own if has_unique_seeds else sent, row["created_at"], is_unique=has_unique_seeds)
    return Start(
        id=sent,
        debug_id=encode_invocation_id(sent),
        version=int(row["protocol_version"] or _UNPINNED),
        key=row["key"] or "",
        seed=seed,
        scope=row["scope"],
        limit_key=row["limit_key"],
        idempotency_key=None if as_restart else row["idempotency_key"],
    )
