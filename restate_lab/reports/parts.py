"""The content of a report: immutable sections and parts that are ready to be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from markupsafe import Markup

from restate_lab._html.table import TableCell, TableColumn


@dataclass(frozen=True, slots=True)
class Download:
    """A file embedded in the report; ``size`` is in bytes, ``uri`` is a data URI."""

    name: str
    size: int
    uri: str


@dataclass(frozen=True, slots=True)
class FrameTable:
    """The first rows of a frame, with a note about the rows that are not shown.

    ``download`` is the file with all rows. ``folded`` is the label that unfolds the table; "" shows the table at once.
    """

    columns: tuple[TableColumn, ...]
    rows: tuple[tuple[TableCell, ...], ...]
    title: str = ""
    note: str = ""
    download: Download | None = None
    folded: str = ""


@dataclass(frozen=True, slots=True)
class DrawnPicture:
    """A picture as a data URI; ``alt`` describes it. ``width`` is in CSS pixels; None means its own width."""

    uri: str
    alt: str
    width: int | None


@dataclass(frozen=True, slots=True)
class OmittedPicture:
    """The place of a picture that was not drawn, because matplotlib is not installed; it shows nothing."""

    alt: str


@dataclass(frozen=True, slots=True)
class Card:
    """A drawn document, or other HTML that restate_lab has escaped."""

    html: Markup
    title: str = ""


@dataclass(frozen=True, slots=True)
class Statement:
    """A statement behind a section: the call, the SQL, its parameters, when it was sent, and how long it took.

    If ``printed`` is False, it appears only in the HTML page on the screen, not in print or PDF.
    """

    call: str
    sql: str
    params: tuple[tuple[str, str], ...]
    details: str
    printed: bool = True


Part: TypeAlias = FrameTable | DrawnPicture | OmittedPicture | Card


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the summary or the footer, or a number of the first page, with a note below it."""

    name: str
    text: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """One event in a lane, or several close events; ``at`` is the position in percent of the width.

    ``link`` is the address that opens the cluster as it was at the first of these events, or "". Bars and time labels
    have one, too.
    """

    at: float
    count: int
    text: str
    colour: str
    link: str = ""


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
    link: str = ""


@dataclass(frozen=True, slots=True)
class Lane:
    """One row of a timeline; ``note`` is the number after its name.

    ``earlier`` is the number of events before the start of the timeline.
    """

    name: str
    note: str = ""
    bars: tuple[LaneBar, ...] = ()
    marks: tuple[Mark, ...] = ()
    earlier: int = 0


@dataclass(frozen=True, slots=True)
class AxisLabel:
    """A time label on the axis of a timeline; ``at`` is in percent of the width."""

    at: float
    label: str
    link: str = ""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A timeline; ``alt`` describes it in a sentence, ``note`` is a line below it."""

    lanes: tuple[Lane, ...]
    ticks: tuple[AxisLabel, ...]
    start: str
    end: str
    alt: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class FirstPage:
    """The content below the verdict; ``statuses`` has (name, count, color) of the invocations in flight."""

    numbers: tuple[Fact, ...]
    timeline: Timeline | None
    statuses: tuple[tuple[str, int, str], ...]
    statuses_title: str


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with its parts; ``lead`` has lines for the first page, ``accent`` is the color of the verdict."""

    title: str
    parts: tuple[Part, ...]
    caption: str = ""
    statements: tuple[Statement, ...] = ()
    lead: tuple[str, ...] = ()
    accent: str = ""
    is_appendix: bool = False
