"""``restate-lab archive``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._errors import exit_on_error, interrupt_on_sigterm
from restate_lab.cli._options import Cluster, Redact, check_positive, examples, parse_seconds, timeout_option

Where = Annotated[
    str,
    typer.Argument(metavar="WHERE", help="A local folder, or s3://bucket/folder (credentials from AWS_… variables)."),
]
Every = Annotated[
    float | None,
    typer.Option(
        metavar="DURATION",
        parser=parse_seconds,
        callback=check_positive,
        help="Make a visit every DURATION (5m) until SIGTERM or Ctrl-C. Default: one visit.",
    ),
]
ClusterName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The name of the cluster in the archive. Default: the name of the environment."),
]
Payloads = Annotated[bool, typer.Option("--payloads", help="Also archive the inputs and outputs of handlers.")]
NoSamples = Annotated[
    bool, typer.Option("--no-samples", help="Do not count the invocations by status; halves the load on the cluster.")
]
SameCluster = Annotated[
    bool,
    typer.Option(
        "--same-cluster", help="The cluster has a new address, and all of its deployments are new; for one visit."
    ),
]
ArchiveTimeout = Annotated[
    float | None, timeout_option("The time limit for the cluster's responses in one visit: 30m, 2h. Default: none.")
]


app = typer.Typer(rich_markup_mode=None)


@app.command(
    epilog=examples(
        "restate-lab archive /srv/history -e prod",
        "restate-lab archive s3://bucket/history -e prod --every 5m",
    )
)
def archive(
    where: Where,
    *,
    every: Every = None,
    cluster_name: ClusterName = None,
    payloads: Payloads = False,
    redact: Redact = None,
    no_samples: NoSamples = False,
    same_cluster: SameCluster = False,
    timeout: ArchiveTimeout = None,
    cluster: Cluster = None,
) -> None:
    """Add the ended invocations of a cluster to an archive, which keeps them after the cluster has removed them.

    Exit codes: 0 the visit is complete, or the visits of --every were stopped by SIGTERM or Ctrl-C; 1 an error: the
    visit failed and is recorded, or the archive cannot be used; 2 invalid usage; 130 one visit was interrupted. SIGTERM
    and Ctrl-C end between two commits. A killed visit is completed by the next one.
    """
    with exit_on_error():
        from restate_lab.client.lab import connect
        from restate_lab.history.archive import archive as write

        interrupt_on_sigterm()
        with connect(cluster, read_only=True, check=False) as lab:  # an error of the first request is recorded
            visits = write(
                lab,
                where,
                cluster_name=cluster_name,
                every=every,
                payloads=payloads,
                redact=redact or None,
                samples=not no_samples,
                same_cluster=same_cluster,
                timeout=timeout,
            )
        new, gone = visits["new_runs"].sum(), visits["gone_runs"].sum()
        times = f"{len(visits):,} visits" if every else "the visit"
        typer.echo(f"{where}: {times} added {new:,} invocations{f'; {gone:,} were removed meanwhile' if gone else ''}.")
        for note in visits["note"].dropna().unique():
            typer.echo(f"note: {note}.")
