"""Watching real servers of each kind: the counts, the rates, and the picture."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.client.lab import Lab
from restate_lab.errors import RestateLabError, TimedOut
from restate_lab.evidence.watch import watch
from restate_lab.plots import plot_watch
from support.bench import Bench, running_bench, wait_for
from support.clusters import KINDS, Cluster, server_binary
from support.pictures import all_text, draw

pytestmark = pytest.mark.server


@pytest.fixture(scope="module", params=KINDS)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, isolated: Path) -> Iterator[Bench]:
    try:
        server_binary(request.param)
    except RestateLabError as error:
        pytest.skip(f"no restate-server {request.param}: {error}")
    with running_bench(request.param, tmp_path_factory.mktemp("watch")) as bench:
        yield bench


@pytest.fixture(autouse=True)
def no_screen() -> Iterator[None]:
    plt.switch_backend("Agg")
    yield
    plt.close("all")


@pytest.fixture
def lab(incident: Cluster, tmp_path: Path) -> Iterator[Lab]:
    with rl.connect(incident.admin_url, audit=tmp_path / "audit") as lab:
        yield lab


def of(frame: pd.DataFrame, what: str, name: str) -> pd.DataFrame:
    return frame[(frame["what"] == what) & (frame["name"] == name)].reset_index(drop=True)


def test_a_queue_that_drains(bench: Bench) -> None:
    """Invocations that wait for a key or are pinned, and their later status, poll by poll, as the queue drains."""
    awaiting = [str(bench.ingress.send("Counter", "hold", key="hot").invocation_id)]
    bench.until(awaiting[0], "suspended")
    for _ in range(6):
        awaiting.append(str(bench.ingress.send("Counter", "hold", key="hot").invocation_id))
        bench.until(awaiting[-1], "pending")

    def until(frame: pd.DataFrame) -> bool:
        if not awaiting:
            return True
        first = awaiting.pop(0)
        bench.admin.cancel_invocation(first)
        if awaiting:
            bench.until(awaiting[0], "suspended")
        else:
            bench.until(first, "completed", None)
        return False

    frame = watch(bench.lab, every="10ms", until=until, service="Counter", progress=False)
    backlog = of(frame, "backlog", "hot")
    assert backlog["n"].tolist() == [6, 5, 4, 3, 2, 1, 0, 0]
    assert backlog["target_service_name"].unique().tolist() == ["Counter"]
    assert (backlog["per_minute"][1:7] < 0).all()
    assert (backlog["eta"][1:6] > timedelta(0)).all()
    assert backlog["eta"].iloc[-1] == timedelta(0)
    assert of(frame, "status", "suspended")["n"].tolist() == [1] * 7 + [0]
    assert of(frame, "status", "pending")["n"].tolist() == backlog["n"].tolist()
    assert of(frame, "deployment", bench.deployment)["n"].iloc[-1] == 0
    assert frame["at"].drop_duplicates().is_monotonic_increasing


def test_waiting_for_invocations(bench: Bench) -> None:
    """The wait ends once all have the status; a timeout names the missing one; "ended" follows a cancellation."""
    held = str(bench.ingress.send("Counter", "hold", key="waited").invocation_id)
    queued = str(bench.ingress.send("Counter", "hold", key="waited").invocation_id)
    rows = rl.wait_for(bench.lab, [queued, held], until=("suspended", "pending"))
    assert rows["id"].tolist() == [queued, held]
    assert sorted(rows["status"]) == ["pending", "suspended"]
    with pytest.raises(TimedOut, match=rf"{held} is suspended|{queued} is pending"):
        rl.wait_for(bench.lab, [held, queued], timeout="1s")
    failing = str(bench.ingress.send("Echo", "storm").invocation_id)
    retried = rl.wait_for(bench.lab, failing, until=lambda rows: rows["retry_count"].max() >= 3)
    assert retried["failure"].notna().all()
    for id_ in (held, queued, failing):
        bench.admin.kill_invocation(id_)
    assert set(rl.wait_for(bench.lab, [held, queued, failing])["status"]) == {"killed"}


def test_retries_per_minute_are_those_that_happen(bench: Bench) -> None:
    """The sum of the rates over the time equals the number of retries, by the server's own count."""
    ids = [str(bench.ingress.send("Echo", "storm").invocation_id) for _ in range(3)]
    counted: list[int] = []

    def until(frame: pd.DataFrame) -> bool:
        counted.append(sum(_tries(bench, ids)))
        return frame["at"].nunique() > 6

    try:
        wait_for(lambda: _tries(bench, ids), lambda tries: len(tries) == 3 and min(tries) > 1)
        before = sum(_tries(bench, ids))
        frame = watch(bench.lab, every="300ms", until=until, service="Echo", progress=False)
        after = sum(_tries(bench, ids))
    finally:
        for id_ in ids:
            bench.admin.kill_invocation(id_)
    storm = of(frame, "retries", "storm")
    # A server that gets no processor time for seconds elects a leader again, which counts the attempts anew.
    assert storm["n"].mode().tolist() == [3]
    minutes = storm["at"].diff() / timedelta(minutes=1)
    seen = round((storm["per_minute"] * minutes).sum())  # timestamps have milliseconds
    assert 0 < seen <= after - before
    # events between a poll and the count behind it may be missing: a few of each invocation
    assert seen >= (counted[-1] - counted[0]) / 3
    backing_off = of(frame, "status", "backing-off")["n"]
    running = of(frame, "status", "running")["n"]
    assert (backing_off.max() if len(backing_off) else 0) + (running.max() if len(running) else 0) >= 3


