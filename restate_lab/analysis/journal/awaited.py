"""What a suspended invocation waits for, as a tree: combinations of results, and the entries that have the results.

The server reports the tree in ``suspended_waiting_future_json`` and, since protocol 7, in events of the type Suspended.
An SDK with an older protocol does not report how it combines results: the server then writes "Unknown". Observed on
1.7.12 with the SDKs for Python (1.3) and TypeScript (1.17).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._text import format_timestamp, one_line
from restate_lab.analysis.ids import FIRST_AWAKEABLE, awakeable_id
from restate_lab.analysis.journal.entries import (
    CANCEL,
    OPEN,
    Entry,
    EntryContent,
    numbers_in,
    parse_content,
    parse_object,
    text_or_none,
)
from restate_lab.payload_json import read

COMBINATIONS = MappingProxyType(
    {
        "AllCompleted": "all of",
        "AllSucceededOrFirstFailed": "all of, or the first failure of",
        "FirstCompleted": "the first of",
        "FirstSucceededOrAllFailed": "the first success of",
        "Unknown": "one or all of",
    }
)
"""The names of combinations in the server's JSON, and their texts; another combination is shown by its name."""
AWAITED_SQL = """suspended_waiting_for_signals AS signals,
  -- if: sys_invocation.suspended_waiting_future_json
  suspended_waiting_future_json AS future
  -- else
  NULL AS future
  -- end"""
"""The columns of ``sys_invocation`` with what an invocation waits for, to be completed and to be the last ones."""
_SINGLE, _COMPLETION, _SIGNAL, _NAMED = "Single", "CompletionId", "SignalIndex", "SignalName"
_DEEPEST = 20  # levels of combinations
_FEW = 5  # parts of a combination in a text
_LONGEST = 80  # characters of a name
_NOT_IN_JOURNAL = "?"


@dataclass(frozen=True, slots=True)
class Awaited:
    """A result that an invocation waits for, or a combination of such results, which has ``parts``.

    ``kind`` is the type of the entry with the result ("Call", "Sleep", "Signal", …; "?" if it is not in the journal),
    or the name of the combination as the server reports it. ``index`` is the entry's index in the journal, None for a
    signal.
    """

    kind: str
    detail: str = ""
    index: int | None = None
    parts: tuple[Awaited, ...] = ()

    def __str__(self) -> str:
        if not self.parts:
            return self.detail
        shown = [f"({part})" if part.parts else str(part) for part in self.parts[:_FEW]]
        more = [f"{len(self.parts) - _FEW:,} more"] if len(self.parts) > _FEW else []
        return f"{COMBINATIONS.get(self.kind, f'{self.kind} of')}: {', '.join([*shown, *more])}"

    @property
    def is_combination(self) -> bool:
        """Return whether the SDK reports how several results are combined."""
        return bool(self.parts) and (self.kind != "Unknown" or any(part.is_combination for part in self.parts))

    def json(self) -> dict[str, Any]:
        """Return the tree as JSON values: leaves with ``detail`` and ``index``, combinations with ``parts``."""
        if self.parts:
            return {"kind": self.kind, "parts": [part.json() for part in self.parts]}
        return {"kind": self.kind, "detail": self.detail, "index": self.index}


def awaited_tree(future: object, journal: pa.Table, invocation_id: str) -> Awaited | None:
    """Return the tree in the JSON of a future; None without one, or for JSON of another form.

    ``journal`` has the invocation's rows with the columns ``ROW_TYPES``. The signal that cancels is part of every
    future, so it is excluded. A combination of one part is this part.
    """
    try:
        value = read(future) if isinstance(future, str) else None
    except (ValueError, RecursionError):
        return None
    numbers = {number for key, number in numbers_in(value) if key == _COMPLETION and isinstance(number, int)}
    return _TreeBuilder(invocation_id, _commands(journal, numbers)).build(value)


def awaited_signals(row: Mapping[str, Any]) -> list[int]:
    """Return the indexes of the awaited signals of a row with ``signals`` and ``future``.

    ``signals`` has only those outside of a combination, ``future`` has all; it is null before 1.7.
    """
    numbers = [number for key, number in numbers_in(parse_object(row["future"])) if key == "SignalIndex"]
    return [number for number in (*(row["signals"] or ()), *numbers) if isinstance(number, int)]


