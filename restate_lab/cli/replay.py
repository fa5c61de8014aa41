"""``restate-lab replay``: check new code with recorded journals before it is deployed."""

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
    examples,
    output_format,
    timeout_option,
)

__all__ = ["add_replay_command"]

Deployment = Annotated[
    str,
    typer.Argument(metavar="ADDRESS|ID", help="The address of the new code (http://…), or a deployment (dp_…)."),
]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Check this invocation; repeatable.")]
Service = Annotated[str | None, typer.Option("--service", metavar="NAME", help="Check only this service.")]
Handler = Annotated[str | None, typer.Option("--handler", metavar="NAME", help="Check only this handler.")]
Pinned = Annotated[
    str | None, typer.Option("--pinned", metavar="ID", help="Check only invocations pinned to this deployment (dp_…).")
]
Ended = Annotated[
    bool, typer.Option("--ended", help="Also check invocations that have ended: a stricter regression test.")
]
Sample = Annotated[
    int,
    typer.Option("--sample", metavar="N", min=1, help="Check at most N journals, spread over those that differ."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option("--allow", metavar="SDK", help="Check this SDK although it was never tried; repeatable."),
]
Header = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        metavar="NAME=VARIABLE",
        help="Send this header to the deployment; its value is read from an environment variable. Repeatable.",
    ),
]
ReplayTimeout = Annotated[
    float,
    timeout_option("The time limit of the whole check: 30s, 5m, or seconds. If it expires, the result is partial."),
]
Yes = Annotated[
    bool,
    typer.Option(
        "--yes-run-code-outside-steps",
        help="Do not ask: code outside of steps runs at the address, for example logs, metrics and unwrapped requests.",
    ),
]

_EXIT_CODES = """\b
Exit codes, for CI before a deployment:
  0  every checked invocation fits, or ends with another result
  1  error: the cluster or the deployment cannot be reached, or a step ran
  2  invalid usage
  3  an invocation diverges or fails
  4  the check cannot say for every invocation, and found none that diverges

"""


def replay(
    deployment: Deployment,
    *,
    id_: Ids = None,
    service: Service = None,
    handler: Handler = None,
    pinned: Pinned = None,
    ended: Ended = False,
    sample: Sample = 200,
    allow: Allow = None,
    header: Header = None,
    timeout: ReplayTimeout = 120.0,
    yes: Yes = False,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    as_json: Json = False,
    csv: Csv = None,
    parquet: Parquet = None,
    overwrite: Overwrite = False,
) -> None:
    """Check whether new code follows the recorded paths of invocations, before it is deployed.

    Recorded journals are sent to the address; no step runs there, and nothing is registered. --csv and --parquet
    write one row per invocation.
    """
    with exit_on_error():
        from restate_lab.cli._run_replay import run_replay  # noqa: PLC0415 - takes a second, too long for --help

        filters = {"id": id_, "service": service, "handler": handler, "deployment": pinned}
        code = run_replay(
            deployment,
            {name: value for name, value in filters.items() if value} | ({"status": "all"} if ended or id_ else {}),
            sample=sample,
            allow=allow or [],
            headers=header or [],
            timeout=timeout,
            is_confirmed=yes,
            cluster=cluster,
            evidence=evidence,
            form=output_format(as_json=as_json, csv=csv, parquet=parquet, overwrite=overwrite),
        )
    raise typer.Exit(code)


def add_replay_command(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=_EXIT_CODES
        + examples(
            "restate-lab replay http://127.0.0.1:9081 --service Orders",
            "restate-lab replay http://new:9080 -e prod --yes-run-code-outside-steps --json",
            "restate-lab replay http://new:9080 --evidence incident.evidence",
        )
    )(replay)
