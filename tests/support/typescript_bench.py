"""A server with the services of ``typescript_app.ts``, records of what ran there, and replays of the records."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.debugging import record_of
from restate_lab.debugging.typescript import HELPER
from restate_lab.debugging.typescript.files import helper_text
from restate_lab.environment import clean_environment
from support.bench import wait_for, wait_until_served
from support.clusters import NEWEST, KindServer
from support.integrations.environments import NODE
from support.typescript_cases import Case
from support.typescript_services import node_services, sdk_home

_FILES = ("typescript_app.ts", "typescript_orders.ts", "typescript_serve.mjs", "typescript_replays.mjs")
_ENDED = {"paused", "completed", "suspended"}


@dataclass(frozen=True)
class Replays:
    """The different outcomes of each case, the number of sockets that were connected, and whether the guard is gone."""

    rows: list[list[dict[str, Any]]]
    connected: int
    is_restored: bool


@dataclass
class Project:
    """A folder of a user: the app, the SDK, and the programs of a version of the code."""

    folder: Path
    runs: int = field(default=0)

    @classmethod
    def create(cls, folder: Path, packages: Path) -> Project:
        for name in _FILES:
            shutil.copy(Path(__file__).with_name(name), folder)
        (folder / HELPER).write_text(helper_text(), "utf-8")
        (folder / "package.json").write_text('{"type": "module"}')
        (folder / "node_modules").symlink_to(packages / "node_modules")
        for name in ("production", "replayed"):
            (folder / name).mkdir()
        return cls(folder)

    def write(self, version: str, programs: Mapping[str, Any]) -> Path:
        path = self.folder / f"{version}.json"
        path.write_text(json.dumps(programs), "utf-8")
        return path

    def environment(self, place: str, programs: str = "failing") -> dict[str, str]:
        """Return the variables of the app: the programs it plays, and the folder of its logs."""
        return {"PROGRAMS": str(self.folder / f"{programs}.json"), "LOGS": str(self.folder / place)}

    def steps(self, place: str) -> list[str]:
        log = self.folder / place / "steps.log"
        return log.read_text("utf-8").splitlines() if log.is_file() else []

    def replay(self, cases: Sequence[Mapping[str, Any]]) -> Replays:
        """Run records in one process; ``typescript_replays.mjs`` describes the cases."""
        self.runs += 1
        inputs, results = self.folder / f"cases{self.runs}.json", self.folder / f"results{self.runs}.json"
        inputs.write_text(json.dumps(cases), "utf-8")
        run_node(self, "typescript_replays.mjs", str(inputs), str(results))
        content = json.loads(results.read_text("utf-8"))
        return Replays(content["rows"], content["connected"], content["isRestored"])


def run_node(project: Project, *arguments: str, fails: bool = False) -> str:
    """Run Node.js in the folder of a project, and return its output."""
    env = clean_environment(**project.environment("replayed"))
    done = subprocess.run(
        [str(NODE), *arguments], cwd=project.folder, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class TypeScriptBench:
    """A server, a connection, and the project whose services it calls."""

    lab: Lab
    project: Project

    def record(self, cases: Sequence[Case]) -> dict[str, Path]:
        """Play the failing programs in production, and return the file of each record by the name of its case."""
        self.project.write("failing", {each.name: each.program for each in cases})
        self.project.write("fixed", {each.name: each.fixed for each in cases})
        ids = {each.name: self._start(each) for each in cases}
        statement = "SELECT id, status FROM sys_invocation WHERE id IN :ids"

        def statuses() -> list[str]:
            return [
                row["status"] for row in self.lab.arrow(statement, ids=list(ids.values()), progress=False).to_pylist()
            ]

        wait_for(statuses, lambda found: len(found) == len(ids) and _ENDED.issuperset(found), within=240)
        paths = {}
        for name, id_ in ids.items():
            paths[name] = record_of(self.lab, id_).save(self.project.folder / f"{name}.record.json")
        return paths

    def _start(self, case: Case) -> str:
        key = None if case.service == "Plain" else case.name
        return str(self.lab.ingress.send(case.service, "run", case.name, key=key).invocation_id)


@contextlib.contextmanager
def typescript_bench(folder: Path, kind: str = NEWEST) -> Iterator[TypeScriptBench]:
    """Start a server and the services, and register them."""
    project = Project.create(folder, sdk_home())
    project.write("failing", {})
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(KindServer(kind))
        services = node_services(folder / "typescript_serve.mjs", folder, project.environment("production"))
        uri = stack.enter_context(services)
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        wait_until_served(lab, "Helper", "answer", "ready")
        yield TypeScriptBench(lab, project)
