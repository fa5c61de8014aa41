"""Ids of invocations and awakeables, and the ids and runs that a caller passes as the targets of a verb.

An awakeable's id contains its invocation's id and the index of a signal.

``inv_1`` is followed by the partition key and the invocation's own number in base62. ``sign_1`` is followed by the
bytes of both and the index in base64. Checked against the ids that ``ctx.awakeable()`` returns on 1.7.12.

A workflow and a call with an idempotency key get the same id again after the earlier run has expired or was purged. A
run is identified by (id, created_at). The server stores ``created_at`` in milliseconds. Pause, resume, cancel, kill,
purge of the journal, restart as new, a retry and the start of a scheduled call do not change it (observed on 1.7.12
with and without vqueues).
"""

from __future__ import annotations

import base64
import binascii
import re
import string
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import pandas as pd

from restate_lab._text import format_timestamp, join, truncate
from restate_lab.errors import ArgumentError
from restate_lab.source import Source

FIRST_AWAKEABLE = 17  # the smallest signal index of an awakeable; Restate reserves the smaller ones, and 1 is cancel

_DIGITS = string.digits + string.ascii_lowercase + string.ascii_uppercase
_VALUES = {character: value for value, character in enumerate(_DIGITS)}
_INVOCATION = re.compile(r"inv_1([0-9A-Za-z]{11})([0-9A-Za-z]{22})")
_EARLIER_RUN = re.compile(r"@\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")  # in a history, after the id
_IN_TEXT = re.compile(
    rf"{_INVOCATION.pattern}(?![0-9A-Za-z])(?:{_EARLIER_RUN.pattern})?"
    r"|dp_1[0-9A-Za-z]{22}(?![0-9A-Za-z])|sign_1[0-9A-Za-z_-]{38}(?![0-9A-Za-z_-])"
)
_SEPARATORS = re.compile(r"[\s,;|'\"\[\](){}]+")
_PREFIX = "sign_1"
_KEY_BYTES, _ID_BYTES, _INDEX_BYTES = 8, 16, 4
_KEY_CHARACTERS, _ID_CHARACTERS = 11, 22
_CHARACTERS = _KEY_CHARACTERS + _ID_CHARACTERS
Targets: TypeAlias = Any
"""The targets of a verb, as ``parse_ids`` takes them; some verbs also take a finding or a result."""
NEW_RUN = "a new run with the same id"


def check_invocation_id(value: object, *, name: str = "id") -> str:
    """Return the value if it is a well-formed invocation id; this sends no request.

    Raises:
        ArgumentError: the value is not a well-formed invocation id.
    """
    if not isinstance(value, str):
        raise ArgumentError(
            f"{name} is a {type(value).__name__}: pass the id of one invocation as text (inv_1…), such as frame.id[0]."
        )
    if not is_invocation_id(value):
        what, note = "not an invocation id", ""
        characters = len(value.removeprefix("inv_1"))
        if "…" in value:
            what = "the short form of an invocation id"
            note = "; a copy of it is whole in a notebook, and --full-ids shows it in a terminal"
        elif value.startswith("inv_1") and characters != _CHARACTERS:
            note = f"; this one has {characters}"
        elif value.count("/") in {1, 2} and ":" not in value:
            what, note = "the target of invocations", "; pass the id of one of them"
        raise ArgumentError(
            f"{name} is {truncate(repr(value), 60)}, which is {what}; an id is inv_1 followed by {_CHARACTERS} "
            f"letters and digits (case-sensitive){note}."
        )
    return value


def invocation_id_in(text: object, *, name: str = "id") -> str:
    """Return the only invocation id in a text, such as the id itself, a log line, or a URL of the web UI.

    Raises:
        ArgumentError: the text has no well-formed invocation id, or several.
    """
    found = [each for each in ids_in(text) if each.startswith("inv_")] if isinstance(text, str) else []
    if len(found) > 1:
        raise ArgumentError(f"{name} has {len(found)} invocation ids; pass one of them: {join(found)}.")
    return found[0] if found else check_invocation_id(text, name=name)


