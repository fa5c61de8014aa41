"""A server with the services of ``story_services``, and the ledger: which script ran as which invocation."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restate_lab.analysis.story.result import Story
from support.bench import Bench, running_bench, wait_for

SERVICES = Path(__file__).with_name("story_services.py")
Script = list[list[Any]]


@dataclass(frozen=True)
class StoryBench(Bench):
    """A server whose invocations write their tags and ids to a ledger."""

    names: Counter[str] = field(default_factory=Counter)

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger"

    def log(self, tag: str) -> list[Any]:
        """Return the operation that writes a tag."""
        return ["log", str(self.ledger), tag]

    def unique(self, name: str) -> str:
        """Return a key or an idempotency key that no other test has."""
        self.names[name] += 1
        return f"{name}-{self.names[name]}"

    def send(self, script: Script, service: str = "Node", handler: str = "do", **options: Any) -> str:
        return str(self.ingress.send(service, handler, script, **options).invocation_id)

    def ids(self, tag: str) -> list[str]:
        """Return the ids of the invocations with this tag, in the order of their first attempts."""
        lines = self.ledger.read_text("utf-8").split("\n") if self.ledger.exists() else []
        return list(dict.fromkeys(line.split()[1] for line in lines if line.split()[:1] == [tag]))

    def id(self, tag: str) -> str:
        """Return the id of the last invocation with this tag, once it has begun."""
        return str(wait_for(lambda: self.ids(tag))[-1])

    def ended(self, *ids: str) -> None:
        """Wait until these invocations have ended."""
        for id_ in ids:
            self.until(id_, "completed")

    def tags(self, story: Story) -> Counter[str]:
        """Return the tags of the members."""
        return Counter(self._names(story).values())

    def edges(self, story: Story) -> set[tuple[str, str, str]]:
        """Return the edges as tags and kinds."""
        names = self._names(story)
        rows = story.edges[["source", "target", "kind"]].itertuples(index=False)
        return {(names[source], names[target], kind) for source, target, kind in rows}

    def _names(self, story: Story) -> dict[str, str]:
        lines = [line.split() for line in self.ledger.read_text("utf-8").split("\n") if line]
        tags = {id_: tag for tag, id_ in lines}
        return {id_: tags.get(id_, id_) for id_ in story.ids}


@contextlib.contextmanager
def running_story_bench(kind: str, folder: Path, **settings: str) -> Iterator[StoryBench]:
    ready = ("Node", "do", [])
    with running_bench(kind, folder, SERVICES, ready=ready, env=settings, bench=StoryBench) as bench:
        yield bench
