"""``restate-lab replay``: check new code with recorded journals before it is deployed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import Annotated, Any

import typer

from restate_lab.cli._options import (
    SCAN_LIMIT,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    duration_option,
    examples,
    open_source,
    with_output,
)
from restate_lab.errors import ArgumentError

_NOTE = "Code outside of steps will run at {address}: logs, metrics, unwrapped requests."
_UNCONFIRMED = "code outside of steps would run at {address}. Add --yes-run-code-outside-steps. Nothing was sent."

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
    duration_option(
        "--timeout",
        "The time limit of the whole check: 30s, 5m, or seconds. If it expires, the result is partial.",
        SCAN_LIMIT,
    ),
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


app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Check new code against recorded journals, before you deploy.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab replay http://127.0.0.1:9081 --service Orders",
        "restate-lab replay http://new:9080 --yes-run-code-outside-steps --json",
        "restate-lab replay http://new:9080 --evidence incident.evidence",
    ),
)
@with_output
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
    timeout: ReplayTimeout = SCAN_LIMIT,
    yes: Yes = False,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    form: OutputFormat,
) -> int:
    """Check whether new code follows the recorded paths of invocations, before it is deployed.

    Recorded journals are sent to the address; no step runs there, and nothing is registered. --csv and --parquet
    write one row per invocation.
    """
    from restate_lab.analysis.replay import replay as check
    from restate_lab.analysis.replay.check import deployment_address
    from restate_lab.cli._exit_codes import replay_exit_code
    from restate_lab.cli._output import write_result

    filters = {"id": id_, "service": service, "handler": handler, "deployment": pinned}
    targets = {name: value for name, value in filters.items() if value} | ({"status": "all"} if ended or id_ else {})
    headers = _read_headers(header or [])
    with open_source(cluster, evidence, live) as source:
        address = deployment_address(source, deployment)
        if not yes and not sys.stdin.isatty():
            raise ArgumentError(_UNCONFIRMED.format(address=address))
        if not yes and not _confirm(address):
            raise ArgumentError(f"not confirmed; nothing was sent to {address}.")
        options: dict[str, Any] = {"allow": allow or [], "headers": headers, "timeout": timeout}
        result = check(source, targets, deployment, sample=sample, confirm=address, **options)
    write_result(form, result.rows, result.document, result.to_json)
    return replay_exit_code(result)


def _confirm(address: str) -> bool:
    from restate_lab.cli._page import TextPage

    TextPage(sys.stderr).paragraph(_NOTE.format(address=address))
    return typer.confirm("Continue?", err=True)


def _read_headers(headers: Iterable[str]) -> dict[str, str]:
    read = {}
    for each in headers:
        name, separator, variable = each.partition("=")
        if not separator or not name:
            raise ArgumentError(f"--header is {name!r}; use NAME=VARIABLE, such as Authorization=DEPLOYMENT_TOKEN.")
        if variable not in os.environ:
            raise ArgumentError(f"--header {name} names an environment variable that is not set; set it first.")
        read[name] = os.environ[variable]
    return read
