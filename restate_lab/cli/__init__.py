"""The ``restate-lab`` command line: the application and its subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab import __version__
from restate_lab.cli.archive import add_archive_command
from restate_lab.cli.demo import add_demo_command
from restate_lab.cli.diagnose import add_diagnose_commands
from restate_lab.cli.freeze import add_freeze_command
from restate_lab.cli.history import add_history_commands
from restate_lab.cli.mcp import add_mcp_commands
from restate_lab.cli.query import add_query_commands
from restate_lab.cli.replay import add_replay_command
from restate_lab.cli.report import add_report_commands
from restate_lab.cli.watch import add_watch_command

app = typer.Typer(
    help="See, explain and repair what a Restate cluster is doing.",
    epilog="Only demo, and report and mcp with --allow-changes, change a cluster. Exit codes: 0 success, 1 error, "
    "2 invalid usage; doctor, waits, watch and replay have more.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for add in (
    add_demo_command,
    add_query_commands,
    add_diagnose_commands,
    add_replay_command,
    add_freeze_command,
    add_archive_command,
    add_history_commands,
    add_watch_command,
    add_report_commands,
    add_mcp_commands,
):
    add(app)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"restate-lab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """See, explain and repair what a Restate cluster is doing."""


def main() -> None:
    """Run the command line."""
    app(prog_name="restate-lab")
