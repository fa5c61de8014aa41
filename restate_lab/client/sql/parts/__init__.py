"""Complete a statement for the tables that a source has, so that one statement is right on each kind of server.

An invocation of an older server, or of a partition that is not migrated, has no vqueue. One cluster can have both kinds
of invocations, so a statement must not choose between them. Two comments in a statement say what to read:

``-- with: entries``
    The statement begins with the common table expression of this name. Its file is in this folder.

``-- if: sys_inbox`` … ``-- if: sys_vqueues, sys_locks`` … ``-- else`` … ``-- end``
    Of these parts, each whose tables (or "table.column") the source has is read, joined by UNION ALL; if it has none of
    them, the part after ``-- else`` is read.

The comments are on lines of their own. A part can need others.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib.resources import files

from restate_lab.client.schema import names_of
from restate_lab.errors import NotOnThisServer
from restate_lab.source import Source

__all__ = ["complete", "complete_for"]

_WITH = re.compile(r"^[ ]*-- with: (?P<names>.+)\n", re.MULTILINE)
_CHOICE = re.compile(r"^[ ]*-- if: .*?^[ ]*-- end(?:\n|\Z)", re.MULTILINE | re.DOTALL)
_BRANCH = re.compile(r"^[ ]*-- (?:if: (?P<needs>.+)|(?P<otherwise>else)|end)\n?", re.MULTILINE)
_OWN_PARTS = re.compile(r"\s*WITH (?:RECURSIVE\s+)?")
_BEGIN = re.compile(r"(?:[ ]*--[^\n]*\n)*")
_COMMENTS = re.compile(r"^--[^\n]*\n", re.MULTILINE)


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
    names = [name.strip() for match in _WITH.finditer(statement) for name in match["names"].split(",")]
    chosen = _CHOICE.sub(lambda match: _choose(match[0], has), _WITH.sub("", statement))
    if not names:
        return chosen
    parts = ",\n".join(dict.fromkeys(part for name in names for part in _part(name, has)))
    head = _BEGIN.match(chosen)[0]  # type: ignore[index]  # it also matches nothing
    body = chosen.removeprefix(head)
    own = _OWN_PARTS.match(body)
    return f"{head}{own[0]}{parts},\n{body.removeprefix(own[0])}" if own else f"{head}WITH {parts}\n{body}"


def _part(name: str, has: Callable[[str], bool]) -> list[str]:
    """Return the common table expressions of a part, those that it needs first."""
    text = _read(name)
    needed = [other.strip() for match in _WITH.finditer(text) for other in match["names"].split(",")]
    body = _CHOICE.sub(lambda match: _choose(match[0], has), _WITH.sub("", text))
    indented = _COMMENTS.sub("", body).strip().replace("\n", "\n  ")
    return [*(part for other in needed for part in _part(other, has)), f"{name} AS (\n  {indented})"]


def _choose(text: str, has: Callable[[str], bool]) -> str:
    pieces = _BRANCH.split(text)
    branches = list(zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True))
    chosen = [body for needs, _, body in branches if needs and all(has(need.strip()) for need in needs.split(","))]
    otherwise = [body for _, is_otherwise, body in branches if is_otherwise]
    if not chosen and not otherwise:
        wanted = "; or ".join(needs for needs, _, _ in branches if needs)
        raise NotOnThisServer(f"the source does not have the tables that this reads: it needs {wanted}.")
    return "UNION ALL\n".join(chosen or otherwise)


@functools.cache
def _read(name: str) -> str:
    return files(__name__).joinpath(f"{name}.sql").read_text("utf-8")
