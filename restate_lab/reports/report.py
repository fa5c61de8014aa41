"""A report: sections in, one file out that opens anywhere and loads nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal

from restate_lab.analysis.times import TimeInput, moment
from restate_lab.client.arguments import check_count, check_name
from restate_lab.errors import ArgumentError
from restate_lab.plots.inputs import zone
from restate_lab.reports.about import About, about
from restate_lab.reports.cells import heading
from restate_lab.reports.changes import changes_section
from restate_lab.reports.html import front_of, page
from restate_lab.reports.masking import Masker, masker_for
from restate_lab.reports.parts import Section
from restate_lab.reports.pdf import write_pdf
from restate_lab.reports.publishing import target_of, written
from restate_lab.reports.sections import paragraphs, section_of
from restate_lab.reports.tables import MOST_BYTES, ROWS, Maker
from restate_lab.source import Source

__all__ = ["Paper", "Report"]

Paper = Literal["A4", "Letter"]


@dataclass(frozen=True, init=False, repr=False, eq=False)
class Report:
    """Sections under a title; each ``add`` gives a new Report, ``write`` makes one file of it.

    ``source`` is what it is about: its name, version and time, whether it could be changed, and what was changed from
    here since ``since`` (a length before now, or a moment) stand in the report; None is for frames of no one source.
    ``summary`` is text that stands first. Times are in ``tz``. ``audit`` is the folder of the audit log, None that of
    the source, or the user's.

    Secrets that are known, and what looks like a token or a secret header, are masked; pictures are not looked into.
    To hide more, freeze with ``redact=`` and report on the evidence.

    Raises:
        ArgumentError: ``title`` is empty, or ``tz`` or ``since`` is none.
        RestateLabError: the source does not tell its time or version.
    """

    title: str
    sections: tuple[Section, ...]
    about: About | None
    summary: tuple[str, ...]
    zone: tzinfo
    since: datetime
    audit: Path | None
    made_at: datetime
    _source: Source | None
    _masker: Masker

    def __init__(
        self,
        title: str,
        /,
        *,
        source: Source | None = None,
        summary: str = "",
        tz: str | tzinfo = "UTC",
        since: TimeInput = "24h",
        audit: str | os.PathLike[str] | None = None,
    ) -> None:
        check_name("title", title)
        masker = masker_for(source)
        found = about(source) if source is not None else None
        now = found.now if found else datetime.now(UTC)
        values: dict[str, Any] = {
            "title": heading(masker.text(title.strip())),
            "sections": (),
            "about": found,
            "summary": tuple(masker.text(each) for each in paragraphs(summary)),
            "zone": zone(tz),
            "since": moment(since, now=now, name="since"),
            "audit": Path(audit) if audit is not None else None,
            "made_at": datetime.now(UTC),
            "_source": source,
            "_masker": masker,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def maker(self) -> Maker:
        """Return what makes the tables of this report: its zone, its mask, and how many bytes are left to embed."""
        return Maker(self.zone, self._masker, MOST_BYTES - sum(each.embedded for each in self.sections))

    def add(
        self, thing: Any, /, *, title: str | None = None, caption: str = "", sql: str = "", rows: int = ROWS
    ) -> Report:
        """Return the report with one section more.

        ``thing`` is a frame (its SQL comes along where ``sql`` or ``ask`` made it), a Series, a pyarrow.Table,
        matplotlib Axes or a Figure, text, what ``doctor``, ``why``, ``waits``, ``journal``, ``plan``, ``execute`` and
        the like give, or a panel, of which what it holds now is shown. It is taken as it is now. ``title`` None takes
        what it says of itself; ``caption`` stands below that; ``sql`` is the statement behind it, where the thing does
        not know it, as a frame that pandas has made of others. A frame shows its first ``rows`` rows and says how many
        there are; the whole is embedded as CSV, up to 5 MB in a report.

        Raises:
            ArgumentError: it is nothing that a report can show, or ``rows`` is less than one.
        """
        check_count("rows", rows, least=1)
        made = section_of(thing, self.maker, title=title, caption=caption, sql=sql, rows=rows)
        return self._with((*self.sections, made))

    def write(self, path: str | os.PathLike[str], /, *, overwrite: bool = False, paper: Paper = "A4") -> Path:
        """Write the report to ``path``, ``.html`` or ``.pdf``, and return it; the file appears when it is whole.

        It loads nothing and runs nothing. A file that is there is kept unless ``overwrite=True``. ``paper`` is that of
        the PDF, "A4" or "Letter"; a PDF has no downloads, and the statements at its end.

        Raises:
            ArgumentError: the path says no format, its folder is not there, or the file is.
            MissingProgram: there is no Chromium to make a PDF.
        """
        if paper not in {"A4", "Letter"}:
            raise ArgumentError(f"paper is {paper!r}: give 'A4' or 'Letter'.")
        target = target_of(path, overwrite=overwrite)
        is_pdf = target.suffix.lower() == ".pdf"
        told = [each for each in self.sections if not each.is_appendix]
        appendix = [each for each in self.sections if each.is_appendix]
        html = page(front_of(self), (*told, *self._changes(), *appendix), paper=paper if is_pdf else None)
        with written(target, overwrite=overwrite) as unfinished:
            if is_pdf:
                write_pdf(html, unfinished)
            else:
                unfinished.write_text(html, encoding="utf-8", errors="backslashreplace")
        return target

    def __repr__(self) -> str:
        of = f" of {self.about.name}" if self.about else ""
        return f"<Report {self.title!r}{of}, {len(self.sections)} sections; .write('x.html') makes the file>"

    def _with(self, sections: tuple[Section, ...]) -> Report:
        made: Report = object.__new__(Report)
        for name, value in {**vars(self), "sections": sections}.items():
            object.__setattr__(made, name, value)
        return made

    def _changes(self) -> tuple[Section, ...]:
        if self._source is None or self.about is None:
            return ()
        return (changes_section(self._source, self.about, self.maker, since=self.since, folder=self.audit),)
