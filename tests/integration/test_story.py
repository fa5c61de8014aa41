"""Stories of real servers: members and edges are those of the ledger, for each kind of edge and for reused ids."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from restate_lab.analysis.story import story
from restate_lab.analysis.story.result import Story
from support.bench import wait_for
from support.clusters import KINDS, PLAIN
from support.story_bench import Script, StoryBench, running_story_bench
from support.story_graphs import RandomGraph

pytestmark = pytest.mark.server
OTHER_ATTEMPTS = pytest.mark.also_on(PLAIN, reason="without vqueues attempts and suspensions are recorded otherwise")


@pytest.fixture(scope="module", params=KINDS)
def bench(
    request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[StoryBench]:
    with running_story_bench(request.param, tmp_path_factory.mktemp("story")) as running:
        yield running


def check_times(found: Story) -> None:
    """Check that phases cover the life of each member, and that the path has no gaps and overlaps."""
    phases = dict(list(found.phases.groupby("id")))
    for member in found.members.itertuples():
        own = phases.get(member.id)
        if own is not None:
            assert own["started"].iloc[0] == member.created_at
            assert list(own["started"][1:]) == list(own["ended"][:-1])
            assert member.ended_at is None or own["ended"].iloc[-1] == member.ended_at or found.ended is None
    assert list(found.path["started"][1:]) == list(found.path["ended"][:-1])
    assert found.members["critical"].sum() == found.path["duration"].sum()
    if found.ended is not None:
        assert found.path["ended"].iloc[-1] == found.ended


def calls(bench: StoryBench, tag: str, script: Script = (), **more: Any) -> list[Any]:
    """Return the operation that calls Node with a script that writes a tag."""
    return ["call", "Node", None, "do", [bench.log(tag), *script], *more.values()]


@OTHER_ATTEMPTS
def test_every_kind_of_edge(bench: StoryBench) -> None:
    """Calls, one-way calls, awakeables, signals, cancellations and promises connect a story."""
    flow = bench.unique("flow")
    root = bench.send(
        [
            *(bench.log("root"), ["awakeable", "a"], ["own_id", "me"]),
            calls(bench, "callee", [["step", "work", 0.02], calls(bench, "grandchild")]),
            ["send", "Box", bench.unique("box"), "do", [bench.log("sender"), ["resolve", "$a"]], 0.05],
            ["wait", "a"],
            calls(bench, "teller", [["tell", "$me", "hey"]]),
            ["listen", "hey"],
            ["send", "Flow", flow, "run", [bench.log("run"), ["promise", "p"]]],
            ["call", "Flow", flow, "poke", [bench.log("poke"), ["complete", "p"]]],
            ["send", "Node", None, "do", [bench.log("sleeper"), ["sleep", 60]]],
            ["sent_id", "sent"],
            ["call", "Node", None, "do", [bench.log("canceller"), ["sleep", 0.1], ["cancel", "$sent"]]],
        ]
    )
    bench.ended(root, bench.id("run"), bench.id("sleeper"))
    expected = {
        ("root", "callee", "call"),
        ("callee", "grandchild", "call"),
        ("root", "sender", "one-way call"),
        ("sender", "root", "awakeable"),
        ("root", "teller", "call"),
        ("teller", "root", "signal"),
        ("root", "run", "one-way call"),
        ("root", "poke", "call"),
        ("poke", "run", "promise"),
        ("root", "sleeper", "one-way call"),
        ("root", "canceller", "call"),
        ("canceller", "sleeper", "cancel"),
    }
    tags = {"root", "callee", "grandchild", "sender", "teller", "run", "poke", "sleeper", "canceller"}
    for start in (root, bench.id("grandchild"), bench.id("sleeper")):
        found = story(bench.lab, start)
        assert bench.edges(found) == expected
        assert set(bench.tags(found)) == tags
        assert max(bench.tags(found).values()) == 1
        assert list(found.members["depth"]) == [0, 1, 2, 1, 1, 1, 1, 1, 1]
        assert found.members["id"].iloc[0] == root
        check_times(found)


def test_foreign_edges_need_a_search(bench: StoryBench) -> None:
    """Other callers of an idempotent call, a person's resolver and an attached caller are found by a search."""
    key = bench.unique("same")
    root = bench.send(
        [
            *(bench.log("first"), ["awakeable", "a"], ["step", "publish"]),
            ["call", "Node", None, "do", [bench.log("shared"), ["sleep", 0.3]], key],
            ["call", "Node", None, "do", [bench.log("told"), ["log", str(bench.folder / "told"), "$a"]]],
            ["wait", "a"],
        ]
    )
    shared = bench.id("shared")
    second = bench.send([bench.log("second"), ["call", "Node", None, "do", [], key]])
    third = bench.send([bench.log("third"), ["attach", shared]])
    lines = wait_for(lambda: (bench.folder / "told").exists() and (bench.folder / "told").read_text().split())
    resolver = bench.send([bench.log("resolver"), ["resolve", lines[0]]])
    bench.ended(root, second, third, resolver)
    alone = story(bench.lab, root)
    inner = {("first", "shared", "call"), ("first", "told", "call")}
    assert bench.edges(alone) == inner
    assert "were not searched" in " ".join(alone.reasons)
    whole = story(bench.lab, root, search=True)
    outer = {("second", "shared", "call"), ("third", "shared", "attach"), ("resolver", "first", "awakeable")}
    assert bench.edges(whole) == inner | outer
    assert set(whole.edges["known_from"]) == {"journal", "search"}
    assert whole.reasons == []
    assert bench.edges(story(bench.lab, second)) == inner | {("second", "shared", "call")}
    check_times(whole)


