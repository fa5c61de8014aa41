"""Read the state of a virtual object or workflow, and change some of its keys without losing anybody's write."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from restate_lab.actions.state.change import StateUpdate, change_state, conflict_error
from restate_lab.actions.state.codec import encode
from restate_lab.actions.state.model import State
from restate_lab.actions.state.reader import StateReader
from restate_lab.analysis.deadline import within
from restate_lab.client.arguments import check_seconds, format_value
from restate_lab.client.lab import Lab, require_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, ReadOnly
from restate_lab.source import Source

__all__ = ["State", "set_state", "state"]


@translate_errors
def state(
    source: Source,
    service: str,
    key: str,
    /,
    *,
    scope: str | None = None,
    timeout: DurationInput | None = None,
) -> State:
    """Return the state of one virtual object or workflow as a mapping, from a live cluster or a frozen one.

    An object that has no state yet, or whose ``key`` nobody ever used, has an empty one. ``scope`` (since 1.7) means
    the object of that scope, None the one without. ``timeout`` is for the whole call; None leaves each statement to the
    connection's own limit.

    Raises:
        ArgumentError: a plain service, which has no state.
        NotFound: neither a service nor a state of this name.
        NotOnThisServer: ``scope`` on a server that has none, or the source is too old.
        TimedOut: not everything was read within ``timeout``.
    """
    return StateReader(within(source, timeout, verb="state"), service, key, scope).read()


@translate_errors
def set_state(
    lab: Lab,
    service: str,
    key: str,
    values: Mapping[str, Any] | None = None,
    /,
    *,
    reason: str,
    state: State | None = None,
    delete: Collection[str] = (),
    clear: bool = False,
    scope: str | None = None,
    timeout: DurationInput = "30s",
    recode: bool = False,
) -> State:
    """Change keys of one object's state, wait until that is seen, and return the state as it was read back then.

        read = rl.state(lab, "Inventory", "mug")
        rl.set_state(lab, "Inventory", "mug", {"on_hand": 7}, state=read, reason="INC-42: counted by hand")

    ``values`` are set, keys in ``delete`` go, ``clear=True`` lets all go that ``values`` does not set; every other key
    stays byte for byte. A value is written as JSON, as the SDKs do (None is JSON's null and deletes nothing), a text
    over a text that is no JSON as text, and bytes as they are. A value that would change the encoding of its key is
    refused unless ``recode=True``.

    ``state`` is the State you decided on: what has changed since then is never overwritten. Without it the state is
    read at the start of this call, which guards against a race with this call only, not against what happened since
    you last looked. The server is told its version, and leaves a state of another version alone. Of two who make the
    same state of it at the same moment one is dropped, and both see what they wanted: counters need a mark of each.

    An object that a handler holds takes the change when its turn comes: that is awaited until ``timeout`` is over,
    which also limits what is read before. What is as it should be already is not sent. ``reason`` goes to the audit
    log, values do not.

    Raises:
        StateConflict: the state changed after it was read; has both. A Conflict.
        OutcomeUnknown: accepted and not seen within ``timeout``: it may still come, the message says behind whom.
            Or no response of Restate's own came back: read the state before you repeat the change.
        TimedOut: the state was not read within ``timeout``, and nothing was sent.
        ArgumentError, ReadOnly, NotFound, NotOnThisServer, AuditFailed: nothing was sent.
    """
    _check_request(values, delete, reason, clear=clear)
    ends = time.monotonic() + check_seconds("timeout", timeout)
    require_lab(lab, "set_state()")
    if state is not None:
        _check_same(state, lab, service, key, scope)
    if lab.read_only:
        raise ReadOnly(f"set_state on {service}/{key} was not sent: this connection to {lab.name} may only read.")
    reader = StateReader(within(lab, timeout, verb="set_state"), service, key, scope)
    before = reader.read() if state is None else state
    change = _build_change(before, values or {}, delete, clear=clear, recode=recode)
    if change.new_raw != dict(before.raw):
        return change_state(lab, change, reason=reason, ends=ends)
    now = before if state is None else reader.read()
    if now.version != before.version:
        raise conflict_error(change, now, sent=False)
    return now


def _build_change(
    before: State, values: Mapping[str, Any], delete: Collection[str], *, clear: bool, recode: bool
) -> StateUpdate:
    missing = [name for name in delete if name not in before.raw]
    if missing:
        has = ", ".join(map(repr, list(before)[:10])) or "none"
        raise ArgumentError(f"delete names {missing[0]!r}, which {before.where} does not have; its keys: {has}.")
    new = {name: encode(name, value, before=before.raw.get(name), recode=recode) for name, value in values.items()}
    return StateUpdate(before, new, frozenset(before if clear else delete) - frozenset(new))


def _check_request(values: object, delete: object, reason: object, *, clear: object) -> None:
    if not isinstance(reason, str) or not reason.strip():
        raise ArgumentError(f"reason must say why, for the audit log; got {format_value(reason)}.")
    if values is not None and not isinstance(values, Mapping):
        raise ArgumentError(f"values must be a mapping of keys to values; got a {type(values).__name__}.")
    if isinstance(delete, str | bytes) or not isinstance(delete, Collection):
        raise ArgumentError(f"delete must be a list of keys, such as delete=['total']; got {format_value(delete)}.")
    if not isinstance(clear, bool):
        raise ArgumentError(f"clear must be True or False; got {format_value(clear)}.")
    odd = [name for name in (*(values or ()), *delete) if not isinstance(name, str)]
    if odd:
        raise ArgumentError(f"keys are text; got {format_value(odd[0])}.")
    if not values and not delete and not clear:
        raise ArgumentError("nothing to change: give values, delete=[…] or clear=True.")
    if clear and delete:
        raise ArgumentError("clear=True lets every key go that values does not set: leave delete out.")
    both = sorted(set(values or ()) & set(delete))
    if both:
        raise ArgumentError(f"{both[0]!r} is in values and in delete: say one of them.")


def _check_same(state: State, lab: Lab, service: str, key: str, scope: str | None) -> None:
    if not isinstance(state, State):
        raise ArgumentError(f"state must be what rl.state gave; got a {type(state).__name__}.")
    if (state.service, state.key, state.scope) != (service, key, scope):
        raise ArgumentError(
            f"state is that of {state.where}, not of {service}/{key}{_scope_suffix(scope)}: read the right one."
        )
    if state.source != lab.name:
        raise ArgumentError(f"state was read from {state.source}, and this is {lab.name}: read it from here.")


def _scope_suffix(scope: str | None) -> str:
    return f" of scope {scope}" if scope else ""
