"""Acting from a panel, clicked without a browser: nothing acts on one click, and errors are shown."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pandas as pd
import pytest

import restate_lab as rl
from restate_lab.actions.change import Change, ExecutionRequest
from restate_lab.actions.execution.outcomes import ActionOutcome, OutcomeName, outcome_frame
from restate_lab.actions.plan import model
from restate_lab.actions.plan.gate import CheckedTargets, CheckOffer
from restate_lab.actions.plan.model import Plan
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.ids import parse_created, parse_ids
from restate_lab.errors import ArgumentError, PlanExpired
from restate_lab.panels._base.worker import BackgroundAction
from restate_lab.panels.actions import bar as action_bar, followup
from restate_lab.panels.actions.followup import FollowUp
from restate_lab.panels.actions.form import PlanForm, name_of
from restate_lab.panels.panel import Panel
from support.bench import wait_for
from support.fake_endpoint import INVOCATION, OneInvocation, deployment, error_frame, response
from support.raw_server import raw_server
from support.sample_source import LiveSource, invocations

ROWS = invocations(*({"id": n, "status": "backing-off"} for n in range(12)), {"id": 12, "status": "killed"})


@dataclass
class Plans:
    """Makes plans that send nothing, and records their calls."""

    made: list[Plan] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    checks: list[tuple[str, str]] = field(default_factory=list)
    offered: CheckOffer | Exception = field(default_factory=lambda: CheckOffer("dp_1new", "http://127.0.0.1:2"))
    replay: rl.Replay | None = None
    fails: Exception | None = None
    refuses: Exception | None = None
    go_on: threading.Event = field(default_factory=threading.Event)

    def offer(self, *_: Any) -> CheckOffer:
        if isinstance(self.offered, Exception):
            raise self.offered
        return self.offered

    def check(self, change: Change, progress: Any, reads: Any) -> CheckedTargets:
        self.checks.append((str(change.check), str(change.confirm)))
        assert reads.live
        while not self.go_on.wait(0.01):
            progress.update(1, 2)
        assert self.replay is not None
        return CheckedTargets(self.replay)

    def make(self, source: Any, change: Change, targets: Any, **options: Any) -> Plan:
        if self.refuses:
            raise self.refuses
        checked = self.check(change, **options) if change.check else None
        ids, _ = parse_ids(targets)
        created = parse_created(targets)
        frame = pd.DataFrame({"id": ids, "created_at": [max(created[id_]) for id_ in ids]})
        columns = ("target", "service", "status", "age", "idle_for", "effect", "excluded", "callee_of")
        frame = frame.assign(**dict.fromkeys(columns, None))
        frame["target"], frame["service"], frame["status"], frame["effect"] = "<b>t</b>", "s", "backing-off", "tried"
        plan = Plan(
            change=change,
            frame=frame,
            impact=pd.DataFrame(columns=["kind", "id", "target", "status", "caused_by", "effect"]),
            prefixes=pd.DataFrame(columns=["id", "from_index", "entry", "result"]),
            restarted=frozenset(),
            read_at=datetime.now(UTC),
            source="made",
            version="1.7.12",
            address="http://127.0.0.1:1",
            server="none",
            _ids=tuple(ids),
            _lab=source,
            _checked=checked,
        )
        self.made.append(plan)
        return plan

    def execute(self, lab: Any, request: ExecutionRequest, *, progress: Any, stop: Any) -> pd.DataFrame:
        self.executed.append(request.reason)
        if self.fails:
            raise self.fails
        progress.update(1, len(request.ids))
        self.go_on.wait(10)
        word: OutcomeName = "not sent" if stop() else "done"
        return outcome_frame([ActionOutcome(id_, word, status="running", milliseconds=1.0) for id_ in request.ids])


@pytest.fixture
def plans(no_doctor: None, monkeypatch: pytest.MonkeyPatch) -> Plans:
    plans = Plans()
    monkeypatch.setattr(followup, "_EVERY", 0.01)
    monkeypatch.setattr(followup, "_FOR", 0.05)
    monkeypatch.setattr(action_bar, "make_plan", plans.make)
    monkeypatch.setattr(action_bar, "offer_check", plans.offer)
    monkeypatch.setattr(model, "execute", plans.execute)
    return plans


@pytest.fixture
def panel(plans: Plans, make: Callable[..., Panel]) -> Panel:
    return make(LiveSource(ROWS), status="all", refresh=None)


def press(panel: Panel, action: str, rows: int) -> PlanForm:
    panel.selected = list(ROWS["id"][:rows])
    panel.click(name_of(ACTIONS(action)))
    assert panel.wait(timeout=60, action=True)
    return panel.view.actions.form


def offered(panel: Panel) -> set[str]:
    return {action.value for action, button in panel.view.actions.buttons.items() if not button.disabled}


def test_the_offered_actions_have_an_effect_in_the_selected_statuses(panel: Panel) -> None:
    assert offered(panel) == set()
    panel.selected = list(ROWS["id"][:3])
    assert offered(panel) == {"cancel", "kill", "pause", "resume", "move_to"}
    panel.selected = [ROWS["id"][12]]
    assert offered(panel) == {"purge", "purge_journal", "restart_as_new"}
    panel.selected = list(ROWS["id"])
    assert offered(panel) == set(ACTIONS)


@pytest.mark.parametrize("flag", [False, True])
def test_each_row_decides_which_actions_it_has(plans: Plans, make: Callable[..., Panel], flag: bool) -> None:
    """A suspended invocation can be paused only in a vqueue, whatever the flag of the server is."""
    rows = invocations(*({"id": n, "status": "suspended", "in_vqueue": n < 2} for n in range(3)))
    source = LiveSource(rows)
    source.features = {"vqueues": flag}
    panel = make(source, status="all", refresh=None)
    for first, end, label in ((0, 3, "Pause 2"), (1, 3, "Pause 1"), (0, 1, "Pause"), (2, 3, "Pause")):
        panel.selected = list(rows["id"][first:end])
        assert panel.view.actions.buttons[ACTIONS.PAUSE].description == label
    assert panel.view.actions.buttons[ACTIONS.PAUSE].disabled


def test_an_action_needs_a_plan_a_reason_and_a_confirmation(panel: Panel, plans: Plans) -> None:
    """A button makes a plan; without a reason, confirming it does nothing; with one, it is done once and read back."""
    form = press(panel, "resume", 2)
    assert panel.plan is plans.made[0]
    assert form.children[0].blocks[0]["title"] == "Resume 2 of 2 · <b>t</b> · on made (http://127.0.0.1:1)"
    assert panel.plan.undo in form.children[0].blocks[0]["text"]
    assert "<b>t</b>" not in form.card.value
    assert form.confirm.disabled
    form.confirm.click()
    panel.fill("reason", "   ")
    assert form.confirm.disabled
    assert plans.executed == []
    panel.fill("reason", "INC-42: back")
    assert not form.confirm.disabled
    plans.go_on.set()
    asked = len(panel.source.asked)  # type: ignore[attr-defined]
    form.confirm.click()
    assert panel.wait(timeout=60, action=True)
    assert plans.executed == ["INC-42: back"]
    assert panel.view.actions.outcome.summary.startswith("Resumed 2.")
    assert list(panel.view.actions.outcome.grid.frame["outcome"]) == ["done", "done"]
    assert len(panel.source.asked) > asked  # type: ignore[attr-defined]
    form.confirm.click()
    assert len(plans.executed) == 1


def test_the_outcome_has_the_later_statuses(panel: Panel, plans: Plans) -> None:
    """Some seconds after an action the panel reports the new statuses, and whether the error is the same."""
    panel.source.frame = ROWS.assign(failure="HTTP 503 for order 17", step="charge")  # type: ignore[attr-defined]
    panel.refresh()
    form = press(panel, "resume", 2)
    panel.fill("reason", "INC-42")
    panel.source.frame = ROWS.head(2).assign(failure="HTTP 503 for order 18")  # type: ignore[attr-defined]
    plans.go_on.set()
    form.confirm.click()
    assert panel.wait(timeout=60, action=True)
    wait_for(lambda: panel.view.actions.outcome.summary.startswith("Resumed 2. After "))
    assert panel.view.actions.outcome.summary.endswith("s: 0 succeeded, 2 failing again (same error).")
    outcome = panel.view.actions.outcome
    assert list(outcome.grid.frame["now"]) == ["backing-off", "backing-off"]
    assert outcome.children[-1].titles == ("All 2: done · running · backing-off",), "rows that agree are folded"
    assert outcome.children[-1].children == (outcome.grid,)
    outcome.report(FollowUp(2.0, {"succeeded": 1}, {ROWS["id"][0]: "succeeded"}))
    assert outcome.children[-1] is outcome.grid
    assert panel.head.event == "", "no longer that nothing has been sent"


def test_a_plan_is_of_the_runs_that_were_selected(panel: Panel, plans: Plans) -> None:
    """A plan names the runs; a selected row with another run after a refresh is deselected, with a note."""
    press(panel, "resume", 3)
    assert list(plans.made[0].frame["created_at"]) == list(ROWS["created_at"][:3])
    panel.fill("reason", "INC-42")
    later = ROWS.assign(created_at=ROWS["created_at"].where(ROWS.index != 1, pd.Timestamp("2026-11-25T03Z")))
    panel.source.frame = later  # type: ignore[attr-defined]
    panel.refresh()
    assert panel.selected == [ROWS["id"][0], ROWS["id"][2]]
    assert "1 deselected: a new run with the same id" in panel.view.grid.static_html()
    assert panel.view.actions.label.value == "2 selected"
    panel.refresh()
    assert "1 deselected" in panel.view.grid.static_html(), "until the reader selects"
    again = press(panel, "resume", 3)
    assert "deselected" not in panel.view.grid.static_html()
    assert plans.made[-1].frame["created_at"][1] == later["created_at"][1]
    assert again.why.value == "", "a reason is for one plan, and this one is of another run"
    panel.source.frame = ROWS  # type: ignore[attr-defined]
    panel.refresh()
    panel.fill("deployment", "latest")
    assert panel.wait(timeout=60, action=True)
    assert plans.made[-1].frame["created_at"][1] == later["created_at"][1], "other options, and still the same runs"


def test_older_runs_of_an_id_are_counted_and_not_shown(plans: Plans, make: Callable[..., Panel]) -> None:
    older = ROWS.head(2).assign(created_at=pd.Timestamp("2026-11-20T00Z"))
    panel = make(LiveSource(pd.concat([ROWS, older], ignore_index=True)), status="all", refresh=None)
    assert panel.error == ""
    assert list(panel.frame["id"]) == list(ROWS["id"])
    assert panel.view.grid.controller.options.note == "2 older runs with the same id as a newer one are not shown."


def test_many_targets_need_their_exact_number(panel: Panel, plans: Plans) -> None:
    form = press(panel, "kill", 12)
    panel.fill("reason", "INC-42")
    for wrong in ("", "11", "a dozen"):
        panel.fill("number", wrong)
        assert form.confirm.disabled
    panel.fill("number", "12")
    assert not form.confirm.disabled
    assert form.confirm.button_style == "danger"
    plans.go_on.set()
    form.confirm.click()
    assert panel.wait(timeout=60, action=True)
    assert plans.executed == ["INC-42"]
    assert press(panel, "resume", 2).number.layout.display == "none"


def test_the_stop_button_stops(panel: Panel, plans: Plans) -> None:
    """During an action there are a bar and a stop button, and a second action is refused."""
    form = press(panel, "resume", 3)
    panel.fill("reason", "INC-42")
    form.confirm.click()
    wait_for(lambda: form.bar.description == "1 of 3")
    assert (form.bar.value, form.bar.max) == (1, 3)
    assert form.doing.layout.display == ""
    panel.click("Kill")
    assert panel.error.startswith("Busy: ")
    panel.click("Stop")
    plans.go_on.set()
    assert panel.wait(timeout=60, action=True)
    assert panel.view.actions.outcome.summary == "Resumed 0; 3 not sent."
    assert form.doing.layout.display == "none"


def test_a_failed_execution_is_shown_until_the_next_action(panel: Panel, plans: Plans) -> None:
    form = press(panel, "resume", 1)
    plans.fails = PlanExpired("make it again")
    panel.fill("reason", "INC-42")
    form.confirm.click()
    assert panel.wait(timeout=60, action=True)
    panel.refresh()
    assert panel.error == "PlanExpired: make it again"
    assert form.doing.layout.display == "none"
    panel.click("Back")
    assert panel.error == ""


def test_back_hides_the_plan_and_sends_nothing(panel: Panel, plans: Plans) -> None:
    form = press(panel, "resume", 1)
    panel.fill("deployment", "latest")
    assert panel.wait(timeout=60, action=True)
    assert [plan.deployment for plan in plans.made] == [None, "latest"]
    panel.click("Back")
    assert form.layout.display == "none"
    assert plans.executed == []


def test_a_reason_is_for_one_plan(panel: Panel, plans: Plans) -> None:
    """Other options keep the reason; another action, other invocations and a second round ask again."""
    form = press(panel, "resume", 2)
    panel.fill("reason", "INC-42")
    panel.fill("deployment", "latest")
    assert panel.wait(timeout=60, action=True)
    assert form.why.value == "INC-42"
    assert press(panel, "pause", 2).why.value == ""
    panel.fill("reason", "INC-43")
    assert press(panel, "pause", 1).why.value == ""
    panel.fill("reason", "INC-44")
    plans.go_on.set()
    form.confirm.click()
    assert panel.wait(timeout=60, action=True)
    assert press(panel, "pause", 1).why.value == ""
    assert form.confirm.disabled


def test_a_confirmation_has_the_visible_reason_and_options(
    panel: Panel, plans: Plans, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason is the one in the field at confirmation; an option that is not reviewed makes a plan instead."""
    form = press(panel, "resume", 2)
    panel.fill("reason", "I")
    plans.go_on.set()
    monkeypatch.setattr(BackgroundAction, "run", lambda _, work: work())  # a plan that is ready at once
    _confirm(form, "INC-42", seen=form.confirm.shown, deployment="latest")
    assert (len(plans.made), plans.executed) == (2, [])
    _confirm(form, "INC-42: back", seen=form.confirm.shown, deployment="latest")
    assert plans.executed == ["INC-42: back"]
    assert (len(plans.made), plans.made[-1].deployment) == (2, "latest")


