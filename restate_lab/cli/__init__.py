"""The ``restate-lab`` command line: the application and its subcommands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from restate_lab import __version__
from restate_lab._public import did_you_mean, nearest_names
from restate_lab.cli import (
    act,
    call,
    copies,
    debug,
    demo,
    diagnose,
    find,
    mcp,
    note,
    query,
    replay,
    report,
    serve,
    story,
    to_test,
    watch,
)
from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._streams import standard_streams
from restate_lab.errors import ArgumentError

_PLAN = "Use: restate-lab plan {action} {targets}, then restate-lab execute with a reason for the audit log."
_PLANNED = ("cancel", "kill", "move-to", "pause", "purge", "purge-journal", "redrive", "restart-as-new", "resume")
ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        **{verb: _PLAN.format(action=verb, targets="ID") for verb in _PLANNED},
        "restart": _PLAN.format(action="restart-as-new", targets="ID"),
        "set-state": "Use: restate kv edit SERVICE KEY, or rl.set_state in Python, which writes an audit log.",
        "state": "Use: restate kv get SERVICE KEY, or rl.state in Python.",
        "deployments": "Use: restate deployments list, or restate-lab ask deployment_pins.",
        "forecast": "Use: restate-lab ask draining, or restate-lab ask stuck_without -p deployment=ID.",
        "invocations": "Use: restate-lab ask overview, or restate invocations list.",
        "invoke": "Use: restate-lab call SERVICE/HANDLER, with a reason for the audit log.",
        "list": "Use: restate-lab ask overview, or restate invocations list.",
        "register": "Use: restate deployments register ADDRESS.",
        "services": "Use: restate services list, or restate-lab ask overview.",
    }
)
"""Commands that do not exist here → what to use instead."""


class _Commands(TyperGroup):
    """The commands, with a hint for a misspelled one and for a command of another tool."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the command, or fail with the hint."""
        name = args[0]
        if name not in self.commands and not name.startswith("-") and not ctx.resilient_parsing:
            near = did_you_mean(nearest_names(name, self.commands))
            hint = ELSEWHERE.get(name.replace("_", "-")) or near or "restate-lab --help lists the commands."
            with exit_on_error():
                raise ArgumentError(f"unknown command {name!r}. {hint}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=_Commands,
    help="See, explain and repair what a Restate cluster is doing.",
    epilog="Only execute, call and demo, and mcp with --allow-changes, change a cluster. Exit codes: 0 success, "
    "1 error, 2 invalid usage; doctor, waits, execute, call, watch, report and replay have more.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for module in (
    demo,
    query,
    diagnose,
    find,
    story,
    act,
    call,
    note,
    debug,
    replay,
    to_test,
    copies,
    watch,
    report,
    serve,
):
    app.add_typer(module.app)
app.add_typer(mcp.app, name="mcp", short_help="Serve tools for an AI assistant.")


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
    with standard_streams():
        try:
            with exit_on_error():  # also the output of --help
                app(prog_name="restate-lab")
        except typer.Exit as end:
            sys.exit(end.exit_code)
