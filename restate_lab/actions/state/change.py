"""Send a change of a state with the version that was read, and wait until it is seen."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from restate_lab._text import format_duration, format_time
from restate_lab.actions.state.codec import format_value
from restate_lab.actions.state.model import State
from restate_lab.actions.state.reader import StateReader, read_queue
from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.journal.payloads import decode
from restate_lab.client.admin.operations import verification_errors
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, Conflict, OutcomeUnknown, StateConflict
from restate_lab.progress import notify
from restate_lab.source import Source

__all__ = ["StateUpdate", "change_state"]

_MAX_BYTES = 2 << 20  # of the request's body: what servers took, 1.6.1 and 1.7.12
_SETTLING_TIME = 1.0  # seconds in which who came before the change is collected
_QUIET_WAIT = 2.0  # seconds; a longer one is said
_LAST_READ_TIMEOUT = 5.0  # seconds beyond the time limit, so that the last look can tell who holds the object
_MAX_SHOWN = 5  # keys in a message
_MAX_LENGTH = 60


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """A change of a state: ``values`` are set, ``removed`` keys go, all others stay as they are."""

    before: State
    values: Mapping[str, bytes]
    removed: frozenset[str]

    @property
    def new_raw(self) -> dict[str, bytes]:
        """Return the whole state that is to be."""
        kept = {key: value for key, value in self.before.raw.items() if key not in self.removed}
        return kept | dict(self.values)

    def is_applied_in(self, raw: Mapping[str, bytes]) -> bool:
        """Tell whether the keys that are changed are in this state as they should be, whatever the others are."""
        return self.removed.isdisjoint(raw) and all(raw.get(key) == value for key, value in self.values.items())


def change_state(lab: Lab, change: StateUpdate, *, reason: str, ends: float) -> State:
    """Send a change with the version that was read, and return the state in which it was seen.

    An object that is held is waited for until ``ends`` (of time.monotonic()); the change itself goes out once.

    Raises:
        StateConflict: the state is not the one that was read, and the change is not in it.
        OutcomeUnknown: it was accepted and not seen by then.
    """
    before, new_raw = change.before, change.new_raw
    _check_size(before, new_raw)
    left = ends - time.monotonic() + _LAST_READ_TIMEOUT
    reads = Deadline(lab, left, timeout_message="the time to read the state back is over", remembers=False)
    reader = StateReader(reads, before.service, before.key, before.scope)
    try:
        sent = lab.admin.modify_service_state(
            before.service,
            before.key,
            new_state=new_raw,
            version=before.version,
            scope=before.scope,
            reason=reason,
        )
        if sent.applied:
            with verification_errors(f"the change of {before.where}"):
                return replace(before, _raw=dict(sorted(new_raw.items())), read_at=reads.now)
    except Conflict as error:
        if "nothing was sent" in error.reason:
            raise conflict_error(change, reader.read(), sent=False) from error
    try:
        return _ChangeWaiter(reads, reader, change, time.monotonic()).wait(ends)
    except KeyboardInterrupt as stop:
        stop.add_note(f"The change of {before.where} is accepted all the same: it is applied when its turn comes.")
        raise


def conflict_error(change: StateUpdate, now: State, *, sent: bool) -> StateConflict:
    """Return the error of a lost race, with all three states."""
    before, new_raw = change.before, change.new_raw
    differ = [key for key in sorted({*before.raw, *new_raw, *now.raw}) if before.raw.get(key) != now.raw.get(key)]
    difference = _describe_difference(before.raw, new_raw, now.raw, differ)
    outcome = (
        "Yours was sent and is not in it: the server drops a change of another version than the one it finds, without "
        "a word (or a handler has written over it at once)"
        if sent
        else "Yours was not sent"
    )
    return StateConflict(
        f"the state of {before.where} on {before.source} changed after it was read at "
        f"{format_time(before.read_at)}: {difference}. {outcome}. Decide on what you see; to change it from there, "
        f"give state=error.theirs.",
        before=before,
        mine={key: decode(value) for key, value in sorted(new_raw.items())},
        theirs=now,
        sent=sent,
        reason="the state has another version than the one that was read",
    )


def _describe_difference(
    before: Mapping[str, bytes], new_raw: Mapping[str, bytes], now: Mapping[str, bytes], differ: list[str]
) -> str:
    parts = []
    for key in differ[:_MAX_SHOWN]:
        read, mine, theirs = (format_value(key, state.get(key), _MAX_LENGTH) for state in (before, new_raw, now))
        mine_too = f", {mine} was to be" if before.get(key) != new_raw.get(key) else ""
        parts.append(f"{key!r} was {read}{mine_too}, and is {theirs}")
    if len(differ) > _MAX_SHOWN:
        parts.append(f"and {len(differ) - _MAX_SHOWN:,} more keys")
    return "; ".join(parts) or "it was another one for a moment, and is now as it was read"


def _check_size(before: State, new_raw: Mapping[str, bytes]) -> None:
    size = len(before.key) + sum(len(json.dumps(key)) + _json_length(value) for key, value in new_raw.items())
    if size > _MAX_BYTES:
        raise ArgumentError(
            f"the state of {before.where} would have {sum(map(len, new_raw.values())):,} bytes, which makes a request "
            f"of {size:,}: an Admin API takes {_MAX_BYTES:,}, and replaces a state only as a whole. Nothing was "
            f"sent; change it in a handler."
        )


def _json_length(value: bytes) -> int:
    """Return the length of a value as the wire has it, a list of numbers."""
    return 2 * len(value) + sum(byte > 9 for byte in value) + sum(byte > 99 for byte in value)


@dataclass(slots=True)
class _ChangeWaiter:
    """Reads until a change that was accepted is in the state, or cannot come any more."""

    source: Source
    reader: StateReader
    change: StateUpdate
    since: float
    ahead: set[str] = field(default_factory=set)
    holder: str | None = None

    def wait(self, ends: float) -> State:
        """Return the state that has the change."""
        pause, is_reported = 0.02, False
        while True:
            with verification_errors(f"the change of {self.change.before.where}"):
                self._read_queue()  # first: whoever lets go in between has let the change in
                now = self.reader.read()
            if now.raw == self.change.new_raw:
                return now
            waited = time.monotonic() - self.since
            if waited >= _SETTLING_TIME and not self.ahead and now.version != self.change.before.version:
                return self._decide(now)
            left = ends - time.monotonic()
            if left <= 0:
                raise self._outcome_unknown(now, waited)
            if waited >= _QUIET_WAIT and not is_reported:
                is_reported = True
                notify(f"waiting for {self.holder or 'the server'} to let go of {now.where} …")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.2)

    def _read_queue(self) -> None:
        before = self.change.before
        rows = read_queue(self.source, before.service, before.key, before.scope)
        here = {row["id"] for row in rows}
        # What comes after the change does not hold it up.
        settling = time.monotonic() - self.since < _SETTLING_TIME
        self.ahead = self.ahead | here if settling else self.ahead & here
        self.holder = next((row["id"] for row in rows if row["holds"]), None)

    def _decide(self, now: State) -> State:
        if self.change.is_applied_in(now.raw):
            return now  # applied; then a handler changed other keys
        raise conflict_error(self.change, now, sent=True)

    def _outcome_unknown(self, now: State, waited: float) -> OutcomeUnknown:
        before = self.change.before
        if now.version == before.version:
            current = "the state is still as it was read"
        elif self.change.is_applied_in(now.raw):
            current = "the keys have your values now, and others have changed"
        else:
            current = "the state is another one by now"
        behind = f"{self.holder} holds the object" if self.holder else "no invocation holds the object at this moment"
        return OutcomeUnknown(
            f"the change of {before.where} on {before.source} was accepted (202) and is not seen after "
            f"{format_duration(waited)}: {behind}, and {current}. It cannot be taken back: when its turn comes it is "
            f"applied if the state is then as it was read (version {before.version}), and dropped without a word if "
            f"not. Read it with rl.state before you repeat the change; timeout= gives it more time."
        )