def test_a_restart_is_a_member_and_copies_no_edges(bench: StoryBench) -> None:
    root = bench.send([bench.log("before"), calls(bench, "once"), calls(bench, "again"), ["fail", "no"]])
    bench.ended(root)
    new = str(bench.admin.restart_as_new_invocation(root, from_index=3, reason="INC-42").new_invocation_id)
    bench.ended(new)
    found = story(bench.lab, bench.ids("once")[0])
    names = {root: "old", new: "new"}
    rows = found.edges[["source", "kind", "target"]].itertuples(index=False)
    kinds = [(names.get(source, ""), kind, names.get(target, "")) for source, kind, target in rows]
    assert sorted(kinds) == sorted([("old", "call", "")] * 2 + [("new", "call", "")] + [("old", "restart", "new")])
    assert len(found.members) == 5
    check_times(found)


def test_reused_ids_are_different_runs(bench: StoryBench) -> None:
    """A run that was purged and runs again under its id has its own callers and children."""
    key = bench.unique("reused")
    child = ["send", "Node", None, "do", [bench.log("child")]]
    first = bench.send([bench.log("one"), ["call", "Node", None, "do", [bench.log("x"), child], key]])
    bench.ended(first, bench.id("x"), bench.id("child"))
    (old_child,) = bench.ids("child")
    shared = bench.id("x")
    bench.admin.purge_invocation(shared, reason="INC-42")
    wait_for(lambda: bench.status(shared) is None)
    second = bench.send([bench.log("two"), ["call", "Node", None, "do", [bench.log("x"), child], key]])
    bench.ended(second, shared)
    new_child = bench.ids("child")[-1]
    bench.ended(new_child)
    found = story(bench.lab, second, search=True)
    assert set(found.ids) == {second, shared, new_child}
    assert found.reasons == []
    before = story(bench.lab, first, search=True)
    assert before.ids == [first]
    assert "only later runs" in " ".join(before.reasons)
    orphan = story(bench.lab, old_child, search=True)
    assert orphan.ids == [old_child]
    assert "called by a run" in " ".join(orphan.reasons)
    bench.admin.purge_journal(shared, reason="INC-42")
    wait_for(lambda: bench.lab.arrow("SELECT id FROM sys_journal WHERE id = :id", id=shared).num_rows == 0)
    purged = story(bench.lab, second, search=True)
    assert set(purged.ids) == {second, shared, new_child}
    assert ("invoked", "row") in set(purged.edges[["kind", "known_from"]].itertuples(index=False, name=None))