def _tries(bench: Bench, ids: list[str]) -> list[int]:
    statement = "SELECT retry_count FROM sys_invocation_state WHERE id = :id"
    rows = [row for id_ in ids for row in bench.lab.arrow(statement, id=id_).to_pylist()]
    return [int(row["retry_count"]) for row in rows if row["retry_count"]]


def test_the_incident_is_watched_and_drawn(incident: Cluster, lab: Lab) -> None:
    """The counts equal those of the questions; each kind has a picture with the frame's numbers and the cluster."""
    frame = watch(lab, every="200ms", until=lambda seen: seen["at"].nunique() > 2, progress=False)
    last = frame[frame["at"] == frame["at"].max()]
    counts = last[last["what"] == "status"].set_index("name")["n"]
    overview = rl.ask(lab, "overview", limit=None).groupby("status")["n"].sum()
    still = ["suspended", "paused", "pending", "scheduled"]
    assert counts[still].to_dict() == overview[still].to_dict()
    assert counts.sum() == overview.sum()
    backlog = rl.ask(lab, "backlog_by_key", limit=None).set_index(["target_service_name", "target_service_key"])
    seen = last[last["what"] == "backlog"].set_index(["target_service_name", "name"])["n"]
    assert seen.to_dict() == backlog["waiting"].to_dict()
    pins = rl.ask(lab, "deployment_pins").set_index("deployment_id")["pinned"]
    drains = last[last["what"] == "deployment"].set_index("name")["n"]
    assert drains.to_dict() == pins[pins > 0].to_dict()
    storms = rl.ask(lab, "retry_storm", limit=None)
    handlers = last[last["what"] == "retries"].set_index(["target_service_name", "name"])["n"]
    assert handlers["Payments", "charge"] >= storms.set_index("target_service_name").loc[["Payments"], "n"].sum()
    for what in ("status", "retries", "backlog", "deployment"):
        words = all_text(draw(plot_watch(frame, what=what, tz="Europe/Paris")))
        assert lab.name in words
        assert "3 polls, every 200ms" in words
    assert "Account/acme-retail  12" in all_text(draw(plot_watch(frame, what="backlog")))


WATCHES = """
import sys
import restate_lab as rl
from restate_lab.evidence.watch import watch


def until(frame):
    if frame["at"].nunique() == 1:
        print("looked", flush=True)
    return False


with rl.connect(sys.argv[1], read_only=True) as lab:
    frame = watch(lab, every="100ms", until=until)
    print(frame.attrs["ended"], frame.attrs["looks"], frame["at"].nunique())
"""


def test_the_stop_button_gives_the_frame(incident: Cluster) -> None:
    """Ctrl-C, which the stop button sends, ends it at any time with the rows so far, and nothing is raised."""
    command = [sys.executable, "-c", WATCHES, incident.admin_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "looked\n"
            time.sleep(1)
            process.send_signal(signal.SIGINT)
            out, said_ = process.communicate(timeout=30)
        finally:
            process.kill()
    ended, looks, moments = out.split()
    assert (ended, process.returncode, said_) == ("stopped", 0, "")
    assert looks == moments
    assert int(looks) >= 1
