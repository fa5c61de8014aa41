"""The demo without a user interface: a server, the sample services, and a story."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from restate_lab.demo.api import Api
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.process import Process
from restate_lab.demo.server import NO_SETTINGS, RestateServer
from restate_lab.demo.stories.first_look import FIRST_LOOK
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import StoryStep
from restate_lab.environment import python_environment
from restate_lab.errors import RestateLabError

__all__ = ["Embedded", "start_model", "start_services"]

DEPLOYMENT = "deployment.txt"
DEMO_MODEL = ("-m", "restate_lab.demo.model")
DEMO_SERVICES = ("-m", "restate_lab.demo.services.deployments")


class Embedded:
    """A running demo in a folder; use it in a ``with`` statement, or call ``stop()``.

    ``folder`` contains everything: ``data`` (of the server), ``audit``, logs, ``roles.json``. If the folder was used
    before, the demo continues with its data. ``roles`` maps each role of the story to an id; use ``steps.ids`` for
    roles with several invocations. ``env`` has more settings for the server. ``program`` has the arguments with which
    Python serves the services.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        vqueues: bool = False,
        unix_sockets: bool = False,
        story: Sequence[StoryStep] = FIRST_LOOK,
        env: Mapping[str, str] = NO_SETTINGS,
        program: Sequence[str] = DEMO_SERVICES,
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as started:
            # Started first, so stopped last: without services, a running server would record failures.
            self.model, model = start_model(folder)
            started.enter_context(self.model)
            self.services, address = start_services(folder, *program, model=model)
            started.enter_context(self.services)
            self.server = started.enter_context(
                RestateServer(binary, base_dir=folder / "data", vqueues=vqueues, unix_sockets=unix_sockets, env=env)
            )
            self.api = started.enter_context(
                Api(self.server.admin_url, self.server.ingress_url, audit=folder / "audit")
            )
            self._register(address)
            self.roles = play(self.api, story, folder)
            self._stack = started.pop_all()

    def check(self) -> None:
        """Raise RestateLabError if the server or the services have exited unexpectedly."""
        parts = {"restate-server": self.server.process, "the sample services": self.services, "the model": self.model}
        for what, process in parts.items():
            if process.exit_code is not None:
                raise RestateLabError(f"{what} exited with code {process.exit_code}:\n{process.last_lines()}")

    def stop(self) -> None:
        """Stop the services and the server; the folder is kept."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _register(self, address: str) -> None:
        known = self.folder / DEPLOYMENT
        try:
            if known.is_file():
                self._move(known.read_text(), address)
            else:
                known.write_text(self.api.register(address))
        except RestateLabError:
            self.check()
            raise

    def _move(self, first: str, address: str) -> None:
        """Update the address of the services: older invocations are pinned to deployments with the previous port."""
        deployments = self.api.deployments()
        before = deployments[first]
        for deployment_id, uri in deployments.items():
            # The user registered the other deployments.
            if uri.startswith(before):
                self.api.move(deployment_id, address + urlsplit(uri).path)


def start_model(folder: Path, *program: str) -> tuple[Process, str]:
    """Start the scripted language model and return its process and address; ``folder`` gets its ledger and its log."""
    return _serve(folder, "model.log", program or DEMO_MODEL)


def start_services(folder: Path, *program: str, model: str | None = None) -> tuple[Process, str]:
    """Start services and return their process and address.

    ``program`` has the arguments for Python; by default it serves the demo's services. ``model`` is the address of the
    language model that agents call.
    """
    return _serve(folder, "services.log", program or DEMO_SERVICES, **(model_settings(model) if model else {}))


def model_settings(address: str) -> dict[str, str]:
    """Return the environment in which OpenAI's client uses the model at this address, and sends nothing elsewhere."""
    return {
        "NO_PROXY": "127.0.0.1",  # also prevents a proxy from the settings of macOS
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{address}/v1",
    }


def _serve(folder: Path, log: str, program: Sequence[str], **settings: str) -> tuple[Process, str]:
    """Start a program that serves a socket.

    The socket is already open when the program starts, so no other process can take the port, and early requests wait.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        process = Process(
            [sys.executable, *program, "--fd", str(listening.fileno())],
            env=python_environment(**{FOLDER_VARIABLE: str(folder)}, **settings),
            log=folder / log,
            pass_fds=(listening.fileno(),),
        )
        return process, f"http://127.0.0.1:{listening.getsockname()[1]}"
