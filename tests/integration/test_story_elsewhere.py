"""A story in a shell, for an assistant, as spans, in evidence, and in the explanation of a member."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

import restate_lab as rl
from restate_lab.cli import app
from restate_lab.export.json_text import rows_of
from restate_lab.mcp.reads import ReadTools
from restate_lab.sources import Sources
from support.bench import Bench, running_bench
from support.clusters import NEWEST, PLAIN

SERVICES = Path(__file__).parents[1] / "support" / "story_services.py"
NOBODY = "inv_1" + "0" * 33
HOUR = 3600
TARGETS = ["Box/k/do", "Box/locked/do", "Box/mail/do", "Node/do", "Node/do"]


@dataclass(frozen=True)
class Order:
    """One order on a server: a call, two one-way calls, an awakeable that one of them completes, and a queued call."""

    bench: Bench
    root: str
    holder: str
    """It holds the key of the queued call, and does not belong to the order."""
    story: rl.Story

    @property
    def lab(self) -> rl.Lab:
        return self.bench.lab

    def member(self, target: str) -> str:
        members = self.story.members
        return str(members.loc[members["target"] == target, "id"].iloc[-1])


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(PLAIN, marks=pytest.mark.long)])
def order(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Order]:
    folder = tmp_path_factory.mktemp("story")
    with running_bench(request.param, folder, SERVICES, ready=("Node", "do", [])) as bench:
        send = bench.ingress.send
        holder = send("Box", "do", [["sleep", HOUR]], key="locked").invocation_id
        bench.until(holder, "suspended")
        script: list[Any] = [
            ["awakeable", "a"],
            ["call", "Box", "k", "do", [["step", "charge"]]],
            ["send", "Box", "mail", "do", [["resolve", "$a"]]],
            ["send", "Node", None, "do", [], HOUR],
            ["wait", "a"],
            ["call", "Box", "locked", "do", []],
        ]
        root = send("Node", "do", script).invocation_id
        bench.until(root, "suspended")
        pending = "SELECT id FROM sys_invocation_status WHERE invoked_by_id = :root AND target = 'Box/locked/do'"
        while bench.lab.sql(pending, root=root).empty:
            bench.until(root, "suspended", "running")
        yield Order(bench, root, holder, rl.story(bench.lab, root))


def entry_rows(story: rl.Story) -> list[Any]:
    return rows_of(story.entries.sort_values(["id", "index"]))


def call(order: Order, *arguments: str, text: str | None = None) -> Any:
    return CliRunner().invoke(app, [*arguments, "--cluster", order.bench.url], input=text)


def test_a_shell_prints_the_tree_and_its_formats_have_the_frames(order: Order) -> None:
    """From any member, from a log line and from stdin, the story is the same; no line is wider than 80 columns."""
    story = order.story
    assert sorted(story.members["target"]) == TARGETS
    printed = call(order, "story", order.root)
    assert printed.exit_code == 0, printed.output
    tree = printed.stdout.partition("Critical path")[0].splitlines()
    assert [line for line in tree if cell_len(line) > 80] == []
    assert "Box/mail/do (one-way" in printed.stdout
    assert f"next: restate-lab why {order.member('Box/locked/do')} -e {order.bench.url}" in printed.stdout
    assert "--search" in printed.stdout
    assert "rl." not in printed.stdout
    log = f"2026-11-30 WARN could not reach {order.member('Box/mail/do')}"
    for arguments, text in (([log], None), (["-"], "\n".join(story.ids)), (story.ids[:2], None)):
        found = json.loads(call(order, "story", *arguments, "--json", text=text).stdout)
        assert [row["id"] for row in found["members"]] == story.ids
        assert [(row["source"], row["target"], row["kind"]) for row in found["edges"]] == [
            (row["source"], row["target"], row["kind"]) for row in rows_of(story.edges)
        ]
    rows = call(order, "story", order.root, "--part", "phases", "--csv", "-").stdout
    assert rows.count("\n") == len(story.phases) + 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([NOBODY], 1, f"has no invocation {NOBODY}"),
        (["--key", "mail", "--search"], 0, "Box/mail/do"),
        (["--key", "Box/nobody"], 1, "Add --key Service/key, or a longer --since"),
        (["--trace", "0" * 32], 1, "no invocation with the trace id"),
        (["--key", "mail", "--since", "soon"], 2, "since"),
    ],
)
def test_what_is_not_there_is_one_line(order: Order, arguments: list[str], code: int, message: str) -> None:
    told = call(order, "story", *arguments)
    assert (told.exit_code, message in " ".join(told.output.split())) == (code, True), told.output
    assert "Traceback" not in told.output


def test_an_assistant_gets_members_edges_and_the_critical_path(order: Order) -> None:
    story = order.story
    with contextlib.ExitStack() as stack:
        output = ReadTools(Sources(stack, [order.lab])).story(order.member("Box/k/do"))
    data = output["data"]
    assert [row["id"] for row in data["members"]] == story.ids
    assert [(row["source"], row["target"]) for row in data["edges"]] == [
        (row["source"], row["target"]) for row in rows_of(story.edges)
    ]
    assert data["critical_path"][0] == max(data["critical_path"], key=lambda row: row["seconds"])
    assert {row["id"] for row in data["critical_path"]} <= set(story.ids)
    assert [row["part"] for row in data["not_read"]] == ["edges"]
    assert len(json.dumps(output, default=str)) < 16_000


def test_a_frozen_story_is_the_same_story(order: Order, tmp_path: Path) -> None:
    """The evidence has exactly its members with their journals, and the holder of the key that one waits for."""
    story = order.story
    rl.freeze(order.lab, tmp_path / "order.evidence", ids=story, progress=False)
    with rl.open_evidence(tmp_path / "order.evidence") as evidence:
        again = rl.story(evidence, order.member("Box/mail/do"))
        rows = evidence.sql("SELECT id FROM sys_invocation_status")
        waiting = rl.why(evidence, order.member("Box/locked/do"))
    assert set(rows["id"]) == {*story.ids, order.holder}
    names = ["id", "target", "status", "created_at", "parent", "depth"]
    assert rows_of(again.members[names]) == rows_of(story.members[names])
    assert rows_of(again.edges.drop(columns="known_from")) == rows_of(story.edges.drop(columns="known_from"))
    assert entry_rows(again) == entry_rows(story)
    assert f"held by Box/locked/do ({order.holder})" in waiting.summary
    shell = CliRunner().invoke(app, ["story", order.root, "--json", "--evidence", str(tmp_path / "order.evidence")])
    assert [row["id"] for row in json.loads(shell.stdout)["members"]] == story.ids


def test_an_archive_has_the_ended_part_of_a_story_and_the_whole_with_its_cluster(order: Order, tmp_path: Path) -> None:
    rl.archive(order.lab, tmp_path / "history", cluster_name="prod", progress=False)
    id_ = order.member("Box/k/do")
    shell = CliRunner().invoke(app, ["story", id_, "--json", "--evidence", str(tmp_path / "history")])
    found = json.loads(shell.stdout)
    assert {row["status"] for row in found["members"]} == {"succeeded"}
    assert id_ in {row["id"] for row in found["members"]}
    assert order.root not in {row["id"] for row in found["members"]}
    missing = [row["reason"] for row in found["not_read"] if "were not searched" not in row["reason"]]
    assert len(missing) == 1, "the caller is open, and not archived"
    both = ["story", id_, "--evidence", str(tmp_path / "history"), "--live", order.bench.url]
    joined = json.loads(CliRunner().invoke(app, [*both, "--json"]).stdout)
    assert [row["id"] for row in joined["members"]] == order.story.ids
    assert {row["origin"] for row in joined["members"]} == {"archive", "server"}
    assert "2 from the archive, 3 from the server." in CliRunner().invoke(app, both).stdout


def test_the_members_are_targets_of_a_plan(order: Order) -> None:
    plan = rl.plan(order.lab, "cancel", order.story.members)
    assert set(plan.frame["id"]) == set(order.story.ids)


def test_why_names_the_callers_and_the_story(order: Order) -> None:
    id_ = order.member("Box/k/do")
    explanation = rl.why(order.lab, id_)
    assert explanation.callers == ((order.root, "Node/do"),)
    assert explanation.story_call is not None
    assert rl.why(order.lab, order.root).story_call is not None, "it has callees"
    assert rl.why(order.lab, order.holder).story_call is None
    assert f"restate-lab story {id_} -e {order.bench.url}" in call(order, "why", id_).stdout
    assert json.loads(call(order, "why", id_, "--json").stdout)["callers"] == [{"id": order.root, "target": "Node/do"}]
