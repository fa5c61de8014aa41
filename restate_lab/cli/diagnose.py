"""``restate-lab doctor`` and ``why``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import (
    Cluster,
    Csv,
    EvidencePath,
    Json,
    Overwrite,
    Parquet,
    doctor_check_names,
    examples,
    output_format,
    timeout_option,
)

__all__ = ["add_diagnose_commands"]

Checks = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="NAME",
        help="Run this check alone; may be given several times.",
        autocompletion=doctor_check_names,
    ),
]
ChecksTimeout = Annotated[
    float,
    timeout_option(
        "The time limit of all checks together: 60s, 5m, or seconds. When it is over, the result is incomplete.",
        may_be_zero=True,
    ),
]
WhyTimeout = Annotated[
    float,
    timeout_option("The time limit: 30s, 5m, or seconds. When it is over, the explanation says what was not read."),
]
Strict = Annotated[bool, typer.Option("--strict", help="Let warnings count as critical.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing where the exit code is 0.")]
Invocation = Annotated[str, typer.Argument(metavar="ID", help="The id of an invocation (inv_…).")]


_EXIT_CODES = """\b
Exit codes, for cron and CI:
  0  everything was checked, and nothing critical was found; there may be
     warnings, which --strict makes 3
  1  an error: the cluster was not reached, or did not answer
  2  a mistake in what was typed
  3  something critical was found
  4  nothing critical was found, but not everything could be checked

"""


def doctor(
    *,
    check: Checks = None,
    timeout: ChecksTimeout = 60.0,
    strict: Strict = False,
    quiet: Quiet = False,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Look for everything that is known to go wrong, and print it worst first.

    --csv and --parquet write the findings alone, --json also what was checked.
    """
    with exit_on_error():
        from restate_lab.cli._run_diagnose import run_doctor  # noqa: PLC0415 - takes a second, which --help need not

        code = run_doctor(
            check or None,
            timeout=timeout,
            strict=strict,
            quiet=quiet,
            cluster=cluster,
            evidence=evidence,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )
    raise typer.Exit(code)


def why(
    invocation: Invocation,
    *,
    timeout: WhyTimeout = 10.0,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
) -> None:
    """Explain one invocation: what it waits for, who waits for it, and what one can do.

    The exit code is 1 where there is no such invocation.
    """
    with exit_on_error():
        from restate_lab.cli._run_diagnose import run_why  # noqa: PLC0415 - as above

        code = run_why(invocation, timeout=timeout, cluster=cluster, evidence=evidence, as_json=as_json)
    raise typer.Exit(code)


def add_diagnose_commands(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(
        epilog=_EXIT_CODES
        + examples(
            "restate-lab doctor -e prod",
            "restate-lab doctor -e prod --quiet || page-somebody",
            "restate-lab doctor --check deadlocks --json",
        )
    )(doctor)
    app.command(epilog=examples("restate-lab why inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9"))(why)
