"""``restate-lab report`` and ``compare``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restate_lab.cli._errors import INCOMPLETE, exit_on_error, note_change
from restate_lab.cli._options import (
    SCAN_LIMIT,
    At,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    Overwrite,
    Timeout,
    duration_option,
    examples,
    open_source,
    with_output,
)
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from restate_lab.source import Source

REPORT_LIMIT = 600.0  # seconds
_NBCONVERT = "RESTATE_LAB_READ_ONLY=1 jupyter nbconvert --execute --to html"
File = Annotated[Path | None, typer.Argument(metavar="FILE", hidden=True)]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="The report file, .html or .pdf.")]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The title of the report.")]
Summary = Annotated[str, typer.Option("--summary", metavar="TEXT", help="Your own text for the first page.")]
Since = Annotated[
    str,
    typer.Option("--since", metavar="TIME", help="The start of the timeline: 2h, 24h, or a time."),
]
ReportTimeout = Annotated[
    float, duration_option("--timeout", "The time limit of all reads: 30s, 5m, or seconds.", REPORT_LIMIT)
]
Paper = Annotated[Literal["A4", "Letter"], typer.Option("--paper", help="The paper size of a PDF.")]
Length = Annotated[
    Literal["short", "full"] | None,
    typer.Option(
        "--length",
        help="short: the first page, five findings, the timeline and the actions of the incident, on about three "
        "pages. full: all chapters. Default: short for a PDF, full for HTML.",
    ),
]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="The earlier frozen evidence.")]
After = Annotated[
    Path | None,
    typer.Argument(metavar="AFTER", help="The later frozen evidence. Default: the cluster in its current state."),
]
Part = Annotated[
    Literal["invocations", "state", "deployments", "backlog"],
    typer.Option("--part", help="Which frame --csv and --parquet write."),
]


app = typer.Typer(rich_markup_mode=None)


_EXIT_CODES = """\b
Exit codes:
  0  the report is written; it can be about an incident
  1  error: the cluster cannot be reached
  2  invalid usage
  4  the report is written, but some checks could not run

"""


@app.command(
    short_help="Write the report of an incident.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab report -o inc-42.html -e prod",
        "restate-lab report -o inc-42.html --length short",
        "restate-lab report -o inc-42.pdf --evidence inc-42.evidence",
    ),
)
def report(
    file: File = None,
    *,
    output: Output = None,
    title: Title = None,
    summary: Summary = "",
    since: Since = "24h",
    length: Length = None,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    timeout: ReportTimeout = REPORT_LIMIT,
    paper: Paper = "A4",
    overwrite: Overwrite = False,
) -> None:
    """Write the report of an incident: one file that you can open anywhere.

    It has the doctor's findings, a timeline, and the actions taken.
    """
    with exit_on_error():
        if file is not None and file.suffix.lower() == ".ipynb":
            raise ArgumentError(f"a notebook is executed by Jupyter: {_NBCONVERT} {shlex.quote(str(file))}")
        if file is not None or output is None:
            raise ArgumentError(f"name the report with -o: restate-lab report -o {file or 'report.html'}.")
        from restate_lab.reports.output import resolve_output

        resolve_output(output, overwrite=overwrite)  # before anything is read
        options: dict[str, Any] = {"title": title, "summary": summary, "since": since, "timeout": timeout}
        with open_source(cluster, evidence, live, at) as source:
            code = _write_incident(source, output, overwrite=overwrite, paper=paper, length=length, **options)
    raise typer.Exit(code)


def _write_incident(source: Source, output: Path, **options: Any) -> int:
    """Write the report, print its path and the verdict, and return the exit code."""
    from restate_lab.cli._page import TextPage
    from restate_lab.reports.incident import incident_report
    from restate_lab.tokens import TERMINAL

    written = incident_report(source, output, **options)
    diagnosis = written.diagnosis
    is_incomplete = diagnosis is None or diagnosis.not_read["applies"].any()
    code = INCOMPLETE if is_incomplete else 0
    note_change(f"the report was written to {written}", code=code)
    page = TextPage()
    typer.echo(written)
    if diagnosis is None:
        page.paragraph((written.lead[0], f"bold {TERMINAL['incomplete']}"))
        return code
    page.paragraph((diagnosis.summary, f"bold {TERMINAL[diagnosis.worst or diagnosis.verdict]}"))
    for title in diagnosis.findings["title"].head(1):
        page.paragraph(title)
    return code


@app.command(
    short_help="Show what changed since a freeze.",
    epilog=examples(
        "restate-lab compare before.evidence after.evidence",
        "restate-lab compare inc-42.evidence -e prod --csv changed.csv",
    ),
)
@with_output
def compare(
    before: Before,
    after: After = None,
    *,
    part: Part = "invocations",
    cluster: Cluster = None,
    timeout: Timeout = SCAN_LIMIT,
    form: OutputFormat,
) -> None:
    """Show the changes between frozen evidence and later evidence, or the current state of the cluster.

    --json contains all frames; --csv and --parquet write one --part.
    """
    from restate_lab.cli._output import write_result
    from restate_lab.evidence.compare import compare as compare_sources

    if after is not None and cluster is not None:
        raise ArgumentError("AFTER and --cluster cannot be combined; compare with one of them.")
    with open_source(None, before) as first, open_source(cluster, after) as second:
        comparison = compare_sources(first, second, timeout=timeout)
    write_result(form, getattr(comparison, part), comparison.document, comparison.to_json)