def test_a_confirmation_is_for_the_plan_that_was_seen(panel: Panel, plans: Plans) -> None:
    """A confirmation for an earlier plan does nothing once another one is made; the plan in view works."""
    seen = press(panel, "resume", 1).confirm.shown
    form = press(panel, "kill", 1)
    plans.go_on.set()
    _confirm(form, "INC-42: back", seen=seen)
    assert panel.wait(timeout=60, action=True)
    assert (plans.executed, form.why.value) == ([], "")
    assert "nothing was done" in form.confirm.error
    _confirm(form, "INC-42: kill it", seen=form.confirm.shown)
    assert panel.wait(timeout=60, action=True)
    assert (plans.executed, panel.plan and panel.plan.action) == (["INC-42: kill it"], ACTIONS.KILL)


@pytest.fixture(scope="module")
def replay() -> rl.Replay:
    """Give a replay in which one invocation diverges."""
    with raw_server(respond=deployment(response(error_frame(570, "mismatch", 1, "<b>", 0x411)))) as server:
        return rl.replay(OneInvocation(), INVOCATION, server.address, confirm=server.address, progress=False)


def ticked(panel: Panel, action: str = "move_to") -> PlanForm:
    """Make a plan and tick its check."""
    form = press(panel, action, 2)
    panel.click("Check by replay first")
    assert panel.wait(timeout=60, action=True)
    return form