def ids_in(text: str) -> tuple[str, ...]:
    """Return the ids of invocations, deployments and awakeables in a text, such as a log line, in order and once each.

    Their prefixes are ``inv_``, ``dp_`` and ``sign_``. An id can follow any character, because URLs and
    log lines have escapes such as %22 before an id. A text that is longer than an id is not an id.
    """
    found = dict.fromkeys(match[0] for match in _IN_TEXT.finditer(text))
    return tuple(id_ for id_ in found if not id_.startswith("inv_") or is_invocation_id(id_))


def describe_missing(source: Source, id_: str) -> str:
    """Return why a source may have no invocation with this id."""
    gone = "it was purged, its retention is over, or it was cancelled or killed before it started, which leaves no row"
    late = "it has not ended or ended outside of the period, or no visit found it before the cluster removed it"
    reasons = gone if source.coverage.open_invocations else late
    return f"{source.name} has no invocation {id_}. Possible reasons: it never existed, {reasons}."


def awakeable_id(invocation_id: str, signal_index: int) -> str | None:
    """Return the id that resolves an invocation's awakeable; None if the arguments do not form a valid id."""
    body = decode_invocation_id(invocation_id)
    if body is None or not FIRST_AWAKEABLE <= signal_index < 1 << 8 * _INDEX_BYTES:
        return None
    whole = body + signal_index.to_bytes(_INDEX_BYTES, "big")
    return _PREFIX + base64.urlsafe_b64encode(whole).decode().rstrip("=")


def invocation_of_awakeable(awakeable: str) -> str | None:
    """Return the id of the invocation that an awakeable belongs to.

    None if the text is not an awakeable's id, or has the old form ``prom_1…``.
    """
    if not awakeable.startswith(_PREFIX):
        return None
    text = awakeable.removeprefix(_PREFIX)
    try:
        whole = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(whole) != _KEY_BYTES + _ID_BYTES + _INDEX_BYTES:
        return None
    return encode_invocation_id(whole[:-_INDEX_BYTES])


def encode_invocation_id(whole: bytes) -> str:
    """Return the id of an invocation from its 24 bytes."""
    key = _encode_base62(whole[:_KEY_BYTES], _KEY_CHARACTERS)
    return f"inv_1{key}{_encode_base62(whole[_KEY_BYTES:], _ID_CHARACTERS)}"


def decode_invocation_id(invocation_id: str) -> bytes | None:
    """Return the 24 bytes of an invocation's id: the partition key and its own number; None if the id is malformed."""
    parts = _INVOCATION.fullmatch(invocation_id)
    if parts is None:
        return None
    try:
        return _decode_base62(parts[1]).to_bytes(_KEY_BYTES, "little") + _decode_base62(parts[2]).to_bytes(
            _ID_BYTES, "little"
        )
    except OverflowError:
        return None


def creation_times_by_id(ids: Iterable[Any], created_at: Iterable[Any], *, name: str) -> dict[str, frozenset[datetime]]:
    """Return id → the creation times in the same rows, in UTC, truncated to milliseconds.

    An id with a missing time in one of its rows is omitted: it matches any run. A time without a zone is read as UTC,
    because spreadsheets store times without a zone. ``name`` is used in messages.

    Raises:
        ArgumentError: a value is not a timestamp.
    """
    times: dict[str, set[datetime]] = {}
    unknown: set[str] = set()
    for id_, time in zip(ids, _parse_times(created_at, name), strict=True):
        if not isinstance(id_, str):
            continue
        if pd.isna(time):
            unknown.add(id_)
        else:
            times.setdefault(id_, set()).add(time.to_pydatetime())
    return {id_: frozenset(each) for id_, each in times.items() if id_ not in unknown}


def is_other_run(created_at: datetime | None, of: Mapping[str, frozenset[datetime]], id_: str) -> bool:
    """Return whether ``of`` lists runs of this id, and the run created at ``created_at`` is not in the list."""
    return id_ in of and created_at not in of[id_]


def describe_new_run(created_at: datetime | None, reviewed: datetime | None) -> str:
    """Return a message that an id now has another run than the reviewed one, with both creation times."""
    now, before = (format_timestamp(each, exact=True, missing="at an unknown time") for each in (created_at, reviewed))
    return f"{NEW_RUN}: created {now}; the reviewed run was created {before}"


def _decode_base62(text: str) -> int:
    number = 0
    for character in text:
        number = number * len(_DIGITS) + _VALUES[character]
    return number


