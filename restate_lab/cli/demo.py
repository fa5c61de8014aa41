"""``restate-lab demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from restate_lab.cli._errors import exit_on_error
from restate_lab.cli._options import examples
from restate_lab.cli._streams import print_line

NoBrowser = Annotated[
    bool, typer.Option("--no-browser", help="Start JupyterLab and print its address, but do not open a browser.")
]
Once = Annotated[
    bool,
    typer.Option(
        "--once",
        help="Execute the notebook of the story read-only and without JupyterLab, print its results and exit. "
        "The exit code is 1 if the notebook fails.",
    ),
]
Keep = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        file_okay=False,
        help="Keep all data in this folder and continue with it next time. Default: keep nothing.",
    ),
]
Vqueues = Annotated[
    bool,
    typer.Option(
        "--vqueues/--no-vqueues",
        help="Start version 1.7 with or without vqueues and the other features that version 1.8 always has.",
    ),
]
ServerPath = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        dir_okay=False,
        help="Start this restate-server. Default: the one in RESTATE_LAB_SERVER, then the one on PATH, then one that "
        "is installed from npm into your cache.",
    ),
]


# The stories are listed here because importing them takes a second, too long for --help.
Story = Annotated[
    Literal["incident", "first-look", "agents", "week"],
    typer.Option(
        help="The state of the cluster. incident: an order system with 17 faults, opens the notebook “What is "
        "wrong here?”; first-look: a few invocations in every status, opens “Ask in SQL”; agents: AI agents in Python "
        "and TypeScript, opens “What did the agents do?” (its packages are installed into your cache, about 220 MB); "
        "week: 40 seconds that become the last seven days of a parcel shop, with an archive and a new release, opens "
        "“A week later”."
    ),
]


app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Start a cluster with an incident, and open it in JupyterLab.",
    epilog=examples("restate-lab demo", "restate-lab demo --story agents"),
)
def demo(
    *,
    no_browser: NoBrowser = False,
    once: Once = False,
    keep: Keep = None,
    vqueues: Vqueues = True,
    server: ServerPath = None,
    story: Story = "incident",
) -> None:
    """Start a Restate cluster with an incident on this machine and open it in JupyterLab.

    Ctrl-C stops everything that the demo started.
    """
    from restate_lab.demo.run import run_demo

    browser = not no_browser
    with exit_on_error():
        code = run_demo(
            server=server, keep=keep, vqueues=vqueues, browser=browser, once=once, story=story, say=print_line
        )
    raise typer.Exit(code)
