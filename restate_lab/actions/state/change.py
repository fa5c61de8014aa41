"""A change of a state: made from what was asked, sent with the version that was read, and awaited."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from restate_lab._text import format_duration, format_time
from restate_lab.actions.state.codec import value_words
from restate_lab.actions.state.reader import State, StateReader
from restate_lab.analysis.deadline import Deadline
from restate_lab.analysis.journal.payloads import decode
from restate_lab.client.admin.operations import read_back
from restate_lab.client.lab import Lab
from restate_lab.client.schema import checked
from restate_lab.errors import ArgumentError, Conflict, OutcomeUnknown, StateConflict
from restate_lab.progress import say
from restate_lab.source import Source

__all__ = ["Change", "change_state"]

_MOST_BYTES = 2 << 20  # of the request's body: what servers took, 1.6.1 and 1.7.12
_SETTLED = 1.0  # seconds in which who came before the change is collected
_QUIET_WAIT = 2.0  # seconds; a longer one is said
_LAST_LOOK = 5.0  # seconds beyond the time limit, so that the last look can tell who holds the object
_MOST_SHOWN = 5  # keys in a message
_LONGEST = 60

# Who holds the object, and who waits for it. Without vqueues a change of state is not among them, so everyone who was
# there with it has to be gone; with vqueues it is.
# In brackets: what follows IS NOT DISTINCT FROM would be taken together with the AND behind it.
_IN_FRONT = """
SELECT invocation_id AS id, true AS holds FROM sys_keyed_service_status
WHERE service_name = :service AND service_key = :key
UNION ALL
SELECT id, false AS holds FROM sys_inbox WHERE service_name = :service AND service_key = :key"""
_IN_FRONT_VQUEUES = """
SELECT acquired_by AS id, true AS holds FROM sys_locks
WHERE lock_name = :lock AND (scope IS NOT DISTINCT FROM :scope)
UNION ALL
SELECT v.entry_id AS id, false AS holds FROM sys_vqueue_meta m JOIN sys_vqueues v ON v.id = m.id
WHERE m.lock_name = :lock AND (m.scope IS NOT DISTINCT FROM :scope)
  AND v.entry_kind = 'state-mutation' AND v.stage <> 'finished'"""


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a state: ``values`` are set, ``removed`` keys go, all others stay as they are."""

    before: State
    values: Mapping[str, bytes]
    removed: frozenset[str]

    @property
    def wanted(self) -> dict[str, bytes]:
        """Return the whole state that is to be."""
        kept = {key: value for key, value in self.before.raw.items() if key not in self.removed}
        return kept | dict(self.values)

    def holds(self, raw: Mapping[str, bytes]) -> bool:
        """Tell whether the keys that are changed are in this state as they should be, whatever the others are."""
        return self.removed.isdisjoint(raw) and all(raw.get(key) == value for key, value in self.values.items())


def change_state(lab: Lab, change: Change, *, reason: str, ends: float) -> State:
    """Send a change with the version that was read, and return the state in which it was seen.

    An object that is held is waited for until ``ends`` (of time.monotonic()); the change itself goes out once.

    Raises:
        StateConflict: the state is not the one that was read, and the change is not in it.
        OutcomeUnknown: it was accepted and not seen by then.
    """
    before, wanted = change.before, change.wanted
    _check_size(before, wanted)
    left = ends - time.monotonic() + _LAST_LOOK
    reads = Deadline(lab, left, timeout_message="the time to read the state back is over", remembers=False)
    reader = StateReader(reads, before.service, before.key, before.scope)
    try:
        sent = lab.admin.modify_service_state(
            before.service,
            before.key,
            new_state=wanted,
            version=before.version,
            scope=before.scope,
            reason=reason,
        )
        if sent.applied:
            with read_back(f"the change of {before.where}"):
                return replace(before, _raw=dict(sorted(wanted.items())), read_at=reads.now)
    except Conflict as error:
        if "nothing was sent" in error.reason:
            raise conflict(change, reader.state(), sent=False) from error
    try:
        return _Waiting(reads, reader, change, time.monotonic()).until(ends)
    except KeyboardInterrupt as stop:
        stop.add_note(f"The change of {before.where} is accepted all the same: it is applied when its turn comes.")
        raise


