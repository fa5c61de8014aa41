"""The base class of results: where and when they were read, and what they do not contain."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Any, ClassVar

import pandas as pd

from restate_lab._text import escape_invisible, format_timestamp, one_line, plural, truncate
from restate_lab.document import Document, Gaps
from restate_lab.document.html import html_of
from restate_lab.document.text import COLUMNS, ROWS, count_rows, text_of

ORIGIN = ("summary", "source", "version", "read_at")
"""The fields of ``to_json()`` about where a result is from."""
_LISTED = (10, 5, 3, 2, 1)
_LONGEST = 4 * COLUMNS  # characters of a line of a text that does not fit
_LAST_ROWS = 12  # of a text without its middle
_MORE = re.compile(r" +… and ([\d,]+) more")


def fit_screen(text: str, whole_list: str = "") -> str:
    """Return a text that needs at most a screen: with shorter lists of indented lines, or without its middle.

    The list below the line ``whole_list`` is not shortened.
    """
    if count_rows(text) <= ROWS:
        return text
    whole = [truncate(line, _LONGEST) for line in text.split("\n")]
    for most in _LISTED:
        lines = list(_shorten_lists(whole, most, whole_list))
        if count_rows("\n".join(lines)) <= ROWS:
            return "\n".join(lines)
    last = _that_fit(lines[::-1], _LAST_ROWS)[::-1]
    first = _that_fit(lines, ROWS - _LAST_ROWS - 1)
    hidden = plural(len(lines) - len(first) - len(last), "line")
    return "\n".join([*first, f"… {hidden} not shown; the frames of the result have all rows …", *last])


def _that_fit(lines: Sequence[str], rows: int) -> list[str]:
    """Return the first lines that need at most this many rows."""
    needed = accumulate(map(count_rows, lines))
    return [line for line, row in zip(lines, needed, strict=True) if row <= rows]


def _shorten_lists(lines: Sequence[str], most: int, whole_list: str) -> Iterator[str]:
    """Yield the lines with at most ``most`` indented ones after each other, and how many more there are."""
    head = ""
    for is_listed, group in groupby(lines, key=lambda line: line.startswith("  ")):
        rows = list(group)
        if not is_listed or head == whole_list or len(rows) <= most + 1:
            yield from rows
            head = rows[-1]
            continue
        yield from rows[:most]
        counted = _MORE.match(rows[-1])
        hidden = len(rows) - most + (int(counted[1].replace(",", "")) - 1 if counted else 0)
        yield f"  … and {hidden:,} more"


def _json_value(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def unread(**parts: Iterable[str]) -> pd.DataFrame:
    """Return the frame ``not_read`` from the reasons why each part is not complete; equal reasons are one row."""
    rows = [(part, reason) for part, reasons in parts.items() for reason in dict.fromkeys(reasons)]
    return pd.DataFrame(rows, columns=["part", "reason"], dtype=object)


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Result:
    """A result that was read from a source, as a card in a notebook and as text with ``print()``.

    The text has at most 40 lines at 100 columns: longer lists end with the number of further rows, which are in the
    frames.
    """

    _whole_list: ClassVar[str] = ""
    """The head of a list that a short text has completely."""
    _json: ClassVar[tuple[str, ...]] = (*ORIGIN, "not_read")
    """The fields of ``to_json()``, in order; "note.id" is the field ``id`` of the field ``note``."""
    source: str
    """The name of the source."""
    version: str
    """The version of its server."""
    read_at: datetime
    """The time when the source was read, UTC."""
    queries: tuple[Mapping[str, Any], ...] = ()
    """Each statement that was sent: ``sql``, ``params`` as JSON values, ``times``."""
    link: str = ""
    """The address of the page of ``restate-lab serve`` with this result; "" without RESTATE_LAB_SERVE."""
    not_read: pd.DataFrame = field(default_factory=unread)
    """What the result does not contain: one row per ``part`` of the result and ``reason``."""

    def __post_init__(self) -> None:
        """Name the source in the ``attrs`` of each frame."""
        for each in fields(self):
            if isinstance(frame := getattr(self, each.name), pd.DataFrame):
                self._of_source(frame)

    def _of_source(self, frame: pd.DataFrame) -> pd.DataFrame:
        origin = {"source": self.source, "version": self.version, "read_at": self.read_at.isoformat()}
        frame.attrs = origin | frame.attrs
        return frame

    @property
    def where(self) -> str:
        """Return the source, its version, and when it was read."""
        return f"{self.source}, restate {self.version}, {format_timestamp(self.read_at)}"

    @property
    def summary(self) -> str:
        """Return a summary on one line."""
        raise NotImplementedError

    def to_json(self) -> dict[str, Any]:
        """Return the fields that ``--json`` writes: JSON values, and frames as they are, because they can be long."""
        return {name.rpartition(".")[2]: _json_value(attrgetter(name)(self)) for name in self._json}

    @property
    def reasons(self) -> list[str]:
        """Return the reasons of ``not_read``."""
        return list(self.not_read["reason"])

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the result as blocks, which every surface draws; ``zone`` is that of the times in them."""
        where = f"{self.source}, restate {self.version}, {format_timestamp(self.read_at, zone=zone)}"
        return Document(self.summary, where, (Gaps(self.reasons),), page=self.link)

    def _text(self) -> str:
        return text_of(self.document())

    def _card(self) -> str:
        return html_of(self.document())

    def _brief(self) -> str:
        return f"{self.where}: {self.summary}"

    def _short_text(self) -> str:
        """Return a text for a result whose own one does not fit on a screen."""
        return self._text()

    def __str__(self) -> str:
        text = escape_invisible(self._text())
        if count_rows(text) <= ROWS:
            return text
        return fit_screen(escape_invisible(self._short_text()), self._whole_list)

    def __repr__(self) -> str:
        return escape_invisible(f"<{type(self).__name__} of {one_line(self._brief(), _LONGEST)}>")

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self._card()
