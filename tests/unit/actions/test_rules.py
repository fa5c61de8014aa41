"""The table of actions is consistent, and agrees with AdminClient and the documentation."""

from __future__ import annotations

import inspect

import pytest

from restate_lab.actions.plan import plan
from restate_lab.actions.rules import ACTIONS, GONE, NOT_BEGUN, effects
from restate_lab.client.admin import AdminClient
from restate_lab.status import ENDED, PAST_ONLY, STATUSES

KNOWN = set(STATUSES) - {"yielded", *PAST_ONLY}
"""No current server shows "yielded", and a plan needs the present."""


@pytest.mark.parametrize("action", ACTIONS)
def test_each_action_is_an_operation_with_its_options(action: ACTIONS) -> None:
    """The operation is a method of AdminClient, and has these options, and no others that change its effect."""
    operation = action.rule.operation
    if operation is None:
        assert action is ACTIONS.MOVE_TO
        assert action.rule.batch is None
        return
    taken = set(inspect.signature(getattr(AdminClient, operation)).parameters)
    assert taken - {"self", "invocation_id", "reason", "verify"} == action.rule.options
    assert operation in {action.value, f"{action.value}_invocation"}
    assert action.rule.batch == action.value.replace("_", "-")


@pytest.mark.parametrize("action", ACTIONS)
def test_each_status_has_an_effect_on_either_kind(action: ACTIONS) -> None:
    """Every status has an entry; an accepted action lists the statuses that follow, by their known names."""
    for status in KNOWN:
        assert status in action.rule.effects, status
        for has_vqueues in (False, True):
            for deployment in (None, "latest"):
                effect = action.rule.effect(status, has_vqueues=has_vqueues, deployment=deployment)
                assert effect.description
                assert set(effect.then) <= KNOWN | {GONE}
                assert bool(effect.then) == effect.accepted
                assert effect.accepted or not effect.acts
    assert set(action.rule.statuses) <= KNOWN


@pytest.mark.parametrize("action", ACTIONS)
def test_what_settles_it_is_what_can_be_seen(action: ACTIONS) -> None:
    """If a status shows the effect, each effect can reach it, and a refused status shows nothing."""
    rule = action.rule
    assert rule.settles <= KNOWN | {GONE}
    for status in rule.statuses if rule.settles else ():
        for has_vqueues in (False, True):
            effect = rule.effect(status, has_vqueues=has_vqueues)
            assert not effect.acts or rule.settles & set(effect.then), status


def test_an_end_before_the_start_depends_on_the_retention() -> None:
    """With retention the row remains, with the status of the action; every other effect is the same."""
    for action in ACTIONS:
        for status in KNOWN:
            for has_vqueues in (False, True):
                usual = action.rule.effect(status, has_vqueues=has_vqueues)
                kept = action.rule.effect(status, has_vqueues=has_vqueues, has_retention=True)
                if action in {"cancel", "kill"} and status in NOT_BEGUN:
                    assert usual.then == (GONE,)
                    assert kept.then == ({"cancel": "cancelled", "kill": "killed"}[action],)
                    assert (kept.accepted, kept.acts) == (usual.accepted, usual.acts)
                else:
                    assert kept == usual


def test_which_effects_repeat_a_step() -> None:
    """Only a pause of a running invocation in a vqueue, and an attempt on another deployment, repeat a step."""
    repeats = {
        (action.value, status, has_vqueues, deployment)
        for action in ACTIONS
        for status in KNOWN
        for has_vqueues in (False, True)
        for deployment in (None, "latest")
        if action.rule.effect(status, has_vqueues=has_vqueues, deployment=deployment).description
        in action.rule.repeating
    }
    assert {each[:3] for each in repeats if each[0] == "pause"} == {("pause", "running", True)}
    assert {each[0] for each in repeats} == {"pause", "resume", "move_to"}
    assert {each[3] for each in repeats if each[0] == "resume"} == {"latest"}
    assert ("move_to", "running", False, "latest") not in repeats


def test_kill_and_purge_need_the_exact_number_sooner() -> None:
    assert {action for action in ACTIONS if action.rule.destructive} == {"kill", "purge", "purge_journal"}
    assert {action.rule.expect_above for action in ACTIONS if action.rule.destructive} == {10}
    assert {action.rule.expect_above for action in ACTIONS if not action.rule.destructive} == {100}


def test_an_unknown_status_is_not_acted_on() -> None:
    for action in ACTIONS:
        assert not action.rule.effect("hibernating", has_vqueues=True).acts
        assert not action.rule.effect("yielded", has_vqueues=False).acts


def test_resuming_elsewhere_is_not_resuming_in_place() -> None:
    """Without vqueues a resume cannot move one that backs off, and "keep" does not count as a move."""
    rule = ACTIONS.RESUME.rule
    assert rule.effect("backing-off", has_vqueues=False).acts
    assert rule.effect("backing-off", has_vqueues=False, deployment="keep").acts
    assert not rule.effect("backing-off", has_vqueues=False, deployment="latest").accepted
    assert rule.effect("backing-off", has_vqueues=True, deployment="latest").acts


def test_the_documentation_is_the_table() -> None:
    """effects() has every action and status, and the docstring of plan() names each action with its requirements."""
    frame = effects()
    assert len(frame) == len(ACTIONS) * len(KNOWN)
    assert list(frame["action"].unique()) == list(ACTIONS)
    pause = frame[(frame["action"] == "pause") & (frame["status"] == "suspended")].iloc[0]
    assert not pause["acts_without"]
    assert pause["acts_with"]
    text = " ".join((plan.__doc__ or "").split())
    for action in ACTIONS:
        if action is not ACTIONS.MOVE_TO:
            assert f"- ``{action.value}``: {action.rule.needs}" in text
    assert set(ENDED) == {"succeeded", "failed", "cancelled", "killed"}
