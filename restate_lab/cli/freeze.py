"""``restate-lab freeze``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import Cluster, Redact, examples, open_source, timeout_option

Target = Annotated[str, typer.Argument(metavar="PATH", help="The folder to create; it must not exist.")]
Services = Annotated[list[str] | None, typer.Option("--service", metavar="NAME", help="Only this service; repeatable.")]
Handlers = Annotated[list[str] | None, typer.Option("--handler", metavar="NAME", help="Only this handler; repeatable.")]
Ids = Annotated[list[str] | None, typer.Option("--id", metavar="ID", help="Only this invocation; repeatable.")]
Since = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Only invocations that existed at or after TIME: 2h (ago) or 2026-11-25T03:00:00Z."
    ),
]
Until = Annotated[str | None, typer.Option(metavar="TIME", help="Only invocations that existed at or before TIME.")]
Tables = Annotated[list[str] | None, typer.Option("--table", metavar="NAME", help="Only this table; repeatable.")]
Payloads = Annotated[
    bool, typer.Option("--payloads", help="Also freeze the inputs and outputs of handlers and the values of state.")
]
FreezeTimeout = Annotated[
    float | None,
    timeout_option("The time limit of the command: 30m, 2h, or seconds. Default: none; Ctrl-C stops it."),
]


app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "restate-lab freeze inc-42.evidence -e prod --since 2h",
        "restate-lab doctor --evidence inc-42.evidence",
    )
)
def freeze(
    path: Target,
    *,
    service: Services = None,
    handler: Handlers = None,
    ids: Ids = None,
    since: Since = None,
    until: Until = None,
    table: Tables = None,
    payloads: Payloads = False,
    redact: Redact = None,
    timeout: FreezeTimeout = None,
    cluster: Cluster = None,
) -> None:
    """Save the data of a cluster in a new folder of Parquet files and print its path.

    Other commands read it with --evidence PATH. The evidence includes callers and callees of the selected invocations.
    """
    with exit_on_error():
        from restate_lab.evidence.freeze import freeze as write

        with open_source(cluster, None) as source:
            folder = write(
                source,
                path,
                service=service or None,
                handler=handler or None,
                ids=ids or None,
                since=since,
                until=until,
                tables=table or None,
                payloads=payloads,
                redact=redact or None,
                timeout=timeout,
            )
        typer.echo(folder)
