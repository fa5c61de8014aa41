"""What a story can do beyond sending: release and remove services, end, pause and restart invocations.

``after`` says for roles (also for those that several play) in which status they must be before the step is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urljoin, urlsplit

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.release import RELEASE_HEADER
from restate_lab.demo.roles import ids
from restate_lab.errors import TimedOut

__all__ = ["Act", "Child", "Deploy", "Remove"]

WITHIN = 30.0  # seconds; two are usual


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
        _wait(api, roles, self.after)
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
        _wait(api, roles, self.after)
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
        _wait(api, roles, self.after)
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
        _until(lambda: bool(api.children(roles[self.of])), f"{self.of} called nobody")
        return api.children(roles[self.of])[0]


def _wait(api: Api, roles: Mapping[str, str], after: Mapping[str, str]) -> None:
    wanted = {id_: status for role, status in after.items() for id_ in ids(roles, role)}
    if wanted:
        _until(lambda: api.statuses(wanted) == wanted, f"{dict(after)} did not come true")


def _until(is_true: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + WITHIN
    while not is_true():
        if time.monotonic() > deadline:
            raise TimedOut(f"the demo's story did not go on: {otherwise} within {format_duration(WITHIN)}")
        time.sleep(0.1)
