"""Metrics of the watched clusters in the text format of Prometheus.

Each scrape shows the last visits, so series of services and keys that no longer exist disappear. The number of series
is bounded: the most frequent ones are shown, and the sum of the others has the label "other".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

from restate_lab._public import require_packages
from restate_lab._text import escape_invisible, one_line
from restate_lab.alerts.reader import MOST_KEYS, ClusterVisit
from restate_lab.errors import ArgumentError

if TYPE_CHECKING:
    from wsgiref.simple_server import WSGIServer

_MOST_SERIES = 500  # per cluster and metric
_WIDTH = 100
_HANDLER = ("target_service_name", "target_handler_name", "status")
Labels = tuple[str, ...]


@dataclass(slots=True, eq=False)
class MetricsState:
    """The last visits of each cluster, and the counters of this process; threads may share it."""

    visits: dict[str, ClusterVisit] = field(default_factory=dict)
    succeeded: dict[str, float] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    messages: dict[str, int] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    alerts: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def add_visit(self, visit: ClusterVisit) -> None:
        """Keep a visit in place of the one before."""
        with self.lock:
            if visit.error:
                self.failed[visit.cluster] += 1
            else:
                self.visits[visit.cluster] = visit
                self.succeeded[visit.cluster] = visit.at.timestamp()

    def set_alerts(self, alerts: Mapping[tuple[str, str], int], messages: Mapping[str, int]) -> None:
        """Set the number of open alerts by cluster and severity, and of waiting messages by receiver."""
        with self.lock:
            self.alerts, self.messages = Counter(alerts), dict(messages)
            self.refused.update(dict.fromkeys(messages, 0))  # so that the first failure is an increase

    def add_refusal(self, receiver: str) -> None:
        """Count a failed delivery to a receiver."""
        with self.lock:
            self.refused[receiver] += 1

    def collect(self) -> Iterator[Any]:
        """Yield the metrics; ``prometheus_client`` calls this at each scrape."""
        with self.lock:
            families = [
                *self._load(),
                *self._visits(),
                _metric("alerts_open", "Open alerts.", ("cluster", "severity"), self.alerts.items()),
                _metric("messages_waiting", "Messages that wait.", ("receiver",), _single(self.messages)),
                _metric(
                    "deliveries_failed", "Failed deliveries.", ("receiver",), _single(self.refused), kind="Counter"
                ),
                _metric("visits_failed", "Visits that failed.", ("cluster",), _single(self.failed), kind="Counter"),
            ]
        yield from families

    def _load(self) -> Iterator[Any]:
        loads = {name: visit.load for name, visit in self.visits.items() if visit.load is not None}
        handler = ("cluster", "service", "handler", "status")
        statuses = [(name, load.statuses) for name, load in loads.items()]
        yield _metric("invocations", "Open invocations.", handler, _sums(statuses, _HANDLER, "invocations"))
        ages = _oldest(statuses, _HANDLER[:2])
        yield _metric("oldest_invocation_seconds", "Age of the oldest open invocation.", handler[:3], ages)
        keys = [(name, load.backlog) for name, load in loads.items()]
        text = f"Waiting calls of the {MOST_KEYS} keys with the longest queues."
        waiting = _sums(keys, ("target_service_name", "target_service_key"), "waiting", most=MOST_KEYS, rest=False)
        yield _metric("key_backlog", text, ("cluster", "service", "key"), waiting)
        retries = [(name, load.retries) for name, load in loads.items()]
        codes = _sums(retries, ("target_service_name", "error_code"), "invocations")
        yield _metric("invocations_retrying", "Invocations that are retried.", ("cluster", "service", "code"), codes)

    def _visits(self) -> Iterator[Any]:
        visits = self.visits.items()
        found = [((name, *key), count) for name, visit in visits for key, count in visit.findings.items()]
        yield _metric("findings", "Findings of the doctor.", ("cluster", "check", "severity"), found)
        seconds = [((name,), visit.seconds) for name, visit in visits]
        yield _metric("visit_seconds", "Duration of the last visit.", ("cluster",), seconds)
        statements = [((name,), visit.statements) for name, visit in visits]
        yield _metric("visit_statements", "Statements of the last visit.", ("cluster",), statements)
        text = "Time of the last visit that read the cluster."
        yield _metric("last_visit_timestamp_seconds", text, ("cluster",), _single(self.succeeded))


def serve_metrics(state: MetricsState, address: str) -> WSGIServer:
    """Serve the metrics at an address such as "127.0.0.1:9464", and return the server, which ``shutdown()`` stops.

    Raises:
        ArgumentError: the address is malformed.
        OSError: the address is in use.
        MissingExtra: prometheus-client is not installed.
    """
    host, port = parse_address(address)
    require_packages("restate-lab watch", "prometheus_client", extra="watch")
    import prometheus_client as prometheus  # noqa: PLC0415 - an extra

    registry = prometheus.CollectorRegistry()
    registry.register(state)
    try:
        server: WSGIServer = prometheus.start_http_server(port, addr=host, registry=registry)[0]
    except OSError as error:
        raise OSError(error.errno, f"the metrics cannot be served at {address}: {error.strerror}") from error
    return server


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of a text such as "127.0.0.1:9464"."""
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise ArgumentError(f"the address {address!r} for the metrics is not valid; use for example 127.0.0.1:9464.")
    return host.strip("[]"), int(port)


def _sums(
    clusters: Iterable[tuple[str, Sequence[Mapping[Any, Any]]]],
    columns: Sequence[str],
    value: str,
    *,
    most: int = _MOST_SERIES,
    rest: bool = True,
) -> Iterator[tuple[Labels, float]]:
    for cluster, rows in clusters:
        sums: Counter[Labels] = Counter()
        for row in rows:
            sums[_labels(row, columns)] += int(row[value] or 0)
        shown = sums.most_common(most)
        yield from (((cluster, *labels), count) for labels, count in shown)
        others = sums.total() - sum(count for _, count in shown)
        if rest and others:
            yield (cluster, *["other"] * len(columns)), others


def _oldest(
    clusters: Iterable[tuple[str, Sequence[Mapping[Any, Any]]]], columns: Sequence[str]
) -> Iterator[tuple[Labels, float]]:
    for cluster, rows in clusters:
        ages: dict[Labels, float] = {}
        for row in rows:
            age = row["oldest_age"]
            seconds = age / timedelta(seconds=1) if age is not None else 0.0
            ages[_labels(row, columns)] = max(seconds, ages.get(_labels(row, columns), 0.0))
        oldest = sorted(ages.items(), key=lambda pair: -pair[1])[:_MOST_SERIES]
        yield from (((cluster, *labels), seconds) for labels, seconds in oldest)


def _labels(row: Mapping[Any, Any], columns: Sequence[str]) -> Labels:
    texts = (one_line(str(row[name] or ""), _WIDTH) for name in columns)
    return tuple(escape_invisible(text, lines=False) for text in texts)


def _single(values: Mapping[str, float]) -> list[tuple[Labels, float]]:
    return [((name,), value) for name, value in values.items()]


def _metric(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]], kind: str = "Gauge") -> Any:
    from prometheus_client import core  # noqa: PLC0415 - an extra

    family = getattr(core, f"{kind}MetricFamily")
    metric = family(f"restate_lab_{name}", text, labels=labels)
    for series, value in values:
        metric.add_metric(series, value)
    return metric
