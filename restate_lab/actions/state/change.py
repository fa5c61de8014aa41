"""Send a change of a state with the version that was read, and wait until the change is visible."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from restate_lab._text import format_duration, format_time
from restate_lab.actions.state.codec import format_value
from restate_lab.actions.state.model import State
from restate_lab.actions.state.reader import StateReader, read_queue
from restate_lab.analysis.journal.payloads import decode
from restate_lab.client.admin.operations import verification_errors
from restate_lab.client.lab import Lab
from restate_lab.errors import ArgumentError, Conflict, OutcomeUnknown, StateConflict
from restate_lab.progress import notify
from restate_lab.reads import Reads

_MAX_BYTES = 2 << 20  # of the request's body; the limit of 1.7.12
_SETTLING_TIME = 1.0  # seconds in which the invocations before the change are collected
_QUIET_WAIT = 2.0  # seconds; a longer wait is reported
_LAST_READ_TIMEOUT = 5.0  # seconds beyond the time limit, so that the last read can find the holder of the object
_MAX_SHOWN = 5  # keys in a message
_MAX_LENGTH = 60


@dataclass(frozen=True, slots=True)
class StateUpdate:
    """A change of a state: ``values`` are set, ``removed`` keys are removed, and all others do not change."""

    before: State
    values: Mapping[str, bytes]
    removed: frozenset[str]

    @property
    def new_raw(self) -> dict[str, bytes]:
        """Return the complete new state."""
        kept = {key: value for key, value in self.before.raw.items() if key not in self.removed}
        return kept | dict(self.values)

    def is_applied_in(self, raw: Mapping[str, bytes]) -> bool:
        """Return whether this state has the change, whatever the values of other keys are."""
        return self.removed.isdisjoint(raw) and all(raw.get(key) == value for key, value in self.values.items())


def change_state(lab: Lab, change: StateUpdate, *, reason: str, ends: float) -> State:
    """Send a change with the version that was read, and return the state with the change.

    If an invocation holds the object, this waits until ``ends`` (of time.monotonic()). The change is sent only once.

    Raises:
        StateConflict: the state changed after it was read, and does not have the change.
        OutcomeUnknown: the change was accepted, but was not visible by then.
    """
    before, new_raw = change.before, change.new_raw
    _check_size(before, new_raw)
    left = ends - time.monotonic() + _LAST_READ_TIMEOUT
    reads = Reads(lab, max(left, 0), over="the time limit for reading the state is over")
    reader = StateReader(reads, before.service, before.key, before.scope)
    try:
        sent = lab.admin.modify_service_state(
            before.service,
            before.key,
            new_state=new_raw,
            version=before.state_version,
            scope=before.scope,
            reason=reason,
        )
        if sent.applied:
            with verification_errors(f"the change of {before.object}"):
                return replace(before, _raw=dict(sorted(new_raw.items())), read_at=reads.read_clock())
    except Conflict as error:
        if "nothing was sent" in error.reason:
            raise conflict_error(change, reader.read(), sent=False) from error
    try:
        return _ChangeWaiter(reads, reader, change, time.monotonic()).wait(ends)
    except KeyboardInterrupt as stop:
        stop.add_note(f"The change of {before.object} was accepted; it will be applied when its turn comes.")
        raise


def conflict_error(change: StateUpdate, now: State, *, sent: bool) -> StateConflict:
    """Return the error for a state that changed meanwhile, with all three states."""
    before, new_raw = change.before, change.new_raw
    differ = [key for key in sorted({*before.raw, *new_raw, *now.raw}) if before.raw.get(key) != now.raw.get(key)]
    difference = _describe_difference(before.raw, new_raw, now.raw, differ)
    outcome = (
        "Your change was sent but is not in the state: the server silently drops a change if its version does not "
        "match (or a handler has overwritten it)"
        if sent
        else "Your change was not sent"
    )
    return StateConflict(
        f"the state of {before.object} on {before.source} changed after it was read at "
        f"{format_time(before.read_at)}: {difference}. {outcome}. Review the new state; to change it, pass "
        f"state=error.theirs.",
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
        mine_too = f", your value is {mine}" if before.get(key) != new_raw.get(key) else ""
        parts.append(f"{key!r} was {read}{mine_too}, now it is {theirs}")
    if len(differ) > _MAX_SHOWN:
        parts.append(f"and {len(differ) - _MAX_SHOWN:,} more keys")
    return "; ".join(parts) or "it changed and then changed back to the values that were read"


def _check_size(before: State, new_raw: Mapping[str, bytes]) -> None:
    values = new_raw.values()
    # In the request, a value is a list of numbers.
    digits = (2 * len(value) + sum(byte > 9 for byte in value) + sum(byte > 99 for byte in value) for value in values)
    size = len(before.key) + sum(len(json.dumps(key)) for key in new_raw) + sum(digits)
    if size > _MAX_BYTES:
        raise ArgumentError(
            f"the state of {before.object} would have {sum(map(len, values)):,} bytes, a request of {size:,} "
            f"bytes. The Admin API accepts at most {_MAX_BYTES:,}, and always replaces the complete state. Nothing was "
            f"sent; change the state in a handler."
        )


@dataclass(slots=True)
class _ChangeWaiter:
    """Reads until an accepted change is in the state, or can no longer be applied."""

    reads: Reads
    reader: StateReader
    change: StateUpdate
    since: float
    ahead: set[str] = field(default_factory=set)
    holder: str | None = None

    def wait(self, ends: float) -> State:
        pause, is_reported = 0.02, False
        while True:
            with verification_errors(f"the change of {self.change.before.object}"):
                self._read_queue()  # first: if an invocation ends between the two reads, the change is applied
                now = self.reader.read()
            if now.raw == self.change.new_raw:
                return now
            waited = time.monotonic() - self.since
            if waited >= _SETTLING_TIME and not self.ahead and now.state_version != self.change.before.state_version:
                if self.change.is_applied_in(now.raw):
                    return now  # it was applied, and then a handler changed other keys
                raise conflict_error(self.change, now, sent=True)
            left = ends - time.monotonic()
            if left <= 0:
                raise self._outcome_unknown(now, waited)
            if waited >= _QUIET_WAIT and not is_reported:
                is_reported = True
                notify(f"waiting for {self.holder or 'the server'} to release {now.object} …")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.2)

    def _read_queue(self) -> None:
        before = self.change.before
        rows = read_queue(self.reads, before.service, before.key, before.scope)
        here = {row["id"] for row in rows}
        # Invocations that arrive after the change do not delay it.
        settling = time.monotonic() - self.since < _SETTLING_TIME
        self.ahead = self.ahead | here if settling else self.ahead & here
        self.holder = next((row["id"] for row in rows if row["holds"]), None)

    def _outcome_unknown(self, now: State, waited: float) -> OutcomeUnknown:
        before = self.change.before
        if now.state_version == before.state_version:
            current = "the state has not changed"
        elif self.change.is_applied_in(now.raw):
            current = "the keys have your values, but other keys have changed"
        else:
            current = "the state has changed in another way"
        behind = f"{self.holder} holds the object" if self.holder else "no invocation holds the object now"
        return OutcomeUnknown(
            f"the change of {before.object} on {before.source} was accepted (202), but is not visible after "
            f"{format_duration(waited)}: {behind}, and {current}. It cannot be undone: when its turn comes, it is "
            f"applied if the state still has the version {before.state_version}, and otherwise silently dropped. Read "
            f"the state with rl.state() before you repeat the change; allow more time with timeout=."
        )
