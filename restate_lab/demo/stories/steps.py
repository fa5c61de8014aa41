"""The steps of a story: each step changes the cluster, and its result gets a role.

A story is a tuple of steps. For a new kind of step, add a class with the method ``act``. ``after`` maps roles to the
status that their invocations must have before the step begins.
"""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urljoin, urlsplit

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.services_host import RELEASE_HEADER
from restate_lab.errors import TimedOut

WITHIN = 30.0  # seconds; usually it takes two
_NUMBERED = re.compile(r"(.+)_(\d+)")


class StoryStep(ABC):
    """A change to the cluster; its result (usually an invocation) gets a role.

    A later step with the same role replaces the earlier one, and its ``reaches`` is the final status; a result that is
    not an invocation has no status. ``fails_with`` is the Restate error code to wait for.
    """

    role: str
    reaches: str | None = None
    fails_with: str | None = None

    @abstractmethod
    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Do the step and return the id of its result; ``roles`` has the ids of earlier steps."""


@dataclass(frozen=True, slots=True)
class Send(StoryStep):
    """Start an invocation of ``handler`` ("service/handler" or "service/key/handler")."""

    role: str
    handler: str
    body: Any
    reaches: str
    delay: str | None = None
    idempotency_key: str | None = None
    fails_with: str | None = None
    after: Mapping[str, str] = field(default_factory=dict)

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Send the request."""
        wait_for_statuses(api, roles, self.after)
        return api.send(self.handler, self.body, delay=self.delay, idempotency_key=self.idempotency_key)


def ask_weather(city: str, reaches: str = "succeeded", **options: Any) -> Send:
    """Return the step that asks the agent for the weather in a city."""
    return Send(f"agent_{city.lower()}", "agent/run", f"What is the weather in {city}?", reaches, **options)


def repeat(count: int, member: Callable[[int], StoryStep]) -> tuple[StoryStep, ...]:
    """Return ``count`` steps, created from the numbers 1, 2, …; ``ids`` finds their roles "role_1", …."""
    return tuple(member(number) for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class Deploy(StoryStep):
    """Register one release of the services at ``path`` as a deployment, which gets the role.

    Another release at the same path replaces the code of invocations that are already in progress.
    """

    role: str
    path: str
    release: str = "1"
    after: Mapping[str, str] = field(default_factory=dict)

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Register the deployment."""
        wait_for_statuses(api, roles, self.after)
        home = next(uri for uri in api.deployments().values() if urlsplit(uri).path == "/")
        return api.register(urljoin(home, self.path), force=True, headers={RELEASE_HEADER: self.release})


@dataclass(frozen=True, slots=True)
class Remove(StoryStep):
    """Remove the deployment of a role, even if invocations are pinned to it; the role keeps its id."""

    role: str
    after: Mapping[str, str] = field(default_factory=dict)

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Remove the deployment."""
        wait_for_statuses(api, roles, self.after)
        api.remove(roles[self.role])
        return roles[self.role]


@dataclass(frozen=True, slots=True)
class Act(StoryStep):
    """Change the invocation with the role ``of``; ``operation`` is one of ``Api.act``, such as "kill" or "pause".

    The result is the same invocation, or the new invocation after a restart.
    """

    role: str
    operation: str
    of: str
    after: Mapping[str, str]
    reaches: str
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Do the operation."""
        wait_for_statuses(api, roles, self.after)
        return api.act(self.operation, roles[self.of])


@dataclass(frozen=True, slots=True)
class Child(StoryStep):
    """Wait for the first invocation that the invocation with the role ``of`` calls; it gets a role."""

    role: str
    of: str
    reaches: str
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Wait for the called invocation."""
        _wait_until(lambda: bool(api.children(roles[self.of])), f"{self.of} did not call another invocation")
        return api.children(roles[self.of])[0]


def ids(roles: Mapping[str, str], role: str) -> list[str]:
    """Return all ids of a role: the id of ``role``, or the ids of ``role_1``, ``role_2``, … in order.

    Raises:
        KeyError: the role is unknown; the message lists the known roles.

    """
    if role in roles:
        return [roles[role]]
    numbered = {each: match for each in roles if (match := _NUMBERED.fullmatch(each))}
    players = {int(match[2]): roles[each] for each, match in numbered.items() if match[1] == role}
    if not players:
        known = sorted({numbered[each][1] if each in numbered else each for each in roles})
        raise KeyError(f"unknown role {role!r}; choose from {', '.join(known)}")
    return [players[number] for number in sorted(players)]


def wait_for_statuses(api: Api, roles: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Wait until the invocations of each role have the status that ``after`` maps it to."""
    wanted = {id_: status for role, status in after.items() for id_ in ids(roles, role)}
    if wanted:
        _wait_until(lambda: api.statuses(wanted) == wanted, f"{dict(after)} was not reached")


def _wait_until(is_true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_true():
        if time.monotonic() > deadline:
            raise TimedOut(f"the demo's story stopped: {otherwise} within {format_duration(WITHIN)}")
        time.sleep(0.1)
