"""What would be stuck without a deployment: the question, and what is stuck once it is really removed."""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.demo.embedded import start_services
from restate_lab.demo.process import Process
from support.bench import once_served, wait_for
from support.clusters import NEWEST, PLAIN, KindServer

SERVICES = Path(__file__).parents[1] / "support" / "removed_services.py"
OPEN = "SELECT id, status FROM sys_invocation WHERE status <> 'completed'"
pytestmark = pytest.mark.server


@dataclass
class TwoDeployments:
    """A server with an old and a new deployment; ``ids`` are those of the calls by name."""

    lab: rl.Lab
    folder: Path
    removed: str
    process: Process
    ids: dict[str, str]

    def open_calls(self) -> dict[str, str]:
        rows = self.lab.arrow(OPEN).to_pylist()
        names = {id_: name for name, id_ in self.ids.items()}
        return {names.get(row["id"], "called"): row["status"] for row in rows}

    def resolve(self) -> None:
        """Let all calls that wait go on."""
        for file in self.folder.glob("awakeable-*"):
            self.lab.ingress.resolve_awakeable(file.read_text(), "done")


def send(lab: rl.Lab, service: str, handler: str, body: str, key: str | None = None, delay: str | None = None) -> str:
    return once_served(lambda: lab.ingress.send(service, handler, body, key=key, delay=delay)).invocation_id


@pytest.fixture(params=[NEWEST, PLAIN])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[TwoDeployments]:
    """Give a server with calls in each status of a deployment to be removed, and others that another one serves."""
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(KindServer(request.param))
        kept, kept_at = start_services(tmp_path, str(SERVICES), "kept")
        process, removed_at = start_services(tmp_path, str(SERVICES), "removed")
        stack.enter_context(kept)
        stack.enter_context(process)
        lab = stack.enter_context(rl.connect(running.admin_url, ingress_url=running.ingress_url, audit=tmp_path / "a"))
        lab.admin.create_deployment(uri=kept_at)
        ids = {
            "kept pin": send(lab, "Both", "wait", "kept-pin"),
            "kept holder": send(lab, "Item", "hold", "kept-holder", key="kept"),
            "kept waiter": send(lab, "Item", "say", "x", key="kept"),
        }
        wait_for(lambda: set(lab.sql(OPEN)["status"]) == {"suspended", "pending"})
        removed = str(lab.admin.create_deployment(uri=removed_at).id)
        ids |= {
            "pinned": send(lab, "Only", "wait", "pinned"),
            "flaky": send(lab, "Only", "flaky", "flaky"),
            "paused": send(lab, "Only", "pauses", "paused"),
            "busy": send(lab, "Only", "busy", ""),
            "later": send(lab, "Only", "say", "later", delay="8s"),
            "only holder": send(lab, "OnlyItem", "hold", "only-holder", key="k"),
            "moves later": send(lab, "Both", "say", "moves", delay="8s"),
            "missing handler": send(lab, "Both", "extra", "extra", delay="8s"),
            "both pin": send(lab, "Both", "wait", "both-pin"),
            "holder": send(lab, "Item", "hold", "holder", key="k"),
            "caller": send(lab, "New", "calls", "called"),
        }
        ids |= {f"only waiter {n}": send(lab, "OnlyItem", "say", "x", key="k") for n in range(2)}
        ids |= {f"waiter {n}": send(lab, "Item", "say", "x", key="k") for n in range(2)}
        server = TwoDeployments(lab, tmp_path, removed, process, ids)
        wait_for(server.open_calls, is_settled)
        yield server


def is_settled(calls: dict[str, str]) -> bool:
    expected = {"pinned": "suspended", "paused": "paused", "busy": "running", "caller": "suspended"}
    waits = dict.fromkeys(("only holder", "both pin", "holder", "called"), "suspended")
    return len(calls) == 19 and (expected | waits).items() <= calls.items()


def test_the_calls_that_are_stuck_when_the_deployment_is_removed_were_listed(server: TwoDeployments) -> None:
    """The ids are equal, also of calls that wait for the key of such a call; callers are only counted."""
    lab = server.lab
    stuck = rl.ask(lab, "stuck_without", deployment=server.removed)
    command = ["ask", "stuck_without", "-p", f"deployment={server.removed}", "--json"]
    shell = CliRunner().invoke(app, command, env={"RESTATE_ADMIN_URL": lab.settings.admin_url})
    lab.admin.delete_deployment(server.removed, force=True, reason="INC-42")
    server.process.stop()
    server.resolve()
    lab.admin.resume_invocation(server.ids["paused"])
    ended = {"moves later", "kept pin", "kept holder", "kept waiter"}

    def is_over(calls: dict[str, str]) -> bool:
        return not ended & calls.keys() and not {"scheduled", "paused"} & set(calls.values())

    left = wait_for(server.open_calls, is_over)
    names = {id_: name for name, id_ in server.ids.items()}
    causes = {names.get(row["id"], "called"): row["cause"] for row in stuck.to_dict("records")}
    assert causes.keys() == left.keys() - {"caller"}
    assert Counter(causes.values()) == {"pinned": 8, "service": 3, "handler": 1, "key": 2}
    note = "1 open caller of these calls, which may wait for them"
    assert stuck.attrs["not_read"] == [note]
    assert shell.exit_code == 0
    assert note in shell.stderr
    assert {row["id"] for row in json.loads(shell.stdout)} == set(stuck["id"])
