"""Suggested calls as data: each surface writes them in its own syntax, and this module writes Python.

``without_options`` is for a surface without code, such as a page: there a message names no argument of a call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from restate_lab._text import escape_invisible, is_invisible

_FEW = 3  # ids that fit on a line
_READS = frozenset(
    {
        *("agent_runs", "ask", "conversation", "journal", "journal_diff", "lab.admin.version", "lab.sql", "replay"),
        *("debug", "rl.audit_log", "story", "to_test", "wait_for", "waits", "why"),
    }
)
_OPTIONS = "decode|ids|limit|max_bytes|payloads|prices|samples|search|service|shapes|since|timeout"
_OPTION = re.compile(rf"\b(?:[Pp]ass|[Ww]ith|set|select|more|connect\()[^.;]{{0,200}}?\b(?:{_OPTIONS})=")
_EXECUTE = '.execute(reason="…"), and then'


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that the user must fill in, such as the result that an awakeable waits for; code shows its name."""

    name: str


Value: TypeAlias = str | int | float | bool | tuple[str, ...] | Placeholder
Names: TypeAlias = Mapping[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class SuggestedCall:
    """One call: ``verb`` is a function of restate_lab ("plan") or, with a dot, a method ("lab.admin.get_deployment").

    A function takes the connection before ``arguments``. ``result`` is the relevant attribute of the returned value
    ("deadlocks", "frame"), "" for the value itself. ``comment`` explains the call to the user. ``total`` is the
    number of all ids if ``arguments`` has only the first ones, else 0.
    """

    verb: str
    arguments: tuple[Value, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    result: str = ""
    comment: str = ""
    total: int = 0

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids that the call is about; () if it takes no list of ids."""
        return next((each for each in self.arguments if isinstance(each, tuple)), ())

    @property
    def is_for_present(self) -> bool:
        """Return whether the call needs the cluster itself, as it is now: a change, or a copy of it."""
        return self.verb not in _READS

    @property
    def note(self) -> str:
        """Return the comment on one line; if the call does not contain all ids, a note about that instead."""
        if self.total > len(self.ids):
            return f"the first {len(self.ids):,} of {self.total:,}; check again afterwards"
        return escape_invisible(" ".join(self.comment.split()))


@dataclass(frozen=True, slots=True)
class Step:
    """What a reader can do next: calls in order. A surface writes them as Python, as a command, or as a link.

    ``label`` is the text before the calls. ``code`` is their Python if it is not ``python_code(calls)``. With ``rows``,
    a call with rows, the step is a plan for all of them, which only a command can be.
    """

    calls: tuple[SuggestedCall, ...]
    label: str = "next"
    code: str = ""
    rows: SuggestedCall | None = None

    @property
    def python(self) -> str:
        """Return the calls as Python, or an empty text without calls."""
        return "" if self.rows else self.code or python_code(self.calls)


def python_code(calls: Iterable[SuggestedCall], names: Names = MappingProxyType({})) -> str:
    """Return the calls as Python code with ``rl`` and ``lab``, one per line; "" if there are no calls.

    ``names`` maps lists of ids to code, which replaces the list if it has more than three ids.
    """
    every_call = tuple(calls)
    return "\n".join(_code_line(call, names, is_last=call is every_call[-1]) for call in every_call)


def without_options(message: str) -> str:
    """Return a message without the sentences, and parts after a semicolon, that tell which argument to pass."""
    parts = [part for part in re.split(r"(?<=[.;]) ", message) if not _OPTION.search(part)]
    return " ".join(parts).removesuffix(";") or message


def _code_line(call: SuggestedCall, names: Names, *, is_last: bool) -> str:
    is_method = "." in call.verb
    arguments = [] if is_method else ["lab"]
    arguments += [_literal(value, names) for value in call.arguments]
    arguments += [f"{name}={_literal(value, names)}" for name, value in call.options.items()]
    code = f"{call.verb if is_method else f'rl.{call.verb}'}({', '.join(arguments)})"
    code += f".{call.result}" if call.result else ""
    # A plan sends nothing by itself: the next call needs the plan to be executed first.
    note = call.note or (_EXECUTE if call.verb == "plan" and not is_last else "")
    return f"{code}  # {note}" if note else code


def _literal(value: Value, names: Names) -> str:
    if isinstance(value, Placeholder):
        return value.name
    if isinstance(value, tuple):
        if len(value) > _FEW and value in names:
            return names[value]
        return f"[{', '.join(map(_quote, value))}]"
    return _quote(value) if isinstance(value, str) else repr(value)


def _quote(text: str) -> str:
    """Return a text as a Python literal in double quotes; invisible characters are escaped."""
    quoted = text.replace("\\", "\\\\").replace('"', '\\"')
    is_plain = quoted.isascii() and quoted.isprintable()
    return f'"{quoted if is_plain else "".join(map(_escape, quoted))}"'


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii") if is_invisible(character) else character
