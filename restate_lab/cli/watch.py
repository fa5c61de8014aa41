"""``restate-lab watch``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from restate_lab.alerts import THREAD_NAME
from restate_lab.cli._errors import exit_on_error, interrupt_on_sigterm
from restate_lab.cli._options import check_positive, environment_names, examples, parse_seconds, timeout_option

__all__ = ["add_watch_command"]

INCOMPLETE = 4
_LAST_SECONDS = 0.5  # for a thread that has handed over its result
Watched = Annotated[
    list[str] | None,
    typer.Option(
        "--cluster",
        "-e",
        metavar="NAME|URL",
        help="An environment of the restate CLI, or an admin address; repeatable. Default: the cluster that the "
        "restate CLI would use.",
        autocompletion=environment_names,
    ),
]
RulesFile = Annotated[
    Path | None, typer.Option("--rules", metavar="FILE", help="Rules in TOML. Default: critical findings and warnings.")
]
To = Annotated[
    list[str] | None,
    typer.Option(
        "--to",
        metavar="URL",
        envvar="RESTATE_LAB_WATCH_TO",
        help="Send alerts to this address of apprise: slack://…, msteams://…, mailto://…, json://…; repeatable.",
    ),
]
Alertmanager = Annotated[
    list[str] | None,
    typer.Option(
        "--alertmanager",
        metavar="URL",
        envvar="RESTATE_LAB_WATCH_ALERTMANAGER",
        help="Send alerts to this Alertmanager: http://127.0.0.1:9093; repeatable.",
    ),
]
Interval = Annotated[
    float,
    typer.Option(
        "--every",
        metavar="DURATION",
        parser=parse_seconds,
        callback=check_positive,
        help="The time between two visits. With --once: the interval of cron, for Alertmanager.",
    ),
]
Once = Annotated[bool, typer.Option("--once", help="Make one visit of each cluster, for cron.")]
Metrics = Annotated[
    str | None,
    typer.Option("--metrics", metavar="HOST:PORT", help="Serve metrics for Prometheus: 127.0.0.1:9464."),
]
ArchiveTo = Annotated[
    str | None,
    typer.Option("--archive", metavar="WHERE", help="Also archive the clusters, as the command archive does."),
]
StateFile = Annotated[
    Path | None,
    typer.Option("--state", metavar="FILE", help="The file with the state. Default: in the user's state folder."),
]
NoCauses = Annotated[
    bool, typer.Option("--no-causes", help="Send no causes, which can contain messages of handlers' errors.")
]
VisitTimeout = Annotated[float, timeout_option("The time limit of a visit of one cluster: 30s, 2m.")]

_EXIT_CODES = """\b
Exit codes:
  0  the visits were stopped by SIGTERM or Ctrl-C; with --once: every
     cluster was read, and every message was delivered, also if there
     are alerts
  1  error: an environment is unknown, the state cannot be written, or
     the port is in use
  2  invalid usage: the rules, or the address of a receiver
  4  with --once: a cluster was not read, or a message waits for the
     next visit
  130  --once was interrupted

"""


def watch(
    *,
    cluster: Watched = None,
    rules: RulesFile = None,
    to: To = None,
    alertmanager: Alertmanager = None,
    every: Interval = 60.0,
    once: Once = False,
    metrics: Metrics = None,
    archive: ArchiveTo = None,
    state: StateFile = None,
    no_causes: NoCauses = False,
    timeout: VisitTimeout = 60.0,
) -> None:
    """Visit clusters at intervals, and send an alert when a problem begins, becomes worse, or ends.

    Alerts are the critical findings and the warnings of the doctor, unless --rules has others. Each alert is also
    printed. A message that a receiver did not accept is kept, and sent again.
    """
    with _without_shutdown(), exit_on_error():
        interrupt_on_sigterm()
        with _stopped_by_interrupt(is_error=once):
            from restate_lab.cli._run_watch import WatchOptions, run_watch  # noqa: PLC0415 - takes a second

            options = WatchOptions(
                clusters=tuple(cluster or [None]),
                rules=rules,
                to=tuple(to or ()),
                alertmanager=tuple(alertmanager or ()),
                every=every,
                once=once,
                metrics=metrics,
                archive=archive,
                state=state,
                causes=not no_causes,
                timeout=timeout,
            )
            is_complete = run_watch(options)
            raise typer.Exit(0 if is_complete else INCOMPLETE)


@contextmanager
def _stopped_by_interrupt(*, is_error: bool) -> Iterator[None]:
    """End with exit code 0 at an interrupt, also before the first visit, unless it is an error."""
    try:
        yield
    except KeyboardInterrupt:
        if is_error:
            raise
        raise typer.Exit(0) from None


@contextmanager
def _without_shutdown() -> Iterator[None]:
    """End the process at once if a visit or a delivery is not over.

    If Python shuts down while their threads are within a library, such as delta-rs or Arrow, the process crashes.
    """
    try:
        yield
    except typer.Exit as end:
        threads = [each for each in threading.enumerate() if each.name == THREAD_NAME]
        for each in threads:
            each.join(_LAST_SECONDS)
        if any(each.is_alive() for each in threads):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.exit_code)
        raise


def add_watch_command(app: typer.Typer) -> None:
    """Add the command."""
    app.command(
        epilog=_EXIT_CODES
        + examples(
            "restate-lab watch -e prod -e staging --to slack://…",
            "restate-lab watch -e prod --rules rules.toml --alertmanager http://127.0.0.1:9093",
            "restate-lab watch -e prod --once --every 5m --to mailto://…",
        )
    )(watch)
