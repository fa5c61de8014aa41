"""A call that is suggested to a person, as data, and the same call as Python to paste.

The doctor and ``why`` suggest calls; each front end renders them in the language of its reader. The command line has
the other renderer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from restate_lab._text import escape_invisible, is_invisible

__all__ = ["Placeholder", "SuggestedCall", "Value", "ask_call", "move_call", "plan_call", "python_code", "why_call"]

_FEW = 3  # ids that still read well in a line
_EXECUTE = '.execute(reason="…"), and then'


@dataclass(frozen=True, slots=True)
class Placeholder:
    """A value that only the reader knows, such as the answer that an awakeable waits for; code shows its name."""

    name: str


Value: TypeAlias = str | int | float | bool | tuple[str, ...] | Placeholder
Names: TypeAlias = Mapping[tuple[str, ...], str]


@dataclass(frozen=True, slots=True)
class SuggestedCall:
    """One call: ``verb`` is a function of restate_lab ("plan") or, with a dot, a method ("lab.admin.get_deployment").

    A function takes the connection before ``arguments``. ``result`` is the attribute of what is returned that matters
    ("deadlocks", "frame()"), "" for all of it. ``comment`` is for the reader. ``total`` is how many ids there are
    where ``arguments`` has only the first of them, else 0.
    """

    verb: str
    arguments: tuple[Value, ...] = ()
    options: Mapping[str, Value] = field(default_factory=dict)
    result: str = ""
    comment: str = ""
    total: int = 0

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the ids that the call is about; () where it takes no list of them."""
        return next((each for each in self.arguments if isinstance(each, tuple)), ())

    @property
    def note(self) -> str:
        """Return the comment on one line; where not all ids are in the call, that is what it says."""
        if self.total > len(self.ids):
            return f"the first {len(self.ids):,} of {self.total:,}: look again afterwards"
        return escape_invisible(" ".join(self.comment.split()))


def ask_call(question: str, *, comment: str = "", **params: Value | None) -> SuggestedCall:
    """Return the call that asks a named question; a parameter that is None is left out."""
    options = {name: value for name, value in params.items() if value is not None}
    return SuggestedCall("ask", (question,), options, comment=comment)


def plan_call(action: str, ids: Sequence[str], *, comment: str = "", total: int = 0) -> SuggestedCall:
    """Return the call that plans an action on these invocations."""
    return SuggestedCall("plan", (action, tuple(ids)), comment=comment, total=total)


def move_call(ids: Sequence[str], *, total: int = 0) -> SuggestedCall:
    """Return the call that plans to move these invocations to the latest deployment of their service."""
    return SuggestedCall("move_to", (tuple(ids),), {"deployment": "latest"}, total=total)


def why_call(invocation: str) -> SuggestedCall:
    """Return the call that explains one invocation."""
    return SuggestedCall("why", (invocation,))


def python_code(calls: Iterable[SuggestedCall], names: Names = MappingProxyType({})) -> str:
    """Return the calls as Python for ``rl`` and ``lab``, one a line; "" for none.

    ``names`` has code that stands for a list of ids: it is used where the list has more than three.
    """
    every_call = tuple(calls)
    return "\n".join(_code_line(call, names, is_last=call is every_call[-1]) for call in every_call)


def _code_line(call: SuggestedCall, names: Names, *, is_last: bool) -> str:
    is_method = "." in call.verb
    arguments = [] if is_method else ["lab"]
    arguments += [_literal(value, names) for value in call.arguments]
    arguments += [f"{name}={_literal(value, names)}" for name, value in call.options.items()]
    code = f"{call.verb if is_method else f'rl.{call.verb}'}({', '.join(arguments)})"
    code += f".{call.result}" if call.result else ""
    # A plan sends nothing by itself, so that what follows it has to wait for more than this line.
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
    """Return a text in double quotes, as Python reads it again; what cannot be seen is escaped."""
    return f'"{"".join(map(_escape, text))}"'


def _escape(character: str) -> str:
    if character in {'"', "\\"}:
        return f"\\{character}"
    if not is_invisible(character):
        return character
    return character.encode("unicode_escape").decode("ascii")