def test_a_check_needs_the_confirmed_address(panel: Panel, plans: Plans, replay: rl.Replay) -> None:
    """The tick only shows the address; the press of the button checks this address, once, and not the next plan."""
    plans.replay = replay
    form = ticked(panel)
    panel.fill("reason", "INC-42")
    assert "http://127.0.0.1:2" in form.check.text
    assert "code outside of steps does" in form.check.text
    assert form.check.run.description == "Run the check at http://127.0.0.1:2"
    assert form.confirm.disabled
    assert "Run the check first" in form.confirm.tooltip
    form.confirm.click()
    assert panel.error.endswith("Nothing was sent.")
    assert (plans.checks, plans.executed) == ([], [])
    plans.go_on.set()
    form.check.run.click()
    assert panel.wait(timeout=60, action=True)
    assert plans.checks == [("dp_1new", "http://127.0.0.1:2")]
    assert form.check.text.endswith(
        "1 diverges. No response showed that a step ran, and nothing on the cluster changed."
    )
    assert form.check.run.layout.display == "none"
    assert "&lt;b&gt;" in form.details.children[1].value
    assert form.details.selected_index == 0
    assert (form.why.value, form.confirm.disabled) == ("INC-42", False)
    panel.fill("deployment", "keep")
    assert panel.wait(timeout=60, action=True)
    assert form.confirm.disabled
    assert form.check.run.layout.display == ""
    panel.click("Check by replay first")
    assert form.check.layout.display == "none"
    assert not form.confirm.disabled
    assert len(plans.checks) == 1


