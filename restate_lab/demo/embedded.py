"""The demo without a user interface: a server, the sample services, and a story."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from restate_lab.demo.api import Api
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.process import Process, Stoppable
from restate_lab.demo.server import NO_SETTINGS, RestateServer
from restate_lab.demo.stories.first_look import FIRST_LOOK
from restate_lab.demo.stories.player import play
from restate_lab.demo.stories.steps import StoryStep
from restate_lab.environment import clean_environment, python_environment
from restate_lab.errors import RestateLabError

DEMO_MODEL = ("-m", "restate_lab.demo.model")
DEMO_SERVICES = ("-m", "restate_lab.demo.services.deployments")


@dataclass(frozen=True)
class MoreServices:
    """A program that serves more services, in an environment of its own.

    ``command`` starts it; it gets the option ``--fd N`` for its listening socket, and ``env`` in addition to the
    address of the model.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)


class Embedded(Stoppable):
    """A running demo in a folder; use it in a ``with`` statement, or call ``stop()``.

    ``folder`` contains everything: ``data`` (of the server), ``audit``, logs, ``roles.json``. If the folder was used
    before, the demo continues with its data. ``roles`` maps each role of the story to an id; use ``steps.ids`` for
    roles with several invocations. ``vqueues`` has the meaning that it has for a `RestateServer`, and ``env`` has more
    settings for the server. ``more`` has the programs that serve other services.
    """

    def __init__(
        self,
        binary: Path,
        folder: Path,
        *,
        vqueues: bool = True,
        unix_sockets: bool = False,
        story: Sequence[StoryStep] = FIRST_LOOK,
        env: Mapping[str, str] = NO_SETTINGS,
        more: Sequence[MoreServices] = (),
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as started:
            # Started first, so stopped last: without services, a running server would record failures.
            self.model, model = start_model(folder)
            started.enter_context(self.model)
            self.services, address = start_services(folder, model=model)
            started.enter_context(self.services)
            addresses = {"deployment": address}
            self.more: dict[str, Process] = {}
            for each in more:
                settings = clean_environment(**{FOLDER_VARIABLE: str(folder)}, **model_settings(model), **each.env)
                process, addresses[each.name] = _serve(folder / f"{each.name}.log", each.command, settings)
                self.more[each.name] = started.enter_context(process)
            self.server = started.enter_context(
                RestateServer(binary, base_dir=folder / "data", vqueues=vqueues, unix_sockets=unix_sockets, env=env)
            )
            self.api = started.enter_context(
                contextlib.closing(Api(self.server.admin_url, self.server.ingress_url, audit=folder / "audit"))
            )
            for name, uri in addresses.items():
                self._register(folder / f"{name}.txt", uri)
            self.roles = play(self.api, story, folder)
            self._stack = started.pop_all()

    def check(self) -> None:
        """Raise RestateLabError if the server or the services have exited unexpectedly."""
        parts = {"restate-server": self.server.process, "the sample services": self.services, "the model": self.model}
        parts |= {f"the services “{name}”": process for name, process in self.more.items()}
        for what, process in parts.items():
            if process.exit_code is not None:
                raise RestateLabError(f"{what} exited with code {process.exit_code}:\n{process.last_lines()}")

    def stop(self) -> None:
        """Stop the services and the server; the folder is kept."""
        self._stack.close()

    def _register(self, known: Path, address: str) -> None:
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
    env = python_environment(**{FOLDER_VARIABLE: str(folder)})
    return _serve(folder / "model.log", [sys.executable, *(program or DEMO_MODEL)], env)


def start_services(folder: Path, *program: str, model: str | None = None) -> tuple[Process, str]:
    """Start services and return their process and address.

    ``program`` has the arguments for Python; by default it serves the demo's services. ``model`` is the address of the
    language model that agents call.
    """
    env = python_environment(**{FOLDER_VARIABLE: str(folder)}, **(model_settings(model) if model else {}))
    return _serve(folder / "services.log", [sys.executable, *(program or DEMO_SERVICES)], env)


def model_settings(address: str) -> dict[str, str]:
    """Return the environment in which OpenAI's client uses the model at this address, and sends nothing elsewhere."""
    return {
        "NO_PROXY": "127.0.0.1",  # also prevents a proxy from the settings of macOS
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"{address}/v1",
    }


def _serve(log: Path, command: Sequence[str], env: Mapping[str, str]) -> tuple[Process, str]:
    """Start a program that serves a socket.

    The socket is already open when the program starts, so no other process can take the port, and early requests wait.
    """
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
        fd = listening.fileno()
        process = Process([*command, "--fd", str(fd)], env=env, log=log, pass_fds=(fd,))
        return process, f"http://127.0.0.1:{listening.getsockname()[1]}"
