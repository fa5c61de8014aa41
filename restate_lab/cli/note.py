"""``restate-lab note``."""

from __future__ import annotations

from typing import Annotated

import typer

from restate_lab.cli._errors import BAD, exit_on_error, note_change
from restate_lab.cli._options import POINT_LIMIT, Cluster, Json, PointTimeout, examples
from restate_lab.errors import ArgumentError

Text = Annotated[str, typer.Argument(metavar="TEXT", help="What you did or know: at most 2,000 characters.")]
Finding = Annotated[
    str | None,
    typer.Option("--finding", metavar="FINGERPRINT", help="The note is about this finding of restate-lab doctor."),
]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        help="Acknowledge the finding until then: 2h, or 2026-11-28T18:00:00Z. At most 31 days.",
    ),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Note what you did, or acknowledge a finding of the doctor.",
    epilog="Exit codes: 0 the note exists; 1 error, 2 invalid usage, and 3 the acknowledgement of an equal note has "
    "ended: nothing is written then.\n\n"
    + examples(
        'restate-lab note "INC-42: called the provider" -e prod',
        'restate-lab note "INC-42: known" --finding 06f07fc5ff48e7e7 --until 2h',
    ),
)
def note(
    text: Text,
    *,
    finding: Finding = None,
    until: Until = None,
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    as_json: Json = False,
) -> None:
    """Note what you did or know about a cluster; with --finding and --until, acknowledge a finding until then.

    The note is in the audit log of this user on this machine, and nothing is sent to the cluster. The doctor, the panel
    and watch of this user show an acknowledged finding as known; the exit code of the doctor does not change. The
    acknowledgement is about the steps, codes and kinds of errors that the fingerprint has now. It ends at its time,
    when the severity increases, or when the invocations or the affected ones are twice as many. The same text with a
    later --until extends it.
    """
    from restate_lab.actions.note import note as write
    from restate_lab.cli._output import print_json
    from restate_lab.cli._page import TextPage
    from restate_lab.client.lab import connect

    with exit_on_error():
        if until and not finding:
            raise ArgumentError("--until is the end of an acknowledgement, which needs a finding: add --finding.")
    # A note about a cluster that does not respond is written, too.
    with exit_on_error(), connect(cluster, read_only=True, check=False) as lab:
        result = write(lab, text, finding=finding, until=until, timeout=timeout)
        note_change("noted", shown_by="restate-lab audit --notes")
        if as_json:
            print_json(result.to_json())
        else:
            TextPage().document(result.document())
    if result.ended:
        raise typer.Exit(BAD)