def test_clearing_the_tick_makes_a_plan_without_a_check(panel: Panel, plans: Plans, replay: rl.Replay) -> None:
    """What the check excluded becomes a target again only in a new plan."""
    plans.replay = replay
    plans.go_on.set()
    form = ticked(panel)
    form.check.run.click()
    assert panel.wait(timeout=60, action=True)
    panel.click("Check by replay first")
    assert panel.wait(timeout=60, action=True)
    assert [plan.replay is None for plan in plans.made] == [True, False, True]
    assert panel.plan is plans.made[-1]
    assert len(form.details.children) == 1
    assert not press(panel, "move_to", 1).check.tick.value


def test_a_check_is_for_the_address_that_was_seen(panel: Panel, plans: Plans, monkeypatch: pytest.MonkeyPatch) -> None:
    """A press for an earlier address, or with an option that is not reviewed, checks nothing."""
    form = ticked(panel)
    monkeypatch.setattr(BackgroundAction, "run", lambda _, work: work())  # a plan that is ready at once
    plans.go_on.set()
    seen = form.check.run.shown
    values = {"type": "press", "seen": seen, "values": ["dp_1other", form.from_index.index]}
    form.check.run.receive(values)
    assert plans.made[-1].deployment == "dp_1other"
    form.check.run.receive(values)
    assert "nothing was done" in form.check.run.error
    assert plans.checks == []


