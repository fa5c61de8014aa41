"""``restate-lab find``."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from restate_lab.cli._errors import INCOMPLETE
from restate_lab.cli._options import (
    POINT_LIMIT,
    At,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    PointTimeout,
    examples,
    open_with_options,
    with_output,
)

_STDIN = "-"
_SINCE = "24h"

Text = Annotated[
    str,
    typer.Argument(
        metavar="TEXT",
        help="At least 4 characters, such as the number of an order; - reads it from standard input, where neither the "
        "list of processes nor the history of the shell has it.",
    ),
]
Service = Annotated[
    str | None, typer.Option("--service", metavar="NAME", help="Only in this service, and also in its state.")
]
Since = Annotated[str, typer.Option("--since", metavar="TIME", help=f"Those created since then. Default: {_SINCE}.")]
MaxBytes = Annotated[
    str, typer.Option("--max-bytes", metavar="SIZE", help="Stop after this many bytes of inputs: 256MB.")
]
Payloads = Annotated[bool, typer.Option("--payloads", help="Also print the inputs; secret fields are masked.")]

_EXIT_CODES = """\b
Exit codes:
  0  everything since --since was searched
  1  error
  2  invalid usage
  4  a limit ended the search; the output says back to when it looked

"""

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Find the invocations that have a text in their input.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab find order-4711",
        "restate-lab find 4711 --service Payments --since 3d",
        "restate-lab find order-4711 --json",
    ),
)
@with_output
def find(
    text: Text,
    *,
    service: Service = None,
    since: Since = _SINCE,
    max_bytes: MaxBytes = "256MB",
    payloads: Payloads = False,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> int:
    """Find the invocations that have a text in their input, their key or their headers; the newest first.

    The text is sent to no server, and the output has the places with the text, and not the values. --csv and --parquet
    write the invocations.
    """
    from restate_lab.analysis.find import find as search
    from restate_lab.cli._output import write_result
    from restate_lab.cli.shell_code import writer
    from restate_lab.redaction import Secret

    wanted = Secret(sys.stdin.read().strip() if text == _STDIN else text)
    with open_with_options(cluster, evidence, live, at) as (source, where):
        result = search(
            source, wanted, service=service, since=since, timeout=timeout, max_bytes=max_bytes, payloads=payloads
        )
    write_result(form, result.frame, result.document, result.to_json, writer(where), reasons=result.reasons)
    return INCOMPLETE if result.ended_by else 0
