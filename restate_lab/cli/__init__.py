"""The ``restate-lab`` command line: the application and its subcommands."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab import __version__
from restate_lab.cli import copies, demo, diagnose, mcp, query, replay, report, watch

app = typer.Typer(
    help="See, explain and repair what a Restate cluster is doing.",
    epilog="Only demo, and report and mcp with --allow-changes, change a cluster. Exit codes: 0 success, 1 error, "
    "2 invalid usage; doctor, waits, watch and replay have more.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (demo, query, diagnose, replay, copies, watch, report):
    app.add_typer(module.app)
app.add_typer(mcp.app, name="mcp")


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
