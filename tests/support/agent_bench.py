"""A server with real agents of two integrations, the scripted model that they call, and its ledger."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from restate_lab.analysis.agents.reader import AgentReader, contents_of
from restate_lab.analysis.journal.reader import JournalReader
from restate_lab.demo.embedded import start_model
from restate_lab.reads import Reads
from support.bench import Bench, running_bench, wait_for

SERVICES = str(Path(__file__).with_name("agent_services.py"))
SCRIPTS = str(Path(__file__).with_name("agent_scripts.py"))


@dataclass(frozen=True)
class AgentBench(Bench):
    model: str = ""

    def send(self, handler: str, prompt: str) -> str:
        """Start an agent and return the invocation's id; ``handler`` is such as "OpenAIAgent/chat"."""
        service, *key, method = handler.split("/")
        return str(self.lab.ingress.send(service, method, prompt, key=key[0] if key else None).invocation_id)

    def run(self, handler: str, prompt: str, *statuses: str) -> str:
        """Start an agent, and return the id when it has one of these statuses; without any, when it is completed."""
        id_ = self.send(handler, prompt)
        self.until(id_, *(statuses or ("completed",)))
        return id_

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
def running_agent_bench(kind: str, folder: Path, env: Mapping[str, str] | None = None) -> Iterator[AgentBench]:
    model, address = start_model(folder, SCRIPTS)
    create, ready = partial(AgentBench, model=address), ("OpenAIAgent", "responses", "Hello")
    with model, running_bench(kind, folder, SERVICES, ready=ready, env=env or {}, model=address, bench=create) as bench:
        yield bench