def _encode_base62(value: bytes, width: int) -> str:
    number, text = int.from_bytes(value, "little"), ""
    while number:
        number, digit = divmod(number, len(_DIGITS))
        text = _DIGITS[digit] + text
    return text.rjust(width, _DIGITS[0])


def _parse_times(values: Iterable[Any], name: str) -> pd.Series[Any]:
    column = pd.Series(list(values), dtype="object")
    numbers = [value for value in column if isinstance(value, int | float) and not pd.isna(value)]
    if numbers:
        raise ArgumentError(_not_timestamps_message(name, f"it contains the number {numbers[0]!r}"))
    try:
        return pd.to_datetime(column, utc=True, format="ISO8601").dt.floor("ms")
    except (ValueError, TypeError) as error:
        raise ArgumentError(_not_timestamps_message(name, str(error).partition("\n")[0])) from error


def _not_timestamps_message(name: str, why: str) -> str:
    return (
        f"the column created_at of {name} is not a timestamp in every row ({why}). It identifies the run of each id: "
        f"pass timestamps, or pass only the ids to select the runs that exist now."
    )


def parse_ids(targets: Any) -> tuple[list[str], int]:
    """Return the ids in order, without duplicates, and the number of duplicates.

    ``targets``: a text with one or more ids and separators, a list of ids, a Series, an Arrow column, or a frame or
    table with a column ``id`` or ``invocation_id``. A text with anything else, such as a log line, is refused: its ids
    can be those of neighbors.

    Raises:
        ArgumentError: ``targets`` has another type, the column with the ids is ambiguous or missing, or a value is not
            an invocation id.
    """
    values = list(_values_of(targets))
    for value in values:
        if not is_invocation_id(value):
            raise ArgumentError(
                f"targets has {truncate(repr(value), 60)}, which is not an invocation id. Pass only ids (inv_1…), such "
                f'as rl.ask(lab, "retry_storm_ids", service="Payments").'
            )
    return list(dict.fromkeys(values)), len(values) - len(set(values))


def parse_created(targets: Any) -> dict[str, frozenset[datetime]]:
    """Return the selected runs: for each id the values of ``created_at`` in its rows of a frame or table.

    Empty if ``targets`` has no such column: then the ids select the runs that exist now.

    Raises:
        ArgumentError: a value is not a timestamp, or there is more than one such column.
    """
    names = _column_names(targets)
    if names is None or "created_at" not in names:
        return {}
    if names.count("created_at") > 1:
        raise ArgumentError("the frame has more than one column created_at: keep only that of the invocations.")
    return creation_times_by_id(_values_of(targets), _column_values(targets["created_at"]), name="the frame")


def is_invocation_id(value: Any) -> bool:
    """Return whether a value has the form of an invocation id."""
    return isinstance(value, str) and decode_invocation_id(_EARLIER_RUN.sub("", value)) is not None


def _values_of(targets: Any) -> Iterable[Any]:
    if isinstance(targets, str):
        return list(filter(None, _SEPARATORS.split(targets)))
    names = _column_names(targets)
    if names is not None:
        targets = targets[_id_column(names)]
    if isinstance(targets, Mapping | bytes) or not hasattr(targets, "__iter__"):
        raise ArgumentError(
            f"targets is a {type(targets).__name__}: pass one invocation id, a list or Series of ids, or a frame with "
            f"a column id."
        )
    return _column_values(targets)


def _column_values(column: Any) -> Iterable[Any]:
    values: Iterable[Any] = column.to_pylist() if hasattr(column, "to_pylist") else column
    return values


def _column_names(targets: Any) -> list[str] | None:
    names = getattr(targets, "column_names", None) or getattr(targets, "columns", None)
    return None if names is None else [str(name) for name in names]


def _id_column(names: list[str]) -> str:
    found = [name for name in names if name in {"id", "invocation_id"}]
    if len(found) == 1:
        return found[0]
    if not found:
        others = [name for name in names if name.endswith("id")] or names
        raise ArgumentError(
            f"the frame has no column id or invocation_id; it has {', '.join(names)}. "
            f"Pass the column with the ids, such as frame[{others[0] if others else 'id'!r}]."
        )
    raise ArgumentError(
        f"the frame has both columns {' and '.join(found)}: pass either frame[{found[0]!r}] or frame[{found[-1]!r}]."
    )
