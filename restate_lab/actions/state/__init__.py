"""Read the state of a virtual object or workflow, and change some of its keys without losing concurrent changes."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from typing import Any

from restate_lab.actions.state.change import StateUpdate, change_state, conflict_error
from restate_lab.actions.state.codec import encode
from restate_lab.actions.state.model import State
from restate_lab.actions.state.reader import StateReader
from restate_lab.client.arguments import check_reason, check_seconds, format_value
from restate_lab.client.lab import Lab, require_lab
from restate_lab.client.schema import translate_errors
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, ReadOnly
from restate_lab.progress import notify
from restate_lab.reads import Reads
from restate_lab.source import Source, decoding_of

__all__ = ["State", "set_state", "state"]


@translate_errors
def state(
    source: Source,
    service: str,
    key: str,
    /,
    *,
    scope: str | None = None,
    timeout: DurationInput | None = "30s",
) -> State:
    """Return the state of one virtual object or workflow as a mapping, from a live cluster or frozen evidence.

    It is empty if the object has no state, or if ``key`` was never used. ``scope`` (since 1.7) selects the object of
    that scope; None selects the one without. ``timeout`` limits the whole call; None means that only the connection's
    limit for each statement applies.

    Raises:
        ArgumentError: it is a plain service, which has no state.
        NotFound: there is neither a service nor a state with this name.
        NotOnThisServer: ``scope`` was passed, but the server has no scopes; or the server is too old.
        TimedOut: not everything was read within ``timeout``.
    """
    read = StateReader(Reads(source, timeout, verb="state"), service, key, scope).read()
    return read.decode_with(decoding_of(source))


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
    """Change keys of one object's state, wait until the change is visible, and return the new state.

        read = rl.state(lab, "Inventory", "mug")
        rl.set_state(lab, "Inventory", "mug", {"on_hand": 7}, state=read, reason="INC-42: counted by hand")

    ``values`` are set, keys in ``delete`` are removed, and ``clear=True`` removes all keys that ``values`` does not
    set. All other keys keep their exact bytes. A value is written as JSON, like in the SDKs (None is JSON's null and
    deletes nothing). Text that replaces text that is not JSON is written as text, and bytes are written unchanged. A
    value that would change the encoding of its key is refused unless ``recode=True``. If an SDK encodes the values, the
    connection needs ``encode`` (in ``connect``) for every value, also for bytes; the result is checked with ``decode``.

    ``state`` is the State that your change is based on: later changes are never overwritten. Without it, the state is
    read at the start of this call, and only changes during the call are detected. The change is sent with the version
    of the state, and the server does not change another version. If two users write the same new state at the same
    time, one change is dropped, but both calls succeed: add a value that is unique to each change of a counter.

    If a handler holds the object, the change is applied when its turn comes. This call waits for that until ``timeout``
    is over, which also limits the reads before. If the state already has the values, nothing is sent. ``reason`` is
    written to the audit log, values are not. Some servers with vqueues can lose a change (restate issue 5416): a line
    on stderr and ``warnings`` of the State report this.

    Raises:
        StateConflict: the state changed after it was read; the error has all versions. It is a Conflict.
        OutcomeUnknown: the change was accepted, but was not visible within ``timeout``, or Restate did not confirm it:
            it can still be applied, so read the state before you repeat the change.
        TimedOut: the state was not read within ``timeout``; nothing was sent.
        ArgumentError, ReadOnly, NotFound, NotOnThisServer, AuditFailed: nothing was sent.
    """
    _check_request(values, delete, reason, clear=clear)
    ends = time.monotonic() + check_seconds("timeout", timeout)
    require_lab(lab, "set_state()")
    if state is not None:
        _check_same(state, lab, service, key, scope)
    if lab.read_only:
        raise ReadOnly(f"set_state on {service}/{key} was not sent: this connection to {lab.name} is read-only.")
    reader = StateReader(Reads(lab, timeout, verb="set_state"), service, key, scope)
    decoding = decoding_of(lab)
    before = (reader.read() if state is None else state).decode_with(decoding)
    change = _build_change(lab, before, values or {}, delete, clear=clear, recode=recode)
    if change.new_raw != dict(before.raw):
        for warning in before.warnings:
            notify(warning)
        return change_state(lab, change, reason=reason, ends=ends).decode_with(decoding)
    now = before if state is None else reader.read()
    if now.state_version != before.state_version:
        raise conflict_error(change, now, sent=False)
    return now.decode_with(decoding)


def _build_change(
    lab: Lab, before: State, values: Mapping[str, Any], delete: Collection[str], *, clear: bool, recode: bool
) -> StateUpdate:
    missing = [name for name in delete if name not in before.raw]
    if missing:
        has = ", ".join(map(repr, list(before)[:10])) or "none"
        raise ArgumentError(f"delete has {missing[0]!r}, which {before.object} does not have; its keys: {has}.")
    encoded = [name for name in before if before.is_encoded(name)]
    if values and encoded and lab.encoder is None:
        raise ArgumentError(
            f"{before.object} has values that an SDK encoded ({encoded[0]!r}), and its handlers could not read a plain "
            f"value. Nothing was sent; pass the function that encodes values: connect(decode=…, encode=…)."
        )
    shown = before.shown
    new = {name: encode(name, value, before=shown.get(name), recode=recode) for name, value in values.items()}
    if lab.encoder is not None:
        new = {name: _encode_for_handlers(lab, before, name, value) for name, value in new.items()}
    return StateUpdate(before, new, frozenset(before if clear else delete) - frozenset(new))


def _encode_for_handlers(lab: Lab, before: State, name: str, value: bytes) -> bytes:
    """Return the bytes to write for a value; a key that already has the value keeps its bytes."""
    if before.shown.get(name) == value:
        return before.raw[name]
    problem = "there is no function for it"
    if lab.encoder is not None and lab.decoder is not None:
        encoded = lab.encoder.call(value)
        problem = encoded.reason
        if encoded.value is not None:
            if lab.decoder.call(encoded.value).value == value:
                return encoded.value
            problem = "decode= does not return the value that encode= got"
    raise ArgumentError(f"the value of {name!r} was not encoded: {problem}. Nothing was sent.")


def _check_request(values: object, delete: object, reason: object, *, clear: object) -> None:
    check_reason(reason)
    if values is not None and not isinstance(values, Mapping):
        raise ArgumentError(f"values must be a mapping of keys to values; got a {type(values).__name__}.")
    if isinstance(delete, str | bytes) or not isinstance(delete, Collection):
        raise ArgumentError(f"delete must be a list of keys, such as delete=['total']; got {format_value(delete)}.")
    if not isinstance(clear, bool):
        raise ArgumentError(f"clear must be True or False; got {format_value(clear)}.")
    odd = [name for name in (*(values or ()), *delete) if not isinstance(name, str)]
    if odd:
        raise ArgumentError(f"keys must be text; got {format_value(odd[0])}.")
    if not values and not delete and not clear:
        raise ArgumentError("nothing to change: pass values, delete=[…] or clear=True.")
    if clear and delete:
        raise ArgumentError("clear=True already removes every key that values does not set: omit delete.")
    both = sorted(set(values or ()) & set(delete))
    if both:
        raise ArgumentError(f"{both[0]!r} is in both values and delete: keep it in one of them.")


def _check_same(state: State, lab: Lab, service: str, key: str, scope: str | None) -> None:
    if not isinstance(state, State):
        raise ArgumentError(f"state must be a State from rl.state(); got a {type(state).__name__}.")
    if (state.service, state.key, state.scope) != (service, key, scope):
        of_scope = f" of scope {scope}" if scope else ""
        raise ArgumentError(f"state belongs to {state.object}, not to {service}/{key}{of_scope}: read the right state.")
    if state.source != lab.name:
        raise ArgumentError(f"state was read from {state.source}, but this is {lab.name}: read the state here.")
