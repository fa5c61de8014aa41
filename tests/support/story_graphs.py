"""Random stories as scripts for ``story_services``, with the edges that a server must show."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from support.story_bench import Script, StoryBench

_DEEPEST = 4


@dataclass
class RandomGraph:
    """The script of a root, and the ``tags`` and ``edges`` of everything that it starts."""

    bench: StoryBench
    rng: random.Random
    prefix: str
    most: int
    tags: list[str] = field(default_factory=list)
    edges: set[tuple[str, str, str]] = field(default_factory=set)
    _shared: list[tuple[str, str, Script]] = field(default_factory=list)
    _settled: bool = False

    def script(self) -> Script:
        """Return the script of the root; the first callees are called again by others, with idempotency keys."""
        root = f"{self.prefix}-root"
        for number in range(self.rng.randint(0, 2)):
            tag = f"{self.prefix}-shared{number}"
            self._shared.append((self.bench.unique("graph"), tag, self._node(tag, _DEEPEST)))
        self._settled = True
        return self._node(root, 0, least=2)

    @property
    def used(self) -> list[str]:
        """Return the tags of invocations that an edge connects with the root."""
        used, left = {f"{self.prefix}-root"}, [f"{self.prefix}-root"]
        while left:
            tag = left.pop()
            for source, target, _ in self.edges:
                if source == tag and target not in used:
                    used.add(target)
                    left.append(target)
        self.edges = {edge for edge in self.edges if edge[0] in used}
        return sorted(used)

    def _node(self, tag: str, depth: int, *, least: int = 0) -> Script:
        self.tags.append(tag)
        script: Script = [self.bench.log(tag)]
        for _ in range(max(least, self.rng.randint(0, 3))):
            operations = ["step", "sleep"]
            if depth < _DEEPEST and len(self.tags) < self.most:
                operations += ["call", "call", "send", "send", "start", "answer", "flow"]
                operations += ["shared_use"] * bool(self._shared and self._settled)
            script += getattr(self, f"_{self.rng.choice(operations)}")(tag, depth)
        return [*script, ["join"]] if any(each[0] == "start" for each in script) else script

    def _child(self, depth: int) -> tuple[str, Script]:
        tag = f"{self.prefix}-{len(self.tags)}"
        return tag, self._node(tag, depth + 1)

    def _step(self, tag: str, depth: int) -> Script:
        return [["step", "work", self.rng.choice([0, 0.02])]]

    def _sleep(self, tag: str, depth: int) -> Script:
        return [["sleep", self.rng.choice([0.01, 0.15])]]

    def _target(self) -> list[Any]:
        return self.rng.choice([["Node", None, "do"], ["Box", self.bench.unique("box"), "do"]])

    def _call(self, tag: str, depth: int) -> Script:
        child, script = self._child(depth)
        self.edges.add((tag, child, "call"))
        return [["call", *self._target(), script]]

    def _start(self, tag: str, depth: int) -> Script:
        child, script = self._child(depth)
        self.edges.add((tag, child, "call"))
        return [["start", *self._target(), script]]

    def _send(self, tag: str, depth: int) -> Script:
        child, script = self._child(depth)
        self.edges.add((tag, child, "one-way call"))
        return [["send", *self._target(), script, self.rng.choice([0, 0.1])]]

    def _shared_call(self, tag: str) -> Script:
        key, shared, script = self.rng.choice(self._shared)
        self.edges.add((tag, shared, "call"))
        return [["call", "Node", None, "do", script, key]]

    def _shared_send(self, tag: str) -> Script:
        key, shared, script = self.rng.choice(self._shared)
        self.edges.add((tag, shared, "one-way call"))
        return [["send", "Node", None, "do", script, 0, key]]

    def _answer(self, tag: str, depth: int) -> Script:
        """Wait for an awakeable that a descendant completes."""
        name = f"a{len(self.tags)}"
        child, script = self._child(depth)
        self.edges |= {(tag, child, "one-way call"), (child, tag, "awakeable")}
        return [["awakeable", name], ["send", *self._target(), [*script, ["resolve", f"${name}"]]], ["wait", name]]

    def _flow(self, tag: str, depth: int) -> Script:
        """Start a workflow, and complete its promise in another handler."""
        key = self.bench.unique("flow")
        run, poke = f"{self.prefix}-{len(self.tags)}-run", f"{self.prefix}-{len(self.tags)}-poke"
        self.tags += [run, poke]
        self.edges |= {(tag, run, "one-way call"), (tag, poke, "call"), (poke, run, "promise")}
        return [
            ["send", "Flow", key, "run", [self.bench.log(run), ["promise", "p"]]],
            ["call", "Flow", key, "poke", [self.bench.log(poke), ["complete", "p"]]],
        ]

    def _shared_use(self, tag: str, depth: int) -> Script:
        return self.rng.choice([self._shared_call, self._shared_send])(tag)
