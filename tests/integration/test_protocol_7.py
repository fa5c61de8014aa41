"""Service protocol 7, which 1.8 has on by default: suspensions with all results that an invocation waits for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab.analysis.journal.bars import journal_bars
from restate_lab.demo.embedded import start_services
from restate_lab.demo.server import RestateServer
from support.bench import wait_for
from support.clusters import VQUEUES, server_binary
from support.imitation import FLAGS

SERVICES = Path(__file__).parents[1] / "support" / "awaiting_services.py"
pytestmark = pytest.mark.server


@dataclass(frozen=True)
class Bench:
    """A server with protocol 7, a connection to it, its folder, and handler → the id of an invocation that waits."""

    lab: rl.Lab
    folder: Path
    ids: dict[str, str] = field(default_factory=dict)

    def start(self, service: str, handler: str, key: str | None = None, body: Any = None) -> str:
        self.ids[handler] = self.lab.ingress.send(service, handler, body, key=key).invocation_id
        return self.ids[handler]

    def status(self, id_: str) -> str:
        return str(self.lab.arrow("SELECT status FROM sys_invocation WHERE id = :id", id=id_)["status"][0])


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """Give the server, once the invocations wait."""
    folder = tmp_path_factory.mktemp("protocol-7")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(RestateServer(server_binary(VQUEUES), vqueues=True, env=FLAGS))
        services, uri = start_services(folder, str(SERVICES))
        stack.enter_context(services)
        lab = stack.enter_context(rl.connect(server.admin_url, ingress_url=server.ingress_url, audit=folder / "audit"))
        lab.admin.create_deployment(uri=uri)
        bench = Bench(lab, folder)
        for handler in ("rest", "both", "any_of_four"):
            bench.start("Waiter", handler)
        bench.start("Approval", "run", key="a")
        wait_for(lambda: {bench.status(id_) for id_ in bench.ids.values()} == {"suspended"})
        yield bench


def test_the_journal_shows_since_when_and_for_what_an_invocation_waits(bench: Bench) -> None:
    """The tree has the combination, and each result by its entry; the time is that of the suspension."""
    frame = rl.journal(bench.lab, bench.ids["any_of_four"])
    (suspension,) = frame.attrs["suspensions"]
    kinds = [(part["kind"], part["index"]) for part in suspension["tree"]["parts"]]
    assert suspension["tree"]["kind"] == "FirstCompleted"
    assert kinds == [("Sleep", 1), ("Call", 2), ("Signal", None), ("Signal", None)]
    awakeable = frame.loc[frame["awakeable_id"].notna(), "awakeable_id"].iloc[0]
    assert suspension["waits_for"].startswith("the first of: the sleep until 2")
    assert suspension["waits_for"].endswith(f", the call to Waiter/rest, the awakeable {awakeable}, the signal “go”")
    event = bench.lab.sql(
        "SELECT appended_at FROM sys_journal_events WHERE id = :id AND event_type = 'Suspended'", id=frame.attrs["id"]
    )
    assert suspension["since"] == event["appended_at"].iloc[0].isoformat()
    (line,) = journal_bars(frame).lines
    assert line.startswith("waits for the first of: the sleep")
    assert "(suspended since " in line
    assert "the signal “go”" in frame._repr_html_()


def test_every_reader_of_waits_sees_the_results_of_a_combination(bench: Bench) -> None:
    """The server's lists of awaited results have nothing of a combination; waits, why and questions still have all."""
    lists = bench.lab.sql("SELECT suspended_waiting_for_completions AS c FROM sys_invocation WHERE id = :id",
                          id=bench.ids["both"])  # fmt: skip
    assert not len(lists["c"].iloc[0]), "the server lists these again: the part `awaited` is not needed any more"
    waits = rl.waits(bench.lab).edges.groupby("waiter")["kind"].agg(sorted).to_dict()
    assert waits[bench.ids["both"]] == ["call", "sleep"]
    assert waits[bench.ids["any_of_four"]] == ["awakeable", "call", "sleep"]
    assert waits[bench.ids["run"]] == ["promise", "sleep"]
    explanation = rl.why(bench.lab, bench.ids["both"])
    assert dict(explanation.facts)["waits for"].startswith("all of: the sleep “nap” until 2")
    assert "its call to Waiter/rest" in explanation.summary
    questions = ("waiting_on", "wakes_next", "open_awakeables", "open_promises")
    asked = {name: set(rl.ask(bench.lab, name)["id"]) & set(bench.ids.values()) for name in questions}
    assert asked["waiting_on"] == asked["wakes_next"] == set(bench.ids.values())
    assert asked["open_awakeables"] == {bench.ids["any_of_four"]}
    assert asked["open_promises"] == {bench.ids["run"]}


def test_a_killed_invocation_shows_what_it_waited_for(bench: Bench) -> None:
    """The event of the last suspension stays; it names what the invocation waited for when it was ended."""
    id_ = bench.start("Waiter", "both")
    wait_for(lambda: bench.status(id_) == "suspended")
    bench.lab.admin.kill_invocation(id_)
    wait_for(lambda: bench.status(id_) == "completed")
    frame = rl.journal(bench.lab, id_)
    assert journal_bars(frame).lines[0].startswith("was ended while it waited for all of: the sleep “nap” until 2")
