"""The table of actions on invocations: the effect of each action in each status, on each kind of server.

Plans, panels, documentation and the live test read it. Every row was observed on 1.7.12, with vqueues and
without; the live test fails if a server behaves differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import pandas as pd

from restate_lab.status import ENDED, STATUSES

GONE = "gone"
"""The status of an invocation without a row, in the lists of statuses here."""
RETENTION = "preflight_invocation_termination_retention"
"""The feature of a server that keeps the row of an invocation that is killed or cancelled before it starts."""
NOT_BEGUN = ("scheduled", "pending")
_GOING = ("ready", "backing-off", "running", "suspended", "paused")
_FEW, _MANY = 10, 100


@dataclass(frozen=True, slots=True)
class Effect:
    """The effect of an action on an invocation in one status.

    ``accepted``: the server returns success. ``acts``: the action has an effect; False with ``accepted`` means that the
    server returns success but changes nothing. ``then`` has the names of STATUSES that can be read shortly afterwards
    (GONE for no row), if its handler does not catch a cancellation. ``repeats_step``: a step (Run) without a recorded
    result is executed again, although it may have been executed before.
    """

    description: str
    then: tuple[str, ...] = ()
    accepted: bool = True
    acts: bool = True
    repeats_step: bool = False


@dataclass(frozen=True, slots=True)
class ActionRule:
    """The properties of one action.

    ``undo`` is whether and how it can be undone, in one sentence without its period. ``operation`` is the operationId,
    which is also the method of AdminClient. ``batch`` is the last segment of the batch endpoint's path. Both are
    missing (None) for ``move_to``, which combines other actions. ``options`` are its arguments. ``destructive``: it
    permanently removes data. ``expect_above``: for more targets, the user must confirm their exact number. ``settles``
    has the statuses that show that the action had its effect; empty if no status shows that. ``with_retention`` has the
    effects on a server with the feature RETENTION.
    """

    operation: str | None
    batch: str | None
    needs: str
    undo: str
    effects: Mapping[str, Effect]
    settles: frozenset[str]
    destructive: bool = False
    options: frozenset[str] = frozenset()
    with_vqueues: Mapping[str, Effect] = field(default_factory=dict)
    moved: Mapping[str, Effect] = field(default_factory=dict)
    moved_with_vqueues: Mapping[str, Effect] = field(default_factory=dict)
    with_retention: Mapping[str, Effect] = field(default_factory=dict)

    @property
    def expect_above(self) -> int:
        """Return how many targets the action can have without a confirmation of their exact number."""
        return _FEW if self.destructive else _MANY

    @property
    def statuses(self) -> tuple[str, ...]:
        """Return the statuses in which it has an effect on some kind of server, in the order of STATUSES."""
        variants = (self.effects, self.with_vqueues, self.moved, self.moved_with_vqueues)
        return tuple(word for word in STATUSES if any(word in each and each[word].acts for each in variants))

    @property
    def repeating(self) -> frozenset[str]:
        """Return the descriptions of the effects that repeat a step."""
        layers = (self.effects, self.with_vqueues, self.moved, self.moved_with_vqueues)
        return frozenset(effect.description for each in layers for effect in each.values() if effect.repeats_step)

    def effect(
        self, status: str, *, has_vqueues: bool, deployment: str | None = None, has_retention: bool = False
    ) -> Effect:
        """Return the effect on an invocation in this status on this kind of server.

        ``has_vqueues`` is whether this invocation is in a vqueue, and ``has_retention`` whether the server has the
        feature RETENTION. ``deployment`` is the option of the action: some statuses allow resuming only on the same
        deployment. A status that the table does not have counts as one that does not allow the action.
        """
        kept = self.with_retention if has_retention else {}
        layers = [kept, self.with_vqueues if has_vqueues else {}, self.effects]
        if deployment not in {None, "keep"}:
            layers = [self.moved_with_vqueues if has_vqueues else {}, self.moved, *layers]
        effect = next((layer[status] for layer in layers if status in layer), None)
        return effect or _refusal(f"not possible, because the status {status} is unknown")


class ACTIONS(StrEnum):
    """The actions on invocations; ``.rule`` has the condition of each, and its effect in each status.

        rl.plan(lab, rl.ACTIONS.RESUME, ids)      # the same as "resume"
        rl.ACTIONS.RESUME.rule.needs

    MOVE_TO is the action of ``rl.move_to``. The guide has the complete table: ``help("restate_lab.guide.actions")``.
    """

    CANCEL = "cancel"
    KILL = "kill"
    PAUSE = "pause"
    RESUME = "resume"
    PURGE = "purge"
    PURGE_JOURNAL = "purge_journal"
    RESTART_AS_NEW = "restart_as_new"
    MOVE_TO = "move_to"

    @property
    def rule(self) -> ActionRule:
        """Return this action's row of the table."""
        return _RULES[self]


