"""The servers that tests talk to: one of each kind, started when the first test asks for it."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from restate_lab.demo.embedded import Embedded
from restate_lab.demo.install import install_server
from support.isolation import original_environment

KINDS = ("1.6.1", "1.7.12", "1.7.12-vqueues")
NEWEST = "1.7.12"


@dataclass(frozen=True)
class Cluster:
    """A running server with the demo's services and story on it."""

    kind: str
    version: str
    vqueues: bool
    admin_url: str
    ingress_url: str
    base_dir: Path
    """The server's own folder; ``base_dir / "demo" / "admin.sock"`` is its unix socket."""
    folder: Path
    """The demo's folder: logs, audit, roles."""
    roles: dict[str, str]


def server_binary(kind: str) -> Path:
    """Return the server of a kind, installed into the developer's real cache if it is not there yet."""
    with original_environment():
        return install_server(kind.partition("-")[0])


class Clusters:
    """Starts each kind once and stops them all together."""

    def __init__(self) -> None:
        self._running: dict[str, Cluster] = {}
        self._stack = contextlib.ExitStack()

    def get(self, kind: str) -> Cluster:
        """Return the running cluster of that kind."""
        if kind not in self._running:
            self._running[kind] = self._start(kind)
        return self._running[kind]

    def close(self) -> None:
        """Stop them all."""
        self._stack.close()

    def _start(self, kind: str) -> Cluster:
        vqueues = kind.endswith("-vqueues")
        # Not pytest's tmp_path: a unix socket's path must be short.
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="restate-lab-")))
        demo = self._stack.enter_context(Embedded(server_binary(kind), folder, vqueues=vqueues, unix_sockets=True))
        return Cluster(
            kind=kind,
            version=demo.server.version,
            vqueues=vqueues,
            admin_url=demo.server.admin_url,
            ingress_url=demo.server.ingress_url,
            base_dir=demo.server.base_dir,
            folder=folder,
            roles=demo.roles,
        )
