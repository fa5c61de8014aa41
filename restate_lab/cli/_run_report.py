"""The implementation of the commands ``report`` and ``compare``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from restate_lab.cli._errors import ERROR, warn
from restate_lab.cli._options import OutputFormat
from restate_lab.cli._output import print_json, write_frame
from restate_lab.cli._page import TextPage
from restate_lab.cli._run_query import parse_parameters, parse_value
from restate_lab.cli._sources import open_source
from restate_lab.errors import ArgumentError
from restate_lab.evidence.compare import compare
from restate_lab.export.results import comparison_json
from restate_lab.reports.notebook import notebook_report

__all__ = ["run_compare", "run_report"]

PARTS = ("invocations", "state", "deployments", "backlog")


def run_report(
    notebook: Path,
    output: Path,
    texts: Sequence[str],
    *,
    evidence: Path | None,
    allow_changes: bool,
    timeout: float,
    paper: Literal["A4", "Letter"],
    overwrite: bool,
    pass_env: Sequence[str],
) -> int:
    """Execute a notebook, write its report, print the path, and return the exit code: 1 if a cell failed."""
    report = notebook_report(
        notebook,
        output,
        parameters={name: parse_value(text) for name, text in parse_parameters(texts).items()},
        evidence=evidence,
        allow_changes=allow_changes,
        timeout=timeout,
        overwrite=overwrite,
        paper=paper,
        pass_env=pass_env,
    )
    TextPage().verbatim([str(report.path)])
    if report.failure is None:
        return 0
    warn(f"cell {report.failure.number} failed: {report.failure.error}. The report starts with the error.")
    return ERROR


def run_compare(
    before: Path, after: Path | None, *, part: str, cluster: str | None, timeout: float | None, form: OutputFormat
) -> None:
    """Print the changes, or write them in the requested format."""
    if after is not None and cluster is not None:
        raise ArgumentError("AFTER and --cluster cannot be combined; compare with one of them.")
    with ExitStack() as stack:
        first = stack.enter_context(open_source(None, before))
        second = stack.enter_context(open_source(cluster, after))
        comparison = compare(first, second, timeout=timeout)
    if form.is_table:
        TextPage().lines(str(comparison))
    elif form.kind == "json":
        print_json(comparison_json(comparison))
    else:
        write_frame(getattr(comparison, part), form)
