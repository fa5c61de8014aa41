"""The metrics: valid text for Prometheus with a bounded number of series, also for hostile and for very many keys."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from restate_lab.alerts.metrics import MetricsState, parse_address, serve_metrics
from restate_lab.alerts.reader import ClusterLoad, ClusterVisit
from restate_lab.errors import ArgumentError

AT = datetime(2026, 11, 28, tzinfo=UTC)
Rows = Sequence[Mapping[Any, Any]]


def visit(statuses: Rows = (), backlog: Rows = (), retries: Rows = (), **more: Any) -> ClusterVisit:
    load = ClusterLoad(statuses, backlog, retries)
    return ClusterVisit(cluster="prod", at=AT, alerts=(), load=load, seconds=0.5, statements=31, **more)


def statuses(count: int) -> Rows:
    return [
        {
            "target_service_name": f"S{number}",
            "target_handler_name": "run",
            "status": "pending",
            "invocations": number + 1,
            "oldest_age": timedelta(seconds=number),
        }
        for number in range(count)
    ]


def backlog(*keys: str) -> Rows:
    return [{"target_service_name": "S", "target_service_key": key, "waiting": at + 1} for at, key in enumerate(keys)]


def families(state: MetricsState) -> dict[str, dict[tuple[str, ...], float]]:
    registry = CollectorRegistry()
    registry.register(state)
    text = generate_latest(registry).decode()
    return {
        family.name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(text)
    }


def test_each_metric_has_the_value_of_the_last_visit() -> None:
    state = MetricsState()
    retries = [
        {"target_service_name": "S", "error_code": code, "invocations": 2} for code in ("RT0007", "RT0007", None)
    ]
    state.add_visit(visit(statuses(2), backlog("a"), retries, findings={("paused", "critical"): 3}))
    state.add_visit(ClusterVisit(cluster="down", at=AT, alerts=(), error="refused"))
    state.set_alerts({("prod", "critical"): 1}, {"json 1": 4})
    state.add_refusal("json 1")
    seen = families(state)
    assert seen["restate_lab_invocations"] == {
        ("prod", "run", "S1", "pending"): 2.0,
        ("prod", "run", "S0", "pending"): 1.0,
    }
    assert seen["restate_lab_oldest_invocation_seconds"][("prod", "run", "S1")] == 1.0
    assert seen["restate_lab_key_backlog"] == {("prod", "a", "S"): 1.0}
    assert seen["restate_lab_invocations_retrying"] == {("prod", "RT0007", "S"): 4.0, ("prod", "", "S"): 2.0}
    assert seen["restate_lab_findings"] == {("paused", "prod", "critical"): 3.0}
    assert seen["restate_lab_visit_seconds"] == {("prod",): 0.5}
    assert seen["restate_lab_visit_statements"] == {("prod",): 31.0}
    assert seen["restate_lab_last_visit_timestamp_seconds"] == {("prod",): AT.timestamp()}
    assert seen["restate_lab_visits_failed"] == {("down",): 1.0}
    assert seen["restate_lab_alerts_open"] == {("prod", "critical"): 1.0}
    assert seen["restate_lab_messages_waiting"] == {("json 1",): 4.0}
    assert seen["restate_lab_deliveries_failed"] == {("json 1",): 1.0}


def test_labels_stay_bounded_with_10_000_keys() -> None:
    state = MetricsState()
    state.add_visit(visit(statuses(10_000), backlog(*(f"key-{number}" for number in range(10_000)))))
    seen = families(state)
    assert len(seen["restate_lab_key_backlog"]) == 10
    assert ("prod", "key-9999", "S") in seen["restate_lab_key_backlog"]
    assert len(seen["restate_lab_invocations"]) == 501
    assert sum(seen["restate_lab_invocations"].values()) == sum(range(1, 10_001))
    assert len(seen["restate_lab_oldest_invocation_seconds"]) == 500
    state.add_visit(visit(statuses(1), backlog("other")))
    seen = families(state)
    assert seen["restate_lab_key_backlog"] == {("prod", "other", "S"): 1.0}
    assert len(seen["restate_lab_invocations"]) == 1


@pytest.mark.parametrize("key", ['a"b\\c\nd', "\x1b[2J\x07", "é" * 5000, "\u202eabc", ""])
def test_a_hostile_key_is_one_short_visible_label(key: str) -> None:
    state = MetricsState()
    state.add_visit(visit(backlog=backlog(key)))
    ((_, label, _),) = families(state)["restate_lab_key_backlog"]
    assert len(label) <= 110
    assert "\x1b" not in label
    assert "\n" not in label


def test_a_port_in_use_and_a_malformed_address_are_errors_with_the_address() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot be served at 127.0.0.1:{port}"):
            serve_metrics(MetricsState(), f"127.0.0.1:{port}")
    server = serve_metrics(MetricsState(), "127.0.0.1:0")
    try:
        text = httpx.get(f"http://127.0.0.1:{server.server_port}/metrics").text
    finally:
        server.shutdown()
        server.server_close()
    assert "# TYPE restate_lab_alerts_open gauge" in text
    assert parse_address("[::1]:9464") == ("::1", 9464)
    for address in ("9464", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:70000"):
        with pytest.raises(ArgumentError, match=r"use for example 127\.0\.0\.1:9464"):
            parse_address(address)
