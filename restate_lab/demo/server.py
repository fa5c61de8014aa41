"""Start a private restate-server on free loopback ports, in its own folder."""

from __future__ import annotations

import contextlib
import functools
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from restate_lab._text import format_duration
from restate_lab.demo.api import Api
from restate_lab.demo.process import Process, Stoppable
from restate_lab.environment import clean_environment
from restate_lab.errors import RestateLabError, TimedOut

NODE_NAME = "demo"
READY_WITHIN = 60.0  # seconds; usually it takes one
ATTEMPTS = 5
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})
FLAGS_OF_1_8: Mapping[str, str] = MappingProxyType(
    {
        f"RESTATE_EXPERIMENTAL_ENABLE_{name}": "true"
        for name in ("VQUEUES", "PROTOCOL_V7", "UNIQUE_RANDOM_SEEDS", "SCOPED_VIRTUAL_OBJECTS", "INVOKER_YIELD")
    }
)
"""The settings with which version 1.7 has the features that version 1.8 always has."""


class RestateServer(Stoppable):
    """A running restate-server; use it in a ``with`` statement, or call ``stop()``.

    ``base_dir`` is the folder for the data and ``restate-server.log``; None means a temporary folder that ``stop()``
    removes. With ``vqueues``, version 1.7 has vqueues and the other features that version 1.8 always has; the parameter
    changes no other version. ``unix_sockets`` also makes the server listen on ``<base_dir>/<node>/admin.sock``; this
    path must be short. ``env`` adds or replaces settings of the server. The server does not inherit the caller's
    environment. It has four partitions instead of 24, because it then starts in half the time and uses half of the CPU
    time when idle.
    """

    def __init__(
        self,
        binary: Path,
        *,
        base_dir: Path | None = None,
        vqueues: bool = True,
        unix_sockets: bool = False,
        env: Mapping[str, str] = NO_SETTINGS,
    ) -> None:
        self.binary = binary
        self._temporary = base_dir is None
        self.base_dir = base_dir or Path(tempfile.mkdtemp(prefix="restate-lab-"))
        settings = server_settings(self.base_dir, unix_sockets=unix_sockets)
        self._settings = {**settings, **settings_for(binary, vqueues=vqueues), **env}
        self.version = ""
        self.admin_url = ""
        self.ingress_url = ""
        shutil.rmtree(self.base_dir / "tmp", ignore_errors=True)
        (self.base_dir / "tmp").mkdir(parents=True)
        try:
            self.process = self._start()
        except BaseException:
            self._remove_temporary()
            raise

    def stop(self) -> None:
        """Stop the server and remove its folder if it is temporary; further calls do nothing."""
        self.process.stop()
        self._remove_temporary()

    def __repr__(self) -> str:
        state = "running" if self.process.exit_code is None else "stopped"
        return f"<RestateServer {self.version} at {self.admin_url}, {state}>"

    def _start(self) -> Process:
        for _ in range(ATTEMPTS):
            process = self._launch()
            try:
                with contextlib.closing(Api(self.admin_url, self.ingress_url, audit=self.base_dir)) as api:
                    if self._is_ready(process, api):
                        return process
            except BaseException:
                process.stop()
                raise
            process.stop()
            if "in use" not in process.last_lines():
                break
        raise RestateLabError(
            f"{self.binary} exited with code {process.exit_code}; end of its log:\n{process.last_lines()}"
        )

    def _launch(self) -> Process:
        node, ingress, admin = free_ports(3)
        self.admin_url, self.ingress_url = f"http://127.0.0.1:{admin}", f"http://127.0.0.1:{ingress}"
        ports = {
            "RESTATE_BIND_PORT": str(node),
            "RESTATE_INGRESS__BIND_PORT": str(ingress),
            "RESTATE_ADMIN__BIND_PORT": str(admin),
        }
        return Process(
            [str(self.binary), "--no-logo"],
            env=clean_environment(**(ports | self._settings)),
            log=self.base_dir / "restate-server.log",
        )

    def _is_ready(self, process: Process, api: Api) -> bool:
        deadline = time.monotonic() + READY_WITHIN
        while process.exit_code is None:
            if api.is_ready():
                # Another server may use the port now; then this one is about to exit.
                info = api.version()
                if (info.ingress_endpoint or "").rstrip("/") == self.ingress_url:
                    self.version = info.version
                    return True
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"{self.binary} did not start within {format_duration(READY_WITHIN)}:\n{process.last_lines()}"
                )
            time.sleep(0.05)
        return False

    def _remove_temporary(self) -> None:
        if self._temporary:
            shutil.rmtree(self.base_dir, ignore_errors=True)


def settings_for(binary: Path, *, vqueues: bool = True) -> dict[str, str]:
    """Return the number of partitions, and the flags of features; 1.8 has these features without flags."""
    flags = dict(FLAGS_OF_1_8) if vqueues and " 1.7." in _version(binary) else {}
    return {"RESTATE_DEFAULT_NUM_PARTITIONS": "4"} | flags


@functools.cache
def _version(binary: Path) -> str:
    return subprocess.run(
        [binary, "--version"], env=clean_environment(), capture_output=True, text=True, check=False
    ).stdout


def free_ports(count: int) -> list[int]:
    """Return different loopback ports that are currently free."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def server_settings(base_dir: Path, *, unix_sockets: bool = False) -> dict[str, str]:
    """Return the environment of every server with its data in ``base_dir``, without its ports."""
    return {
        "DO_NOT_TRACK": "1",
        "RESTATE_BASE_DIR": str(base_dir),
        "RESTATE_BIND_IP": "127.0.0.1",
        "RESTATE_DISABLE_TELEMETRY": "true",
        # Data belongs to a node by name. The default is the host name, which can change.
        "RESTATE_NODE_NAME": NODE_NAME,
        "RESTATE_LISTEN_MODE": "all" if unix_sockets else "tcp",
        "RESTATE_LOG_DISABLE_ANSI_CODES": "true",
        # The server does not remove its temporary folders.
        "TMPDIR": str(base_dir / "tmp"),
    }
