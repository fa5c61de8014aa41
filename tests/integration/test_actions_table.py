"""The table of actions against real servers: each action in each status, on each kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from restate_lab.actions.rules import ACTIONS, GONE, Effect
from restate_lab.client.lab import Lab
from restate_lab.errors import RequestRefused, RestateLabError
from support.clusters import KINDS, PLAIN, server_binary
from support.every_status import InvocationStatuses, every_status

pytestmark = [pytest.mark.server, pytest.mark.also_on(PLAIN, reason="without vqueues some actions do something else")]

WATCHED = 1.5  # seconds that every invocation is polled after the action
ATTEMPTS = "SELECT id, retry_count AS attempts FROM sys_invocation_state WHERE id IN :ids"
ATTEMPTS_VQUEUES = (
    "SELECT entry_id AS id, retry_attempts AS attempts FROM sys_vqueue_entry_status WHERE entry_id IN :ids"
)
STATUSES = (
    "scheduled", "pending", "ready", "backing-off", "running", "suspended", "paused",
    "succeeded", "failed", "cancelled", "killed",
)  # fmt: skip


@dataclass(frozen=True)
class Try:
    """An action with its option, and how AdminClient does it."""

    action: ACTIONS
    call: Callable[[Lab, str], Any]
    deployment: str | None = None

    @property
    def name(self) -> str:
        return f"{self.action.value}{'_elsewhere' if self.deployment else ''}"


TRIES = (
    *(
        Try(
            action,
            lambda lab, id_, action=action: getattr(lab.admin, action.rule.operation)(
                id_, verify=False, reason="INC-42"
            ),
        )
        for action in (ACTIONS.CANCEL, ACTIONS.KILL, ACTIONS.PAUSE, ACTIONS.PURGE)
    ),
    *(
        Try(action, lambda lab, id_, action=action: getattr(lab.admin, action.rule.operation)(id_, reason="INC-42"))
        for action in (ACTIONS.RESUME, ACTIONS.PURGE_JOURNAL, ACTIONS.RESTART_AS_NEW)
    ),
    Try(ACTIONS.RESUME, lambda lab, id_: lab.admin.resume_invocation(id_, deployment="latest"), "latest"),
)


@dataclass
class Came:
    """The result of one action on one invocation: the server's response, and the statuses seen, first to last."""

    id: str
    accepted: bool
    answer: str
    seen: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Tried:
    has_vqueues: bool
    came: Mapping[tuple[str, str], Came]
    attempts: tuple[Mapping[str, int], Mapping[str, int]]
    journals: Mapping[str, int]


@pytest.fixture(scope="module", params=KINDS)
def tried(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tried]:
    try:
        server_binary(request.param)
    except RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {str(error).splitlines()[0]}")
    with every_status(request.param, tmp_path_factory.mktemp("table"), each=len(TRIES)) as statuses:
        came = try_all(statuses, ["ready"])
        statuses.make_room()
        before = attempts(statuses)
        came |= try_all(statuses, [status for status in STATUSES if status != "ready"])
        rows = statuses.lab.arrow("SELECT id, journal_size FROM sys_invocation_status").to_pylist()
        journals = {row["id"]: row["journal_size"] or 0 for row in rows}
        yield Tried(statuses.has_vqueues, came, (before, attempts(statuses)), journals)


def try_all(statuses: InvocationStatuses, names: list[str]) -> dict[tuple[str, str], Came]:
    """Act on one invocation of each of these statuses in each way, then poll them all."""
    came = {
        (each.name, status): act(statuses.lab, each, id_)
        for status in names
        for each, id_ in zip(TRIES, statuses.ids[status], strict=True)
    }
    deadline = time.monotonic() + WATCHED
    while time.monotonic() < deadline:
        words = statuses.by_id()
        for each in came.values():
            word = words.get(each.id, GONE)
            if each.seen[-1:] != [word]:
                each.seen.append(word)
        time.sleep(0.05)
    return came


def act(lab: Lab, what: Try, id_: str) -> Came:
    try:
        return Came(id_, accepted=True, answer=repr(what.call(lab, id_)))
    except RequestRefused as error:
        return Came(id_, accepted=False, answer=str(error))


def attempts(statuses: InvocationStatuses) -> dict[str, int]:
    sql = ATTEMPTS_VQUEUES if statuses.has_vqueues else ATTEMPTS
    rows = statuses.lab.arrow(sql, ids=statuses.ids["backing-off"]).to_pylist()
    return {row["id"]: row["attempts"] for row in rows}


def agrees(effect: Effect, status: str, came: Came) -> bool:
    if came.accepted != effect.accepted:
        return False
    return came.seen[-1] in effect.then if effect.accepted else came.seen == [status]


@pytest.mark.parametrize("what", TRIES, ids=lambda each: each.name)
def test_the_server_accepts_and_refuses_as_the_table_of_actions_states(tried: Tried, what: Try) -> None:
    lies = {}
    for status in STATUSES:
        effect = what.action.rule.effect(status, has_vqueues=tried.has_vqueues, deployment=what.deployment)
        came = tried.came[what.name, status]
        if not agrees(effect, status, came):
            lies[status] = (effect, came)
    assert lies == {}


def test_what_acts_has_acted(tried: Tried) -> None:
    """Effects that the status does not show have happened, too: an attempt, a removed journal, a new invocation."""
    before, after = tried.attempts
    resumed = tried.came["resume", "backing-off"].id
    assert after[resumed] == before[resumed] + 1
    untouched = tried.came["purge", "backing-off"].id
    assert after[untouched] == before[untouched]
    assert tried.journals[tried.came["purge_journal", "failed"].id] == 0
    assert tried.journals[tried.came["restart_as_new", "failed"].id] > 0
    assert "restarted_from=" in tried.came["restart_as_new", "killed"].answer


def test_every_status_was_tried_with_every_action(tried: Tried) -> None:
    assert set(tried.came) == {(what.name, status) for what in TRIES for status in STATUSES}
    assert {what.action for what in TRIES} == set(ACTIONS) - {ACTIONS.MOVE_TO}
