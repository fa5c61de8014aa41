"""Complete a statement for the tables that a source has, so that one statement is right on each kind of server.

An invocation of an older server, or of a partition that is not migrated, has no vqueue. One cluster can have both kinds
of invocations, so a statement must not choose between them. Two comments in a statement say what to read:

``-- with: entries``
    The statement begins with the common table expression of this name. Its file is in this folder.

``-- if: sys_inbox`` … ``-- if: sys_vqueues, sys_locks`` … ``-- else`` … ``-- end``
    Of these parts, each whose tables (or "table.column") the source has is read, joined by UNION ALL; if it has none of
    them, the part after ``-- else`` is read. With one condition and ``else``, a part can also be an expression.

The comments are on lines of their own. A part can need others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files

from restate_lab.client.schema import names_of
from restate_lab.errors import NotOnThisServer
from restate_lab.source import Source

_WITH = re.compile(r"^ *-- with: (.+)\n", re.MULTILINE)
_MARK = re.compile(r" *-- (?:if: (?P<needs>.+)|(?P<otherwise>else)|end)\n?")
_OWN_PARTS = re.compile(r"\s*WITH (?:RECURSIVE\s+)?")


def complete(statement: str, source: Source) -> str:
    """Return a statement with its parts, for the tables that a source has; they are read only if it has such comments.

    Raises:
        NotOnThisServer: the source has none of the tables from which a part can be read.
        RestateLabError: the tables of the source cannot be read.
    """
    if "-- with:" not in statement and "-- if:" not in statement:
        return statement
    return complete_for(statement, names_of(source).__contains__)


def complete_for(statement: str, has: Callable[[str], bool]) -> str:
    """Return a statement with its parts; ``has`` answers whether the source has a table or a "table.column"."""
    names, chosen = _read_marks(statement, has)
    if not names:
        return chosen
    parts = ",\n".join(dict.fromkeys(part for name in names for part in _part(name, has)))
    lines = chosen.splitlines(keepends=True)
    at = next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))
    head, body = "".join(lines[:at]), "".join(lines[at:])
    own = _OWN_PARTS.match(body)
    return f"{head}{own[0]}{parts},\n{body.removeprefix(own[0])}" if own else f"{head}WITH {parts}\n{body}"


def _part(name: str, has: Callable[[str], bool]) -> list[str]:
    """Return the common table expressions of a part, those that it needs first."""
    needed, text = _read_marks(_read(name), has)
    lines = [line for line in text.splitlines() if not line.startswith("--")]
    body = "\n  ".join(lines)
    return [*(part for other in needed for part in _part(other, has)), f"{name} AS (\n  {body})"]


def _read_marks(text: str, has: Callable[[str], bool]) -> tuple[list[str], str]:
    """Return the names of the parts that a text needs, and the text with the chosen branches."""
    names = [name.strip() for match in _WITH.findall(text) for name in match.split(",")]
    lines: list[str] = []
    branches: list[_Branch] = []
    for line in _WITH.sub("", text).splitlines(keepends=True):
        mark = _MARK.fullmatch(line)
        if mark is None:
            (branches[-1].lines if branches else lines).append(line)
        elif mark["needs"] or mark["otherwise"]:
            branches.append(_Branch(mark["needs"] or ""))
        else:
            lines += _chosen(branches, has)
            branches = []
    return names, "".join(lines)


@dataclass(frozen=True, slots=True)
class _Branch:
    """The lines of one branch; ``needs`` is "" for the last one, which is read if no other can be read."""

    needs: str
    lines: list[str] = field(default_factory=list)


def _chosen(branches: Sequence[_Branch], has: Callable[[str], bool]) -> list[str]:
    there = [each for each in branches if each.needs and all(has(need.strip()) for need in each.needs.split(","))]
    if not (there := there or [each for each in branches if not each.needs]):
        wanted = "; or ".join(each.needs for each in branches)
        raise NotOnThisServer(f"the source does not have the tables that this reads: it needs {wanted}.")
    return [line for each in there for line in ("UNION ALL\n", *each.lines)][1:]


@functools.cache
def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sql").read_text("utf-8")
