"""A server with real agents of two integrations, the scripted model that they call, and its ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

import restate_lab as rl
from restate_lab.analysis.agents.reader import AgentReader, contents_of
from restate_lab.analysis.journal.reader import JournalReader
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_model, start_services
from restate_lab.demo.process import Process
from restate_lab.reads import Reads
from support.bench import wait_for
from support.clusters import KindServer

SERVICES = str(Path(__file__).with_name("agent_services.py"))
SCRIPTS = str(Path(__file__).with_name("agent_scripts.py"))
_STATUS = "SELECT status FROM sys_invocation WHERE id = :id"


@dataclass
class AgentBench:
    kind: str
    lab: Lab
    folder: Path
    model: str
    services: Process
    address: str

    def send(self, handler: str, prompt: str) -> str:
        """Start an agent and return the invocation's id; ``handler`` is such as "OpenAIAgent/chat"."""
        service, *key, method = handler.split("/")
        return str(self.lab.ingress.send(service, method, prompt, key=key[0] if key else None).invocation_id)

    def run(self, handler: str, prompt: str, *statuses: str) -> str:
        """Start an agent, and return the id when it has one of these statuses; without any, when it is completed."""
        id_ = self.send(handler, prompt)
        self.until(id_, *(statuses or ("completed",)))
        return id_

    def status(self, id_: str) -> str | None:
        rows = self.lab.arrow(_STATUS, id=id_, progress=False).to_pylist()
        return rows[0]["status"] if rows else None

    def until(self, id_: str, *statuses: str) -> None:
        """Wait until an invocation has one of these statuses, as in sys_invocation."""
        wait_for(lambda: self.status(id_), lambda status: status in statuses)

    def ledger(self, id_: str | None = None) -> list[dict[str, Any]]:
        """Return the model's requests, oldest first: all, or those of one invocation."""
        records = httpx.get(f"{self.model}/ledger", trust_env=False, timeout=30).json()
        return [each for each in records if id_ in (None, each["invocation_id"])]

    def answers(self, id_: str) -> list[dict[str, Any]]:
        """Return the requests of one invocation that got a response, which are those that cost tokens."""
        return [each for each in self.ledger(id_) if each["status"] == 200]

    def tool_results(self, id_: str) -> dict[str, str]:
        """Return the result of each tool by the id of its call, as the model got it."""
        return {result["id"]: result["output"] for each in self.ledger(id_) for result in each["tool_results"]}

    def approve(self, id_: str, value: Any) -> None:
        """Resolve the awakeable that an agent with the script "approval" published."""
        rows = wait_for(lambda: self._published(id_))
        self.lab.ingress.resolve_awakeable(rows[-1], value)

    def _published(self, id_: str) -> list[str]:
        columns = AgentReader(Reads(self.lab)).content_columns
        contents = contents_of(JournalReader(Reads(self.lab)).read([id_], columns=columns))
        key = b'"awakeable"'
        values = [each.value for each in contents.values() if each.value and key in each.value]
        return [value.split(key)[1].split(b'"')[1].decode() for value in values]

    @contextlib.contextmanager
    def repaired(self) -> Iterator[None]:
        switch = self.folder / "repaired"
        switch.touch()
        try:
            yield
        finally:
            switch.unlink()

    @property
    def tool_bodies(self) -> list[str]:
        log = self.folder / "tools.log"
        return log.read_text().splitlines() if log.is_file() else []


@contextlib.contextmanager
def running_agent_bench(kind: str, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[AgentBench]:
    with contextlib.ExitStack() as stack:
        model, model_address = start_model(folder, SCRIPTS)
        stack.enter_context(model)
        services, address = start_services(folder, SERVICES, model=model_address)
        stack.enter_context(services)
        server = stack.enter_context(KindServer(kind, env=dict(env or {})))
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=address)
        bench = AgentBench(kind, lab, folder, model_address, services, address)
        wait_for(lambda: _is_ready(bench))
        yield bench


def _is_ready(bench: AgentBench) -> bool:
    """Return True once the ingress knows the services, which is shortly after the Admin API does."""
    try:
        return bool(bench.lab.ingress.call("OpenAIAgent", "responses", "Hello") == "Hello. How can I help?")
    except rl.errors.RestateLabError:
        return False
