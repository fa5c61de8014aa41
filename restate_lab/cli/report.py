"""``restate-lab report`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from restate_lab.cli._errors import ERROR, exit_on_error, in_a_shell, warn
from restate_lab.cli._options import (
    SCAN_LIMIT,
    At,
    Cluster,
    Live,
    OutputFormat,
    Overwrite,
    Timeout,
    duration_option,
    examples,
    open_source,
    parse_parameters,
    parse_value,
    with_output,
)
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from restate_lab.source import Source

INCOMPLETE = 4
_LIMIT = 600.0  # seconds
Notebook = Annotated[
    Path | None,
    typer.Argument(metavar="NOTEBOOK", help="The notebook to execute (.ipynb). Default: write the incident report."),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The report file, .html or .pdf. An executed notebook is saved beside it as NAME.executed.ipynb.",
    ),
]
Title = Annotated[str | None, typer.Option("--title", metavar="TEXT", help="The title of the incident report.")]
Summary = Annotated[
    str, typer.Option("--summary", metavar="TEXT", help="Your own text for the first page of the incident report.")
]
Since = Annotated[
    str,
    typer.Option("--since", metavar="TIME", help="The start of the incident report's timeline: 2h, 24h, or a time."),
]
NotebookParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter of the notebook; repeatable. The cell tagged `parameters` contains the defaults, as in "
        "papermill. A number, true, false, null or a list in JSON syntax has that JSON type; other values are text.",
    ),
]
NotebookEvidence = Annotated[
    Path | None,
    typer.Option(
        "--evidence",
        metavar="PATH",
        help="Read this frozen evidence, or this archive, instead of a cluster. A notebook gets the path of the "
        "verified evidence as the parameter `evidence`.",
    ),
]
AllowChanges = Annotated[
    bool,
    typer.Option(
        "--allow-changes", help="Allow the notebook to change the cluster. Default: every connection is read-only."
    ),
]
CellTimeout = Annotated[
    float,
    duration_option(
        "--timeout", "The time limit of all reads of the incident report, or of one cell: 30s, 5m, or seconds.", _LIMIT
    ),
]
PassEnv = Annotated[
    list[str] | None,
    typer.Option(
        "--pass-env",
        metavar="NAME",
        help="An environment variable for the notebook, or a pattern such as `AWS_*`; repeatable. Default: the "
        "notebook gets RESTATE_* and no other secrets of this process.",
    ),
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
  1  error: the cluster cannot be reached, or a cell of the notebook failed
  2  invalid usage
  4  the incident report is written, but some checks could not run

"""


@app.command(
    short_help="Write the report of an incident, or of a notebook.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab report -o inc-42.html -e prod",
        "restate-lab report -o inc-42.html --length short",
        "restate-lab report incident.ipynb -o inc-42.html -p service=agent",
        "restate-lab report -o inc-42.pdf --evidence inc-42.evidence",
    ),
)
def report(
    notebook: Notebook = None,
    *,
    output: Output = None,
    title: Title = None,
    summary: Summary = "",
    since: Since = "24h",
    length: Length = None,
    param: NotebookParameters = None,
    cluster: Cluster = None,
    evidence: NotebookEvidence = None,
    live: Live = None,
    at: At = None,
    allow_changes: AllowChanges = False,
    timeout: CellTimeout = _LIMIT,
    paper: Paper = "A4",
    pass_env: PassEnv = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a report, one file that you can open anywhere: of the incident, or of a notebook that is executed.

    The incident report has the doctor's findings, a timeline, and the actions taken. A notebook is executed read-only;
    if a cell fails, the report starts with the error. The report states whether changes were allowed.
    """
    with exit_on_error():
        if output is None:
            is_report = notebook is not None and notebook.suffix.lower() in {".html", ".pdf"}
            name = notebook if is_report else "report.html"
            raise ArgumentError(f"the name of the report is missing: restate-lab report -o {name}.")
        if notebook is None:
            _refuse({"--param": param, "--allow-changes": allow_changes, "--pass-env": pass_env}, "a notebook")
            from restate_lab.reports.output import resolve_output

            resolve_output(output, overwrite=overwrite)  # before anything is read
            options: dict[str, Any] = {"title": title, "summary": summary, "since": since, "timeout": timeout}
            with open_source(cluster, evidence, live, at) as source:
                code = _write_incident(source, output, overwrite=overwrite, paper=paper, length=length, **options)
            raise typer.Exit(code)
        own = {"--at": at, "--live": live, "--title": title, "--summary": summary, "--length": length}
        _refuse(own | {"--cluster": cluster}, "the incident report")

        from restate_lab.reports.notebook import notebook_report

        written = notebook_report(
            notebook,
            output,
            parameters={name: parse_value(text) for name, text in parse_parameters(param or []).items()},
            evidence=evidence,
            allow_changes=allow_changes,
            timeout=timeout,
            overwrite=overwrite,
            paper=paper,
            pass_env=pass_env or [],
        )
        typer.echo(written.path)
        failure = written.failure
        if failure is not None:
            warn(f"cell {failure.number} failed: {failure.error}. The report starts with the error.")
    raise typer.Exit(0 if failure is None else ERROR)


def _refuse(options: Mapping[str, object], owner: str) -> None:
    wrong = [name for name, value in options.items() if value]
    if wrong:
        raise ArgumentError(f"{', '.join(wrong)} can be used only for {owner}.")


def _write_incident(source: Source, output: Path, **options: Any) -> int:
    """Write the report, print its path and the verdict, and return the exit code."""
    from restate_lab.cli._page import SEVERITY_STYLES, TextPage
    from restate_lab.reports.incident import incident_report

    written = incident_report(source, output, **options)
    page = TextPage()
    typer.echo(written)
    diagnosis = written.diagnosis
    if diagnosis is None:
        page.paragraph((written.lead[0], f"bold {SEVERITY_STYLES['incomplete']}"))
        return INCOMPLETE
    page.paragraph((diagnosis.summary, f"bold {SEVERITY_STYLES[diagnosis.worst or diagnosis.verdict]}"))
    for title in diagnosis.findings["title"].head(1):
        page.paragraph(title)
    return INCOMPLETE if diagnosis.not_read["applies"].any() else 0


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
    from restate_lab.export.results import comparison_json

    if after is not None and cluster is not None:
        raise ArgumentError("AFTER and --cluster cannot be combined; compare with one of them.")
    with open_source(None, before) as first, open_source(cluster, after) as second:
        comparison = compare_sources(first, second, timeout=timeout)
    rows, text = getattr(comparison, part), in_a_shell(str(comparison))
    write_result(form, rows, show=lambda page: page.lines(text), to_json=lambda: comparison_json(comparison))
