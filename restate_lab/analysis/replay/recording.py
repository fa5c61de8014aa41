"""A recorded journal as it is sent to a deployment: its messages, its commands, and the identity of its invocation.

Code sends the ids of its awakeables, which contain the invocation's id, and random values, which are drawn from the
seed. No table has the seed; it is computed like on the server. Observed on 1.7.12, with both kinds of seeds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from restate_lab.analysis.ids import decode_invocation_id, encode_invocation_id
from restate_lab.analysis.journal.encoding import body_of, encode_entry
from restate_lab.payload_json import read
from restate_lab.protocol.commands import COMMAND, RecordedCommand, command_of
from restate_lab.protocol.messages import MESSAGE_TYPES, PROTOCOLS, Message, Start
from restate_lab.protocol.wire import bytes_field, bytes_of, messages_of, number_of
from restate_lab.redaction import MASK

FITS, NOT_CHECKABLE, CANNOT_SAY = "fits", "not checkable", "cannot say"
_BITS_64 = (1 << 64) - 1
_KEY_BYTES = 8  # of the partition key in an id; the other 16 bytes are the invocation's own
_UNPINNED = 6  # the protocol version for a journal with only its input, which is not pinned to a deployment
_OLD_INPUT = "Input"
_NEVER_STARTED = frozenset({"scheduled", "pending"})
_NO_ENTRIES = "the source has no entries of its journal: it was purged, was not kept, or was not frozen"
_FROZEN = "the source does not have its payloads; frozen evidence has them if it was frozen with payloads=True"


@dataclass(frozen=True, slots=True)
class ReplayOutcome:
    """The verdict on one invocation: the command at which the paths part, what the code does there, and the reason.

    ``now`` is the command of the code, ``continues_with`` the command after the recorded ones, or what it waits for.
    With ``ends_check``, no other journal may be sent.
    """

    verdict: str
    reason: str
    command_index: int | None = None
    now: str | None = None
    continues_with: str | None = None
    ends_check: bool = False


@dataclass(frozen=True, slots=True)
class Recording:
    """One invocation with its journal; ``row`` is its row of ``sys_invocation``.

    If the journal cannot be sent, ``obstacle`` is the verdict, and there is no ``start``. ``seed_is_known`` is False if
    the random numbers of the recorded attempts may have come from another seed.
    """

    row: Mapping[str, Any]
    commands: tuple[RecordedCommand, ...] = ()
    messages: tuple[Message, ...] = ()
    start: Start | None = None
    obstacle: ReplayOutcome | None = None
    seed_is_known: bool = True

    @property
    def id(self) -> str:
        """Return the id of the invocation."""
        return str(self.row["id"])

    @property
    def has_output(self) -> bool:
        """Return whether the journal ends with the result of the handler; killed invocations have none."""
        return bool(self.commands) and self.commands[-1].type == "Output"

    def without_last_command(self) -> tuple[Message, ...]:
        """Return the messages without the last command; its notifications stay."""
        at = self.commands[-1].index
        return (*self.messages[:at], *self.messages[at + 1 :])


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
    entries = [_as_current(each) for each in entries]
    obstacle = _find_obstacle(row, entries)
    if obstacle is not None:
        return Recording(row, obstacle=obstacle)
    try:
        messages = tuple(_message(entry) for entry in entries)
        if last_entry is not None:
            entries, messages = _kept_entries(entries, messages, last_entry)
    except ValueError as error:
        return Recording(row, obstacle=ReplayOutcome(CANNOT_SAY, f"its journal cannot be encoded: {error}"))
    if messages and any(map(_is_masked, entries)):
        return Recording(row, obstacle=ReplayOutcome(CANNOT_SAY, "values of its journal are masked"))
    pairs = zip(entries, messages, strict=True)
    commands = tuple(
        command_of(int(entry["index"]), entry["entry_type"], message) for entry, message in pairs if _is(entry)
    )
    is_known = not (has_unique_seeds and row["restarted_from"])
    start = _start(row, as_restart=as_restart, has_unique_seeds=has_unique_seeds)
    return Recording(row, commands, messages, start, seed_is_known=is_known)


def _as_current(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an input of the older form as one of the current form; other entries unchanged.

    1.6 wrote the older form, which a journal has until its code has issued a command. Its value is not a message.
    """
    if entry["entry_type"] != _OLD_INPUT or entry.get("raw") is None:
        return entry
    headers = [bytes_field(1, each, keep_empty=True) for each in messages_of(entry["raw"], 1)]
    content = bytes_field(1, bytes_of(entry["raw"], 14))
    body = b"".join(headers) + bytes_field(14, content, keep_empty=True)
    return {**entry, "entry_type": f"{COMMAND}{_OLD_INPUT}", "raw": body}