def effects() -> pd.DataFrame:
    """Return the table: one row per action and status, in the order of ``ACTIONS`` and of the statuses.

    Columns: ``action, status, without_vqueues, with_vqueues`` (a text about the effect), ``acts_without, acts_with``
    (whether it has an effect).
    """
    rows = []
    for action in ACTIONS:
        for status in (*NOT_BEGUN, *_GOING, *ENDED):
            plain, queued = (action.rule.effect(status, has_vqueues=each) for each in (False, True))
            rows.append((action.value, status, plain.description, queued.description, plain.acts, queued.acts))
    columns = ["action", "status", "without_vqueues", "with_vqueues", "acts_without", "acts_with"]
    return pd.DataFrame(rows, columns=columns)


def _no_effect(description: str, *then: str) -> Effect:
    return Effect(description, then, acts=False)


def _refusal(description: str) -> Effect:
    return Effect(description, accepted=False, acts=False)


def _for_each(statuses: Iterable[str], effect: Effect) -> dict[str, Effect]:
    return dict.fromkeys(statuses, effect)


_HAS_ENDED = _for_each(ENDED, _refusal("it has ended"))
_HAS_NOT_BEGUN = _for_each(NOT_BEGUN, _refusal("it has not started"))
_IS_REMOVED = _for_each(NOT_BEGUN, Effect("removed at once, without a completed row", (GONE,)))
_GOES_ON = (*_GOING, *ENDED)


def _ends_unstarted(status: str) -> dict[str, Effect]:
    """Return the effects on invocations that have not started, on a server that keeps their rows."""
    effect = Effect(f"{status} before its start; it remains as a completed row until its retention ends", (status,))
    return _for_each(NOT_BEGUN, effect)


def _elsewhere(description: str) -> Effect:
    """Return the effect of an attempt on another deployment."""
    return Effect(description, _GOES_ON, repeats_step=True)


