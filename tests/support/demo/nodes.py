"""Three restate-servers that form one cluster on loopback: any of them answers for all, and one may fail."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
import signal
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.process import Process
from restate_lab.demo.server import server_settings
from restate_lab.environment import clean_environment
from restate_lab.errors import RestateLabError, TimedOut

COUNT = 3
PARTITIONS = 8
READY_WITHIN = 90.0  # seconds; five to fifteen are usual
ATTEMPTS = 3
GONE_WITHIN = 10.0  # seconds from SIGKILL; some milliseconds are usual


@dataclass
class Node:
    """One server of the cluster; ``start()`` also brings it back after ``kill()``, on the same ports and data."""

    name: str
    binary: Path
    base_dir: Path
    admin_url: str
    ingress_url: str
    environment: dict[str, str] = field(repr=False)
    process: Process | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, without waiting until it is ready."""
        self.stop()
        (self.base_dir / "tmp").mkdir(parents=True, exist_ok=True)
        log = self.base_dir / "restate-server.log"
        self.process = Process([str(self.binary), "--no-logo"], env=self.environment, log=log)

    def kill(self) -> None:
        """Kill the process as a power cut does: the other nodes are not notified."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.stop()
            self._wait_until_gone()

    def stop(self) -> None:
        if self.process is not None:
            self.process.stop()

    def _wait_until_gone(self) -> None:
        """Return once the ports are closed: a killed server keeps its ports and data until its last write is done."""
        deadline, port = time.monotonic() + GONE_WITHIN, int(self.environment["RESTATE_ADMIN__BIND_PORT"])
        while time.monotonic() < deadline:
            with socket.socket() as line:
                line.settimeout(1)
                if line.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED:
                    return
            time.sleep(0.01)

    def is_ready(self) -> bool:
        """Return True if it answers for all partitions; raise if it has ended by itself."""
        if self.process is None or self.process.exit_code is not None:
            raise RestateLabError(f"{self.name} ended:\n{self.process.last_lines() if self.process else ''}")
        with contextlib.closing(Api(self.admin_url, self.ingress_url, audit=self.base_dir)) as api:
            return api.is_ready()


class Nodes:
    """Three running nodes that share all partitions, each kept twice; use it in a ``with``, or call ``stop()``.

    ``folder`` has their data and logs; their settings are in ``nodes[i].environment``. The cluster continues to answer
    while one of them is dead.
    """

    def __init__(self, binary: Path, folder: Path) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            self.nodes = _nodes(binary, folder / f"attempt-{attempt}")
            try:
                for node in self.nodes:
                    node.start()
                self.wait_until_ready()
            except RestateLabError:
                self.stop()
                # Another process took one of the ports in the meantime.
                if attempt == ATTEMPTS or not any("in use" in _log_end(node) for node in self.nodes):
                    raise
            except BaseException:
                self.stop()
                raise
            else:
                return

    def wait_until_ready(self) -> None:
        """Return when every node answers for all partitions.

        Raises:
            TimedOut: they do not, a minute and a half later.
            RestateLabError: one of them has ended.

        """
        deadline = time.monotonic() + READY_WITHIN
        while not all(node.is_ready() for node in self.nodes):
            if time.monotonic() > deadline:
                logs = "\n".join(_log_end(node) for node in self.nodes)
                raise TimedOut(f"the three nodes were not ready after {format_duration(READY_WITHIN)}:\n{logs}")
            time.sleep(0.1)

    def stop(self) -> None:
        """End all nodes; the folder stays. The last of them cannot end in order, because the others are gone."""
        for node in self.nodes:
            node.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def lasting_ports(count: int) -> list[int]:
    """Return free loopback ports, which no client of another process gets before the server returns to them."""
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randint(10_000, 32_000)  # noqa: S311 - below the range from which systems serve clients
        with socket.socket() as each, contextlib.suppress(OSError):
            each.bind(("127.0.0.1", port))
            ports.add(port)
    return list(ports)


def _log_end(node: Node) -> str:
    return f"{node.name}: {node.process.last_lines()}" if node.process else node.name


def _nodes(binary: Path, folder: Path) -> list[Node]:
    ports = lasting_ports(3 * COUNT)
    fabric = [f"http://127.0.0.1:{port}" for port in ports[:COUNT]]
    return [
        _node(binary, folder / f"n{number + 1}", fabric, number, *ports[COUNT + 2 * number :][:2])
        for number in range(COUNT)
    ]


def _node(binary: Path, base_dir: Path, fabric: list[str], number: int, admin: int, ingress: int) -> Node:
    settings = server_settings(base_dir) | {
        "RESTATE_ADMIN__BIND_PORT": str(admin),
        "RESTATE_ADVERTISED_ADDRESS": fabric[number],
        # The first one founds the cluster, the others join it.
        "RESTATE_AUTO_PROVISION": "true" if number == 0 else "false",
        "RESTATE_BIND_PORT": fabric[number].rpartition(":")[2],
        "RESTATE_CLUSTER_NAME": "restate-lab",
        "RESTATE_DEFAULT_NUM_PARTITIONS": str(PARTITIONS),
        "RESTATE_DEFAULT_REPLICATION": "2",
        "RESTATE_INGRESS__BIND_PORT": str(ingress),
        "RESTATE_METADATA_CLIENT__ADDRESSES": json.dumps(fabric),
        "RESTATE_METADATA_CLIENT__TYPE": "replicated",
        "RESTATE_NODE_NAME": base_dir.name,
    }
    admin_url, ingress_url = f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{ingress}"
    return Node(base_dir.name, binary, base_dir, admin_url, ingress_url, clean_environment(**settings))
