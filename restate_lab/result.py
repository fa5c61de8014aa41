"""The base class of results: where and when they were read, and what they do not contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, tzinfo
from operator import attrgetter
from typing import Any, ClassVar

import pandas as pd

from restate_lab._text import escape_invisible, format_timestamp, one_line
from restate_lab.document import Document, Gaps
from restate_lab.document.html import html_of
from restate_lab.document.text import COLUMNS, text_of

ORIGIN = ("summary", "source", "version", "read_at")
"""The fields of ``to_json()`` about where a result is from."""
_LONGEST = 4 * COLUMNS  # characters of a repr


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

    def _brief(self) -> str:
        return f"{self.where}: {self.summary}"

    def __str__(self) -> str:
        return text_of(self.document())

    def __repr__(self) -> str:
        return escape_invisible(f"<{type(self).__name__} of {one_line(self._brief(), _LONGEST)}>")

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return html_of(self.document())
