"""A server with an old and a new version of code that plays programs, and what the server does after a move."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import restate_lab as rl
from restate_lab.actions.plan import move_to
from restate_lab.client.lab import Lab
from restate_lab.demo.embedded import start_services
from support.bench import wait_for, wait_until_served
from support.clusters import KindServer

SERVICES = Path(__file__).with_name("replay_services.py")
PROTOCOL_5_SERVICES = Path(__file__).with_name("replay_services_v5.py")
SETTLED = ("completed", "suspended", "paused", "backing-off")
STEP_FAILED = "the step "
_ROWS = """
SELECT id, status, journal_commands_size AS commands, last_failure_error_code AS code, last_failure AS failure,
  last_failure_related_command_index AS command_index
FROM sys_invocation WHERE id IN :ids"""
_EVENTS = """
SELECT id, appended_at, json_get_str(error, 'error_message') AS failure,
  json_get_str(error, 'restate_doc_error_code') AS code, json_get_int(error, 'related_command_index') AS command_index
FROM (SELECT id, appended_at, event_json AS error FROM sys_journal_events WHERE event_type = 'TransientError') e
WHERE id IN :ids ORDER BY appended_at"""

Program = Sequence[Sequence[Any]]
Verdict = tuple[str, int | None]
"""A verdict, and the index of the command at which the paths part."""


@dataclass
class Version:
    """One version of the code: its address, and its folder with the programs and the logs."""

    uri: str
    folder: Path
    programs: dict[str, Program] = field(default_factory=dict)

    def set(self, name: str, program: Program) -> None:
        self.programs[name] = program
        part = self.folder / "programs.part"
        part.write_text(json.dumps(self.programs))
        part.replace(self.folder / "programs.json")

    @property
    def steps(self) -> list[str]:
        return self._log("steps.log")

    @property
    def outside(self) -> list[str]:
        """Return the programs whose code outside of steps ran."""
        return self._log("outside.log")

    def _log(self, file: str) -> list[str]:
        path = self.folder / file
        return path.read_text().splitlines() if path.is_file() else []


@dataclass
class ReplayBench:
    """A server, a connection, and both versions; only the old one is registered outside of ``registered_new``."""

    lab: Lab
    old: Version
    new: Version
    numbers: Iterator[int] = field(default_factory=itertools.count)
    ended: dict[str, str] = field(default_factory=dict)

    def start(self, program: Program, changed: Program, *, service: str = "Programs") -> str:
        """Start a program on the old version; the new version plays ``changed`` in its place."""
        name = f"p{next(self.numbers)}"
        self.old.set(name, [[self._id_of(part) for part in each] for each in program])
        self.new.set(name, [[self._id_of(part) for part in each] for each in changed])
        return str(self.lab.ingress.send(service, "run", name, key=name).invocation_id)

    def _id_of(self, part: Any) -> Any:
        """Return the id of an ended invocation for a name such as "$ended", and other values unchanged."""
        if not isinstance(part, str) or not part.startswith("$"):
            return part
        if part not in self.ended:
            sent = self.lab.ingress.send("Helper", "answer", part, idempotency_key=part)
            self.ended[part] = str(sent.invocation_id)
        return self.ended[part]

    def states(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        rows = self.lab.arrow(_ROWS, ids=list(ids), progress=False).to_pylist()
        if self.lab.features.get("vqueues"):  # a long back-off is shown as "ready", and its error only as an event
            events = {each["id"]: each for each in self.lab.arrow(_EVENTS, ids=list(ids), progress=False).to_pylist()}
            failing = {row["id"] for row in rows if row["status"] == "ready" and row["id"] in events}
            rows = [
                {**row, **events[row["id"]], "status": "backing-off"} if row["id"] in failing else row for row in rows
            ]
        return {row["id"]: row for row in rows}

    def settle(self, ids: Sequence[str]) -> dict[str, Mapping[str, Any]]:
        """Wait until the invocations end, or wait for something, and return their states."""
        settled: dict[str, Mapping[str, Any]] = wait_for(
            lambda: self.states(ids),
            lambda rows: len(rows) == len(ids) and all(row["status"] in SETTLED for row in rows.values()),
        )
        return settled

    def replay(self, targets: Any, **options: Any) -> rl.Replay:
        defaults = {"confirm": self.new.uri, "progress": False, "sample": None}
        return rl.replay(self.lab, targets, self.new.uri, **{**defaults, **options})

    def register_new(self) -> str:
        """Register the new version, which new invocations then run on, and return the id of its deployment."""
        return str(self.lab.admin.create_deployment(uri=self.new.uri).id)

    def move(self, ids: Sequence[str], deployment: str) -> dict[str, Verdict]:
        """Move open invocations to the new version, and return what the server reports: (verdict, command index).

        With vqueues, an invocation that backs off is not tried again before its back-off ends, so it is omitted.
        """
        before = self.settle(ids)
        if self.lab.features.get("vqueues"):
            ids = [id_ for id_ in ids if before[id_]["status"] != "backing-off"]
        plan = move_to(self.lab, list(ids), deployment=deployment)
        frame = plan.execute(reason="a test", expect=len(plan.targets))
        assert set(frame["outcome"]) == {"done"}, frame[frame["outcome"] != "done"].to_string()
        after = self.settle(ids)
        return {id_: verdict_of(after[id_], before[id_]["commands"]) for id_ in ids}

    def restart(self, ids: Sequence[str], deployment: str) -> dict[str, tuple[str, Verdict]]:
        """Restart ended invocations on the new version from the entry before their Output.

        Return for each the new id and what the server reports.
        """
        new: dict[str, tuple[str, int]] = {}
        for id_ in ids:
            output = self.last_entry(id_)
            restarted = self.lab.admin.restart_as_new_invocation(
                id_, from_index=output - 1, deployment=deployment, reason="INC-42"
            )
            new[id_] = str(restarted.new_invocation_id), self.last_command(id_)
        states = self.settle([each for each, _ in new.values()])
        return {id_: (other, verdict_of(states[other], recorded)) for id_, (other, recorded) in new.items()}

    def last_entry(self, id_: str) -> int:
        rows = self.lab.arrow("SELECT max(index) AS index FROM sys_journal WHERE id = :id", id=id_, progress=False)
        return int(rows["index"][0].as_py())

    def last_command(self, id_: str) -> int:
        """Return the index of the last recorded command, counted in commands."""
        return int(self.states([id_])[id_]["commands"]) - 1

    def describe(self, id_: str) -> str:
        rows = self.lab.arrow("SELECT target_service_key AS key FROM sys_invocation WHERE id = :id", id=id_)
        key = rows["key"][0].as_py()
        return f"{key}: {self.old.programs[key]} -> {self.new.programs[key]}"


def verdict_of(state: Mapping[str, Any], recorded: int) -> Verdict:
    """Return the verdict that an attempt's result means; more commands than recorded ones mean that the code fits."""
    is_own_step = STEP_FAILED in (state["failure"] or "")  # a recorded step that fails again
    if state["status"] == "completed" or state["commands"] > recorded or state["code"] is None or is_own_step:
        return "fits", None
    return ("diverges", state["command_index"]) if state["code"] == "RT0016" else ("fails", None)


@contextlib.contextmanager
def python_services(folder: Path, program: Path = SERVICES) -> Iterator[str]:
    """Serve the programs of a folder with the Python SDK, and give the address."""
    services, uri = start_services(folder, str(program))
    with services:
        yield uri


@contextlib.contextmanager
def running_replay_bench(
    kind: str,
    folder: Path,
    env: Mapping[str, str] | None = None,
    serve: Callable[[Path], AbstractContextManager[str]] = python_services,
) -> Iterator[ReplayBench]:
    """Start a server of a kind and both versions, and register the old one."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(KindServer(kind, env=env or {}))
        versions = []
        for name in ("old", "new"):
            (folder / name).mkdir()
            versions.append(Version(stack.enter_context(serve(folder / name)), folder / name))
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=versions[0].uri)
        wait_until_served(lab, "Helper", "answer", "ready")
        yield ReplayBench(lab, *versions)
