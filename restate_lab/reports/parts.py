"""The content of a report: sections and the parts in them, ready to be written; all of it immutable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from markupsafe import Markup

__all__ = [
    "Card",
    "Code",
    "Column",
    "Download",
    "Fact",
    "FindingPart",
    "Findings",
    "Heading",
    "Notice",
    "Part",
    "Picture",
    "Prose",
    "Section",
    "Statement",
    "Table",
    "TableCell",
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
    """A frame to read: its first rows, and in words what is not shown; ``download`` has all of it, if there is one."""

    part: ClassVar[str] = "table"
    columns: tuple[Column, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    title: str = ""
    note: str = ""
    download: Download | None = None


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
    """The findings of the doctor, worst first, and what was not checked; ``without`` stands where nothing was found."""

    part: ClassVar[str] = "findings"
    findings: tuple[FindingPart, ...]
    not_checked: tuple[str, ...]
    checked: str
    without: str


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
class Section:
    """A heading with what stands below it. ``lead`` are lines for the summary, ``accent`` the colour of the worst."""

    title: str
    parts: tuple[Part, ...]
    caption: str = ""
    statements: tuple[Statement, ...] = ()
    lead: tuple[str, ...] = ()
    accent: str = ""
    embedded: int = 0
    is_notebook: bool = False
    is_appendix: bool = False
