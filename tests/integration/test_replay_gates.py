"""``check=`` of ``move_to``, ``plan`` and ``redrive`` excludes exactly those that would not continue on the server.

The panel makes the same plans.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import restate_lab as rl
from restate_lab import errors
from restate_lab.actions.rules import ACTIONS
from support.bench import wait_for
from support.clusters import NEWEST, PLAIN
from support.fake_endpoint import deployment, error_frame, response
from support.raw_server import raw_server
from support.replay_bench import ReplayBench, Verdict, running_replay_bench, verdict_of
from support.replay_cases import OPEN, Operations

pytestmark = pytest.mark.server

WHY = "a test"
FITS = response(error_frame(570, "mismatch", 2, "b", 0x411))
KEPT = "SELECT count(*) AS n FROM sys_journal WHERE id = :id AND index <= :last AND entry_type LIKE 'Command%'"
STEPS: Operations = [["run", "a"], ["call", "answer", 1]]
MOVES: dict[str, tuple[Operations, Operations]] = {
    "nothing": ([*STEPS, OPEN], [*STEPS, OPEN]),
    "later": ([*STEPS, OPEN], [*STEPS, OPEN, ["run", "new"]]),
    "the id of an awakeable": ([["awakeable"], ["uuid", "k"], OPEN], [["awakeable"], ["uuid", "k"], OPEN]),
    "another step": ([*STEPS, OPEN], [["run", "b"], OPEN]),
    "another argument": ([*STEPS, OPEN], [["run", "a"], ["call", "answer", 2], OPEN]),
    "a removed call": ([*STEPS, OPEN], [["run", "a"], OPEN]),
    "an error": ([*STEPS, OPEN], [["run", "a"], ["raise", "an error"]]),
}
"""Programs of open invocations before and after a change."""
DIVERGING = {"another step", "another argument", "a removed call"}
END: Operations = [["run", "later"], ["return", 1]]
RESTARTS: dict[str, tuple[Operations, Operations, int]] = {
    "nothing": ([*STEPS, *END], [*STEPS, *END], 4),
    "after the kept entries": ([*STEPS, *END], [*STEPS, ["run", "changed"], ["return", 2]], 3),
    "two steps, the first one kept": ([["two_runs", "a", "b"], *END], [["run", "a"], *END], 1),
    "another step": ([*STEPS, *END], [["run", "b"], *END], 2),
    "an awakeable": ([["awakeable"], *END], [["awakeable"], *END], 1),
    "a random value": ([["uuid", "k"], *END], [["uuid", "k"], *END], 1),
    "an awakeable, not kept": ([["run", "a"], ["awakeable"], *END], [["run", "a"], ["awakeable"], *END], 2),
    "an error": ([*STEPS, *END], [["raise", "an error"]], 2),
    "another result, with the output kept": ([["run", "a"], ["return", 1]], [["run", "a"], ["return", 2]], 3),
}
"""Programs of ended invocations before and after a change, and the index of the last entry that a restart keeps."""
RENAMED = {"an awakeable", "a random value"}
STOPPED = {
    **dict.fromkeys([*RENAMED, "another step", "another result, with the output kept"], "diverges"),
    "an error": "fails",
}
"""What the server reports about those that a check excludes."""
REDRIVES: dict[str, tuple[Operations, Operations]] = {
    "repaired": ([["run", "a"], ["die", "x"]], [["run", "a"], ["run", "x"]]),
    "replaced": ([["run", "a"], ["die", "x"]], [["run", "a"], ["run", "y"]]),
    "another step": ([["run", "a"], ["die", "x"]], [["run", "b"], ["run", "x"]]),
    "an awakeable": ([["awakeable"], ["die", "x"]], [["awakeable"], ["run", "x"]]),
}
"""Programs of failed invocations before and after a repair."""


class Gates:
    def __init__(self, bench: ReplayBench) -> None:
        self.bench, self.lab = bench, bench.lab
        self.moves = self._start(MOVES)
        self.restarts = self._start({name: each[:2] for name, each in RESTARTS.items()})
        self.redrives = self._start(REDRIVES)
        bench.settle([*self.moves.values(), *self.restarts.values(), *self.redrives.values()])
        self.deployment = bench.register_new()

    def _start(self, programs: Mapping[str, tuple[Operations, Operations]]) -> dict[str, str]:
        return {name: self.bench.start(*each) for name, each in programs.items()}

    @property
    def checked(self) -> dict[str, str]:
        return {"check": self.bench.new.uri, "confirm": self.bench.new.uri}

    def excluded(self, made: rl.Plan, ids: Mapping[str, str]) -> dict[str, str]:
        reasons = dict(zip(made.excluded["id"], made.excluded["reason"], strict=True))
        return {name: reasons[id_] for name, id_ in ids.items() if id_ in reasons}

    def restart(self, options: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
        new = {
            name: str(
                self.lab.admin.restart_as_new_invocation(self.restarts[name], reason="INC-42", **each).new_invocation_id
            )
            for name, each in options.items()
        }
        states = self.bench.settle(list(new.values()))
        kept = {
            name: self.lab.sql(KEPT, id=self.restarts[name], last=each["from_index"])["n"].iloc[0]
            for name, each in options.items()
        }
        return {name: verdict_of(states[id_], kept[name])[0] for name, id_ in new.items()}

    def really(self, id_: str, recorded: int) -> Verdict:
        return verdict_of(self.bench.settle([id_])[id_], recorded)


@pytest.fixture(scope="module", params=[NEWEST, pytest.param(PLAIN, marks=pytest.mark.long)])
def gates(request: pytest.FixtureRequest, server: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gates]:
    with running_replay_bench(request.param, tmp_path_factory.mktemp("gates")) as bench:
        yield Gates(bench)


def test_nothing_is_sent_without_a_confirmation(gates: Gates) -> None:
    outside, new = len(gates.bench.new.outside), gates.bench.new.uri
    ids = list(gates.moves.values())
    for check in (new, gates.deployment):
        for confirm in (None, gates.bench.old.uri):
            options: dict[str, Any] = {"check": check, "confirm": confirm}
            with pytest.raises(errors.ArgumentError, match=f"Nothing was sent. To confirm, pass confirm='{new}'"):
                rl.move_to(gates.lab, ids, deployment=gates.deployment, **options)
            with pytest.raises(errors.ArgumentError, match="Nothing was sent"):
                rl.plan(gates.lab, "restart_as_new", list(gates.restarts.values()), from_index=1, **options)
            with pytest.raises(errors.ArgumentError, match="Nothing was sent"):
                rl.redrive(gates.lab, list(gates.redrives.values()), **options)
    assert len(gates.bench.new.outside) == outside
    assert rl.move_to(gates.lab, ids, deployment=gates.deployment).replay is None
    assert len(gates.bench.new.outside) == outside


def test_an_unencrypted_address_warns_at_the_line_of_the_caller(gates: Gates, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("restate_lab.analysis.replay.check.is_unencrypted", lambda _: True)
    move, restart, failed = gates.moves["nothing"], gates.restarts["nothing"], gates.redrives["repaired"]
    for call in (
        lambda: rl.move_to(gates.lab, move, deployment=gates.deployment, **gates.checked),
        lambda: rl.plan(gates.lab, "restart_as_new", restart, **gates.checked),
        lambda: rl.redrive(gates.lab, failed, **gates.checked),
    ):
        with pytest.warns(errors.UnencryptedWarning) as caught:
            call()
        assert [each.filename for each in caught] == [__file__]


def test_a_restart_excludes_what_would_not_continue(gates: Gates) -> None:
    steps = len(gates.bench.new.steps)
    # With unique seeds, a restart draws the same random values.
    same = {"a random value"} if gates.lab.features.get("unique_random_seeds") else set()
    stopped = {name: verdict for name, verdict in STOPPED.items() if name not in same}
    options = {name: {"from_index": each[2], "deployment": gates.deployment} for name, each in RESTARTS.items()}
    excluded = {}
    for name, id_ in gates.restarts.items():
        made = rl.plan(gates.lab, "restart_as_new", id_, **options[name], **gates.checked)
        excluded |= gates.excluded(made, {name: id_})
        assert bool(made.targets) == (name not in stopped), name
        assert "No replay check" not in str(made)
    assert len(gates.bench.new.steps) == steps
    assert excluded.keys() == stopped.keys()
    assert {name for name, why in excluded.items() if "fits under the old id" in why} == RENAMED - same
    assert gates.restart(options) == dict.fromkeys(RESTARTS, "fits") | stopped


def test_a_restart_that_keeps_entries_warns_without_a_check_and_about_changed_ids_with_it(gates: Gates) -> None:
    changed, same = gates.restarts["an awakeable"], gates.restarts["nothing"]
    unchecked = rl.plan(gates.lab, "restart_as_new", [changed, same], from_index=1)
    assert [text for text in unchecked.warnings if "No replay check" in text]
    assert not [text for text in rl.plan(gates.lab, "restart_as_new", same).warnings if "No replay check" in text]
    checked = rl.plan(gates.lab, "restart_as_new", [changed, same], from_index=1, **gates.checked)
    assert checked.targets == (same,)
    (text,) = [text for text in checked.warnings if "id that a restart changes" in text]
    assert text.startswith("1 invocation is excluded")
    assert checked.excluded["reason"][0].startswith("replay diverges: command 1, OneWayCall Helper/answer, has another")


@pytest.fixture(scope="module")
def panel(gates: Gates) -> Iterator[rl.Panel]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rl.Panel, "run_doctor", lambda _: None)
        panel = rl.Panel(gates.lab, service="Programs", status="all", refresh=None)
        yield panel
        panel.close()


def ticked(panel: rl.Panel, action: ACTIONS, ids: list[str], **options: Any) -> Any:
    """Make a plan in the panel and tick its check; return its form."""
    bar = panel.view.actions
    bar.make_plan(action, ids)
    assert bar.wait()
    for name, value in options.items():
        getattr(bar.form, name).value = value
        assert bar.wait()
    bar.form.check.tick.value = True
    assert bar.wait()
    return bar.form


def test_the_panel_checks_at_the_confirmed_address(gates: Gates, panel: rl.Panel) -> None:
    """Until the address is confirmed nothing reaches the deployment; then the plan is that of plan() with check=."""
    outside, new = len(gates.bench.new.outside), gates.bench.new.uri
    ids, kept = [gates.restarts["an awakeable"]], 1
    form = ticked(panel, ACTIONS.RESTART_AS_NEW, ids, from_index=kept)
    assert panel.error == ""
    offer = form.check.offer
    assert (offer.deployment, offer.address) == (gates.deployment, new.rstrip("/")), "the default is the latest one"
    assert offer.address in form.check.run.description
    assert "code outside of steps does" in form.check.text
    assert len(gates.bench.new.outside) == outside
    form.check.run.click()
    assert panel.view.actions.wait()
    assert panel.error == ""
    assert len(gates.bench.new.outside) > outside
    made = rl.plan(gates.lab, "restart_as_new", ids, from_index=kept, **gates.checked)
    assert list(panel.plan.excluded["reason"]) == list(made.excluded["reason"])
    assert "fits under the old id" in form.card.value
    assert "1 diverges" in form.check.text
    assert ticked(panel, ACTIONS.RESTART_AS_NEW, ids, deployment="keep").check.offer.address == (
        gates.bench.old.uri.rstrip("/")
    )


def test_nothing_is_sent_if_the_address_changed_after_its_confirmation(gates: Gates, panel: rl.Panel) -> None:
    outside = len(gates.bench.new.outside)
    form = ticked(panel, ACTIONS.RESTART_AS_NEW, [gates.restarts["nothing"]])
    form.check.offer = replace(form.check.offer, address=gates.bench.old.uri.rstrip("/"))
    form.check.run.click()
    assert panel.view.actions.wait()
    assert "Nothing was sent. To confirm" in panel.error
    assert panel.plan.replay is None
    assert form.check.is_pending
    assert len(gates.bench.new.outside) == outside


def test_problems_of_a_check_are_shown_in_the_panel(
    gates: Gates, panel: rl.Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warning about encryption precedes the confirmation and is not output; a refusal and an error are shown."""
    monkeypatch.setattr("restate_lab.analysis.replay.check.is_unencrypted", lambda _: True)
    ids = [gates.restarts["nothing"]]
    form = ticked(panel, ACTIONS.RESTART_AS_NEW, ids)
    assert "is not encrypted and not on this machine" in form.check.text
    for answer, expected in (
        (response(status="401 Unauthorized"), "1 not checkable"),
        (response(status="500 Error"), "ServerFailed: "),
    ):
        with (
            raw_server(respond=deployment(FITS, discover=answer)) as server,
            warnings.catch_warnings(action="error"),
        ):
            monkeypatch.setattr("restate_lab.analysis.replay.check.uri_of_deployment", lambda *_: server.address)
            form = ticked(panel, ACTIONS.RESTART_AS_NEW, ids)
            form.check.run.click()
            assert panel.view.actions.wait()
        assert expected in form.check.text + panel.error
        assert not [each for each in server.requests if each.startswith(b"POST")]


