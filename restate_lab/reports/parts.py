"""The content of a report: sections and the parts in them, ready to be written; all of it immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from markupsafe import Markup

__all__ = [
    "AxisLabel",
    "BigNumber",
    "Card",
    "Code",
    "Column",
    "Download",
    "Fact",
    "FindingPart",
    "Findings",
    "FirstPage",
    "Heading",
    "Lane",
    "LaneBar",
    "Mark",
    "Notice",
    "Part",
    "Picture",
    "Prose",
    "Section",
    "Statement",
    "Table",
    "TableCell",
    "Timeline",
]

ColumnKind: TypeAlias = Literal["text", "id", "number", "time", "status", "words"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: its heading and what its cells are."""

    name: str
    kind: ColumnKind


@dataclass(frozen=True, slots=True)
class TableCell:
    """One value as text; ``more`` is the whole of what was cut, ``colour`` that of a status. Missing is a dash."""

    text: str
    more: str = ""
    colour: str = ""


@dataclass(frozen=True, slots=True)
class Download:
    """A file inside of the report; ``size`` is that of the file in bytes, ``uri`` a data URI."""

    name: str
    size: int
    uri: str


@dataclass(frozen=True, slots=True)
class Table:
    """A frame to read: its first rows, and a note about what is not shown; ``download`` is the file with all rows.

    ``folded`` is the line that opens the table, "" shows it at once.
    """

    part: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    title: str = ""
    note: str = ""
    download: Download | None = None
    folded: str = ""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI; ``alt`` says what it shows, ``width`` is in CSS pixels, None for its own."""

    part: ClassVar[str] = "picture"
    uri: str
    alt: str
    width: int | None


@dataclass(frozen=True, slots=True)
class Prose:
    """Paragraphs of plain text."""

    part: ClassVar[str] = "prose"
    paragraphs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of what follows in a section."""

    part: ClassVar[str] = "heading"
    text: str


@dataclass(frozen=True, slots=True)
class Notice:
    """A line that must not be overlooked: what is missing, or what failed."""

    part: ClassVar[str] = "notice"
    text: str


@dataclass(frozen=True, slots=True)
class Card:
    """HTML that was made and escaped by restate_lab, or cleaned of everything that acts; ``is_text`` is to be read."""

    part: ClassVar[str] = "card"
    html: Markup
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Code:
    """Something to read as it was written; ``folded`` is the line to open it with, "" shows it at once."""

    part: ClassVar[str] = "code"
    text: str
    folded: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True)
class FindingPart:
    """One finding of the doctor, as text."""

    severity: str
    colour: str
    summary: str
    where: str
    since: str
    affected: str
    suggested_code: str
    ids: tuple[str, ...]
    more_ids: int


@dataclass(frozen=True, slots=True)
class Findings:
    """The findings of the doctor, worst first, and what was not checked; ``without`` is shown if nothing was found.

    The findings after the first ``shown`` are folded below the line ``more``.
    """

    part: ClassVar[str] = "findings"
    findings: tuple[FindingPart, ...]
    not_checked: tuple[str, ...]
    checked: str
    without: str
    shown: int
    more: str


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement behind a section: the call, the SQL, its parameters, when it was sent, and how long it took.

    Where it is not ``printed``, it stands on the screen only: paper has no room for what nobody looks up.
    """

    call: str
    sql: str
    params: tuple[tuple[str, str], ...]
    details: str
    printed: bool = True


Part: TypeAlias = Table | Picture | Heading | Prose | Notice | Card | Code | Findings


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the summary or the footer."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An event in a lane, or several that are close to each other: ``at`` is its place in percent of the width."""

    at: float
    count: int
    text: str
    colour: str


@dataclass(frozen=True, slots=True)
class LaneBar:
    """A bar in a lane, in percent of its width and height; ``label`` is written on it."""

    left: float
    width: float
    bottom: float
    height: float
    text: str
    colour: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a timeline; ``note`` is a number beside its name, ``earlier`` counts the events before its start."""

    name: str
    note: str = ""
    bars: tuple[LaneBar, ...] = ()
    marks: tuple[Mark, ...] = ()
    earlier: int = 0

    @property
    def is_used(self) -> bool:
        """Return whether there is anything in it."""
        return bool(self.bars or self.marks or self.earlier)


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """A time on the axis of a timeline, in percent of the width."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """A drawn timeline; ``alt`` says in a sentence what it shows."""

    lanes: tuple[Lane, ...]
    ticks: tuple[AxisLabel, ...]
    start: str
    end: str
    alt: str


@dataclass(frozen=True, slots=True)
class BigNumber:
    """One of the four numbers of the first page."""

    value: str
    name: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FirstPage:
    """What the first page shows below the verdict; ``statuses`` are (name, count, colour) of what is in flight."""

    numbers: tuple[BigNumber, ...]
    timeline: Timeline | None
    statuses: tuple[tuple[str, int, str], ...]
    statuses_title: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its parts. ``lead`` are lines for the first page, ``accent`` is the colour of the verdict."""

    title: str
    parts: tuple[Part, ...]
    caption: str = ""
    statements: tuple[Statement, ...] = ()
    lead: tuple[str, ...] = ()
    accent: str = ""
    embedded: int = 0
    is_notebook: bool = False
    is_appendix: bool = False
