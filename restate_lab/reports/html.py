"""The page: sections through one template, with everything that it needs inside, and nothing in it that acts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from importlib.resources import files
from typing import TYPE_CHECKING, Literal

from markupsafe import Markup

from restate_lab._html import render
from restate_lab._text import format_timestamp, truncate
from restate_lab.reports.parts import Fact, Section

if TYPE_CHECKING:
    from restate_lab.reports.report import Report

__all__ = ["Front", "front_of", "page"]


@dataclass(frozen=True, slots=True)
class Front:
    """What stands around the sections: the title and the facts above, the summary, and the facts at the foot."""

    title: str
    facts: tuple[Fact, ...]
    footer: tuple[Fact, ...]
    summary: tuple[str, ...] = ()


def page(front: Front, sections: Sequence[Section], *, paper: Literal["A4", "Letter"] | None) -> str:
    """Return the report as one HTML document; ``paper`` is that of a PDF, None leaves it to the reader's printer."""
    lead = [line for section in sections for line in section.lead]
    return render(
        "reports/templates/report.html.j2",
        title=front.title,
        sections=sections,
        summary=front.summary,
        lead=lead,
        accent=next((each.accent for each in sections if each.accent), "#5b8db8"),
        facts=front.facts,
        footer=front.footer,
        css=_css(front.title, paper),
        is_pdf=paper is not None,
    )


def front_of(report: Report) -> Front:
    """Return what stands around the sections of a report."""
    return Front(report.title, tuple(_facts(report)), tuple(_footer(report)), report.summary)


def _css(title: str, paper: str | None) -> Markup:
    """Return the style sheet, with the paper's size and the title at the foot of each page."""
    made = files("restate_lab.reports").joinpath("templates", "report.css").read_text("utf-8")
    size = f"@page {{ size: {paper}; }}\n" if paper else ""
    foot = f'@page {{ @bottom-left {{ content: "{_css_text(title)}"; }} }}\n'
    return Markup(made + size + foot)  # noqa: S704 - ours; the title is letters and escapes


def _css_text(text: str) -> str:
    """Return text for a CSS string: what is no plain letter is written as its code."""
    shown = truncate(text, 80)
    return "".join(
        each if each.isascii() and (each.isalnum() or each in " .,-:") else f"\\{ord(each):x} " for each in shown
    )


def _facts(report: Report) -> list[Fact]:
    about = report.about
    made = Fact("Written", f"{format_timestamp(report.made_at, zone=report.zone)}, times in {report.zone}")
    if about is None:
        return [made]
    return [
        Fact("Cluster", about.name),
        Fact("As of", format_timestamp(about.now, zone=report.zone)),
        Fact("Server", f"restate {about.version}"),
        made,
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
