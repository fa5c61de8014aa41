"""The servers that tests talk to: one of each kind and story, started when a test asks for it."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from restate_lab.demo.api import Api
from restate_lab.demo.embedded import Embedded, start_model, start_services
from restate_lab.demo.install import install_server
from restate_lab.demo.server import RestateServer
from restate_lab.demo.stories import STORIES
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import StoryStep, ids
from support import imitation
from support.demo.healthy import HEALTHY
from support.demo.saturated import TWO_AT_A_TIME, saturated_story
from support.isolation import original_environment

PLAIN = "1.7.12-plain"
"""Version 1.7.12 with its own defaults: without vqueues, protocol 7, or another feature that 1.8 always has."""
NEWEST = "1.7.12"
"""Version 1.7.12 with the features that 1.8 always has."""
IMITATION = "1.8"
"""The server of ``NEWEST`` behind the proxy that makes it a 1.8.1: `support.imitation`."""
KINDS = (PLAIN, NEWEST, IMITATION)
"""The kinds of server; ``support.kinds`` has which of them a test runs on."""
BEHIND = os.environ.get("RESTATE_LAB_TESTS_BEHIND", "")
"""The form of the proxy before each server of ``NEWEST``, for a run that imitates 1.8 everywhere; "" means none."""
PHASE = os.environ.get("RESTATE_LAB_TESTS_PHASE", "")
"""The phase of the migration to vqueues in which each cluster of ``NEWEST`` with a story is; "" means none."""
VQUEUES = {"RESTATE_EXPERIMENTAL_ENABLE_VQUEUES": "true"}
SKIP = {"RESTATE_EXPERIMENTAL_ENABLE_VQUEUES_MIGRATION_SKIP_COMPLETED": "true"}
PHASES: Mapping[str, Sequence[Mapping[str, str]]] = {
    "open": ({}, VQUEUES | SKIP),
    "migrated": ({}, VQUEUES),
    "rolled-back": ({}, VQUEUES, {}),
}
"""The settings of the servers that read the same data, one after another; the story is played on the first."""
NEEDS_FLAG = pytest.mark.skipif(PHASE == "rolled-back", reason="the server itself reports no vqueues")
_NOT_MIGRATED = "SELECT count(*) AS n FROM sys_invocation_status WHERE vqueue_id IS NULL AND status <> 'completed'"
OLD = "1.6.1"
"""A version older than the supported ones."""


@dataclass(frozen=True)
class Cluster:
    kind: str
    version: str
    vqueues: bool
    admin_url: str
    own_url: str
    """The address of the Admin API of the server itself; ``admin_url`` can be that of a proxy before it."""
    ingress_url: str
    base_dir: Path
    """The server's own folder; ``base_dir / "demo" / "admin.sock"`` is its unix socket."""
    folder: Path
    """The demo's folder: logs, audit, roles."""
    services: int
    """The process group of the services."""
    roles: dict[str, str]

    def ids(self, role: str) -> list[str]:
        return ids(self.roles, role)

    @contextlib.contextmanager
    def suspended_services(self) -> Iterator[None]:
        """Suspend the services: the next attempts begin, and none ends, so that the cluster hardly changes."""
        os.killpg(self.services, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.services, signal.SIGCONT)


def has_vqueues(kind: str) -> bool:
    return kind == IMITATION or (kind == NEWEST and BEHIND != "legacy")


def version_of(kind: str) -> str:
    return imitation.VERSION if kind == IMITATION or (kind == NEWEST and BEHIND) else kind.partition("-")[0]


def server_binary(kind: str) -> Path:
    """Return the server of a kind, installed into the developer's real cache if it is not there yet."""
    version = NEWEST if kind == IMITATION else kind.partition("-")[0]
    with original_environment():
        return install_server(version)


