"""The edit of one key, without a widget: which values can be edited as text, parsing the text, and display."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from restate_lab.actions.state import State
from restate_lab.actions.state.codec import Encoding, encoding_of, mask_value
from restate_lab.analysis.journal.payloads import decode
from restate_lab.errors import ArgumentError
from restate_lab.payload_json import EncryptedPayload, mask_secrets, read, write_for_display
from restate_lab.redaction import MASK, is_secret_name

_MOST = 65_536  # characters
_IN_CODE = "In code: rl.set_state(lab, {service!r}, {key!r}, {{{name!r}: …}}, reason=…, state=…)."


@dataclass(frozen=True, slots=True)
class Edit:
    """The edit of a key: the State that was read, the name of the key, and the text of its new value.

    A ``text`` of None deletes the key.
    """

    before: State
    name: str
    text: str | None

    @property
    def encoding(self) -> Encoding:
        """Return the encoding of the current value."""
        return encoding_of(self.before.raw.get(self.name, b""))

    @property
    def is_changed(self) -> bool:
        """Return whether the text means another value than the one that was read."""
        if self.text is None:
            return True
        raw, value = self.before.raw[self.name], self.value
        if isinstance(value, bytes):
            return value != raw.strip()
        return (
            value != raw.decode()
            if self.encoding == "text"
            else not raw or _canonical(value) != _canonical(decode(raw))
        )

    @property
    def value(self) -> Any:
        """Return the new value in the form that ``set_state`` takes.

        Raises:
            ArgumentError: the current value is JSON, and the text is not.
        """
        text = self.text or ""
        return text if self.encoding == "text" else _parse(text, self.before.raw.get(self.name, b""))

    @property
    def values(self) -> Mapping[str, Any] | None:
        """Return the values for ``set_state``, or None if the key is deleted."""
        return None if self.text is None else {self.name: self.value}

    @property
    def delete(self) -> list[str]:
        """Return the keys that ``set_state`` must delete."""
        return [self.name] if self.text is None else []

    def is_in(self, now: State) -> bool:
        """Return whether a state contains this change; its other keys do not matter."""
        if self.text is None:
            return self.name not in now
        if self.name not in now:
            return False
        value, raw = self.value, now.raw[self.name]
        if isinstance(value, bytes):
            return value == raw
        return value == raw.decode() if self.encoding == "text" else _canonical(value) == _canonical(now[self.name])

    @property
    def new(self) -> str:
        """Return the new value for display beside the old one."""
        if self.text is None:
            return "(deleted)"
        value = self.value
        if isinstance(value, bytes):
            return value.decode()
        return self.text if self.encoding == "text" else write_for_display(value, indent=2)

    @property
    def code(self) -> str:
        """Return the code that reads the current state and makes this change."""
        before = self.before
        scope = "" if before.scope is None else f", scope={before.scope!r}"
        of = f"lab, {before.service!r}, {before.key!r}"
        change = f"delete=[{self.name!r}]" if self.text is None else f"{{{self.name!r}: {self.value!r}}}"
        return f'read = rl.state({of}{scope})\nrl.set_state({of}, {change}, state=read{scope}, reason="…")'


def begin_edit(state: State, name: str) -> Edit:
    """Return the edit of a key with its current value as text.

    Raises:
        ArgumentError: the value cannot be edited as text; the message gives the reason and the code to use instead.
    """
    if name not in state:
        raise ArgumentError(f"{state.object} no longer has a key {name!r}.")
    why = why_not_here(state, name)
    if why:
        code = _IN_CODE.format(service=state.service, key=state.key, name=name)
        raise ArgumentError(f"{name!r} cannot be edited here: {why}. {code}")
    return Edit(state, name, _text(state.raw[name]))


def why_not_here(state: State, name: str) -> str:
    """Return why a value cannot be edited as text, or "" if it can."""
    raw = state.raw[name]
    if state.is_encoded(name) or len(raw) > _MOST:
        return "an SDK encoded it" if state.is_encoded(name) else f"it has {len(raw):,} bytes"
    if encoding_of(raw) == "bytes":
        return "its bytes are not text"
    if encoding_of(raw) == "json" and not _is_utf_8(raw):
        return "it is JSON in another encoding than UTF-8"
    if encoding_of(raw) == "text" and b"\r" in raw:
        return "it has line endings that a text field would change"
    if is_secret_name(name) or mask_secrets(raw) != raw:
        return f"it contains secrets, which are never shown ({MASK})"
    return ""


def readable_value(state: Mapping[str, bytes], name: str) -> str:
    """Return a value for display beside another: JSON on several lines, secrets masked; "(absent)" if missing."""
    raw = state.get(name)
    if raw is None:
        return "(absent)"
    if not raw:
        return "(empty)"
    shown = mask_value(name, raw)
    if encoding_of(raw) == "json":
        return write_for_display(shown, indent=2)
    is_binary = isinstance(shown, bytes) and not isinstance(shown, EncryptedPayload)
    return f"0x{shown.hex()}" if is_binary else str(shown)


def _text(raw: bytes) -> str:
    """Return a value as text to edit; JSON is formatted on several lines if that loses nothing."""
    text = raw.decode()
    if encoding_of(raw) != "json":
        return text
    try:
        value = _parse(text, raw)
    except ArgumentError:
        return text
    return text if isinstance(value, bytes) else write_for_display(value, indent=2)


def _is_utf_8(raw: bytes) -> bool:
    try:
        return "\0" not in raw.decode()
    except UnicodeDecodeError:
        return False


def _canonical(value: Any) -> str:
    """Return a text that differs for values that Python considers equal, such as 1 and True."""
    return json.dumps(value, default=repr)


def _parse(text: str, before: bytes) -> Any:
    """Return the JSON value of a text, or its bytes as typed if Python would write a number differently.

    NaN and infinities, which only some handlers can read, are allowed if the value ``before`` contains them.
    """
    constants: list[_Number] = []

    def constant(name: str) -> _Number:
        if name.encode() not in before:
            raise ValueError(f"{name} is not JSON")
        constants.append(_Number(name))
        return constants[-1]

    whole = text.removeprefix("\ufeff")
    try:
        literal = json.loads(whole, **_LITERAL, parse_constant=constant, object_pairs_hook=_distinct)
        value = read(whole)
        again = None if constants else _written_again(value)
    except RecursionError as error:
        raise ArgumentError("this JSON is nested too deeply.") from error
    except ValueError as error:
        raise ArgumentError(f"invalid JSON: {error}. The new value must be JSON because the current one is.") from error
    return value if literal == again else text.strip().encode()


def _written_again(value: Any) -> Any:
    """Return a value as ``set_state`` would write it, with numbers as text; None if it cannot be written."""
    try:
        return json.loads(json.dumps(value, allow_nan=False), **_LITERAL)
    except (TypeError, ValueError):  # an integer that Python cannot write, or a number beyond its floats
        return None


class _Number(str):
    """The text of a JSON number; a separate type, so that it never equals a string with the same text."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


_LITERAL: dict[str, Any] = {"parse_float": _Number, "parse_int": _Number}


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} occurs twice in one object")
    return made
