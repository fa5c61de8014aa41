"""``restate-lab debug``: run a handler on a recorded journal, and debug it."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab._text import escape_invisible
from restate_lab.cli._errors import ERROR, exit_on_error
from restate_lab.cli._options import (
    POINT_LIMIT,
    AllowNetwork,
    Cluster,
    EvidencePath,
    Live,
    PointTimeout,
    examples,
    open_source,
)
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from restate_lab.testing import Record

App = Annotated[
    str,
    typer.Argument(
        metavar="APP", help="Your code: package.module:attribute, or package.module:create_app(). It is imported here."
    ),
]
Recorded = Annotated[
    str,
    typer.Argument(metavar="ID|FILE", help="An invocation, any text with exactly one id, or the path of a record."),
]
Pdb = Annotated[bool, typer.Option("--pdb", help="Stop at the first line of the handler, with the prompt of pdb.")]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="[HOST:]PORT",
        help="Stop at the first line of the handler, for an editor that connects to a port of this machine. It needs "
        "debugpy.",
    ),
]

app = typer.Typer(rich_markup_mode=None)
_EXIT_CODES = """\b
Exit codes:
  0  the code raised nothing, or the session was ended
  1  the code raised an exception, or the record cannot be used
  2  invalid usage

"""


@app.command(
    short_help="Run your code on a recorded journal, and debug it.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab debug shop.app:app inv_1…",
        "restate-lab debug shop.app:app inv_1… --evidence incident.evidence",
        "restate-lab debug shop.app:app tests/journals/checkout.json --pdb",
        "restate-lab debug shop.app:app inv_1… --listen 5678",
    ),
)
def debug(
    app_: App,
    recorded: Recorded,
    *,
    with_pdb: Pdb = False,
    listen: Listen = None,
    allow_network: AllowNetwork = False,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
) -> None:
    """Run your code on the recorded journal of an invocation, in this process, and see where it fails.

    Each entry is printed with its recorded result and the line of your code, and the exception of production is raised.
    `breakpoint()` in your code works. No step runs: each gets its recorded result. Code outside of steps runs, and so
    does the module of the app. The network and new processes are refused to both, except to libraries in C or Rust and
    to threads that ran before. --timeout is for reading the journal; the code has no limit.
    """
    from restate_lab.debugging import session

    with exit_on_error():
        if with_pdb and listen is not None:
            raise ArgumentError("--pdb and --listen cannot be combined; choose one.")
        address = None if listen is None else session.parse_address(listen)
        record = _read(recorded, cluster, evidence, live, timeout)
        if address is not None:
            session.listen(address)
        hand_over = session.stop_with_pdb if with_pdb else session.stop_with_debugpy if address else None
        outcome = session.run_session(record, app_, hand_over=hand_over, allow_network=allow_network)
        if outcome is None or outcome.exception is None:
            return
        typer.echo(escape_invisible("".join(traceback.format_exception(outcome.exception))), err=True, nl=False)
        raise typer.Exit(ERROR)


def _read(recorded: str, cluster: str | None, evidence: Path | None, live: str | None, timeout: float) -> Record:
    """Return the record in a file, for which no cluster is needed, or that of an invocation of the source."""
    from restate_lab.debugging import is_record_file, load_record, record_of

    if is_record_file(recorded):
        return load_record(recorded)
    with open_source(cluster, evidence, live) as source:
        return record_of(source, recorded, timeout=timeout)
