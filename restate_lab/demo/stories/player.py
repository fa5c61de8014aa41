"""Play a story on a cluster, wait until all invocations have the expected status, and save the ids of the roles."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.stories.steps import StoryStep
from restate_lab.errors import TimedOut

ROLES = "roles.json"
SETTLED_WITHIN = 60.0  # seconds; usually it takes three


def play(api: Api, story: Sequence[StoryStep], folder: Path) -> dict[str, str]:
    """Play a story and return role → id; write the same to ``roles.json`` in ``folder``.

    If ``folder`` already has roles, return them and send nothing.

    Raises:
        TimedOut: an invocation did not reach its status within a minute.

    """
    known = read_roles(folder)
    if known:
        return known
    roles: dict[str, str] = {}
    for step in story:
        roles[step.role] = step.act(api, roles)
    _wait_until_settled(api, {roles[step.role]: step for step in story if step.reaches})
    (folder / ROLES).write_text(json.dumps(roles, indent=2) + "\n")
    return roles


def read_roles(folder: Path) -> dict[str, str]:
    """Return role → id from a folder, or an empty dict if no story was played there."""
    path = folder / ROLES
    return dict(json.loads(path.read_text())) if path.is_file() else {}


def _wait_until_settled(api: Api, steps: dict[str, StoryStep]) -> None:
    deadline = time.monotonic() + SETTLED_WITHIN
    waiting = dict(steps)
    while waiting:
        failing = [id_ for id_, step in waiting.items() if step.fails_with]
        codes = api.failure_codes(failing) if failing else {}
        now = {id_: f"{status} {codes.get(id_, '')}".rstrip() for id_, status in api.statuses(waiting).items()}
        waiting = {id_: step for id_, step in waiting.items() if now.get(id_) != _expected_status(step)}
        if waiting and time.monotonic() > deadline:
            late = "; ".join(
                f"{step.role} is {now.get(id_, 'unknown')}, not {_expected_status(step)}"
                for id_, step in waiting.items()
            )
            raise TimedOut(f"the demo's invocations were not ready within {format_duration(SETTLED_WITHIN)}: {late}")
        if waiting:
            time.sleep(0.1)


def _expected_status(step: StoryStep) -> str:
    return f"{step.reaches} {step.fails_with or ''}".rstrip()
