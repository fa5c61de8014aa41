"""Pictures of the incident on every kind of server: they show the numbers of the frames."""

from __future__ import annotations

import inspect
import os
import re
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch

import restate_lab as rl
from restate_lab import plots
from restate_lab._text import shorten_id
from restate_lab.client.lab import Lab
from restate_lab.status import STATUSES
from support.clusters import NEWEST, Cluster
from support.pictures import all_text, bars, draw, texts


@pytest.fixture(autouse=True)
def no_screen(request: pytest.FixtureRequest) -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    if (folder := os.environ.get("RESTATE_LAB_SCREENSHOTS")) and f"[{NEWEST}]" in request.node.name:
        take_pictures(Path(folder), request.node.originalname)
    plt.close("all")


def take_pictures(folder: Path, test: str) -> None:
    """Keep the pictures of a test, for the guide's tour."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in plt.get_fignums():
        path = folder / f"plots-{test.removeprefix('test_')}-{number}.png"
        plt.figure(number).savefig(path, dpi=120, bbox_inches="tight")


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def test_status_of_the_incident(lab: Lab) -> None:
    """Each service's bar has the counts of its statuses, in their colours, and the cluster's name is above."""
    frame = rl.ask(lab, "overview")
    ax = draw(rl.plot(frame))
    counts = frame.groupby("status")["invocations"].sum().to_dict()
    assert {status: sum(lengths) for status, lengths in bars(ax).items()} == counts
    for bar in ax.containers:
        assert {to_hex(patch.get_facecolor()) for patch in bar} == {STATUSES[bar.get_label()].colour}
    assert {label.get_text() for label in ax.get_yticklabels()} == set(frame["target_service_name"])
    assert lab.name in all_text(ax)


def test_what_the_questions_answer_is_drawn(lab: Lab) -> None:
    throughput = rl.ask(lab, "throughput")
    ax = draw(rl.plot(throughput, tz="Europe/Paris"))
    drawn = {patch.get_label(): abs(patch.get_data().values - patch.get_data().baseline).sum() for patch in ax.patches}
    ended = throughput[["succeeded", "failed", "cancelled", "killed"]].sum()
    assert drawn == {end: n for end, n in ended.items() if n}
    assert ax.get_xlabel() == "time (Europe/Paris)"
    assert ax.get_ylabel() == f"invocations per {throughput.attrs['params']['bin']}"

    latency = rl.ask(lab, "latency")
    lines = {line.get_label(): line for line in draw(rl.plot(latency)).lines}
    assert sorted(lines["p99"].get_xdata()) == sorted(latency["p99_ms"])
    parts = rl.ask(lab, "latency_parts")
    lines = {line.get_label(): line for line in draw(rl.plot(parts)).lines}
    assert sorted(lines["queued_p50"].get_xdata()) == sorted(parts["queued_p50_ms"])
    assert sorted(lines["running_p90"].get_xdata()) == sorted(parts["running_p90_ms"])

    backlog = rl.ask(lab, "backlog_by_key")
    assert bars(draw(rl.plot(backlog))) == {"pending": backlog["waiting"].tolist()}
    sizes = rl.ask(lab, "state_sizes")
    assert sum(map(sum, bars(draw(rl.plot(sizes))).values())) == sizes["bytes"].sum()


def test_retries_of_the_incident(incident: Cluster, lab: Lab) -> None:
    """The storm's step is at its bar, with its error code, its message and its attempts."""
    frame = rl.ask(lab, "retry_storm")
    ax = draw(rl.plot(frame))
    assert bars(ax) == {"backing-off": frame["invocations"].tolist()}
    assert "Payments/charge\nstep “charge card” [RT0007]" in texts(ax)
    worst = frame.iloc[0]
    most = f"{worst['invocations']:,} invocations, {worst['attempts']:,} attempts, at most {worst['worst']:,} for one"
    assert most in all_text(ax)
    assert str(worst["message"])[:30] in all_text(ax)


def test_the_distribution_comes_from_the_docstring(lab: Lab) -> None:
    """The statement in the docstring runs on every kind of server and gives the same counts as the question latency."""
    statement = re.search(r"'''(.*?)'''", inspect.getdoc(plots.plot_latency_distribution) or "", re.DOTALL)
    assert statement
    frame = lab.sql(textwrap.dedent(statement[1]), since=lab.now - timedelta(hours=24))
    latency = rl.ask(lab, "latency", since="24h")
    assert len(frame) == latency["invocations"].sum()
    slowest = frame.groupby(["target_service_name", "target_handler_name"])["ms"].max()
    assert slowest.max() == latency["max_ms"].max()
    ax = draw(rl.plot(frame))
    assert max(line.get_xdata()[-1] for line in ax.lines) == slowest.max()


def test_waits_of_the_incident(incident: Cluster, lab: Lab) -> None:
    """The three deadlocks are circles; the hot key's holder is at the right with its number of waiting invocations."""
    found = rl.waits(lab)
    ax = draw(rl.plot(found))
    rings = [patch for patch in ax.patches if isinstance(patch, FancyBboxPatch)]
    assert [ring.get_linestyle() for ring in rings] == ["-"] * 3
    words = all_text(ax)
    for role in ("deadlock_pair", "deadlock_ring", "deadlock_self"):
        assert [id_ for id_ in incident.ids(role) if shorten_id(id_) not in words] == []
    holder = found.blockers.set_index("id").loc[incident.ids("hot_key_holder")[0]]
    assert f"{holder['target']}\n" in words
    assert f"{holder['total_waiting']} wait" in words
    assert found.summary in words
