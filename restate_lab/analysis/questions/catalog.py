"""The files behind the named questions: ``sql/<name>.sql``, and ``sql/<name>@<tag>.sql`` where servers differ.

A file begins with comments in this order, and one statement follows::

    -- Which keys are blocked, and by whom?                   the question, one line
    -- row: one key on which calls wait                       what a row of the answer is
    -- cost: scan (the status of every invocation)            point, scan or heavy, and what is read
    -- needs: feature vqueues, sys_locks, sys_journal.raw     features, tables and columns, on one line or more
    -- :since = 24h (time) completed since then               a parameter: default, kind, meaning
    --                                                        the rest is for whoever reads the SQL

Defaults are written as a caller would: ``none`` is None, ``required`` has none, and ``other(status=paused)`` are the
ids that another question gives: reading details by id is cheap, and by a scan of the journals dear. Kinds stand in
``KINDS``. ``:now`` and ``:limit`` are known to ``ask``. Variants of a question share everything but cost, needs and
the statement.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

__all__ = ["COSTS", "KINDS", "Parameter", "Question", "Variant", "names", "read_question"]

COSTS = ("point", "scan", "heavy")
KINDS = ("text", "number", "flag", "time", "time ahead", "duration", "ids")

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
        """Return the question whose ids are the default, with its parameters; None for every other default."""
        match = _ASKS.fullmatch(self.default) if self.kind == "ids" else None
        return (match["name"], {match["parameter"]: match["value"]}) if match else None

    def __str__(self) -> str:
        return self.name if self.is_required else f"{self.name}={self.default}"


@dataclass(frozen=True, slots=True)
class Variant:
    """One file: the statement for the sources that have what it needs."""

    file: str
    text: str
    row: str
    cost: str
    reads: str
    needs: tuple[str, ...]
    parameters: tuple[Parameter, ...]
    sql: str

    @property
    def tag(self) -> str:
        """Return what stands after the @ in the file's name; "" for the plain one."""
        return self.file.removesuffix(".sql").partition("@")[2]


@dataclass(frozen=True, slots=True)
class Question:
    """A named question; its variants stand in the order in which they are tried."""

    name: str
    variants: tuple[Variant, ...]


def names() -> list[str]:
    """Return the names of all questions, sorted."""
    return sorted({file.name.removesuffix(".sql").partition("@")[0] for file in _sql_files()})


def read_question(name: str) -> Question | None:
    """Return the question of that name, or None.

    Variants for a feature come first, then the plain one, then those for older versions, the newest first: a variant
    is only reached where the more special ones before it lack something.
    """
    variants = [
        parse_variant(file.name, file.read_text("utf-8")) for file in _sql_files() if _belongs_to(file.name, name)
    ]
    return Question(name, tuple(sorted(variants, key=_sort_key))) if variants else None


def parse_variant(file: str, text: str) -> Variant:
    """Read one file.

    Raises:
        ValueError: a line of its head is missing or not understood.
    """
    lines = text.splitlines()
    head = [line.removeprefix("--").strip() for line in lines[: _head_length(lines)]]
    fields = {key: [line.removeprefix(f"{key}: ") for line in head if line.startswith(f"{key}: ")] for key in _FIELDS}
    cost = _COST.fullmatch("".join(fields["cost"]))
    if not all(fields.values()) or cost is None or cost["cost"] not in COSTS:
        raise ValueError(f"{file} begins with the question, then row:, cost: {'|'.join(COSTS)} (what is read), needs:")
    return Variant(
        file=file,
        text=head[0],
        row="".join(fields["row"]),
        cost=cost["cost"],
        reads=cost["reads"],
        needs=tuple(need.strip() for need in ",".join(fields["needs"]).split(",")),
        parameters=tuple(_parse_parameter(file, line) for line in head if line.startswith(":")),
        sql="\n".join(lines[_head_length(lines) :]).strip(),
    )


def _parse_parameter(file: str, line: str) -> Parameter:
    match = _PARAMETER.fullmatch(line)
    if match is None or match["kind"] not in KINDS:
        raise ValueError(f"{file}: {line!r} is not ':name = default (kind) meaning'; kinds are {', '.join(KINDS)}")
    return Parameter(match["name"], match["default"], match["kind"], match["description"])


def _head_length(lines: list[str]) -> int:
    return next((number for number, line in enumerate(lines) if not line.startswith("--")), len(lines))


def _sql_files() -> Iterator[Traversable]:
    return (file for file in files("restate_lab.analysis.questions").iterdir() if file.name.endswith(".sql"))


def _belongs_to(file: str, name: str) -> bool:
    return file.removesuffix(".sql").partition("@")[0] == name


def _sort_key(variant: Variant) -> tuple[int, tuple[int, ...], str]:
    is_version = variant.tag[:1].isdigit()
    newest_first = tuple(-int(part) for part in variant.tag.split(".")) if is_version else ()
    return (2 if is_version else 1 if not variant.tag else 0, newest_first, variant.tag)
