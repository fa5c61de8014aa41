"""A report: sections in, one file out that opens anywhere and loads nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from markupsafe import Markup

from restate_lab._html import render
from restate_lab._public import check_keywords
from restate_lab._text import format_timestamp, truncate
from restate_lab.analysis.times import TimeInput, to_datetime
from restate_lab.client.arguments import check_count, check_name
from restate_lab.errors import ArgumentError
from restate_lab.export.files import publish
from restate_lab.plots.inputs import zone
from restate_lab.reports.masking import Masker, masker_for
from restate_lab.reports.metadata import SourceMetadata, source_metadata
from restate_lab.reports.parts import Fact, FirstPage, Section
from restate_lab.reports.pdf import write_pdf
from restate_lab.reports.sections import paragraphs, section_of
from restate_lab.reports.tables import MOST_BYTES, ROWS, TableBuilder, heading
from restate_lab.reports.timeline import source_changes_section
from restate_lab.source import Source

__all__ = ["FrontMatter", "Paper", "Report", "render_page", "resolve_output", "with_values", "write_atomically"]

FORMATS = (".html", ".pdf")
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
    about: SourceMetadata | None
    summary: tuple[str, ...]
    zone: tzinfo
    since: datetime
    audit: Path | None
    made_at: datetime
    first_page: FirstPage | None
    _source: Source | None
    _masker: Masker

    @check_keywords
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
            "zone": zone(tz),
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
        """Return what makes the tables of this report: its zone, its mask, and how many bytes are left to embed."""
        return TableBuilder(self.zone, self._masker, MOST_BYTES - sum(each.embedded for each in self.sections))

    def add(
        self, content: Any, /, *, title: str | None = None, caption: str = "", sql: str = "", rows: int = ROWS
    ) -> Report:
        """Return the report with one section more.

        ``content`` is a frame (its SQL comes along where ``sql`` or ``ask`` made it), a Series, a pyarrow.Table,
        matplotlib Axes or a Figure, text, what ``doctor``, ``why``, ``waits``, ``journal``, ``plan``, ``execute`` and
        the like give, or a panel, of which what it holds now is shown. It is taken as it is now. ``title`` None takes
        what it says of itself; ``caption`` stands below that; ``sql`` is the statement behind it, where the frame does
        not know it, as a frame that pandas has made of others. A frame shows its first ``rows`` rows and says how many
        there are; the whole is embedded as CSV, up to 5 MB in a report.

        Raises:
            ArgumentError: it is nothing that a report can show, or ``rows`` is less than one.
        """
        check_count("rows", rows, least=1)
        section = section_of(content, self.maker, title=title, caption=caption, sql=sql, rows=rows)
        return self._with_sections((*self.sections, section))

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
        target = resolve_output(path, overwrite=overwrite)
        is_pdf = target.suffix.lower() == ".pdf"
        chapters = [each for each in self.sections if not each.is_appendix]
        appendix = [each for each in self.sections if each.is_appendix]
        html = render_page(
            front_matter_of(self), (*chapters, *self._change_sections(), *appendix), paper=paper if is_pdf else None
        )
        with write_atomically(target, overwrite=overwrite) as unfinished:
            if is_pdf:
                write_pdf(html, unfinished)
            else:
                unfinished.write_text(html, encoding="utf-8", errors="backslashreplace")
        return target

    def __repr__(self) -> str:
        of = f" of {self.about.name}" if self.about else ""
        return f"<Report {self.title!r}{of}, {len(self.sections)} sections; .write('x.html') makes the file>"

    def _with_sections(self, sections: tuple[Section, ...]) -> Report:
        return with_values(self, sections=sections)

    def _change_sections(self) -> tuple[Section, ...]:
        if self._source is None or self.about is None:
            return ()
        return (source_changes_section(self._source, self.about, self.maker, since=self.since, folder=self.audit),)


def with_values(report: Report, **values: Any) -> Report:
    """Return a report with other values of these attributes."""
    changed: Report = object.__new__(Report)
    for name, value in {**vars(report), **values}.items():
        object.__setattr__(changed, name, value)
    return changed


@dataclass(frozen=True, slots=True)
class FrontMatter:
    """The frame around the sections: the title and the facts above, the summary, and the facts at the foot."""

    title: str
    facts: tuple[Fact, ...]
    footer: tuple[Fact, ...]
    summary: tuple[str, ...] = ()
    first_page: FirstPage | None = None


def render_page(front: FrontMatter, sections: Sequence[Section], *, paper: Literal["A4", "Letter"] | None) -> str:
    """Return the report as one HTML document; ``paper`` is that of a PDF, None leaves it to the reader's printer."""
    lead = [line for section in sections for line in section.lead]
    return render(
        "reports/templates/report.html.j2",
        title=front.title,
        sections=sections,
        summary=front.summary,
        lead=lead,
        first_page=front.first_page,
        accent=next((each.accent for each in sections if each.accent), "#5b8db8"),
        facts=front.facts,
        footer=front.footer,
        css=_stylesheet(front.title, paper),
        is_pdf=paper is not None,
    )


