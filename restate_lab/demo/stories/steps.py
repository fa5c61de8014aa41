"""The steps of which a story consists: each does one thing to the cluster, and its result gets a role.

A story is data. Another one, or a longer one, is another tuple of steps; a new kind of step is another class with
``act``. ``after`` says for roles (also for those that several play) in which status they must be before the step is
taken.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urljoin, urlsplit

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.services_host import RELEASE_HEADER
from restate_lab.errors import TimedOut

__all__ = ["Act", "Child", "Deploy", "Remove", "Send", "StoryStep", "ids", "repeat"]

WITHIN = 30.0  # seconds; two are usual
_NUMBERED = re.compile(r"(.+)_(\d+)")


class StoryStep(Protocol):
    """Something that is done to the cluster; what it makes (mostly an invocation) gets a role.

    A later step of the same role takes the place of the earlier one: the invocation is to stay where that one says.
    """

    @property
    def role(self) -> str:
        """Return the name under which the story knows what the step makes."""

    @property
    def reaches(self) -> str | None:
        """Return the status in which the invocation stays; None where it is not an invocation."""

    @property
    def fails_with(self) -> str | None:
        """Return the Restate error code that its attempts end with, where that is worth waiting for."""

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Do it and return the id of what it made; ``roles`` has the ids of the steps before."""


@dataclass(frozen=True, slots=True)
class Send:
    """Start an invocation of ``handler`` ("service/handler" or "service/key/handler")."""

    role: str
    handler: str
    body: Any
    reaches: str
    delay: str | None = None
    idempotency_key: str | None = None
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:  # noqa: ARG002 - a send needs no step before it
        """Send it."""
        return api.send(self.handler, self.body, delay=self.delay, idempotency_key=self.idempotency_key)


def repeat(count: int, member: Callable[[int], StoryStep]) -> tuple[StoryStep, ...]:
    """Return several steps of one sort, made from their numbers 1, 2, …; ``ids`` finds "role_1", … again."""
    return tuple(member(number) for number in range(1, count + 1))


@dataclass(frozen=True, slots=True)
class Deploy:
    """Register the services at ``path``, beside the sample services, in a release; the role is the deployment's.

    Another release at a path that is known replaces the code below invocations that have begun with the other.
    """

    role: str
    path: str
    release: str = "1"
    after: Mapping[str, str] = field(default_factory=dict)
    reaches: None = None
    fails_with: None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Register it."""
        _wait_for_statuses(api, roles, self.after)
        home = next(uri for uri in api.deployments().values() if urlsplit(uri).path == "/")
        return api.register(urljoin(home, self.path), force=True, headers={RELEASE_HEADER: self.release})


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove the deployment of a role, whatever is bound to it; the role stays that of the removed one."""

    role: str
    after: Mapping[str, str] = field(default_factory=dict)
    reaches: None = None
    fails_with: None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Remove it."""
        _wait_for_statuses(api, roles, self.after)
        api.remove(roles[self.role])
        return roles[self.role]


@dataclass(frozen=True, slots=True)
class Act:
    """Do something to the invocation ``of`` a role: "kill", "cancel", "pause", "resume" or "restart-as-new".

    The role is that invocation's again, or the new one's after "restart-as-new".
    """

    role: str
    operation: str
    of: str
    after: Mapping[str, str]
    reaches: str
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Do it."""
        _wait_for_statuses(api, roles, self.after)
        return api.act(self.operation, roles[self.of])


@dataclass(frozen=True, slots=True)
class Child:
    """Wait for the first invocation that the one ``of`` another role calls, and give it a role of its own."""

    role: str
    of: str
    reaches: str
    fails_with: str | None = None

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Look for it until it is there."""
        _wait_until(lambda: bool(api.children(roles[self.of])), f"{self.of} called nobody")
        return api.children(roles[self.of])[0]


def ids(roles: Mapping[str, str], role: str) -> list[str]:
    """Return the ids of everyone who plays a role: that of ``role``, or those of ``role_1``, ``role_2``, … in order.

    Raises:
        KeyError: nobody does; the message has the roles that are played.

    """
    if role in roles:
        return [roles[role]]
    players = {int(match[2]): id_ for each, id_ in roles.items() if (match := _match(each, role))}
    if not players:
        raise KeyError(f"nobody plays {role!r}; there are {', '.join(sorted({_role(each) for each in roles}))}")
    return [players[number] for number in sorted(players)]


def _match(numbered: str, role: str) -> re.Match[str] | None:
    match = _NUMBERED.fullmatch(numbered)
    return match if match and match[1] == role else None


def _role(name: str) -> str:
    match = _NUMBERED.fullmatch(name)
    return match[1] if match else name


def _wait_for_statuses(api: Api, roles: Mapping[str, str], after: Mapping[str, str]) -> None:
    wanted = {id_: status for role, status in after.items() for id_ in ids(roles, role)}
    if wanted:
        _wait_until(lambda: api.statuses(wanted) == wanted, f"{dict(after)} did not come true")


def _wait_until(is_true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_true():
        if time.monotonic() > deadline:
            raise TimedOut(f"the demo's story did not go on: {otherwise} within {format_duration(WITHIN)}")
        time.sleep(0.1)
