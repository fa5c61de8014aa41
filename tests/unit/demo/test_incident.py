"""The incident as data: its roles, its tables, its steps, and the code behind its deployments.

Tests import the services themselves: the agent takes seconds, and each worker collects every module.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from restate import TerminalError

from restate_lab.cli.demo import Story
from restate_lab.demo.services.orders.payments import PaymentGateway, ProviderDown
from restate_lab.demo.services_host import RELEASE_HEADER, application
from restate_lab.demo.stories import STORIES, steps, week
from restate_lab.demo.stories.incident import FAULTS, INCIDENT, NOTES, VICTIMS
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import Act, Child, Deploy, Remove, Send, StoryStep, ids, repeat
from restate_lab.errors import TimedOut
from restate_lab.status import STATUSES
from support.demo.healthy import HEALTHY
from support.demo.saturated import saturated_story

NOTEBOOKS = Path(__file__).parents[3] / "notebooks"
EVERY_STORY = {**STORIES, "healthy": HEALTHY, "saturated": saturated_story(vqueues=False)}


class FakeApi:
    """Records its requests; statuses and codes come from lists of responses, of which the last one stays."""

    def __init__(self, statuses: Sequence[str] = ("running",), codes: Sequence[str] = ("RT0007",)) -> None:
        self.done: list[tuple[Any, ...]] = []
        self._statuses, self._codes = _answers(statuses), _answers(codes)
        self._children = _answers([[], ["inv_child"]])

    def deployments(self) -> dict[str, str]:
        return {"dp_own": "http://127.0.0.1:9080/mine", "dp_demo": "http://127.0.0.1:1234/"}

    def register(self, uri: str, *, force: bool = False, headers: Mapping[str, str] | None = None) -> str:
        self.done.append(("register", uri, force, headers))
        return "dp_new"

    def remove(self, deployment_id: str) -> None:
        self.done.append(("remove", deployment_id))

    def act(self, operation: str, id_: str) -> str:
        self.done.append((operation, id_))
        return "inv_again" if operation.startswith("restart") else id_

    def send(self, handler: str, body: Any, **options: str | None) -> str:
        return f"inv_{handler}"

    def archive(self) -> str:
        self.done.append(("archive",))
        return "demo"

    def move_archive(self, day: timedelta) -> None:
        self.done.append(("move", day))

    def children(self, id_: str) -> list[str]:
        return next(self._children)

    def statuses(self, ids: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(ids, next(self._statuses))

    def failure_codes(self, ids: Iterable[str]) -> dict[str, str]:
        return dict.fromkeys(ids, next(self._codes))


def _answers(answers: Sequence[Any]) -> Iterator[Any]:
    yield from answers
    while True:
        yield answers[-1]


def take(step: StoryStep, api: FakeApi, roles: Mapping[str, str]) -> str:
    return step.act(api, roles)  # type: ignore[arg-type]


def test_the_command_line_knows_every_story() -> None:
    stories, _ = get_args(Story)
    assert list(get_args(stories)) == list(STORIES)


def test_ids_of_one_and_of_many() -> None:
    """A role gives its id, or the ids of its numbered invocations, in order; no role matches a longer name."""
    roles = {"storm_2": "b", "storm_10": "c", "storm_1": "a", "storm_caller_1": "x", "paused": "p"}
    assert ids(roles, "storm") == ["a", "b", "c"]
    assert ids(roles, "storm_caller") == ["x"]
    assert ids(roles, "paused") == ["p"]
    with pytest.raises(KeyError, match="unknown role 'strom'; choose from paused, storm, storm_caller"):
        ids(roles, "strom")


@pytest.mark.parametrize("story", EVERY_STORY.values(), ids=EVERY_STORY)
def test_stories_are_coherent(story: tuple[StoryStep, ...]) -> None:
    """Steps refer to earlier roles, to statuses that exist, and to deployments that are served."""
    from restate_lab.demo.services.deployments import DEPLOYMENTS

    played: dict[str, str] = {}
    for step in story:
        assert step.reaches in {*STATUSES, None}
        if isinstance(step, Deploy):
            assert (step.path, step.release) in DEPLOYMENTS
        if isinstance(step, Send):
            assert step.role not in played
        if isinstance(step, Remove):
            assert step.role in played
        if isinstance(step, Act | Child):
            assert step.of in played
        for role, status in getattr(step, "after", {}).items():
            assert ids(played, role)
            assert status in STATUSES
        played[step.role] = step.role


def test_the_demo_serves_what_its_stories_deploy() -> None:
    """The package has only the deployments of its own stories and notebooks."""
    from restate_lab.demo.services import deployments as demo

    deployed = {(step.path, step.release) for story in STORIES.values() for step in story if isinstance(step, Deploy)}
    notebook = (NOTEBOOKS / "07_before_the_deployment.ipynb").read_text("utf-8")
    registered = {(path, "1") for path in re.findall(r"\{shop\.uri\}([\w-]+)", notebook)}
    assert set(demo.DEPLOYMENTS) == {("", "1"), *deployed, *registered}
    assert set(demo.UNAVAILABLE) <= {path for path, _ in demo.DEPLOYMENTS}


def test_tables_name_every_role_once() -> None:
    roles = {step.role: step.role for step in INCIDENT}
    tables = [*FAULTS, *VICTIMS, *NOTES]
    assert len(set(tables)) == len(tables)
    assert all(ids(roles, role) for role in tables)


def test_deploy_registers_beside_the_sample_services() -> None:
    """The address is that of the sample services, whatever else is registered, and the release is sent as a header."""
    api = FakeApi()
    assert take(Deploy("new", "returns", release="2"), api, {}) == "dp_new"
    assert api.done == [("register", "http://127.0.0.1:1234/returns", True, {RELEASE_HEADER: "2"})]


def test_the_week_is_archived_while_it_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a visit on each day, and two after the last one, before and after the last orders end."""
    monkeypatch.setattr(week, "DAY", 0.0)
    monkeypatch.setattr(week, "SETTLED", 0.0)
    api = FakeApi(statuses=["succeeded"])
    visits = [step for step in week.WEEK if isinstance(step, week.Day | week.Visit)]
    roles: dict[str, str] = {}
    for step in visits:
        roles[step.role] = take(step, api, roles)
    assert api.done == [("archive",)] * 9 + [("move", timedelta(0))]
    assert list(roles) == [*(f"day_{number}" for number in range(1, 8)), "archive"]