def open_signals(
    invocation_id: str, signals: Sequence[Any], future_json: object, awakeables_here: Collection[str | None]
) -> list[Entry]:
    """Return an open entry for each awakeable and named signal that a suspended invocation waits for.

    The journal has these only after they arrive. ``signals`` are the indexes of awaited signals, ``future_json`` is
    everything that the invocation awaits, with names (since 1.7), and ``awakeables_here`` are the ids that arrived.
    """
    indexes = awaited_signals({"signals": signals, "future": future_json})
    names = [id_ for key, id_ in numbers_in(parse_object(future_json)) if key == "SignalName" and isinstance(id_, str)]
    # an awakeable arrives once; a named signal can arrive several times
    ids = dict.fromkeys(awakeable_id(invocation_id, index) for index in sorted(indexes))
    awakeables = [Entry("Signal", status=OPEN, awakeable_id=id_) for id_ in ids if id_ and id_ not in awakeables_here]
    return awakeables + [Entry("Signal", status=OPEN, name=text_or_none(name)) for name in dict.fromkeys(names)]


@dataclass(frozen=True, slots=True)
class _Command:
    index: int
    name: str
    content: EntryContent


@dataclass(frozen=True, slots=True)
class _TreeBuilder:
    """Builds the tree of one invocation; ``commands`` has its commands by the ids of their completions."""

    invocation_id: str
    commands: Mapping[int, _Command]

    def build(self, value: Any, depth: int = 0) -> Awaited | None:
        """Return the tree of a future; None for the signal that cancels, and for another form."""
        if not isinstance(value, dict) or len(value) != 1:
            return None
        if depth > _DEEPEST:
            return Awaited(_NOT_IN_JOURNAL, "more results, which are nested too deeply")
        ((kind, inner),) = value.items()
        if kind == _SINGLE:
            return self._leaf(inner)
        parts = [self.build(each, depth + 1) for each in inner] if isinstance(inner, list) else []
        known = tuple(part for part in parts if part is not None)
        return known[0] if len(known) == 1 else Awaited(kind, parts=known) if known else None

    def _leaf(self, value: Any) -> Awaited | None:
        ((key, number),) = value.items() if isinstance(value, dict) and len(value) == 1 else [("", None)]
        if key == _NAMED:
            return Awaited("Signal", f"the signal “{one_line(str(number), _LONGEST)}”")
        if not isinstance(number, int):
            return Awaited(_NOT_IN_JOURNAL, one_line(f"{key} {number}", _LONGEST))
        if key == _SIGNAL:
            id_ = awakeable_id(self.invocation_id, number) if number >= FIRST_AWAKEABLE else None
            signal = Awaited("Signal", f"the awakeable {id_}" if id_ else f"signal {number}")
            return None if number == CANCEL else signal
        command = self.commands.get(number) if key == _COMPLETION else None
        if command is None:
            return Awaited(_NOT_IN_JOURNAL, f"{key} {number}, which is not in the journal")
        detail = f"the id of {_describe(command)}" if command.content.completion != number else _describe(command)
        return Awaited(command.content.entry_type, detail, command.index)


def _commands(journal: pa.Table, numbers: set[int]) -> dict[int, _Command]:
    """Return the commands with these completions; only their rows are parsed, because a journal can be very long."""
    if not numbers or not journal.num_rows:
        return {}
    pattern = rf'completion_id":\s*(?:{"|".join(map(str, sorted(numbers)))})\b'
    is_wanted: Any = pc.match_substring_regex(journal["entry_lite_json"], pattern)
    names = ("index", "entry_type", "name", "entry_lite_json")
    columns: Sequence[Any] = [journal.filter(is_wanted)[name].to_pylist() for name in names]
    commands = {}
    for index, entry_type, name, text in zip(*columns, strict=True):
        content = parse_content(entry_type, text)
        command = _Command(index, name or content.name or "", content)
        commands.update(dict.fromkeys(numbers.intersection(content.completions), command))
    return commands


def _describe(command: _Command) -> str:
    content, name = command.content, f" “{one_line(command.name, _LONGEST)}”" if command.name else ""
    if content.entry_type == "Sleep":
        return f"the sleep{name}{f' until {format_timestamp(content.wakes_at)}' if content.wakes_at else ''}"
    if content.entry_type == "Call":
        return f"the call{name} to {content.callee_target or content.callee or 'another handler'}"
    if content.entry_type == "Run":
        return f"the step{name}"
    if content.promise:
        return f"the promise “{one_line(content.promise, _LONGEST)}”"
    if content.state_key:
        return f"the state “{one_line(content.state_key, _LONGEST)}”"
    return f"the result of {content.callee}" if content.callee else f"{content.entry_type}{name}"