_ENDS_THEM = "Undo: no. A restart as new only starts new invocations"
_CANCEL = ActionRule(
    operation="cancel_invocation",
    batch="cancel",
    needs="it has not ended",
    undo=_ENDS_THEM,
    settles=frozenset({*ENDED, GONE}),
    effects={
        **_IS_REMOVED,
        "ready": Effect("cancelled at its first await, when it runs", ("ready", "running", "cancelled")),
        "backing-off": Effect(
            "cancelled at its next attempt, not earlier; resume it to start the attempt now",
            ("backing-off", "running", "cancelled"),
        ),
        "running": Effect("cancelled at its next await; it can clean up before it ends", ("running", "cancelled")),
        "suspended": Effect("woken and cancelled; it can clean up before it ends", ("ready", "running", "cancelled")),
        "paused": Effect(
            "woken, retried, and cancelled at its next await; if it fails before that, it is paused again",
            ("ready", "running", "backing-off", "paused", "cancelled"),
        ),
        **_HAS_ENDED,
    },
    with_retention=_ends_unstarted("cancelled"),
)
_KILL = ActionRule(
    operation="kill_invocation",
    batch="kill",
    needs="it has not ended",
    undo=_ENDS_THEM,
    settles=frozenset({*ENDED, GONE}),
    destructive=True,
    effects={
        **_IS_REMOVED,
        **_for_each(_GOING, Effect("ended at once, without clean-up", ("killed",))),
        **_HAS_ENDED,
    },
    with_retention=_ends_unstarted("killed"),
)
_PAUSE = ActionRule(
    operation="pause_invocation",
    batch="pause",
    needs="it is running or backing off; with vqueues also ready or suspended",
    undo="Undo: yes. Resume continues the invocations",
    settles=frozenset({"paused"}),
    effects={
        **_HAS_NOT_BEGUN,
        "ready": _no_effect("no effect: this server ignores the pause, and the invocation starts", "ready"),
        "backing-off": Effect("paused", ("paused",)),
        "running": Effect(
            "paused when its attempt ends: at an await, or at the abort timeout; a step that the timeout ends is "
            "executed again",
            ("running", "paused"),
        ),
        "suspended": _no_effect("no effect: it stays suspended on this server and continues when woken", "suspended"),
        "paused": _no_effect("no effect: it is already paused", "paused"),
        **_HAS_ENDED,
    },
    with_vqueues={
        "ready": Effect("paused", ("paused",)),
        "running": Effect(
            "paused at once; a running step is executed again when it is resumed", ("paused",), repeats_step=True
        ),
        "suspended": Effect("paused: it stays paused even if the result that it waits for arrives", ("paused",)),
    },
)
_RESUME = ActionRule(
    operation="resume_invocation",
    batch="resume",
    needs="it is paused, suspended or backing off",
    undo="Undo: partly. Pause stops them again; what attempts did remains",
    settles=frozenset({*_GOING, *ENDED} - {"paused"}),
    options=frozenset({"deployment"}),
    effects={
        **_HAS_NOT_BEGUN,
        "ready": _no_effect("no effect: it is about to start", "ready", "running"),
        "backing-off": Effect("retried now", _GOES_ON),
        "running": _no_effect("no effect: it is already running", "running"),
        "suspended": Effect("woken; suspended again unless the result that it waits for has arrived", _GOES_ON),
        "paused": Effect("retried now", _GOES_ON),
        **_HAS_ENDED,
    },
    moved={
        "ready": _refusal("resume cannot change its deployment while it is ready; use restate_lab.move_to()"),
        "backing-off": _refusal("resume cannot change its deployment while it backs off; use restate_lab.move_to()"),
        "running": _refusal("resume cannot change its deployment while it runs; use restate_lab.move_to()"),
        "suspended": _elsewhere(
            "woken on the other deployment; suspended again unless the result that it waits for has arrived"
        ),
        "paused": _elsewhere("retried now, on the other deployment"),
    },
    moved_with_vqueues={
        "ready": _elsewhere("started on the other deployment"),
        "backing-off": _elsewhere(
            "retried now, on the other deployment; refused if its back-off is only about a second"
        ),
    },
)
_PURGE = ActionRule(
    operation="purge_invocation",
    batch="purge",
    needs="it has ended",
    undo="Undo: no. Nothing restores a removed invocation",
    settles=frozenset({GONE}),
    destructive=True,
    effects={
        **_for_each((*NOT_BEGUN, *_GOING), _refusal("it has not ended")),
        **_for_each(ENDED, Effect("removed with its journal; for a workflow, also its state and promises", (GONE,))),
    },
)
_PURGE_JOURNAL = ActionRule(
    operation="purge_journal",
    batch="purge-journal",
    needs="it has ended and still has its journal",
    undo="Undo: no. Nothing restores a removed journal",
    settles=frozenset(),
    destructive=True,
    effects={
        **_for_each((*NOT_BEGUN, *_GOING), _refusal("it has not ended")),
        **{
            word: Effect("its journal is removed: it stays listed, but can no longer be restarted", (word,))
            for word in ENDED
        },
    },
)
_RESTART_AS_NEW = ActionRule(
    operation="restart_as_new_invocation",
    batch="restart-as-new",
    needs="it has ended, still has its journal, and is not a workflow",
    undo="Undo: partly. Cancel ends the new ones; what steps did remains",
    settles=frozenset(),
    options=frozenset({"deployment", "from_index"}),
    effects={
        **_HAS_NOT_BEGUN,
        **_for_each(_GOING, _refusal("it has not ended: cancel or kill it first")),
        **{word: Effect("a new invocation starts with its input; this one does not change", (word,)) for word in ENDED},
    },
)
_MOVE_TO = ActionRule(
    operation=None,
    batch=None,
    needs="it has started and not ended",
    undo="Undo: partly. Another move takes them back; what steps did remains",
    settles=frozenset(),
    options=frozenset({"deployment"}),
    effects={
        **_for_each(NOT_BEGUN, _refusal("it has not started, and will start on the latest deployment")),
        "ready": _refusal("this server cannot pause a ready invocation: try again when it runs"),
        "backing-off": _elsewhere("paused, then resumed on the other deployment"),
        "running": Effect(
            "paused when its attempt ends (at an await, or at the abort timeout), then resumed on the other deployment",
            _GOES_ON,
        ),
        "suspended": _elsewhere("resumed on the other deployment, where it continues to wait"),
        "paused": _elsewhere("resumed on the other deployment"),
        **_HAS_ENDED,
    },
    with_vqueues={
        "ready": _elsewhere("paused, then resumed on the other deployment"),
        "running": _elsewhere(
            "paused at once, then resumed on the other deployment; a running step is executed again there"
        ),
    },
)
_RULES: Mapping[ACTIONS, ActionRule] = MappingProxyType(
    {
        ACTIONS.CANCEL: _CANCEL,
        ACTIONS.KILL: _KILL,
        ACTIONS.PAUSE: _PAUSE,
        ACTIONS.RESUME: _RESUME,
        ACTIONS.PURGE: _PURGE,
        ACTIONS.PURGE_JOURNAL: _PURGE_JOURNAL,
        ACTIONS.RESTART_AS_NEW: _RESTART_AS_NEW,
        ACTIONS.MOVE_TO: _MOVE_TO,
    }
)
