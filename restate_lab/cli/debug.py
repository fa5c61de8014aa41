"""``restate-lab debug``: step through a handler on a recorded journal."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from restate_lab.cli._errors import exit_on_error
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
StopAt = Annotated[
    int | None,
    typer.Option(
        "--stop-at", metavar="N", min=0, help="Stop first at entry N of the journal, and not at the first line."
    ),
]
Listen = Annotated[
    str | None,
    typer.Option(
        "--listen",
        metavar="[HOST:]PORT",
        help="Wait for an editor on a port of this machine, instead of a prompt. It needs debugpy.",
    ),
]

app = typer.Typer(rich_markup_mode=None)
_PROMPT = """\b
At the prompt of pdb:
  ne       continue to the next entry; its recorded result is shown first
  entries  list the entries with their recorded results
  until N  continue to entry N; unt N is the until of pdb, for lines
  q        end the replay

"""


@app.command(
    short_help="Step through your code on a recorded journal.",
    epilog=_PROMPT
    + examples(
        "restate-lab debug shop.app:app inv_1…",
        "restate-lab debug shop.app:app inv_1… --evidence incident.evidence",
        "restate-lab debug shop.app:app tests/journals/checkout.json --stop-at 7",
        "restate-lab debug shop.app:app inv_1… --listen 5678",
    ),
)
def debug(
    app_: App,
    recorded: Recorded,
    *,
    stop_at: StopAt = None,
    listen: Listen = None,
    allow_network: AllowNetwork = False,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
) -> None:
    """Step through your code on the recorded journal of an invocation, in this process, and see where it fails.

    No step runs: each gets its recorded result. Code outside of steps runs, and so does the module of the app. The
    network and new processes are refused to both, except to libraries in C or Rust and to threads that ran before.
    --timeout is for reading the journal; the session has no limit.
    """
    from restate_lab.debugging.stepping import step_through
    from restate_lab.debugging.stepping.remote import parse_address

    with exit_on_error():
        address = None if listen is None else parse_address(listen)
        record = _read(recorded, cluster, evidence, live, timeout)
        step_through(record, app_, stop_at=stop_at, address=address, allow_network=allow_network)


def _read(recorded: str, cluster: str | None, evidence: Path | None, live: str | None, timeout: float) -> Record:
    """Return the record in a file, for which no cluster is needed, or that of an invocation of the source."""
    from restate_lab.debugging import is_record_file, load_record, record_of

    if is_record_file(recorded):
        return load_record(recorded)
    with open_source(cluster, evidence, live) as source:
        return record_of(source, recorded, timeout=timeout)
