"""``restate-lab story``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import typer

from restate_lab.cli._options import (
    POINT_LIMIT,
    At,
    Cluster,
    EvidencePath,
    Live,
    OutputFormat,
    PointTimeout,
    examples,
    open_with_options,
    with_output,
)
from restate_lab.errors import ArgumentError

_STDIN = "-"
_WAYS = "name ids or - for ids on standard input, or use --key SERVICE/KEY, or --trace"
_SINCE = "24h"

Invocations = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="ID", help="The ids of invocations (inv_…), or texts with one each: a log line; - reads ids from stdin."
    ),
]
Key = Annotated[
    str | None,
    typer.Option(
        "--key",
        metavar="SERVICE/KEY",
        help="The invocations of this key instead; a key that only one service has needs no service.",
    ),
]
Trace = Annotated[str | None, typer.Option("--trace", metavar="ID", help="The invocations with this trace id instead.")]
Since = Annotated[
    str | None,
    typer.Option("--since", metavar="TIME", help=f"With --key: those created since then. Default: {_SINCE}."),
]
Search = Annotated[
    bool,
    typer.Option("--search", help="Also search all journals for invocations that acted on these; it is a scan."),
]
Part = Annotated[
    Literal["members", "edges", "path", "phases"],
    typer.Option("--part", help="Which frame --csv and --parquet write."),
]

app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Show all invocations that belong together, and what they waited for.",
    epilog=examples(
        "restate-lab story inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9",
        "restate-lab story --key Order/4711 --since 3d",
        "restate-lab story inv_18GUzKHVrU7E2hkYZyDmQpZFTB2VK39VQ9 --search",
        "restate-lab story --key Order/4711 --evidence history --live prod",
    ),
)
@with_output
def story(
    invocations: Invocations = None,
    *,
    key: Key = None,
    trace: Trace = None,
    since: Since = None,
    search: Search = False,
    part: Part = "members",
    timeout: PointTimeout = POINT_LIMIT,
    cluster: Cluster = None,
    evidence: EvidencePath = None,
    live: Live = None,
    at: At = None,
    form: OutputFormat,
) -> None:
    """Show all invocations that belong together: callers, callees, restarts, and those that answered each other.

    Above the tree is the critical path: what the whole waited for, from its beginning to its end.
    --json contains all frames; --csv and --parquet write one --part.
    """
    from restate_lab.analysis.story import story as read_story
    from restate_lab.analysis.story.waterfall import MOST_ROWS
    from restate_lab.cli._output import write_result
    from restate_lab.cli.shell_code import writer

    if sum([bool(invocations), key is not None, trace is not None]) != 1:
        raise ArgumentError(f"{'several ways are combined' if invocations or key else 'no invocation'}: {_WAYS}.")
    if since is not None and key is None:
        raise ArgumentError("--since is only for --key.")
    options: dict[str, Any] = {"key": key, "trace": trace, "since": since or _SINCE, "search": search}
    with open_with_options(cluster, evidence, live, at) as (source, where):
        result = read_story(source, _ids_of(invocations), **options, timeout=timeout)
    write_result(
        form,
        getattr(result, part),
        result.document,
        result.to_json,
        writer(where),
        reasons=result.reasons,
        pictured=MOST_ROWS,
    )


def _ids_of(texts: Sequence[str] | None) -> str | list[str] | None:
    """Return the id of one text, which may be a log line, or the ids of several texts and of stdin."""
    from restate_lab.analysis.ids import invocation_id_in, parse_ids

    if not texts:
        return None
    ids = [id_ for text in texts for id_ in (parse_ids(sys.stdin.read())[0] if text == _STDIN else [text])]
    if not ids:
        raise ArgumentError("standard input has no id.")
    found = [invocation_id_in(id_, name="ID") for id_ in ids]
    return found[0] if len(found) == 1 else list(dict.fromkeys(found))