def test_a_step_runs_when_all_invocations_of_its_role_have_the_status() -> None:
    api = FakeApi(statuses=["running", "running", "suspended"])
    roles = {"dp": "dp_1", "asleep_1": "inv_1", "asleep_2": "inv_2"}
    assert take(Remove("dp", after={"asleep": "suspended"}), api, roles) == "dp_1"
    assert api.done == [("remove", "dp_1")]
    assert next(api._statuses) == "suspended"


def test_an_error_names_the_step_that_cannot_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steps, "WITHIN", 0.0)
    api = FakeApi()
    with pytest.raises(TimedOut, match=r"story stopped: \{'killed': 'suspended'\} was not reached"):
        take(Act("killed", "kill", "killed", {"killed": "suspended"}, "killed"), api, {"killed": "inv_1"})
    assert not api.done


def test_restart_gives_the_new_one_and_child_the_first_that_is_called() -> None:
    """A restart's role belongs to the new invocation; a child is waited for."""
    roles = {"first": "inv_1"}
    assert (
        take(Act("again", "restart-as-new", "first", {"first": "running"}, "running"), FakeApi(), roles) == "inv_again"
    )
    assert take(Child("called", "first", "running"), FakeApi(), roles) == "inv_child"


def test_play_waits_for_the_code_of_a_failure(tmp_path: Path) -> None:
    """An invocation that must fail with a code has not settled while another code is the last."""
    api = FakeApi(statuses=["backing-off"], codes=["RT0007", "RT0016"])
    story = (Send("a", "Returns/take_back", "1", "backing-off", fails_with="RT0016"), Deploy("dp", "returns"))
    assert play(api, story, tmp_path) == {"a": "inv_Returns/take_back", "dp": "dp_new"}  # type: ignore[arg-type]
    assert next(api._codes) == "RT0016"


def test_an_invocation_that_does_not_fail_as_planned_is_named_with_both_codes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("restate_lab.demo.stories.player.SETTLED_WITHIN", 0.0)
    story = repeat(1, lambda n: Send(f"a_{n}", "x", n, "backing-off", fails_with="RT0016"))
    with pytest.raises(TimedOut, match="a_1 is backing-off RT0007, not backing-off RT0016"):
        play(FakeApi(statuses=["backing-off"]), story, tmp_path)  # type: ignore[arg-type]


def ask(path: str, release: str | None = None) -> tuple[int, bytes]:
    from restate_lab.demo.services.deployments import DEPLOYMENTS, UNAVAILABLE

    sent: list[dict[str, Any]] = []
    headers = [(b"accept", b"application/vnd.restate.endpointmanifest.v4+json")]
    headers += [(RELEASE_HEADER.encode(), release.encode())] if release else []
    body = iter([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}])

    async def receive() -> dict[str, Any]:
        return next(body)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "http_version": "2", "path": path, "headers": headers}
    asyncio.run(application(DEPLOYMENTS, UNAVAILABLE)(scope, receive, send))
    assert next(body, None) is None or "/discover" in path
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_deployments_are_told_apart_by_path_and_release() -> None:
    """Each path serves its own services, a release its own code, and any other path the sample services."""
    assert b'"Payments"' in ask("/orders/discover")[1]
    assert b'"agent"' in ask("/discover")[1]
    first, second = ask("/returns/discover", "1")[1], ask("/returns/discover", "2")[1]
    assert b"Inspect the parcel" in first
    assert b"Scan the label, " in second


def test_an_unavailable_deployment_has_its_error() -> None:
    """Discovery answers for it, and a call reaches the proxy in front, which reads it to the end."""
    assert ask("/courier/discover")[0] == 200
    assert ask("/courier/invoke/Courier/deliver") == (502, b"no healthy upstream")


def test_gateway_answers_by_card() -> None:
    """A flaky card fails once for an order, a declined one always, and others as their network does."""
    gateway = PaymentGateway()
    with pytest.raises(ProviderDown, match="reset by peer"):
        gateway.charge_card("ord-1", 100, "tok_flaky")
    assert gateway.charge_card("ord-1", 100, "tok_flaky").startswith("ch_")
    with pytest.raises(TerminalError, match="card declined: insufficient_funds"):
        gateway.charge_card("ord-1", 100, "tok_insufficient_funds")
    with pytest.raises(ProviderDown, match="timed out"):
        gateway.charge_card("ord-1", 100, "tok_mastercard")
