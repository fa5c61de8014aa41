"""``restate-lab report`` and ``compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from restate_lab.cli._errors import ERROR, exit_on_error, warn
from restate_lab.cli._options import (
    SCAN_LIMIT,
    Cluster,
    OutputFormat,
    Overwrite,
    Timeout,
    examples,
    open_source,
    parse_parameters,
    parse_value,
    timeout_option,
    with_output,
)
from restate_lab.errors import ArgumentError

Notebook = Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook to execute (.ipynb).")]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The report file, .html or .pdf. The executed notebook is saved beside it as NAME.executed.ipynb.",
    ),
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
        help="Verify this frozen evidence and pass its path to the notebook as the parameter `evidence`.",
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
    timeout_option("The time limit of one cell: 30s, 5m, or seconds."),
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


@app.command(
    epilog=examples(
        "restate-lab report incident.ipynb -o inc-42.html -p service=agent",
        "restate-lab report incident.ipynb -o inc-42.pdf --evidence inc-42.evidence",
    )
)
def report(
    notebook: Notebook,
    *,
    output: Output,
    param: NotebookParameters = None,
    evidence: NotebookEvidence = None,
    allow_changes: AllowChanges = False,
    timeout: CellTimeout = 600.0,
    paper: Paper = "A4",
    pass_env: PassEnv = None,
    overwrite: Overwrite = False,
) -> None:
    """Execute a notebook read-only and write a report, one file that you can open anywhere.

    If a cell fails, the report starts with the error and the exit code is 1. The report states whether changes were
    allowed.
    """
    with exit_on_error():
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


@app.command(
    epilog=examples(
        "restate-lab compare before.evidence after.evidence",
        "restate-lab compare inc-42.evidence -e prod --csv changed.csv",
    )
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
    rows, text = getattr(comparison, part), str(comparison)
    write_result(form, rows, show=lambda page: page.lines(text), to_json=lambda: comparison_json(comparison))
