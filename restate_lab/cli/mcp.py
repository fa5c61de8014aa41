"""``restate-lab mcp``: tools for an AI assistant, and the approval of its plans by a person."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from restate_lab.cli._errors import ERROR, exit_on_error, note_change, warn
from restate_lab.cli._options import Cluster, examples
from restate_lab.errors import ArgumentError

EvidencePaths = Annotated[
    list[Path] | None,
    typer.Option(
        "--evidence",
        metavar="PATH",
        help="Also serve this frozen evidence, or this archive; repeatable. Without -e, no cluster is served then.",
    ),
]
AllowChanges = Annotated[
    bool,
    typer.Option(
        "--allow-changes",
        help="Also serve the tools that execute a plan and replay journals. A person must approve each call.",
    ),
]
RequestId = Annotated[str, typer.Argument(metavar="PLAN", help="The id that the assistant shows (plan-1a2b3c4d).")]

_STARTED_BY_HAND = (
    "this command talks to the client of an assistant, which starts it; end it with Ctrl-D. The page Assistant of the "
    "guide has the configuration of clients."
)

app = typer.Typer(rich_markup_mode=None)


@app.callback(
    invoke_without_command=True,
    epilog=examples("restate-lab mcp -e prod", "restate-lab mcp -e prod --evidence /srv/history --allow-changes"),
)
def run(
    context: typer.Context,
    *,
    cluster: Cluster = None,
    evidence: EvidencePaths = None,
    allow_changes: AllowChanges = False,
) -> None:
    """Serve tools for an AI assistant on stdin and stdout (Model Context Protocol); a client starts this command.

    It is read-only without --allow-changes. Needs the extra mcp.
    """
    if context.invoked_subcommand is not None:
        return
    with exit_on_error():
        from restate_lab.mcp import serve

        if sys.stdin.isatty():
            warn(_STARTED_BY_HAND)
        serve(cluster, evidence or [], allow_changes=allow_changes)


@app.command(epilog=examples("restate-lab mcp approve plan-1a2b3c4d"))
def approve(plan: RequestId) -> None:
    """Approve a plan of an assistant, after you have read it. Works in a terminal only.

    Exit codes: 0 approved; 1 not approved, or the plan has expired or does not exist; 2 invalid usage.
    """
    with exit_on_error():
        code = _ask(plan)
    raise typer.Exit(code)


def _ask(plan: str) -> int:
    from restate_lab.cli._page import TextPage
    from restate_lab.mcp.approvals import ApprovalStore, approval_code

    store = ApprovalStore()
    request = store.load(plan)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ArgumentError("approve works in a terminal only, so that no program can answer: run it in your terminal.")
    page = TextPage()
    page.lines(request.text)
    page.blank()
    expected = f"{request.expected} {approval_code()}"
    page.paragraph((f"{request.question} {expected}", "bold"))
    answer = typer.prompt("Answer", prompt_suffix=": ", default="", show_default=False)
    if " ".join(answer.split()) != expected:
        warn("not approved: the answer is not the requested text. Nothing was sent.")
        return ERROR
    store.approve(request)
    note_change("approved: the assistant can now execute it once")
    page.paragraph(("Approved. The assistant can now execute it once.", "bold"))
    return 0