@OTHER_ATTEMPTS
def test_a_killed_caller_and_an_open_story(bench: StoryBench) -> None:
    root = bench.send(
        [
            bench.log("killed"),
            ["send", "Node", None, "do", [bench.log("left"), ["sleep", 0.05]]],
            ["start", "Node", None, "do", [bench.log("hanging"), ["awakeable", "a"], ["wait", "a"]]],
            ["join"],
        ]
    )
    hanging = bench.id("hanging")
    bench.until(hanging, "suspended")
    bench.until(root, "suspended")
    bench.ended(bench.id("left"))
    opened = story(bench.lab, hanging)
    assert opened.ended is None
    assert opened.path["kind"].iloc[-1] == "waiting"
    assert opened.path["id"].iloc[-1] == hanging
    assert list(opened.phases[opened.phases["id"] == root]["kind"])[-1] == "calling"
    check_times(opened)
    bench.admin.kill_invocation(root, reason="INC-42")
    bench.ended(root, hanging)
    found = story(bench.lab, hanging)
    assert bench.edges(found) == {("killed", "left", "one-way call"), ("killed", "hanging", "call")}
    assert found.ended is not None
    check_times(found)


def test_a_key_and_its_services(bench: StoryBench) -> None:
    key = bench.unique("key")
    ids = [bench.send([bench.log(f"{key}-{n}")], "Box", key=key) for n in range(3)]
    bench.ended(*ids)
    for text in (f"Box/{key}", key):
        found = story(bench.lab, key=text)
        assert found.ids == ids
        assert list(found.edges["kind"]) == ["key", "key"]
        assert list(found.members["found_by"]) == ["key"] * 3
    other = bench.send([bench.log("flow")], "Flow", "run", key=key)
    bench.ended(other)
    with pytest.raises(Exception, match=rf'key="Box/{key}"'):
        story(bench.lab, key=key)


def test_a_trace_connects_roots(bench: StoryBench) -> None:
    trace = f"{random.getrandbits(128):032x}"
    context = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}
    first = bench.send([bench.log("first"), calls(bench, "traced")], headers=context)
    bench.ended(first)
    second = bench.send([bench.log("second")], "Box", key=bench.unique("trace"), headers=context)
    bench.ended(second)
    expected = {("first", "traced", "call"), ("first", "second", "trace")}
    assert bench.edges(story(bench.lab, second)) == expected
    assert bench.edges(story(bench.lab, trace=trace)) == expected


def test_random_graphs(bench: StoryBench) -> None:
    """Of several stories at the same time, each has its own members and edges, from any of its members."""
    check_random_graphs(bench, seed=136, count=4, most=14)


@pytest.mark.long
def test_many_random_graphs(bench: StoryBench) -> None:
    for seed in range(6):
        check_random_graphs(bench, seed=seed, count=12, most=60)


def check_random_graphs(bench: StoryBench, *, seed: int, count: int, most: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - a sample
    graphs = [RandomGraph(bench, rng, f"g{seed}-{number}", most) for number in range(count)]
    roots = [bench.send(graph.script()) for graph in graphs]
    for graph, root in zip(graphs, roots, strict=True):
        bench.ended(root, *map(bench.id, graph.used))
        start = bench.id(rng.choice(graph.used))
        found = story(bench.lab, start, search=True)
        assert bench.tags(found) == dict.fromkeys(graph.used, 1)
        assert bench.edges(found) == graph.edges
        assert found.reasons == []
        check_times(found)
    kinds = {kind for graph in graphs for _, _, kind in graph.edges}
    assert kinds == {"call", "one-way call", "awakeable", "promise"}


@pytest.mark.long
@pytest.mark.timeout(600)  # seconds; a busy machine needs minutes for 10,000 invocations
def test_ten_thousand_members(bench: StoryBench) -> None:
    branches, leaves = 100, 98
    expected = set()
    script: Script = [bench.log("top")]
    for branch in range(branches):
        tags = [f"leaf-{branch}-{leaf}" for leaf in range(leaves)]
        sends = [["send", "Node", None, "do", [bench.log(tag), ["step", "work"]]] for tag in tags]
        script.append(["send", "Node", None, "do", [bench.log(f"branch-{branch}"), *sends]])
        expected |= {(f"branch-{branch}", tag, "one-way call") for tag in tags}
        expected.add(("top", f"branch-{branch}", "one-way call"))
    root = bench.send(script)
    done = "SELECT count(*) AS n FROM sys_invocation_status WHERE status = 'completed'"
    before = branches * leaves + branches + 1
    wait_for(lambda: bench.lab.arrow(done)["n"][0].as_py() >= before, within=400)
    wait_for(lambda: len(bench.tags(story(bench.lab, root, timeout="2m"))) == before, within=100)
    found = story(bench.lab, root, timeout="2m")
    assert max(bench.tags(found).values()) == 1
    assert bench.edges(found) == expected
    assert "connected" not in " ".join(found.reasons)
    check_times(found)
