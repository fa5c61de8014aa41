"""The story "week" of the demo: the archive keeps every order, and both planted changes are found.

The story takes most of a minute, so these tests are long.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import nbformat
import pytest

import restate_lab as rl
from restate_lab.demo.embedded import Embedded
from restate_lab.demo.notebook import run_notebook
from restate_lab.demo.run import NOTEBOOKS, copy_notebooks, notebook_environment
from restate_lab.demo.stories import SETTINGS, STORIES
from support.bench import wait_for
from support.clusters import NEWEST, PLAIN, running_demo

pytestmark = [pytest.mark.server, pytest.mark.long]

RUNS = 1_000
PLANTED = {("step", "print label"), ("failures", "[402] card declined, request #")}


@dataclass
class Story:
    running: Embedded
    lab: rl.Lab
    history: rl.History
    sent: list[str]


@pytest.fixture(scope="module", params=[NEWEST, PLAIN])
def story(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("week")
    with (
        running_demo(request.param, folder, story=STORIES["week"], env=SETTINGS["week"]) as running,
        rl.connect(running.server.admin_url, ingress_url=running.server.ingress_url, read_only=True) as lab,
        rl.open_history(folder / "history") as history,
    ):
        days = [running.roles[f"day_{number}"] for number in range(1, 8)]
        yield Story(running, lab, history, list(chain.from_iterable(lab.ingress.attach(day) for day in days)))


def test_the_archive_has_what_the_cluster_has_lost(story: Story) -> None:
    """Every order is archived as often as it ran, and soon the cluster has none of them."""
    assert len(story.sent) > RUNS
    rows = story.history.sql("SELECT id FROM archive.invocations")["id"]
    gone = story.history.sql("SELECT sum(gone_runs) AS n FROM visits")["n"][0]
    missing = Counter(story.sent) - Counter(rows)
    assert missing.total() <= gone  # a visit took longer than an invocation was kept
    assert max(Counter(rows).values()) == 2
    statement = "SELECT count(*) AS n FROM sys_invocation_status WHERE id IN :ids"
    wait_for(lambda: story.lab.sql(statement, ids=story.sent)["n"][0], lambda count: count == 0)


def test_coverage_is_what_is_owed(story: Story) -> None:
    """Only runs of the handler that the cluster does not keep can be missing, and it says so."""
    gaps = rl.ask(story.history, "coverage")
    assert set(gaps["service"]) == {"Pulse"}
    assert "does not keep" in gaps["reason"].iloc[0]
    assert (
        story.history.sql("SELECT count(*) AS n FROM sys_invocation WHERE target_service_name = 'Pulse'")["n"][0] == 0
    )
    visits = story.history.sql("SELECT outcome, missing_journals FROM visits")
    assert set(visits["outcome"]) == {"complete"}
    assert visits["missing_journals"].sum() == 0


def test_both_planted_changes_are_found_and_no_other(story: Story) -> None:
    """The slower step and the more frequent failure are the only changes of steps, failures and retries.

    The latency of a handler also contains the time in which the machine was busy with other work.
    """
    release = story.running.roles["release_2"]
    result = rl.before_after(story.history, release)
    causes = result.changed[result.changed["measure"] != "latency"].set_index(["measure", "name"])
    assert set(causes.index) == PLANTED, str(result)
    step, failure = (causes.loc[each] for each in sorted(PLANTED, reverse=True))
    assert (step["service"], failure["service"]) == ("Parcels", "Cards")
    assert step["low"] < 1.8 < step["high"] * 1.1
    assert failure["low"] < 11 < failure["high"]
    assert {"no clear change", "too few"} < set(result.comparisons["verdict"])


def test_runs_with_the_same_id_are_both_there(story: Story) -> None:
    """The subscription and the warehouse ran twice with one id; the restart has another id, and succeeded."""
    earlier = story.history.sql("SELECT id, target FROM sys_invocation WHERE id LIKE '%@%' ORDER BY target")
    assert earlier["target"].tolist() == ["Cards/charge", "Pickups/warehouse-1/run"]
    for id_ in earlier["id"]:
        runs = story.history.sql("SELECT id FROM sys_invocation WHERE id IN :ids", ids=[id_, id_.partition("@")[0]])
        assert len(runs) == 2
    roles = story.running.roles
    restarted = rl.ask(story.history, "restarts").set_index("id").loc[roles["closed"]]
    assert (restarted["restarted_from"], restarted["status"]) == (roles["not_closed"], "succeeded")


def test_the_notebook_finds_both_changes(story: Story, tmp_path: Path) -> None:
    """It only reads, so it runs twice in the demo's folder with the same result."""
    running = story.running
    copy_notebooks(running.folder / "notebooks")
    env = notebook_environment(running.folder, running.server.admin_url, running.server.ingress_url)
    for attempt in (1, 2):
        done = run_notebook(running.folder / "notebooks" / NOTEBOOKS["week"], tmp_path / f"{attempt}.ipynb", env=env)
        assert not done.failure, done.failure
        cells = nbformat.read(done.executed, as_version=4).cells
        output = {cell.id: cell.outputs for cell in cells if cell.cell_type == "code"}
        assert not [each for each in chain(*output.values()) if each.output_type == "stream"]
        plain = {id_: outputs[-1].data["text/plain"] for id_, outputs in output.items()}
        assert "Pulse" in plain["coverage"]
        assert "label printer # is offline" in plain["families"]
        for change in ("print label", "card declined"):
            assert change in plain["changed"]
        for plot in ("days", "latency", "picture"):
            assert "<svg" in output[plot][-1].data["text/html"]
        assert plain["lost"].startswith("Empty DataFrame")
        assert "label printer 7 is offline" in plain["why"]
        assert "Pickups/warehouse-1/run" in plain["again"]
        assert "Books/close" in plain["restarts"]