def test_the_stop_button_ends_a_check_that_hangs(
    gates: Gates, panel: rl.Panel, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = threading.Event()
    with raw_server(respond=deployment(FITS, discover=lambda _: hangs.wait(30))) as server:
        monkeypatch.setattr("restate_lab.analysis.replay.check.uri_of_deployment", lambda *_: server.address)
        form = ticked(panel, ACTIONS.RESTART_AS_NEW, [gates.restarts["nothing"]])
        form.check.run.click()
        wait_for(lambda: server.requests)
        started = time.monotonic()
        form.stop.click()
        assert panel.view.actions.wait()
        assert time.monotonic() - started < 5
        hangs.set()
    assert panel.error == ""
    assert form.check.is_pending
    assert not [each for each in threading.enumerate() if each.name.startswith("restate-lab-replay")]


def test_a_move_excludes_those_that_would_end_with_rt0016(gates: Gates) -> None:
    """Those that are excluded have RT0016 after a move by hand, or fail; all others continue after the plan."""
    ids = list(gates.moves.values())
    steps = len(gates.bench.new.steps)
    recorded = {id_: int(row["commands"]) for id_, row in gates.bench.settle(ids).items()}
    made = rl.move_to(gates.lab, ids, deployment=gates.deployment, check=gates.deployment, confirm=gates.bench.new.uri)
    excluded = gates.excluded(made, gates.moves)
    assert set(excluded) == {*DIVERGING, "an error"}
    assert excluded["another step"] == (
        "replay diverges: the journal has Run 'a' as command 1, and the code issues Run 'b'"
    )
    assert len(gates.bench.new.steps) == steps
    assert not gates.bench.states(ids).keys() ^ set(ids)
    assert made.replay is not None
    assert made.replay.counts == {"diverges": 3, "fails": 1, "fits": 3}
    assert "Code outside of steps ran" in str(made)
    assert set(made.execute(reason=WHY)["outcome"]) == {"done"}
    assert {gates.really(id_, recorded[id_]) for id_ in made.targets} == {("fits", None)}
    rest = [gates.moves[name] for name in excluded]
    rl.move_to(gates.lab, rest, deployment=gates.deployment).execute(reason=WHY)
    real = {name: gates.really(gates.moves[name], recorded[gates.moves[name]])[0] for name in excluded}
    assert real == {**dict.fromkeys(DIVERGING, "diverges"), "an error": "fails"}


def test_a_redrive_excludes_what_would_not_continue(gates: Gates) -> None:
    ids = list(gates.redrives.values())
    unchecked = rl.redrive(gates.lab, ids, deployment=gates.deployment)
    assert "No replay check was made" in unchecked.warnings[0]
    made = rl.redrive(gates.lab, ids, deployment=gates.deployment, **gates.checked)
    assert set(gates.excluded(made, gates.redrives)) == {"another step", "an awakeable"}
    assert "No replay check was made" not in str(made)
    new = list(made.execute(reason=WHY)["new_id"])
    assert {state["status"] for state in gates.bench.settle(new).values()} == {"completed"}
    left = unchecked.only([gates.redrives[name] for name in ("another step", "an awakeable")])
    broken = list(left.execute(reason=WHY)["new_id"])
    assert {state["code"] for state in gates.bench.settle(broken).values()} == {"RT0016"}
