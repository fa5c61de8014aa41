"""The evidence that a command executes a tool call: points for its name and its values.

A response can have hundreds of calls. Names, values and results are indexed and not compared for each pair, so the work
grows with the size of the payloads, and each payload is parsed once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from restate_lab.analysis.agents.entries import AgentEntry
from restate_lab.analysis.agents.model import ToolCall, ToolResult, parse_arguments, unwrap
from restate_lab.payload_json import write_for_display

Check: TypeAlias = Callable[[], None]
Points: TypeAlias = npt.NDArray[np.int64]
NEVER = -60  # points of a command for a tool that issues no such commands
WEAK = 12  # points of a value that is only in the result: results of other tools can have it, too
_SAME, _NAME, _VALUE, _LEARNED, _HINT = 80, 24, WEAK, 16, 3
_WITHOUT_COMMANDS = ("transfer_to_", "final_result")  # handoffs, and the output tools of Pydantic AI
_NAME_PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_WRAPPER = frozenset({"calling", "mcp", "tool"})
_WORD = re.compile(r"\w+")
_NUMBER = re.compile(r"[0-9]+")
_LONGEST = 2_000  # characters of a value that is searched


@dataclass(frozen=True, slots=True)
class Pairs:
    """The commands and the calls of one response; ``results`` has the repeated result of each call, or None.

    ``executed`` are the ids of the calls that were executed within the step of the response, without commands.
    """

    commands: Sequence[AgentEntry]
    calls: Sequence[ToolCall]
    results: Sequence[ToolResult | None]
    check: Check
    executed: Collection[str] = ()
    _proven: dict[int, set[int]] = field(default_factory=dict)

    def proven(self) -> dict[int, set[int]]:
        """Return the number of a call → the positions of the commands whose value is its repeated result."""
        repeated = {number: result for number, result in enumerate(self.results) if result is not None}
        if repeated and not self._proven:
            values = _ValueIndex.of(self.commands, self.check)
            self._proven.update({number: values.equal_to(result.value) for number, result in repeated.items()})
        return self._proven

    def points(self, lessons: Mapping[str, set[str]]) -> Points:
        """Return the points of each command (a row) for each call (a column), for names and values."""
        points = self._for_names(lambda name, tool: name_points(name, tool, lessons))
        points += _VALUE * self._shared_values()
        for number, positions in self.proven().items():
            points[list(positions), number] += _SAME
        has_none = [call.name.startswith(_WITHOUT_COMMANDS) or call.id in self.executed for call in self.calls]
        points[:, has_none] = NEVER
        return points

    def hints(self) -> Points:
        """Return points for a word that the name of a command shares with the name of only one of the tools."""
        words = {tool: frozenset(filter(str.isalpha, _parts_of(tool))) for tool in {call.name for call in self.calls}}
        numbers = Counter(word for each in words.values() for word in each)
        own = {tool: {word for word in each if numbers[word] == 1} for tool, each in words.items()}
        return self._for_names(lambda name, tool: _HINT * any(own[tool] & _parts_of(text) for text in name.texts))

    def _for_names(self, points_of: Callable[[CommandName, str], int]) -> Points:
        """Return the points of each command for each call that their names have; equal names are compared once."""
        tools = {name: at for at, name in enumerate(dict.fromkeys(call.name for call in self.calls))}
        kinds: dict[CommandName, list[int]] = {}
        for each in self.commands:
            self.check()
            name = CommandName.of(each)
            if name not in kinds:
                kinds[name] = [points_of(name, tool) for tool in tools]
        rows = np.array([kinds[CommandName.of(each)] for each in self.commands], np.int64).reshape(-1, len(tools))
        return rows[:, [tools[call.name] for call in self.calls]]

    def _shared_values(self) -> Points:
        """Return 2 if a value of the call's arguments is in the command's name or argument, 1 if in its result."""
        shared = np.zeros((len(self.commands), len(self.calls)), np.int64)
        calls: defaultdict[str, list[int]] = defaultdict(list)
        for number, call in enumerate(self.calls):
            for value in _values_of(call):
                calls[value].append(number)
        if calls:
            for texts, weight in zip(_texts_of(self.commands, self.check), (2, 1), strict=True):
                for value, numbers in calls.items():
                    self.check()
                    for at in texts.holding(value):
                        shared[at, numbers] = np.maximum(shared[at, numbers], weight)
        return shared


class CommandName(NamedTuple):
    """What names a command: its type, its name, and the callee of a call."""

    entry_type: str
    name: str
    callee: str

    @classmethod
    def of(cls, each: AgentEntry) -> CommandName:
        """Return the name of a command."""
        return cls(each.entry.entry_type, each.entry.name or "", each.entry.callee_target or "")

    @property
    def texts(self) -> list[str]:
        """Return the name, and the service and handler of a callee."""
        target = self.callee.split("/")
        return [self.name, *([target[0], target[-1]] if self.callee else [])]

    @property
    def kind(self) -> str:
        """Return the type, and the name without numbers, or the service and handler of a callee; "" without a name."""
        name = "/".join(self.texts[1:]) if self.callee else self.name
        return f"{self.entry_type} {_NUMBER.sub('0', name)}" if name else ""

    @property
    def template(self) -> str:
        """Return the type and name without values: only the first two parts, without numbers."""
        name = self.callee.partition("/")[0] if self.callee else " ".join(self.name.split()[:2])
        return f"{self.entry_type} {_NUMBER.sub('0', name)}"


def name_points(name: CommandName, tool: str, lessons: Mapping[str, set[str]]) -> int:
    """Return the points of a name for a tool, with those that the commands of single calls of the tool add."""
    parts = _parts_of(tool)
    is_named = any(parts <= _parts_of(text) or (_parts_of(text) or {""}) <= parts for text in name.texts)
    points = _NAME * (bool(parts) and is_named)
    known = lessons.get(tool)
    if known is not None:
        points += _LEARNED * (name.template in known) if known else NEVER
    return points


def _parts_of(name: str) -> frozenset[str]:
    return frozenset(part.casefold() for part in _NAME_PART.findall(name)) - _WRAPPER


def _values_of(call: ToolCall) -> list[str]:
    texts = (text for text in scalars(call.arguments) if 0 < len(text) < _LONGEST and not text.isspace())
    return list(dict.fromkeys(_casefold(texts)))


def _casefold(texts: Iterable[str]) -> list[str]:
    return [text[:_LONGEST].casefold() for text in texts]


@dataclass(frozen=True, slots=True)
class _Texts:
    texts: Sequence[Sequence[str]]
    commands: Mapping[str, set[int]]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> _Texts:
        commands: defaultdict[str, set[int]] = defaultdict(set)
        for at, each in enumerate(texts):
            for word in {word for text in each for word in _WORD.findall(text)}:
                commands[word].add(at)
        return cls(texts, commands)

    def holding(self, value: str) -> Collection[int]:
        terms = _WORD.findall(value)
        if terms == [value]:
            return self.commands.get(value, ())
        found = [self.commands.get(word, set[int]()) for word in terms]
        candidates = set.intersection(*found) if found else range(len(self.texts))
        return [at for at in candidates if any(has_value(text, value) for text in self.texts[at])]


def _texts_of(commands: Iterable[AgentEntry], check: Check) -> tuple[_Texts, _Texts]:
    front, results = [], []
    for each in commands:
        check()
        front.append(_casefold([each.entry.name or "", *scalars(each.argument)]))
        results.append(_casefold(scalars(each.value)))
    return _Texts.of(front), _Texts.of(results)


def has_value(text: str, value: str) -> bool:
    """Return whether a value is in a text, and not as a part of a longer name or number there."""
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (_is_letter(text[at - 1 : at]) or _is_letter(text[end : end + 1])):
            return True
        at = text.find(value, at + 1)
    return False


def _is_letter(character: str) -> bool:
    return character.isalnum() or character == "_"


def scalars(value: Any, *, most: int = 1_000) -> list[str]:
    """Return the texts and numbers in a value as text."""
    pending, texts, visited = [value], list[str](), 0
    while pending and visited < most:
        each = pending.pop()
        visited += 1
        if isinstance(each, dict | list):
            pending += each.values() if isinstance(each, dict) else each
        elif isinstance(each, str | int | float) and not isinstance(each, bool):
            texts.append(str(each))
    return texts


@dataclass(frozen=True, slots=True)
class _ValueIndex:
    """The values of commands, with the positions of the commands by their text and by the form of their value."""

    values: Sequence[Any]
    texts: Mapping[str, set[int]]
    forms: Mapping[Hashable, set[int]]

    @classmethod
    def of(cls, commands: Sequence[AgentEntry], check: Check) -> _ValueIndex:
        values: list[Any] = []
        texts, forms = defaultdict[str, set[int]](set), defaultdict[Hashable, set[int]](set)
        for at, each in enumerate(commands):
            check()
            value = unwrap(each.value) if each.content.value else None
            values.append(parse_arguments(value))
            if each.content.value:
                for text in _texts_of_value(value):
                    texts[text].add(at)
                forms[_form(values[-1])].add(at)
        return cls(values, texts, forms)

    def equal_to(self, repeated: Any) -> set[int]:
        """Return the commands with this value, also if one of the two is text of the other."""
        same = set(self.texts.get(repeated, ())) if isinstance(repeated, str) else set[int]()
        value = parse_arguments(repeated)
        return same | {at for at in self.forms.get(_form(value), ()) if is_equal(self.values[at], value)}


def _texts_of_value(value: Any) -> set[str]:
    """Return the forms in which a later payload can have a value as text: Python's repr, and JSON."""
    try:
        return {repr(value), write_for_display(value)}
    except RecursionError:
        return set()


def _form(value: Any, levels: int = 1) -> Hashable:
    """Return a key that equal values share; most others differ in it, so that few values are compared."""
    if isinstance(value, dict):
        return (frozenset((name, _form(each, levels - 1)) for name, each in value.items()) if levels else len(value),)
    if isinstance(value, list):
        return (len(value), *([_form(each, levels - 1) for each in value] if levels else ()))
    return value if isinstance(value, Hashable) else None


def is_equal(one: Any, other: Any) -> bool:
    """Return whether two values are equal; False if they are nested too deeply to compare."""
    try:
        return bool(one == other)
    except RecursionError:
        return False