def conflict(change: Change, now: State, *, sent: bool) -> StateConflict:
    """Return the error of a lost race, with all three states."""
    before, wanted = change.before, change.wanted
    differ = [key for key in sorted({*before.raw, *wanted, *now.raw}) if before.raw.get(key) != now.raw.get(key)]
    what = _what(before.raw, wanted, now.raw, differ)
    outcome = (
        "Yours was sent and is not in it: the server drops a change of another version than the one it finds, without "
        "a word (or a handler has written over it at once)"
        if sent
        else "Yours was not sent"
    )
    return StateConflict(
        f"the state of {before.where} on {before.source} changed after it was read at "
        f"{format_time(before.read_at)}: {what}. {outcome}. Decide on what you see; to change it from there, give "
        f"state=error.theirs.",
        before=before,
        mine={key: decode(value) for key, value in sorted(wanted.items())},
        theirs=now,
        sent=sent,
        reason="the state has another version than the one that was read",
    )


def _what(before: Mapping[str, bytes], wanted: Mapping[str, bytes], now: Mapping[str, bytes], differ: list[str]) -> str:
    parts = []
    for key in differ[:_MOST_SHOWN]:
        read, mine, theirs = (value_words(key, state.get(key), _LONGEST) for state in (before, wanted, now))
        mine_too = f", {mine} was to be" if before.get(key) != wanted.get(key) else ""
        parts.append(f"{key!r} was {read}{mine_too}, and is {theirs}")
    if len(differ) > _MOST_SHOWN:
        parts.append(f"and {len(differ) - _MOST_SHOWN:,} more keys")
    return "; ".join(parts) or "it was another one for a moment, and is now as it was read"


def _check_size(before: State, wanted: Mapping[str, bytes]) -> None:
    size = len(before.key) + sum(len(json.dumps(key)) + _digits(value) for key, value in wanted.items())
    if size > _MOST_BYTES:
        raise ArgumentError(
            f"the state of {before.where} would have {sum(map(len, wanted.values())):,} bytes, which makes a request "
            f"of {size:,}: an Admin API takes {_MOST_BYTES:,}, and replaces a state only as a whole. Nothing was "
            f"sent; change it in a handler."
        )


def _digits(value: bytes) -> int:
    """Return the length of a value as the wire has it, a list of numbers."""
    return 2 * len(value) + sum(byte > 9 for byte in value) + sum(byte > 99 for byte in value)


@dataclass(slots=True)
class _Waiting:
    """Looks until a change that was accepted is in the state, or cannot come any more."""

    source: Source
    reader: StateReader
    change: Change
    since: float
    in_front: set[str] = field(default_factory=set)
    holder: str | None = None

    def until(self, ends: float) -> State:
        """Return the state that has the change."""
        pause, said = 0.02, False
        while True:
            with read_back(f"the change of {self.change.before.where}"):
                self._look_in_front()  # first: whoever lets go in between has let the change in
                now = self.reader.state()
            if now.raw == self.change.wanted:
                return now
            waited = time.monotonic() - self.since
            if waited >= _SETTLED and not self.in_front and now.version != self.change.before.version:
                return self._decided(now)
            left = ends - time.monotonic()
            if left <= 0:
                raise self._unknown(now, waited)
            if waited >= _QUIET_WAIT and not said:
                said = True
                say(f"waiting for {self.holder or 'the server'} to let go of {now.where} …")
            time.sleep(min(pause, left))
            pause = min(pause * 1.5, 0.2)

    def _look_in_front(self) -> None:
        before = self.change.before
        if self.source.features.get("vqueues", False):
            named = {"lock": f"{before.service}/{before.key}", "scope": before.scope}
            statement = _IN_FRONT_VQUEUES
        else:
            named = {"service": before.service, "key": before.key}
            statement = _IN_FRONT
        rows = checked(self.source.arrow(statement, params=named, progress=False), statement, self.source).to_pylist()
        here = {row["id"] for row in rows}
        # What comes after the change does not hold it up.
        settling = time.monotonic() - self.since < _SETTLED
        self.in_front = self.in_front | here if settling else self.in_front & here
        self.holder = next((row["id"] for row in rows if row["holds"]), None)

    def _decided(self, now: State) -> State:
        if self.change.holds(now.raw):
            return now  # applied; then a handler changed other keys
        raise conflict(self.change, now, sent=True)

    def _unknown(self, now: State, waited: float) -> OutcomeUnknown:
        before = self.change.before
        if now.version == before.version:
            stands = "the state is still as it was read"
        elif self.change.holds(now.raw):
            stands = "the keys have your values now, and others have changed"
        else:
            stands = "the state is another one by now"
        behind = f"{self.holder} holds the object" if self.holder else "no invocation holds the object at this moment"
        return OutcomeUnknown(
            f"the change of {before.where} on {before.source} was accepted (202) and is not seen after "
            f"{format_duration(waited)}: {behind}, and {stands}. It cannot be taken back: when its turn comes it is "
            f"applied if the state is then as it was read (version {before.version}), and dropped without a word if "
            f"not. Read it with rl.state before you repeat the change; timeout= gives it more time."
        )
