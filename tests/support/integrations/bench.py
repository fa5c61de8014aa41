"""One server with the agents of all other integrations on it, each with its packages in an environment of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Self

import restate_lab as rl
from restate_lab.demo.embedded import model_settings, start_model
from restate_lab.demo.faults import FOLDER_VARIABLE
from restate_lab.demo.process import Process
from restate_lab.environment import clean_environment
from support.agent_bench import SCRIPTS, AgentBench
from support.clusters import KindServer
from support.integrations.environments import NODE, node_environment, python_environment_of

HERE = Path(__file__).parent
IMPORTED = (HERE.parents[2], HERE.parent)  # restate_lab, which needs no packages to serve, and agent_tools


@dataclass(frozen=True)
class Integration:
    """The program of an integration, the environment that it needs, and its handlers."""

    environment: str
    program: str
    handlers: tuple[str, ...]
    service: str = ""

    def command(self) -> list[str]:
        program = HERE / self.program
        if self.program.endswith(".mjs"):
            # Node.js looks for packages in the folder of the program
            copy = node_environment(self.environment) / self.program
            copy.write_bytes(program.read_bytes())
            return [str(NODE), str(copy)]
        return [str(python_environment_of(self.environment)), str(program)]


INTEGRATIONS: Mapping[str, Integration] = MappingProxyType(
    {
        "LangChain": Integration(
            "openai", "langchain_services.py", ("LangChainAgent/chat", "LangChainAgent/responses")
        ),
        "plain": Integration(
            "openai", "plain_services.py", ("PlainAgent/chat", "PlainAgent/responses", "PlainAgent/message")
        ),
        "ADK": Integration("adk", "adk_services.py", ("ADKAgent/{key}/ask",)),
        "Vercel AI 7": Integration(
            "vercel-7", "vercel_services.mjs", ("VercelAgent7/responses", "VercelAgent7/chat"), "VercelAgent7"
        ),
        "Vercel AI 5": Integration(
            "vercel-5", "vercel_services.mjs", ("VercelAgent5/responses", "VercelAgent5/chat"), "VercelAgent5"
        ),
    }
)


class IntegrationServices:
    """The services of one integration, on a socket that stays open, so that requests wait while they are restarted."""

    def __init__(self, integration: Integration, folder: Path, model: str) -> None:
        self._command, self._folder = integration.command(), folder
        self._env = clean_environment(
            **model_settings(model),
            **{FOLDER_VARIABLE: str(folder), "PYTHONPATH": os.pathsep.join(map(str, IMPORTED))},
            SERVICE_NAME=integration.service,
            RESTATE_LOGGING="ERROR",
            GOOGLE_API_KEY="none",
            GOOGLE_GENAI_USE_VERTEXAI="FALSE",
            GOOGLE_GEMINI_BASE_URL=model,
            LITELLM_LOCAL_MODEL_COST_MAP="True",
            LANGSMITH_TRACING="false",
        )
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._process = self._start()

    def _start(self) -> Process:
        fd = self._socket.fileno()
        log = self._folder / f"services-{self.address.rpartition(':')[-1]}.log"
        return Process([*self._command, "--fd", str(fd)], env=self._env, log=log, pass_fds=(fd,))

    def kill(self) -> None:
        """End the services as a crash does, and start them again."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.stop()
        self._process = self._start()

    def last_lines(self) -> str:
        return self._process.last_lines()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stop()
        self._socket.close()


@dataclass
class Matrix:
    """The services by the name of their integration, and the bench that all share."""

    bench: AgentBench
    services: dict[str, IntegrationServices] = field(default_factory=dict)


@contextlib.contextmanager
def running_matrix(kind: str, folder: Path, names: tuple[str, ...] = tuple(INTEGRATIONS)) -> Iterator[Matrix]:
    """Start the model, a server of a kind, and the services of these integrations, and register them."""
    with contextlib.ExitStack() as stack:
        model, address = start_model(folder, SCRIPTS)
        stack.enter_context(model)
        services = {
            name: stack.enter_context(IntegrationServices(INTEGRATIONS[name], folder, address)) for name in names
        }
        server = stack.enter_context(KindServer(kind))
        audit = folder / "audit"
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=audit))
        for each in services.values():
            lab.admin.create_deployment(uri=each.address)
        yield Matrix(AgentBench(kind, lab, folder, uri="", deployment="", model=address), services)