def resolve_output(path: str | os.PathLike[str], *, overwrite: bool) -> Path:
    """Return the path of the report to write.

    Raises:
        ArgumentError: it is no HTML or PDF file, its folder is not there, or it is there itself.
    """
    text = os.fspath(path)
    if "://" in text:
        raise ArgumentError(f"{path!r} is no local file: a report is written to one, and copied from there.")
    target = Path(text).expanduser()
    if target.suffix.lower() not in FORMATS:
        raise ArgumentError(f"{target.name!r} does not say what to write: end it with {' or '.join(FORMATS)}.")
    if not target.parent.is_dir():
        raise ArgumentError(f"the folder {target.parent} is not there: make it, or give another path.")
    if target.is_dir():
        raise ArgumentError(f"{target} is a folder: give the path of a file.")
    if target.exists() and not overwrite:
        raise ArgumentError(f"{target} is there already and was not touched: give another name, or overwrite=True.")
    return target


@contextmanager
def write_atomically(target: Path, *, overwrite: bool) -> Iterator[Path]:
    """Yield the path to write to; when the block ends well, the file gets its name, otherwise it is removed."""
    unfinished = target.with_name(f".{uuid.uuid4().hex[:12]}.unfinished")
    try:
        yield unfinished
        publish(unfinished, target, overwrite=overwrite)
    finally:
        unfinished.unlink(missing_ok=True)


def front_matter_of(report: Report) -> FrontMatter:
    """Return the frame around the sections of a report."""
    return FrontMatter(report.title, tuple(_facts(report)), tuple(_footer(report)), report.summary, report.first_page)


def _facts(report: Report) -> list[Fact]:
    about = report.about
    written = Fact("Written", f"{format_timestamp(report.made_at, zone=report.zone)}, times in {report.zone}")
    if about is None:
        return [written]
    return [
        Fact("Cluster", about.name),
        Fact("As of", format_timestamp(about.now, zone=report.zone)),
        Fact("Server", f"restate {about.version}"),
        written,
    ]


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
        Fact("Evidence, sha256", about.evidence or "none: read from the live cluster"),
        Fact("Changes", about.mode),
    ]


def _stylesheet(title: str, paper: str | None) -> Markup:
    """Return the style sheet, with the paper's size and the title at the foot of each page."""
    css = files("restate_lab.reports").joinpath("templates", "report.css").read_text("utf-8")
    size = f"@page {{ size: {paper}; }}\n" if paper else ""
    foot = f'@page {{ @bottom-left {{ content: "{_css_string(title)}"; }} }}\n'
    return Markup(css + size + foot)  # noqa: S704 - ours; the title is letters and escapes


def _css_string(text: str) -> str:
    """Return text for a CSS string: what is no plain letter is written as its code."""
    shown = truncate(text, 80)
    return "".join(
        each if each.isascii() and (each.isalnum() or each in " .,-:") else f"\\{ord(each):x} " for each in shown
    )
