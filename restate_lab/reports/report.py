"""A report: write sections to one file that opens anywhere and loads nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from restate_lab._files import write_atomically
from restate_lab._html import render, stylesheet
from restate_lab._public import INSTALL, with_explained_calls
from restate_lab._text import format_timestamp, plural, truncate
from restate_lab.analysis.times import TimeInput, to_datetime, to_zone
from restate_lab.client.arguments import check_count, check_flag, check_name
from restate_lab.errors import ArgumentError
from restate_lab.reports.masking import Masker, masker_for
from restate_lab.reports.metadata import SourceMetadata, source_metadata
from restate_lab.reports.output import Paper, ReportFile, resolve_output
from restate_lab.reports.parts import Fact, FirstPage, FrameTable, OmittedPicture, Section
from restate_lab.reports.pdf import write_pdf
from restate_lab.reports.sections import paragraphs, section_of
from restate_lab.reports.tables import MOST_BYTES, ROWS, TableBuilder, heading
from restate_lab.reports.timeline import source_changes_section
from restate_lab.source import Source
from restate_lab.status import COLOURS


@with_explained_calls
@dataclass(frozen=True, init=False, repr=False, eq=False)
class Report:
    """Sections under a title; ``add`` returns a new Report with one more section, ``write`` writes one file.

    ``source`` is the cluster or the frozen evidence that the report is about. The report shows its name, version and
    time, whether changes were possible, and the actions taken with restate_lab since ``since`` (a duration before now,
    or a time). None is for frames that do not come from a single source. ``summary`` is text for the top of the report.
    Times are in ``tz``. ``audit`` is the folder of the audit log; None means the source's folder, or else the user's
    default folder.

    Known secrets and text that looks like a token or a secret header are masked. Pictures are not checked. To hide
    more, freeze with ``redact=`` and write the report from the evidence.

    Raises:
        ArgumentError: ``title`` is empty, or ``tz`` or ``since`` is not valid.
        RestateLabError: the source does not report its time or version.
    """

    title: str
    sections: tuple[Section, ...]
    about: SourceMetadata | None
    summary: tuple[str, ...]
    zone: tzinfo
    since: datetime
    audit: Path | None
    made_at: datetime
    first_page: FirstPage | None
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
        metadata = source_metadata(source) if source is not None else None
        now = metadata.now if metadata else datetime.now(UTC)
        values: dict[str, Any] = {
            "title": heading(masker.text(title.strip())),
            "sections": (),
            "about": metadata,
            "summary": tuple(masker.text(each) for each in paragraphs(summary)),
            "zone": to_zone(tz),
            "since": to_datetime(since, now=now, name="since"),
            "audit": Path(audit) if audit is not None else None,
            "made_at": datetime.now(UTC),
            "first_page": None,
            "_source": source,
            "_masker": masker,
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)

    @property
    def maker(self) -> TableBuilder:
        """Return the table builder of this report: its zone, its masker, and the bytes left for downloads."""
        tables = [part for section in self.sections for part in section.parts if isinstance(part, FrameTable)]
        embedded = sum(table.download.size for table in tables if table.download)
        return TableBuilder(self.zone, self._masker, MOST_BYTES - embedded)

    def add(
        self,
        content: Any,
        /,
        *,
        title: str | None = None,
        caption: str = "",
        sql: str = "",
        rows: int = ROWS,
        payloads: bool = False,
    ) -> Report:
        """Return the report with one more section.

        ``content`` is a frame, a Series, a pyarrow.Table, matplotlib Axes or a Figure, text, a panel, or the result of
        ``doctor``, ``why``, ``waits``, ``journal``, ``conversation``, ``story``, ``plan``, ``execute``, ``compare`` or
        ``state``.
        The section shows its current content; later changes do not appear. A conversation has its prompts, responses,
        arguments and results only with ``payloads=True``. ``title`` None takes the title of the content. ``caption`` is
        a line below the title. A frame from ``sql`` or ``ask`` already has its statement. For another frame, pass the
        statement as ``sql``. A frame shows its first ``rows`` rows and the total number of rows. The whole frame is
        embedded as CSV; all downloads of a report together can have up to 5 MB.

        Raises:
            ArgumentError: a report cannot show ``content``, or ``rows`` is less than one.
        """
        check_count("rows", rows, least=1)
        section = section_of(
            content,
            self.maker,
            title=title,
            caption=caption,
            sql=sql,
            rows=rows,
            payloads=check_flag("payloads", payloads),
        )
        return with_values(self, sections=(*self.sections, section))

    def write(self, path: str | os.PathLike[str], /, *, overwrite: bool = False, paper: Paper = "A4") -> ReportFile:
        """Write the report to ``path`` (``.html`` or ``.pdf``) and return the path, which a notebook shows as a card.

        The file appears only when it is complete. It loads nothing and runs nothing. An existing file is kept unless
        ``overwrite=True``. ``paper`` is the size of the PDF pages, "A4" or "Letter". A PDF has no downloads; its SQL
        statements are at the end.

        Raises:
            ArgumentError: the path has an unknown suffix, its folder does not exist, or the file already exists.
            MissingProgram: there is no Chromium to make a PDF.
            WriteFailed: the disk is full.
        """
        if paper not in {"A4", "Letter"}:
            raise ArgumentError(f"unknown paper {paper!r}; choose 'A4' or 'Letter'.")
        target = resolve_output(path, overwrite=overwrite)
        chapters = [each for each in self.sections if not each.is_appendix]
        appendix = [each for each in self.sections if each.is_appendix]
        sections = (*chapters, *self._change_sections(), *appendix)
        return _write_page(self, sections, target, overwrite=overwrite, paper=paper)

    def __repr__(self) -> str:
        of = f" of {self.about.name}" if self.about else ""
        return f"<Report {self.title!r}{of}, {len(self.sections)} sections; .write('x.html') writes the file>"

    def _change_sections(self) -> tuple[Section, ...]:
        if self._source is None or self.about is None:
            return ()
        return (source_changes_section(self._source, self.about, self.maker, since=self.since, folder=self.audit),)


def with_values(report: Report, **values: Any) -> Report:
    """Return a copy of the report with these attributes replaced."""
    changed: Report = object.__new__(Report)
    for name, value in {**vars(report), **values}.items():
        object.__setattr__(changed, name, value)
    return changed


def _write_page(
    report: Report, sections: Sequence[Section], target: Path, *, overwrite: bool, paper: Paper
) -> ReportFile:
    """Write a report as HTML or as PDF, depending on the suffix of the target; ``paper`` is the page size of a PDF."""
    is_pdf = target.suffix.lower() == ".pdf"
    lead = tuple(line for section in sections for line in section.lead)
    accent = next((each.accent for each in sections if each.accent), COLOURS["neutral"])
    html = render(
        "reports/templates/report.html.j2",
        title=report.title,
        sections=sections,
        summary=report.summary,
        lead=lead,
        first_page=report.first_page,
        accent=accent,
        facts=_facts(report),
        footer=_footer(report),
        css=_stylesheet(report.title, paper if is_pdf else None),
        is_pdf=is_pdf,
    )
    with write_atomically(target, overwrite=overwrite) as unfinished:
        if is_pdf:
            write_pdf(html, unfinished)
        else:
            unfinished.write_text(html, encoding="utf-8", errors="backslashreplace")
        size = unfinished.stat().st_size
    written = ReportFile(target)
    written.title, written.lead, written.accent, written.size = report.title, lead, accent, size
    if target.absolute().is_relative_to(Path.cwd()):
        written.href = quote(target.absolute().relative_to(Path.cwd()).as_posix())
    return written


def _facts(report: Report) -> list[Fact]:
    about = report.about
    written = Fact("Written", f"{format_timestamp(report.made_at, zone=report.zone)}, times in {report.zone}")
    omitted = _omitted_pictures(report.sections)
    if about is None:
        return [written, *omitted]
    return [
        Fact("Cluster", about.name),
        Fact("As of", format_timestamp(about.now, zone=report.zone)),
        Fact("Server", f"restate {about.version}"),
        written,
        *omitted,
    ]


def _omitted_pictures(sections: Sequence[Section]) -> list[Fact]:
    """Return the line about pictures that could not be drawn; nothing if there are none."""
    n = sum(isinstance(part, OmittedPicture) for section in sections for part in section.parts)
    text = f"{plural(n, 'picture')} omitted, because matplotlib is not installed: run {INSTALL}"
    return [Fact("Pictures", text)] if n else []


def _footer(report: Report) -> list[Fact]:
    about = report.about
    ours = Fact("Written by", f"restate_lab {version('restate-lab')}")
    written = Fact("Written at", format_timestamp(datetime.now(UTC), zone=report.zone))
    if about is None:
        return [written, ours]
    place = "Evidence at" if about.is_evidence else "Address"
    return [
        Fact("Cluster", about.name),
        *([Fact(place, about.address)] if about.address else []),
        Fact("Server", f"restate {about.version}"),
        Fact("As of", format_timestamp(about.now, zone=report.zone)),
        written,
        ours,
        Fact("Evidence, sha256", about.evidence or "none (read from the live cluster)"),
        Fact("Changes", about.mode),
    ]


def _stylesheet(title: str, paper: str | None) -> Markup:
    css = stylesheet("reports/templates/report.css")
    size = f"@page {{ size: {paper}; }}\n" if paper else ""
    foot = f'@page {{ @bottom-left {{ content: "{_css_string(title)}"; }} }}\n'
    return Markup(css + size + foot)  # noqa: S704 - our own CSS; the title is escaped


def _css_string(text: str) -> str:
    """Return text for a CSS string; characters other than letters, digits and " .,-:" are escaped."""
    shown = truncate(text, 80)
    return "".join(
        each if each.isascii() and (each.isalnum() or each in " .,-:") else f"\\{ord(each):x} " for each in shown
    )