class KindServer(RestateServer):
    """A running server of a kind; ``admin_url`` is the address of the proxy if there is one.

    ``settings`` are the keyword arguments of `RestateServer`.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(server_binary(kind), vqueues=has_vqueues(kind), **settings)
        self._proxy = contextlib.ExitStack()
        self.admin_url = self._proxy.enter_context(admin_address(kind, self.admin_url))

    def stop(self) -> None:
        self._proxy.close()
        super().stop()


@contextlib.contextmanager
def running_demo(kind: str, folder: Path, **options: Any) -> Iterator[Embedded]:
    """Give the demo with a server of a kind; ``options`` are the other keyword arguments of `Embedded`."""
    with Embedded(server_binary(kind), folder, vqueues=has_vqueues(kind), **options) as demo:
        with admin_address(kind, demo.api.lab.settings.admin_url) as demo.server.admin_url:
            yield demo


@contextlib.contextmanager
def admin_address(kind: str, admin_url: str) -> Iterator[str]:
    """Give the address at which a test reaches the Admin API of a server of this kind."""
    forms: dict[str, str] = {IMITATION: "removed", NEWEST: BEHIND}
    if form := forms.get(kind):
        with imitation.imitation(admin_url, imitation.FORMS[form]) as address:
            yield address
    else:
        yield admin_url


class Clusters:
    """Starts a kind of server for a story on request; servers that are not used any more can be stopped."""

    def __init__(self) -> None:
        self._running: dict[tuple[str, str], tuple[Cluster, contextlib.ExitStack]] = {}
        self._used: set[tuple[str, str]] = set()

    def get(self, kind: str, story: str = "first-look") -> Cluster:
        self._used.add((kind, story))
        if (kind, story) not in self._running:
            with contextlib.ExitStack() as stack:
                cluster = _start(stack, kind, story)
                self._running[kind, story] = cluster, stack.pop_all()
        return self._running[kind, story][0]

    def close_unused(self) -> None:
        """Stop the servers that were not requested since the last call."""
        ending = [self._running.pop(name)[1] for name in self._running.keys() - self._used]
        with ThreadPoolExecutor() as pool:  # each of them takes a second to end
            list(pool.map(contextlib.ExitStack.close, ending))
        self._used.clear()

    def close(self) -> None:
        self._used.clear()
        self.close_unused()


def _start(stack: contextlib.ExitStack, kind: str, story: str) -> Cluster:
    # Not pytest's tmp_path: a unix socket's path must be short.
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="restate-lab-")))
    env = TWO_AT_A_TIME if story == "saturated" else {}
    if PHASE and kind == NEWEST:
        return _migrated(stack, folder, _steps_of(story, vqueues=False), env)
    demo = stack.enter_context(
        running_demo(
            kind,
            folder,
            unix_sockets=True,
            story=_steps_of(story, vqueues=has_vqueues(kind)),
            env=env,
        )
    )
    return Cluster(
        kind=kind,
        version=version_of(kind),
        vqueues=has_vqueues(kind),
        admin_url=demo.server.admin_url,
        own_url=demo.api.lab.settings.admin_url,
        ingress_url=demo.server.ingress_url,
        base_dir=demo.server.base_dir,
        folder=folder,
        services=demo.services.pid,
        roles=demo.roles,
    )


def _migrated(stack: contextlib.ExitStack, folder: Path, story: Sequence[StoryStep], env: Mapping[str, str]) -> Cluster:
    """Play a story without vqueues, and start the server again for each phase; the services stay the same."""
    model, model_url = start_model(folder)
    stack.enter_context(model)
    services, address = start_services(folder, model=model_url)
    stack.enter_context(services)
    *earlier, last = PHASES[PHASE]
    for settings in earlier:
        with _server(folder, env, settings) as server, _api(server, folder) as api:
            if not api.deployments():
                api.register(address)
            roles = play(api, story, folder)
            _wait_until_migrated(api, settings)
    server = stack.enter_context(_server(folder, env, last))
    with _api(server, folder) as api:
        _wait_until_migrated(api, last)
        roles = _by_slots(api, roles) if env == TWO_AT_A_TIME else roles
    return Cluster(
        kind=NEWEST,
        version=server.version,
        vqueues=True,
        admin_url=server.admin_url,
        own_url=server.admin_url,
        ingress_url=server.ingress_url,
        base_dir=server.base_dir,
        folder=folder,
        services=services.pid,
        roles=roles,
    )


def _wait_until_migrated(api: Api, settings: Mapping[str, str]) -> None:
    from support.bench import wait_for  # which imports this module

    if settings:
        wait_for(lambda: not api.lab.sql(_NOT_MIGRATED)["n"][0])


def _by_slots(api: Api, roles: Mapping[str, str]) -> dict[str, str]:
    """Return the roles of the saturated story: a server that starts again chooses anew which invocations run."""
    from support.bench import wait_for  # which imports this module

    statement = "SELECT id FROM sys_invocation_state WHERE in_flight"
    running = wait_for(lambda: set(api.lab.sql(statement)["id"]), lambda ids: len(ids) == 2)
    names = [role for role in roles if role.startswith(("busy", "waiting"))]
    ordered = sorted((roles[name] for name in names), key=lambda id_: id_ not in running)
    return {**roles, **dict(zip(names, ordered, strict=True))}


def _server(folder: Path, env: Mapping[str, str], settings: Mapping[str, str]) -> RestateServer:
    return RestateServer(
        server_binary(PLAIN), base_dir=folder / "data", vqueues=False, unix_sockets=True, env={**env, **settings}
    )


def _api(server: RestateServer, folder: Path) -> contextlib.closing[Api]:
    return contextlib.closing(Api(server.admin_url, server.ingress_url, audit=folder / "audit"))


def _steps_of(story: str, *, vqueues: bool) -> tuple[StoryStep, ...]:
    stories = {**STORIES, "healthy": HEALTHY, "saturated": saturated_story(vqueues=vqueues)}
    return stories[story]
