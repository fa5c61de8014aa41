"""The base class of results: where and when they were read, and what they do not contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible, format_timestamp


def unread(**parts: Iterable[str]) -> pd.DataFrame:
    """Return the frame ``not_read`` from the reasons why each part is not complete; equal reasons are one row."""
    rows = [(part, reason) for part, reasons in parts.items() for reason in dict.fromkeys(reasons)]
    return pd.DataFrame(rows, columns=["part", "reason"], dtype=object)


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Result:
    """A result that was read from a source, as a card in a notebook and as text with ``print()``."""

    source: str
    """The name of the source."""
    version: str
    """The version of its server."""
    read_at: datetime
    """The time when the source was read, UTC."""
    queries: tuple[Mapping[str, Any], ...] = ()
    """Each statement that was sent: ``sql``, ``params`` as JSON values, ``times``."""
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

    @property
    def reasons(self) -> list[str]:
        """Return the reasons of ``not_read``."""
        return list(self.not_read["reason"])

    def _text(self) -> str:
        return "\n".join([self.summary, self.where, *(f"Not read: {reason}." for reason in self.reasons)])

    def _card(self) -> str:
        raise NotImplementedError

    def _brief(self) -> str:
        return f"{self.where}: {self.summary}"

    def __str__(self) -> str:
        return escape_invisible(self._text())

    def __repr__(self) -> str:
        return escape_invisible(f"<{type(self).__name__} of {self._brief()}>")

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return self._card()
