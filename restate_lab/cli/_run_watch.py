"""The implementation of the command ``watch``."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import platformdirs
import typer

from restate_lab._text import format_duration, join, plural
from restate_lab.alerts.alert import Alert, Event
from restate_lab.alerts.delivery import create_receivers
from restate_lab.alerts.metrics import MetricsState, serve_metrics
from restate_lab.alerts.reader import ClusterReader
from restate_lab.alerts.rules import Rules, load_rules
from restate_lab.alerts.store import AlertStore
from restate_lab.alerts.watcher import Archiver, Watcher
from restate_lab.analysis.suggestions import SuggestedCall
from restate_lab.cli._errors import warn
from restate_lab.cli._page import TextPage
from restate_lab.cli._run_diagnose import SEVERITY_STYLES
from restate_lab.cli.shell_code import SourceOptions, commands
from restate_lab.client.lab import Lab, connect
from restate_lab.errors import ArgumentError
from restate_lab.history.cluster import name_of_cluster

__all__ = ["WatchOptions", "run_watch"]

_MISSED = 4  # visits after which Alertmanager ends an alert that is not repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchOptions:
    """The options of the command; durations are in seconds, and None as a cluster is the one of the restate CLI."""

    clusters: tuple[str | None, ...]
    rules: Path | None
    to: tuple[str, ...]
    alertmanager: tuple[str, ...]
    every: float
    once: bool
    metrics: str | None
    archive: str | None
    state: Path | None
    causes: bool
    timeout: float

    @property
    def keep(self) -> timedelta:
        """Return how long Alertmanager keeps an alert that no visit repeats."""
        return timedelta(seconds=_MISSED * self.every + self.timeout)


def run_watch(options: WatchOptions) -> bool:
    """Watch the clusters; return whether a single visit was complete. An interrupt ends repeated visits."""
    rules = load_rules(options.rules) if options.rules else Rules()
    receivers = create_receivers(options.to, options.alertmanager, keep=options.keep)
    readers = [_reader(cluster, rules, options) for cluster in options.clusters]
    _check_names(readers)
    with ExitStack() as stack:
        store = AlertStore(options.state or platformdirs.user_state_path("restate_lab") / "watch.sqlite")
        stack.callback(store.close)
        metrics = MetricsState()
        if options.metrics:
            server = serve_metrics(metrics, options.metrics)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
        archiver = Archiver(options.archive) if options.archive else None
        watcher = Watcher(readers, store, receivers, _print_alert, warn, metrics=metrics, archiver=archiver)
        watcher.start()
        return watcher.once() if options.once else _repeat(watcher, options)


def _repeat(watcher: Watcher, options: WatchOptions) -> bool:
    names = join((reader.name for reader in watcher.readers), 9)
    count = plural(len(watcher.receivers), "receiver")
    typer.echo(f"watching {names} every {format_duration(options.every)}, with {count}; SIGTERM or Ctrl-C stops it")
    watcher.repeat(options.every)
    typer.echo("stopped")
    return True


def _reader(cluster: str | None, rules: Rules, options: WatchOptions) -> ClusterReader:
    """Return the reader of a cluster; its name is checked, and nothing is sent."""
    with connect(cluster, read_only=True, check=False) as lab:
        if options.archive:
            _check_archive_name(lab)
        name = lab.name
    return ClusterReader(
        name=name,
        option=cluster,
        rules=rules,
        commands=_commands,
        timeout=options.timeout,
        causes=options.causes,
        measures=options.metrics is not None,
        archives=options.archive is not None,
    )


def _check_archive_name(lab: Lab) -> None:
    try:
        name_of_cluster(lab, None)
    except ArgumentError as error:
        raise ArgumentError(
            f"--archive needs a name for each cluster, and {lab.name!r} does not identify one; add an environment to "
            "the configuration of the restate CLI, and name it with -e."
        ) from error


def _check_names(readers: Sequence[ClusterReader]) -> None:
    names = [reader.name for reader in readers]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ArgumentError(f"the cluster {join(repeated)} is there twice; name each cluster once.")


def _commands(calls: Sequence[SuggestedCall], cluster: str | None) -> list[str] | None:
    return commands(calls, SourceOptions(cluster))


def _print_alert(event: Event, alert: Alert) -> None:
    """Print one change of an alert."""
    page = TextPage()
    style = SEVERITY_STYLES["healthy"] if event is Event.RESOLVED else SEVERITY_STYLES[alert.severity]
    page.paragraph((event.upper(), style), f" {alert.severity} {alert.cluster} {alert.rule} {alert.fingerprint}")
    page.paragraph(alert.title, first="  ")
    if event is Event.RESOLVED:
        return
    for text in (f"Blocks {alert.blocks}." if alert.blocks else "", alert.cause, alert.link):
        if text:
            page.paragraph(text, first="  ")
    page.commands(alert.next_step, first="  next: ")
