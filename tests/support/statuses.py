"""The status of every invocation on a cluster, read with plain SQL that is correct for its kind of server."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pandas as pd

import restate_lab as rl
from restate_lab.demo.stories.steps import StoryStep
from restate_lab.status import STATUS_SQL
from support.clusters import Cluster

RETRYING = {"backing-off", "ready", "running"}


def invocations(lab: rl.Lab, ids: list[str], columns: str = "status") -> pd.DataFrame:
    """Return rows of sys_invocation in the order of the ids."""
    frame = lab.sql(f"SELECT id, {columns} FROM sys_invocation WHERE id IN :ids", ids=ids)
    return frame.set_index("id").loc[ids]


def statuses(lab: rl.Lab) -> dict[str, str]:
    frame = lab.sql(f"SELECT id, {STATUS_SQL} AS word FROM sys_invocation")
    return dict(zip(frame["id"], frame["word"], strict=True))


def last_events(lab: rl.Lab, ids: list[str], event_type: str) -> list[dict[str, Any]]:
    frame = lab.sql(
        "SELECT id, event_json FROM sys_journal_events WHERE id IN :ids AND event_type = :type ORDER BY appended_at",
        ids=ids,
        type=event_type,
    )
    events = dict(zip(frame["id"], frame["event_json"], strict=True))
    return [json.loads(events[id_]) for id_ in ids]


def failures(lab: rl.Lab, ids: list[str]) -> set[tuple[str | None, str | None, str]]:
    """Return code, step and first line of the message of the last failed attempts."""
    return {
        (event["restate_doc_error_code"], event.get("related_command_name"), event["error_message"].splitlines()[0])
        for event in last_events(lab, ids, "TransientError")
    }


def attempts(cluster: Cluster, lab: rl.Lab, ids: list[str]) -> int:
    """Return the number of attempts; with vqueues, those before short waits and before long ones."""
    made = [lab.sql("SELECT coalesce(sum(retry_count), 0) AS n FROM sys_invocation_state WHERE id IN :ids", ids=ids)]
    if cluster.vqueues:
        long = "SELECT coalesce(sum(retry_attempts), 0) AS n FROM sys_vqueue_entry_status WHERE entry_id IN :ids"
        made.append(lab.sql(long, ids=ids))
    return sum(int(frame["n"][0]) for frame in made)


def holders(cluster: Cluster, lab: rl.Lab) -> dict[str, str]:
    """Return "service/key" → the invocation that holds it."""
    if cluster.vqueues:
        frame = lab.sql("SELECT lock_name AS target, acquired_by AS holder FROM sys_locks")
    else:
        frame = lab.sql(
            "SELECT service_name || '/' || service_key AS target, invocation_id AS holder FROM sys_keyed_service_status"
        )
    return dict(zip(frame["target"], frame["holder"], strict=True))


def queue(cluster: Cluster, lab: rl.Lab, service: str, key: str) -> set[str]:
    if cluster.vqueues:
        statement = """SELECT v.entry_id AS id FROM sys_vqueues v JOIN sys_vqueue_meta m ON m.id = v.id
            WHERE m.lock_name = :service || '/' || :key AND v.stage = 'inbox'"""
    else:
        statement = "SELECT id FROM sys_inbox WHERE service_name = :service AND service_key = :key"
    return set(lab.sql(statement, service=service, key=key)["id"])


def expected_statuses(story: tuple[StoryStep, ...], roles: dict[str, str]) -> dict[str, str]:
    """Return invocation → its final status in the story."""
    return {roles[step.role]: step.reaches for step in story if step.reaches}


def has_status(status: str, told: str) -> bool:
    return status in RETRYING if told == "backing-off" else status == told


def unexpected_invocations(cluster: Cluster, lab: rl.Lab, planted: Iterable[str]) -> set[str]:
    """Return the invocations that retry, are paused, wait for a key or have failed, and have no planted role."""
    known = {id_ for role in planted for id_ in cluster.ids(role)}
    suspicious = {id_ for id_, word in statuses(lab).items() if word in {*RETRYING, "pending", "paused", "failed"}}
    return suspicious - known


def check_cycle(cluster: Cluster, lab: rl.Lab, circle: list[str], calls: list[str]) -> list[set[str]]:
    """Assert that each holds a key and has called the key of the next one; return the queues of those keys."""
    assert list(invocations(lab, calls, "invoked_by_id")["invoked_by_id"]) == circle
    held = {holder: target for target, holder in holders(cluster, lab).items()}
    queues = []
    for call, following in zip(calls, [*circle[1:], circle[0]], strict=True):
        service, _, key = held[following].partition("/")
        queues.append(queue(cluster, lab, service, key))
        assert call in queues[-1]
    return queues
