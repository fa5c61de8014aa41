"""A server on which programs with planted failures were played, and their records."""

from __future__ import annotations

import contextlib
import itertools
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from restate_lab.client.lab import Lab
from restate_lab.debugging import record_of
from restate_lab.testing import Record
from support.debug_cases import Case
from support.replay_bench import ReplayBench, Version, python_services, running_replay_bench

SERVICES = Path(__file__).with_name("debug_services.py")


@dataclass
class DebugBench:
    """Both versions of the programs; the invocations run on the old one."""

    bench: ReplayBench
    numbers: Iterator[int] = field(default_factory=itertools.count)

    @property
    def lab(self) -> Lab:
        return self.bench.lab

    @property
    def versions(self) -> tuple[Version, Version]:
        return self.bench.old, self.bench.new

    def record(self, cases: Sequence[Case]) -> list[Record]:
        """Play the cases on the server, and return their records."""
        ids = [self._start(case) for case in cases]
        self.bench.settle(ids)
        for kind, act in (("cancelled", self.lab.admin.cancel_invocation), ("killed", self.lab.admin.kill_invocation)):
            for id_, case in zip(ids, cases, strict=True):
                if case.kind == kind:
                    act(id_, reason="INC-42")
        self.bench.settle(ids)
        return [record_of(self.lab, id_) for id_ in ids]

    def _start(self, case: Case) -> str:
        name = f"p{next(self.numbers)}"
        for version, program in zip(self.versions, (case.old, case.new), strict=True):
            version.set(name, [[self.bench._id_of(part) for part in each] for each in program])
        body: Any = b"{" if case.kind == "input" else name
        options = {"headers": {"content-type": "application/json"}} if case.kind == "input" else {}
        sent = self.lab.ingress.send(case.service, case.handler, body, key=name, **options)
        return str(sent.invocation_id)

    def copy(self, folder: Path) -> tuple[Version, Version]:
        """Return both versions in folders of their own, so that the steps of the services are not among theirs."""
        copies = []
        for name, version in zip(("old", "new"), self.versions, strict=True):
            (folder / name).mkdir(parents=True)
            shutil.copy(version.folder / "programs.json", folder / name)
            copies.append(Version("", folder / name))
        return copies[0], copies[1]


@contextlib.contextmanager
def running_debug_bench(kind: str, folder: Path) -> Iterator[DebugBench]:
    def serve(path: Path) -> contextlib.AbstractContextManager[str]:
        return python_services(path, SERVICES)

    with running_replay_bench(kind, folder, serve=serve) as bench:
        yield DebugBench(bench)