def test_a_confirmation_counts_the_tick_that_was_seen(panel: Panel, plans: Plans) -> None:
    """If the tick arrives with the click that confirms the plan, the plan is not executed."""
    form = press(panel, "move_to", 1)
    values = ["latest", form.from_index.index, True, "INC-42", ""]
    form.confirm.receive({"type": "press", "seen": form.confirm.shown, "values": values})
    assert panel.wait(timeout=60, action=True)
    assert (form.check.is_pending, plans.executed) == (True, [])


def test_a_cleared_tick_does_not_execute_the_new_plan(
    panel: Panel, plans: Plans, replay: rl.Replay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the tick of a checked plan is cleared with the click, the new plan, without exclusions, is only shown."""
    plans.replay = replay
    plans.go_on.set()
    form = ticked(panel)
    form.check.run.click()
    assert panel.wait(timeout=60, action=True)
    monkeypatch.setattr(BackgroundAction, "run", lambda _, work: work())
    values = ["latest", form.from_index.index, False, "INC-42", ""]
    form.confirm.receive({"type": "press", "seen": form.confirm.shown, "values": values})
    assert (len(plans.made), plans.made[-1].replay, plans.executed) == (3, None, [])


@pytest.mark.parametrize("end", ["stop", "close"])
def test_a_check_can_be_stopped(panel: Panel, plans: Plans, end: str) -> None:
    """The Stop button and the end of the panel end a check; the plan without it stays, and needs a check."""
    form = ticked(panel)
    form.check.run.click()
    wait_for(lambda: form.bar.description == "1 of 2")
    assert form.doing.layout.display == ""
    assert form.check.tick.disabled
    panel.click("Stop") if end == "stop" else panel.close()
    assert panel.wait(timeout=60, action=True)
    assert (len(plans.checks), len(plans.made)) == (1, 1)
    if end == "stop":
        assert "was not completed; nothing on the cluster has changed" in str(panel.head.event)
        assert (panel.error, form.doing.layout.display) == ("", "none")
        assert form.check.is_pending
        assert form.check.run.layout.display == ""
        assert not form.check.tick.disabled


def test_a_plan_with_other_options_cannot_be_executed(panel: Panel, plans: Plans) -> None:
    """If no plan could be made with the options in the fields, the one made before them cannot be executed."""
    form = press(panel, "move_to", 1)
    panel.fill("reason", "INC-42")
    plans.refuses = ArgumentError("unknown deployment")
    panel.fill("deployment", "dp_1unknown")
    assert panel.wait(timeout=60, action=True)
    assert panel.error == "unknown deployment"
    assert form.confirm.disabled
    form.confirm.click()
    assert panel.error == "The plan was not made with these options. Correct them first. Nothing was sent."
    assert plans.executed == []
    plans.refuses = None
    panel.fill("deployment", "latest")
    assert panel.wait(timeout=60, action=True)
    assert not form.confirm.disabled


def test_a_check_without_an_address(panel: Panel, plans: Plans) -> None:
    """The reason is shown, nothing can be run, and the plan needs a check or a cleared tick."""
    plans.offered = ArgumentError("the targets would continue on 2 deployments")
    form = ticked(panel)
    assert panel.error == "the targets would continue on 2 deployments"
    assert form.check.run.layout.display == "none"
    form.check.run.click()
    assert plans.checks == []
    assert form.check.is_pending


def test_a_check_is_offered_for_the_actions_that_replay_supports(panel: Panel) -> None:
    displayed = {action: press(panel, action, 2).check.tick.layout.display == "" for action in offered(panel)}
    assert {action for action, is_shown in displayed.items() if is_shown} <= {"move_to", "restart_as_new"}
    assert press(panel, "move_to", 2).check.tick.layout.display == ""
    assert press(panel, "resume", 2).check.tick.layout.display == "none"


def test_a_read_only_connection_checks_and_does_not_act(
    plans: Plans, replay: rl.Replay, make: Callable[..., Panel]
) -> None:
    """It offers only plans that can be checked; the reason is shown, and the plan cannot be executed."""
    panel = make(LiveSource(ROWS, read_only=True), status="all", refresh=None)
    plans.replay = replay
    plans.go_on.set()
    panel.selected = list(ROWS["id"][:2])
    assert offered(panel) == {"move_to"}
    panel.click("Check move 2…")
    assert panel.wait(timeout=60, action=True)
    form = panel.view.actions.form
    assert "read-only" in panel.view.actions.label.value
    assert form.check.is_pending
    form.check.run.click()
    assert panel.wait(timeout=60, action=True)
    assert len(plans.checks) == 1
    assert form.confirm.disabled
    assert form.confirm.layout.display == "none"
    form.confirm.click()
    assert "read-only" in panel.error
    assert plans.executed == []


def _confirm(form: PlanForm, reason: str, *, seen: int, deployment: str = "") -> None:
    values = [deployment, form.from_index.index, form.check.tick.value, reason, ""]
    form.confirm.receive({"type": "press", "seen": seen, "values": values})
