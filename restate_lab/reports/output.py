"""The file of a report: the check of its name, which loads nothing that draws or reads, and its path as a card."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from restate_lab._html import render
from restate_lab.errors import ArgumentError
from restate_lab.export.files import check_absent, resolve_target

if TYPE_CHECKING:
    from restate_lab.analysis.doctor.diagnosis import Diagnosis

    _OwnPath = Path
else:
    _OwnPath = type(Path())  # a class can have only the path class of its platform as base before Python 3.12
FORMATS = (".html", ".pdf")
Paper = Literal["A4", "Letter"]


class ReportFile(_OwnPath):
    """The path of a written report; a notebook shows it as a card with its verdict, its size and a link."""

    title = ""
    lead: tuple[str, ...] = ()
    accent = ""
    href = ""
    """The address relative to the working folder, which is that of the notebook; "" for a file elsewhere."""
    size = 0
    """Bytes; 0 for a path that was derived from this one."""
    diagnosis: Diagnosis | None = None
    """The doctor's diagnosis that an incident report shows; None for other reports, and if the doctor failed."""

    @property
    def _size_text(self) -> str:
        return f"{self.size / 1e6:,.1f} MB" if self.size >= 100_000 else f"{max(self.size / 1e3, 1):,.0f} kB"

    def __repr__(self) -> str:
        return f"<Report {self.as_posix()!r}, {self._size_text}>" if self.size else super().__repr__()

    def _repr_html_(self) -> str | None:
        if not self.size:
            return None
        return render(
            "reports/templates/written.html.j2",
            title=self.title,
            path=str(self),
            href=self.href,
            size=self._size_text,
            lead=self.lead,
            accent=self.accent,
        )


def resolve_output(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Check the path of a report and return it.

    Raises:
        ArgumentError: the path is not an HTML or PDF file, its folder does not exist, or the file already exists.
    """
    target = resolve_target(path)
    if target.suffix.lower() not in FORMATS:
        raise ArgumentError(f"unknown format of {target.name!r}; use a name that ends with {' or '.join(FORMATS)}.")
    check_absent(target, overwrite=overwrite)
    return target
