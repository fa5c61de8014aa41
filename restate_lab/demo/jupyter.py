"""The demo's own JupyterLab, with private settings and a token, on the loopback interface only."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from restate_lab._text import format_duration
from restate_lab.demo.process import Process, Stoppable
from restate_lab.demo.server import free_ports
from restate_lab.errors import RestateLabError, TimedOut

READY_WITHIN = 120.0  # seconds; usually it takes three
NO_NEWS = "@jupyterlab/apputils-extension/notification.jupyterlab-settings"
WORKSPACE = "default-37a8.jupyterlab-workspace"
"""The file with the layout of JupyterLab's default workspace."""
LAYOUT = {"left": {"collapsed": True}}
"""The side bar is closed, so that a panel has the whole width; JupyterLab opens it if it has a current part."""


class JupyterLab(Stoppable):
    """A running JupyterLab for the folder ``notebooks``; use it in a ``with`` statement, or call ``stop()``.

    ``folder`` gets its settings and its log. ``env`` is the complete environment of JupyterLab and its kernels.
    ``options`` are further command-line arguments.
    """

    def __init__(
        self,
        notebooks: Path,
        folder: Path,
        *,
        env: Mapping[str, str],
        options: tuple[str, ...] = (),
    ) -> None:
        self.token = secrets.token_urlsafe(24)
        self._runtime = folder / "runtime"
        _write_settings(folder)
        self.process = Process(
            [sys.executable, "-m", "jupyterlab", *_options(notebooks), *options],
            env=_environment(env, folder) | {"JUPYTER_TOKEN": self.token},
            cwd=notebooks,
            log=folder / "jupyterlab.log",
        )
        try:
            self.address = self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def url(self, notebook: str) -> str:
        """Return the address that opens a notebook, with the access token."""
        return f"{self.address}lab/tree/{notebook}?token={self.token}"

    def stop(self) -> None:
        """Stop JupyterLab and its kernels."""
        self.process.stop()

    def _wait_until_ready(self) -> str:
        deadline = time.monotonic() + READY_WITHIN
        while self.process.exit_code is None:
            for announced in self._runtime.glob("jpserver-*.json"):
                # The file may not be complete yet.
                if (text := announced.read_text()).rstrip().endswith("}"):
                    return str(json.loads(text)["url"])
            if time.monotonic() > deadline:
                raise TimedOut(
                    f"JupyterLab did not start within {format_duration(READY_WITHIN)}:\n{self.process.last_lines()}"
                )
            time.sleep(0.1)
        raise RestateLabError(f"JupyterLab exited with code {self.process.exit_code}:\n{self.process.last_lines()}")


def _options(notebooks: Path) -> list[str]:
    options = [
        "--no-browser",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={free_ports(1)[0]}",
        "--ServerApp.port_retries=50",
        f"--ServerApp.root_dir={notebooks}",
        # The default extension manager sends requests to a package registry.
        "--LabApp.extension_manager=readonly",
    ]
    return [*options, "--allow-root"] if os.geteuid() == 0 else options


def _environment(env: Mapping[str, str], folder: Path) -> dict[str, str]:
    meddling = ("JUPYTER", "IPYTHON", "MPLBACKEND")
    inherited = {name: value for name, value in env.items() if not name.startswith(meddling)}
    return inherited | {
        "JUPYTER_CONFIG_DIR": str(folder / "config"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "NODE_DISABLE_COMPILE_CACHE": "1",  # JupyterLab starts npm, which would leave a folder for temporary files
    }


def _write_settings(folder: Path) -> None:
    """Write the settings, and the layout of a new folder; a kept folder has the layout that its user left."""
    settings = folder / "settings" / NO_NEWS
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_text('{"fetchNews": "false", "checkForUpdates": false}\n')
    workspace = folder / "workspaces" / WORKSPACE
    if not workspace.exists():
        workspace.parent.mkdir(exist_ok=True)
        content = {"data": {"layout-restorer:data": LAYOUT}, "metadata": {"id": "default"}}
        workspace.write_text(json.dumps(content))
    for left_over in (folder / "runtime").glob("jpserver-*"):
        left_over.unlink()
