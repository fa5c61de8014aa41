"""``restate-lab freeze``, ``archive`` and ``history``: copies of a cluster, and the maintenance of an archive."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab._text import plural, verb_form
from restate_lab.cli._errors import exit_on_error, interrupt_on_sigterm, note_change
from restate_lab.cli._options import (
    Cluster,
    FullIds,
    OutputFormat,
    Redact,
    Shard,
    ShardServices,
    Wide,
    check_positive,
    duration_option,
    examples,
    open_source,
    parse_seconds,
)

if TYPE_CHECKING:
    import pandas as pd

    from restate_lab.history.source import History

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
FrozenPayloads = Annotated[
    bool, typer.Option("--payloads", help="Also freeze the inputs and outputs of handlers and the values of state.")
]
FreezeTimeout = Annotated[
    float | None,
    duration_option("--timeout", "The time limit of the command: 30m, 2h, or seconds. Default: none; Ctrl-C stops it."),
]
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
ArchivedPayloads = Annotated[bool, typer.Option("--payloads", help="Also archive the inputs and outputs of handlers.")]
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
    float | None,
    duration_option("--timeout", "The time limit for the cluster's responses in one visit: 30m, 2h. Default: none."),
]
ReleasedShard = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="NAME", help="Only this shard. Default: all shards, or the archiver of the whole cluster."
    ),
]
HistoryWhere = Annotated[str, typer.Argument(metavar="WHERE", help="A local folder, or s3://bucket/folder.")]
Day = Annotated[str, typer.Argument(metavar="DAY", help="Days before this one are removed, such as 2026-05-01 (UTC).")]
OneCluster = Annotated[str | None, typer.Option(metavar="NAME", help="The cluster, if the archive has several.")]
Confirm = Annotated[str, typer.Option(metavar="WHERE", help="Repeat the address of the archive.")]

app = typer.Typer(rich_markup_mode=None)
history = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show an archive, and maintain its files.")


@app.command(
    short_help="Save the data of a cluster in a folder, as evidence.",
    epilog=examples(
        "restate-lab freeze inc-42.evidence -e prod --since 2h",
        "restate-lab doctor --evidence inc-42.evidence",
    ),
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
    payloads: FrozenPayloads = False,
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
        note_change(f"the evidence was written to {folder}")
        typer.echo(folder)


@app.command(
    short_help="Add the ended invocations of a cluster to an archive.",
    epilog=examples(
        "restate-lab archive /srv/history -e prod",
        "restate-lab archive s3://bucket/history -e prod --every 5m",
        "restate-lab archive s3://bucket/history --shard orders --service Orders",
    ),
)
def archive(
    where: Where,
    *,
    every: Every = None,
    cluster_name: ClusterName = None,
    service: ShardServices = None,
    shard: Shard = None,
    payloads: ArchivedPayloads = False,
    redact: Redact = None,
    no_samples: NoSamples = False,
    same_cluster: SameCluster = False,
    timeout: ArchiveTimeout = None,
    cluster: Cluster = None,
) -> None:
    """Add the ended invocations of a cluster to an archive, which keeps them after the cluster has removed them.

    Exit codes: 0 the visit is complete, or the visits of --every were stopped by SIGTERM or Ctrl-C; 1 an error: the
    visit failed and is recorded, or the archive cannot be used; 2 invalid usage; 130 one visit was interrupted. SIGTERM
    and Ctrl-C end between two commits. A killed visit is completed by the next one. With --shard, several commands
    write one archive at the same time, each for its services.
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
                service=service or None,
                shard=shard,
                every=every,
                payloads=payloads,
                redact=redact or None,
                samples=not no_samples,
                same_cluster=same_cluster,
                timeout=timeout,
            )
        note_change("archived", shown_by=f"restate-lab history coverage {shlex.quote(where)}")
        new, gone = visits["new_runs"].sum(), visits["gone_runs"].sum()
        times = plural(len(visits), "visit") if every else "the visit"
        lost = f"; {gone:,} {verb_form(gone, 'was', 'were')} removed meanwhile" if gone else ""
        typer.echo(f"{where}: {times} added {plural(new, 'invocation')}{lost}.")
        for note in visits["note"].dropna().unique():
            typer.echo(f"note: {note}.")


