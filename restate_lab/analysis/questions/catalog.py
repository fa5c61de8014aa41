"""The files of the named questions, ``<name>.sql``.

A file ``<name>.txt`` has no statement: a function in ``restate_lab.analysis.ask`` reads its rows. A statement that
depends on what a server has chooses its parts with ``-- if:``, as ``restate_lab.client.sql.parts`` describes.

A file begins with comments in this order, followed by one statement::

    -- Which keys are blocked, and by which invocation?       the question, on one line
    -- row: one key with waiting calls                        the content of a row
    -- cost: scan (the status of every invocation)            point, scan or heavy, and the data that it reads
    -- needs: feature vqueues, sys_locks, sys_journal.raw     features, tables and columns, on one or more lines
    --                                                        "open invocations": a history has only ended ones;
    --                                                        "the present": not for an earlier time
    -- :since = 24h (time) completed since this time          a parameter: default, kind, meaning
    -- with: backing_off, holders                             shared parts of ``restate_lab.client.sql.parts``
    --                                                        after this line: notes for readers of the SQL

Defaults are written as a caller would write them. ``none`` means None, and ``required`` means that there is no default.
``other(status=paused)`` means the ids that the question ``other`` returns, because reading details by id is cheap and
scanning all journals is expensive. ``auto`` means a length of time spans that depends on the rows. ``KINDS`` lists the
kinds. ``ask`` handles ``:now`` and ``:limit`` itself. Variants
of a question differ only in cost, needs and the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

COSTS = ("point", "scan", "heavy")
KINDS = ("text", "number", "percent", "flag", "time", "time ahead", "duration", "ids")

_FIELDS = ("row", "cost", "needs")
_PARAMETER = re.compile(r":(?P<name>\w+) = (?P<default>.+?) \((?P<kind>[a-z ]+)\) (?P<description>.+)")
_ASKS = re.compile(r"(?P<name>\w+)\((?P<parameter>\w+)=(?P<value>\w+)\)")
_COST = re.compile(r"(?P<cost>\w+) \((?P<reads>.+)\)")


@dataclass(frozen=True, slots=True)
class Parameter:
    """One ``:name`` of a question; ``default`` as written in the file."""

    name: str
    default: str
    kind: str
    description: str

    @property
    def is_required(self) -> bool:
        """Return whether the caller has to pass it."""
        return self.default == "required"

    @property
    def default_question(self) -> tuple[str, dict[str, str]] | None:
        """Return the question whose ids are the default, with its parameters; None for any other default."""
        match = _ASKS.fullmatch(self.default) if self.kind == "ids" else None
        return (match["name"], {match["parameter"]: match["value"]}) if match else None

    def __str__(self) -> str:
        return self.name if self.is_required else f"{self.name}={self.default}"


@dataclass(frozen=True, slots=True)
class Question:
    """A named question: a statement for the sources that have everything in ``needs``; ``sql`` is "" for a function."""

    name: str
    text: str
    row: str
    cost: str
    reads: str
    needs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    sql: str


def names() -> list[str]:
    """Return the names of all questions, sorted."""
    return sorted(file.name.partition(".")[0] for file in _files())


def read_question(name: str) -> Question | None:
    """Return the question with this name, or None."""
    file = next((each for each in _files() if each.name.partition(".")[0] == name), None)
    return None if file is None else parse_question(name, file.read_text("utf-8"))


def parse_question(name: str, text: str) -> Question:
    """Read the file of a question.

    Raises:
        ValueError: a header line is missing or malformed.
    """
    lines = text.splitlines()
    head = [line.removeprefix("--").strip() for line in lines[: _head_length(lines)]]
    fields = {key: [line.removeprefix(f"{key}: ") for line in head if line.startswith(f"{key}: ")] for key in _FIELDS}
    cost = _COST.fullmatch("".join(fields["cost"]))
    parts = [line for line in lines[: _head_length(lines)] if line.startswith("-- with: ")]
    if not all(fields.values()) or cost is None or cost["cost"] not in COSTS:
        raise ValueError(f"{name} must begin with the question, then row:, cost: {'|'.join(COSTS)} (data), needs:")
    return Question(
        name=name,
        text=head[0],
        row="".join(fields["row"]),
        cost=cost["cost"],
        reads=cost["reads"],
        needs=tuple(need.strip() for need in ",".join(fields["needs"]).split(",")),
        parameters=tuple(_parse_parameter(name, line) for line in head if line.startswith(":")),
        sql="\n".join([*parts, *lines[_head_length(lines) :]]).strip(),
    )


def _parse_parameter(name: str, line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    if match is None or match["kind"] not in KINDS:
        raise ValueError(f"{name}: {line!r} is not ':name = default (kind) meaning'; kinds are {', '.join(KINDS)}")
    return Parameter(match["name"], match["default"], match["kind"], match["description"])


def _head_length(lines: list[str]) -> int:
    return next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))


def _files() -> Iterator[Traversable]:
    folder = files("restate_lab.analysis.questions")
    return (file for file in folder.iterdir() if file.name.endswith((".sql", ".txt")))
