"""``restate-lab history``: what an archive has, and the maintenance of its files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import OutputFormat, examples

if TYPE_CHECKING:
    import pandas as pd

    from restate_lab.history.source import History

Where = Annotated[str, typer.Argument(metavar="WHERE", help="A local folder, or s3://bucket/folder.")]
Day = Annotated[str, typer.Argument(metavar="DAY", help="Days before this one are removed, such as 2026-05-01 (UTC).")]
ClusterName = Annotated[str | None, typer.Option(metavar="NAME", help="The cluster, if the archive has several.")]
Confirm = Annotated[str, typer.Option(metavar="WHERE", help="Repeat the address of the archive.")]

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Show an archive, and maintain its files.")


@app.command(epilog=examples("restate-lab history coverage /srv/history"))
def coverage(where: Where, *, cluster_name: ClusterName = None) -> None:
    """Show in which times ended invocations may be missing from the archive, per handler."""
    from restate_lab.analysis.ask import ask

    _print(where, cluster_name, lambda archived: ask(archived, "coverage", limit=None))


@app.command(epilog=examples("restate-lab history compact s3://bucket/history"))
def compact(where: Where, *, cluster_name: ClusterName = None) -> None:
    """Merge the small files of the days that are over, so that they are read faster; archiving may continue."""
    _print(where, cluster_name, lambda archived: archived.compact())


@app.command(epilog=examples("restate-lab history vacuum s3://bucket/history"))
def vacuum(where: Where, *, cluster_name: ClusterName = None) -> None:
    """Remove files that the archive no longer uses, older than a week."""
    _print(where, cluster_name, lambda archived: archived.vacuum())


@app.command(epilog=examples("restate-lab history delete-before /srv/history 2026-05-01 --confirm /srv/history"))
def delete_before(where: Where, day: Day, *, confirm: Confirm, cluster_name: ClusterName = None) -> None:
    """Remove all days of all clusters before DAY from the archive; this cannot be undone.

    Invocations that ended before DAY are not archived again. A smaller DAY takes that back for later visits.
    """
    _print(where, cluster_name, lambda archived: archived.delete_before(day, confirm=confirm))


def _print(where: str, cluster_name: str | None, read: Callable[[History], pd.DataFrame]) -> None:
    with exit_on_error():
        from restate_lab.cli._output import write_frame
        from restate_lab.history.source import open_history

        with open_history(where, cluster_name=cluster_name) as archived:
            write_frame(read(archived), OutputFormat("table"), about=archived.name)
