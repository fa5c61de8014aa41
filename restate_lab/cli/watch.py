"""``restate-lab watch``."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from restate_lab._text import format_duration, join, plural
from restate_lab.alerts import THREAD_NAME
from restate_lab.cli._errors import INCOMPLETE, exit_on_error, interrupt_on_sigterm, warn, warn_on_output_error
from restate_lab.cli._options import Clusters, Shard, ShardServices, SourceOptions, duration_option, examples
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from restate_lab.alerts.alert import Alert, Event
    from restate_lab.alerts.metrics import MetricsState
    from restate_lab.alerts.reader import ClusterReader
    from restate_lab.alerts.rules import Rules
    from restate_lab.alerts.store import AlertStore
    from restate_lab.alerts.watcher import Archiver, Watcher
    from restate_lab.calls import SuggestedCall

_MINUTE = 60.0  # seconds
_MISSED = 4  # visits after which Alertmanager ends an alert that is not repeated
_LAST_SECONDS = 0.5  # for a thread that has handed over its result
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
    duration_option(
        "--every", "The time between two visits. With --once: the interval of cron, for Alertmanager.", _MINUTE
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
LinkBase = Annotated[
    str | None,
    typer.Option(
        "--link-base",
        metavar="URL",
        envvar="RESTATE_LAB_SERVE",
        help="The address of restate-lab serve, for links to its pages: http://127.0.0.1:9180. They have no token.",
    ),
]
VisitTimeout = Annotated[
    float, duration_option("--timeout", "The time limit of a visit of one cluster: 30s, 2m.", _MINUTE)
]

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


app = typer.Typer(rich_markup_mode=None)


@app.command(
    short_help="Send alerts when a problem begins, becomes worse, or ends.",
    epilog=_EXIT_CODES
    + examples(
        "restate-lab watch -e prod -e staging --to slack://…",
        "restate-lab watch --rules rules.toml --alertmanager http://127.0.0.1:9093",
        "restate-lab watch -e prod --once --every 5m --to mailto://…",
    ),
)
def watch(
    *,
    cluster: Clusters = None,
    rules: RulesFile = None,
    to: To = None,
    alertmanager: Alertmanager = None,
    every: Interval = _MINUTE,
    once: Once = False,
    metrics: Metrics = None,
    archive: ArchiveTo = None,
    shard: Shard = None,
    service: ShardServices = None,
    state: StateFile = None,
    no_causes: NoCauses = False,
    link_base: LinkBase = None,
    timeout: VisitTimeout = _MINUTE,
) -> None:
    """Visit clusters at intervals, and send an alert when a problem begins, becomes worse, or ends.

    Alerts are the critical findings and the warnings of the doctor, unless --rules has others. Each alert is also
    printed. A message that a receiver did not accept is kept, and sent again.
    """
    with _without_shutdown(), exit_on_error():
        interrupt_on_sigterm()
        with _stopped_by_interrupt(is_error=once), ExitStack() as stack:
            from restate_lab.alerts.delivery import Senders, create_receivers
            from restate_lab.alerts.rules import Rules, load_rules
            from restate_lab.alerts.watcher import Watcher

            keep = timedelta(seconds=_MISSED * every + timeout)  # of an alert that no visit repeats
            chosen = load_rules(rules) if rules else Rules()
            senders = Senders()
            stack.callback(senders.close)
            receivers = create_receivers(senders, to or [], alertmanager or [], keep=keep)
            options = {"timeout": timeout, "causes": not no_causes, "link_base": _checked_link_base(link_base)}
            options |= {"measures": bool(metrics), "archives": bool(archive)}
            archiver = _create_archiver(archive, shard, service)
            readers = _create_readers(cluster or [None], chosen, **options)
            store, numbers = _open_store(state, stack), _serve(metrics, stack)
            watcher = Watcher(readers, store, receivers, senders, _report, warn, metrics=numbers, archiver=archiver)
            watcher.start()
            if not once:
                _repeat(watcher, every)
            raise typer.Exit(0 if not once or watcher.once() else INCOMPLETE)


def _create_readers(clusters: Sequence[str | None], rules: Rules, **options: Any) -> list[ClusterReader]:
    from restate_lab.alerts.reader import ClusterReader

    names = [_name_of(each, archives=options["archives"]) for each in clusters]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ArgumentError(f"the cluster {join(repeated)} is there twice; name each cluster once.")
    return [
        ClusterReader(name=name, option=each, rules=rules, commands=_commands, **options)
        for name, each in zip(names, clusters, strict=True)
    ]


def _checked_link_base(text: str | None) -> str:
    from restate_lab.links import NOT_AN_ADDRESS, parse_serve_address

    address = parse_serve_address(text or "")
    if text and not address:
        raise ArgumentError(f"the address of --link-base, or of RESTATE_LAB_SERVE, {NOT_AN_ADDRESS}.")
    return address


def _create_archiver(where: str | None, shard: str | None, service: Sequence[str] | None) -> Archiver | None:
    from restate_lab.alerts.watcher import Archiver
    from restate_lab.history.shards import parse_shard

    if where is None:
        if shard or service:
            raise ArgumentError("--shard and --service need --archive with the address of the archive.")
        return None
    return Archiver(where, *parse_shard(shard, service))


def _open_store(file: Path | None, stack: ExitStack) -> AlertStore:
    import platformdirs

    from restate_lab.alerts.store import AlertStore

    store = AlertStore(file or platformdirs.user_state_path("restate_lab") / "watch.sqlite")
    stack.callback(store.close)
    return store


def _serve(address: str | None, stack: ExitStack) -> MetricsState:
    from restate_lab.alerts.metrics import MetricsState, serve_metrics

    metrics = MetricsState()
    if address:
        server = serve_metrics(metrics, address)
        stack.callback(server.server_close)
        stack.callback(server.shutdown)
    return metrics


def _repeat(watcher: Watcher, every: float) -> None:
    names = join((reader.name for reader in watcher.readers), 9)
    count = plural(len(watcher.receivers), "receiver")
    with warn_on_output_error("the start"):
        typer.echo(f"watching {names} every {format_duration(every)}, with {count}; SIGTERM or Ctrl-C stops it")
    watcher.repeat(every)
    with warn_on_output_error("the end"):
        typer.echo("stopped")


def _name_of(cluster: str | None, *, archives: bool) -> str:
    from restate_lab.client.lab import connect
    from restate_lab.history.cluster import name_of_cluster

    with connect(cluster, read_only=True, check=False) as lab:
        if archives:
            try:
                name_of_cluster(lab, None)
            except ArgumentError as error:
                raise ArgumentError(
                    f"--archive needs a name for each cluster, and {lab.name!r} does not identify one; add an "
                    "environment to the configuration of the restate CLI, and name it with -e."
                ) from error
        return lab.name


def _commands(calls: Sequence[SuggestedCall], cluster: str | None) -> list[str] | None:
    from restate_lab.cli.shell_code import commands

    return commands(calls, SourceOptions(cluster))


def _report(event: Event, alert: Alert) -> None:
    """Print an alert; it is delivered also if that fails."""
    with warn_on_output_error(f"{event.upper()} {alert.title} ({alert.cluster})"):
        _print_alert(event, alert)


def _print_alert(event: Event, alert: Alert) -> None:
    from restate_lab.cli._page import TextPage
    from restate_lab.tokens import TERMINAL

    page = TextPage()
    is_over = event in {"resolved", "acknowledged"}
    style = TERMINAL["healthy" if event == "resolved" else alert.severity]
    page.paragraph(f"{alert.title} ({alert.cluster})", first=f"{event.upper()} {alert.severity}: ", style=style)
    page.paragraph((f"{alert.rule} {alert.fingerprint}", "dim"), first="  ")
    if alert.note and event != "resolved":
        page.paragraph(f"{alert.note[0].upper()}{alert.note[1:]}", first="  ")
    if is_over:
        return
    for text in (
        f"Blocks {alert.blocks}." if alert.blocks else "",
        alert.cause,
        *alert.additions.values(),
        alert.link,
        alert.page,
    ):
        if text:
            page.paragraph(text, first="  ")
    page.commands(alert.next_step, first="  next: ")


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
            with suppress(OSError):
                sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.exit_code)
        raise