def _kept_entries(
    entries: Sequence[Mapping[str, Any]], messages: Sequence[Message], last: int
) -> tuple[list[Mapping[str, Any]], tuple[Message, ...]]:
    """Return the entries up to the last one to keep, and the completions of these commands that come after it.

    Source: observed on 1.7.12; the server drops the later commands and their completions.
    """
    pairs = list(zip(entries, messages, strict=True))
    waiting = {
        number_of(body, field)
        for entry, (_, body) in pairs
        if entry["index"] <= last and _is(entry)
        for field in (10, 11)
    } - {None}
    kept = []
    for entry, message in pairs:
        is_completion = not _is(entry) and entry["entry_type"] != "Notification: Signal"
        if entry["index"] <= last or (is_completion and number_of(message[1], 1) in waiting):
            kept.append((entry, message))
    return [entry for entry, _ in kept], tuple(message for _, message in kept)


def _find_obstacle(row: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> ReplayOutcome | None:
    version = row["protocol_version"]
    if row["status"] in _NEVER_STARTED:
        return ReplayOutcome(FITS, "it has not started, so it has no recorded path")
    if not entries:
        return ReplayOutcome(NOT_CHECKABLE, _NO_ENTRIES)
    if version is None and len(entries) > 1:
        return ReplayOutcome(CANNOT_SAY, "it has no protocol version")
    if version is not None and version not in PROTOCOLS:
        problem = "has the old form of" if version < PROTOCOLS.start else "is newer than a check knows:"
        return ReplayOutcome(NOT_CHECKABLE, f"its journal {problem} protocol version {version}")
    if all(entry.get("raw") is None and entry.get("entry_json") is None for entry in entries):
        return ReplayOutcome(NOT_CHECKABLE, _FROZEN)
    return None


def _is(entry: Mapping[str, Any]) -> bool:
    return str(entry["entry_type"]).startswith(COMMAND)


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


# With unique seeds, a restart from a prefix keeps the seed of the first invocation.
def _start(row: Mapping[str, Any], *, as_restart: bool, has_unique_seeds: bool) -> Start:
    own = decode_invocation_id(str(row["id"]).partition("@")[0]) or b""  # a history adds the time of an earlier run
    sent = other_id(own) if as_restart else own
    return Start(
        id=sent,
        debug_id=encode_invocation_id(sent),
        version=int(row["protocol_version"] or _UNPINNED),
        key=row["key"] or "",
        seed=random_seed(own if has_unique_seeds else sent, row["created_at"], is_unique=has_unique_seeds),
        scope=row["scope"],
        limit_key=row["limit_key"],
        idempotency_key=None if as_restart else row["idempotency_key"],
    )


def random_seed(id_: bytes, created_at: datetime, *, is_unique: bool) -> int:
    """Return the seed of an invocation: from its id, or with ``unique_random_seeds`` also from its creation time."""
    if not is_unique:
        return _siphash_1_3(len(id_).to_bytes(8, "little") + id_)
    milliseconds = round(created_at.timestamp() * 1000)
    high, low = int.from_bytes(id_[_KEY_BYTES:-8], "big"), int.from_bytes(id_[-8:], "big")
    mixed = high ^ _rotate(low, 21) ^ _rotate(milliseconds & _BITS_64, 43)
    mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & _BITS_64
    mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _BITS_64
    return mixed ^ mixed >> 31


def other_id(id_: bytes) -> bytes:
    """Return the bytes of another id with the same partition key, as a restarted invocation has it."""
    return id_[:_KEY_BYTES] + hashlib.sha256(id_).digest()[: len(id_) - _KEY_BYTES]


def _siphash_1_3(data: bytes) -> int:
    """Return SipHash-1-3 with both keys 0, the default hash of Rust's standard library."""
    state = [0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573]
    tail = len(data) % 8
    blocks = [int.from_bytes(data[at : at + 8], "little") for at in range(0, len(data) - tail, 8)]
    blocks.append((len(data) & 0xFF) << 56 | int.from_bytes(data[len(data) - tail :], "little"))
    for block in blocks:
        state[3] ^= block
        _sip_round(state)
        state[0] ^= block
    state[2] ^= 0xFF
    for _ in range(3):
        _sip_round(state)
    return state[0] ^ state[1] ^ state[2] ^ state[3]


def _sip_round(v: list[int]) -> None:
    v[0] = v[0] + v[1] & _BITS_64
    v[1] = _rotate(v[1], 13) ^ v[0]
    v[0] = _rotate(v[0], 32)
    v[2] = v[2] + v[3] & _BITS_64
    v[3] = _rotate(v[3], 16) ^ v[2]
    v[0] = v[0] + v[3] & _BITS_64
    v[3] = _rotate(v[3], 21) ^ v[0]
    v[2] = v[2] + v[1] & _BITS_64
    v[1] = _rotate(v[1], 17) ^ v[2]
    v[2] = _rotate(v[2], 32)


def _rotate(value: int, by: int) -> int:
    return (value << by | value >> 64 - by) & _BITS_64
