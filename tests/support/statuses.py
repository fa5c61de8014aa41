"""The status of every invocation on a cluster, read with plain SQL that is correct for its kind of server."""

from __future__ import annotations

from collections.abc import Iterable

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