@history.command(
    short_help="Show when ended invocations may be missing.",
    epilog=examples("restate-lab history coverage /srv/history"),
)
def coverage(
    where: HistoryWhere, *, cluster_name: OneCluster = None, wide: Wide = False, full_ids: FullIds = False
) -> None:
    """Show in which times ended invocations may be missing from the archive, per handler."""
    from restate_lab.analysis.ask import ask

    _print(where, cluster_name, lambda archived: ask(archived, "coverage", limit=None), wide=wide, full_ids=full_ids)


@history.command(
    short_help="Merge the small files of the days that are over.",
    epilog=examples("restate-lab history compact s3://bucket/history"),
)
def compact(
    where: HistoryWhere, *, cluster_name: OneCluster = None, wide: Wide = False, full_ids: FullIds = False
) -> None:
    """Merge the small files of the days that are over, so that they are read faster; archiving may continue.

    If two compactions run at the same time, the one that began first ends with exit code 1.
    """
    _print(where, cluster_name, lambda archived: archived.compact(), "compacted", wide=wide, full_ids=full_ids)


@history.command(
    short_help="Remove files that the archive no longer uses.",
    epilog=examples("restate-lab history vacuum s3://bucket/history"),
)
def vacuum(
    where: HistoryWhere, *, cluster_name: OneCluster = None, wide: Wide = False, full_ids: FullIds = False
) -> None:
    """Remove files that the archive no longer uses, older than a week."""
    _print(where, cluster_name, lambda archived: archived.vacuum(), "vacuumed", wide=wide, full_ids=full_ids)


@history.command(
    short_help="End a shard, so that other archivers can have its services.",
    epilog=examples(
        "restate-lab history release s3://bucket/history --shard orders", "restate-lab history release /srv/history"
    ),
)
def release(
    where: HistoryWhere,
    *,
    shard: ReleasedShard = None,
    cluster_name: OneCluster = None,
    wide: Wide = False,
    full_ids: FullIds = False,
) -> None:
    """End a shard, so that other archivers can have its services; nothing is deleted.

    Stop the archiver of the shard first. Without --shard, all shards of the cluster end, or the archiver of the whole
    cluster, so that shards can follow it.
    """
    _print(where, cluster_name, lambda archived: archived.release(shard), "released", wide=wide, full_ids=full_ids)


@history.command(
    short_help="Remove all days of all clusters before a day.",
    epilog=examples("restate-lab history delete-before /srv/old 2026-05-01 --confirm /srv/old"),
)
def delete_before(
    where: HistoryWhere,
    day: Day,
    *,
    confirm: Confirm,
    cluster_name: OneCluster = None,
    wide: Wide = False,
    full_ids: FullIds = False,
) -> None:
    """Remove all days of all clusters before DAY from the archive; this cannot be undone.

    Invocations that ended before DAY are not archived again. A smaller DAY takes that back for later visits.
    """

    def delete(archived: History) -> pd.DataFrame:
        return archived.delete_before(day, confirm=confirm)

    _print(where, cluster_name, delete, "removed", wide=wide, full_ids=full_ids)


def _print(
    where: str,
    cluster_name: str | None,
    call: Callable[[History], pd.DataFrame],
    done: str = "",
    *,
    wide: bool,
    full_ids: bool,
) -> None:
    """Print the frame of a call; ``done`` names the change of the call, or "" if it only reads."""
    with exit_on_error():
        from restate_lab.cli._output import write_frame
        from restate_lab.history.opening import open_history

        form = OutputFormat("table", is_wide=wide, has_full_ids=full_ids)
        with open_history(where, cluster_name=cluster_name) as archived:
            frame = call(archived)
            note_change(done)
            write_frame(frame, form, about=archived.name)


app.add_typer(history, name="history")
