"""``restate-lab report`` and ``compare``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import (
    Cluster,
    Csv,
    Json,
    Overwrite,
    Parquet,
    Timeout,
    examples,
    output_format,
    timeout_option,
)

__all__ = ["add_report_commands"]


class PaperName(StrEnum):
    """The papers of a PDF."""

    A4 = "A4"
    LETTER = "Letter"


class PartName(StrEnum):
    """The frames of a comparison."""

    INVOCATIONS = "invocations"
    STATE = "state"
    DEPLOYMENTS = "deployments"
    BACKLOG = "backlog"


Notebook = Annotated[Path, typer.Argument(metavar="NOTEBOOK", help="The notebook to execute (.ipynb).")]
Output = Annotated[
    Path,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="The report to write, .html or .pdf. The executed notebook is saved beside it, as NAME.executed.ipynb.",
    ),
]
NotebookParameters = Annotated[
    list[str] | None,
    typer.Option(
        "--param",
        "-p",
        metavar="NAME=VALUE",
        help="A parameter of the notebook; may be given several times. Its defaults stand in the cell tagged "
        "`parameters`, as for papermill. A value is a number, true, false, null or a list where it reads so in JSON.",
    ),
]
NotebookEvidence = Annotated[
    Path | None,
    typer.Option(
        "--evidence",
        metavar="PATH",
        help="Check the evidence that was frozen there, and give its path to the notebook as the parameter `evidence`.",
    ),
]
AllowChanges = Annotated[
    bool,
    typer.Option(
        "--allow-changes", help="Let the notebook change the cluster. Without it every connection is read-only."
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
        help="An environment variable that the notebook needs, or a pattern such as `AWS_*`; may be given several "
        "times. Without it the notebook sees RESTATE_*, and no other secrets of this process.",
    ),
]
Paper = Annotated[PaperName, typer.Option("--paper", help="The paper of a PDF.")]
Before = Annotated[Path, typer.Argument(metavar="BEFORE", help="The evidence that was frozen first.")]
After = Annotated[
    Path | None,
    typer.Argument(metavar="AFTER", help="The evidence that was frozen later. Without it: the cluster, as it is."),
]
Part = Annotated[PartName, typer.Option("--part", help="Which frame --csv and --parquet write.")]


def report(
    notebook: Notebook,
    *,
    output: Output,
    param: NotebookParameters = None,
    evidence: NotebookEvidence = None,
    allow_changes: AllowChanges = False,
    timeout: CellTimeout = 600.0,
    paper: Paper = PaperName.A4,
    pass_env: PassEnv = None,
    overwrite: Overwrite = False,
) -> None:
    """Execute a notebook, read-only, and write it as one file that opens anywhere.

    Where a cell fails, the report begins with that, and the exit code is 1. It says whether changes were allowed.
    """
    with exit_on_error():
        from restate_lab.cli._run_report import run_report  # noqa: PLC0415 - takes a second, which --help need not

        code = run_report(
            notebook,
            output,
            param or [],
            evidence=evidence,
            allow_changes=allow_changes,
            timeout=timeout,
            paper=paper.value,
            overwrite=overwrite,
            pass_env=pass_env or [],
        )
    raise typer.Exit(code)


def compare(
    before: Before,
    after: After = None,
    *,
    part: Part = PartName.INVOCATIONS,
    cluster: Cluster = None,
    timeout: Timeout = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Tell what changed between what was frozen, and what was frozen later or the cluster is now.

    --json has all of it; --csv and --parquet write one --part.
    """
    with exit_on_error():
        from restate_lab.cli._run_report import run_compare  # noqa: PLC0415 - as above

        run_compare(
            before,
            after,
            part=part.value,
            cluster=cluster,
            timeout=timeout,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )


def add_report_commands(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=examples(
            "restate-lab compare before.evidence after.evidence",
            "restate-lab compare inc-42.evidence -e prod --csv changed.csv",
        )
    )(compare)
    app.command(
        epilog=examples(
            "restate-lab report incident.ipynb -o inc-42.html -p service=agent",
            "restate-lab report incident.ipynb -o inc-42.pdf --evidence inc-42.evidence",
        )
    )(report)
