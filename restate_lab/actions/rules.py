"""The table of actions on invocations: what each does in which status, on which kind of server.

Plans, panels, documentation and the live test read it. Every row was seen on 1.6.1 and on 1.7.12, without vqueues and
with them; the live test fails when a server behaves differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

import pandas as pd

from restate_lab.source import OLDEST
from restate_lab.status import STATUSES

__all__ = ["ACTIONS", "ENDED", "GONE", "NOT_BEGUN", "ActionRule", "Effect", "effects"]

GONE = "gone"
"""Stands among statuses for an invocation that has no row (any more)."""
NOT_BEGUN = ("scheduled", "pending")
ENDED = tuple(word for word, status in STATUSES.items() if status.ended)
_GOING = ("ready", "backing-off", "running", "suspended", "paused")
_FEW, _MANY = 10, 100


@dataclass(frozen=True, slots=True)
class Effect:
    """What an action does to an invocation in one status.

    ``accepted``: the server answers with success. ``acts``: something comes of it; False with ``accepted`` is a
    success after which nothing has changed. ``then`` has the words of STATUSES in which it is seen a moment later
    (GONE for no row), provided that its handler does not catch a cancellation.
    """

    description: str
    then: tuple[str, ...] = ()
    accepted: bool = True
    acts: bool = True


@dataclass(frozen=True, slots=True)
class ActionRule:
    """What one action is.

    ``operation`` is the operationId, which is AdminClient's method; ``batch`` the last segment of the batch endpoint's
    path; both None for ``move_to``, which is made of others. ``options`` are the arguments that it takes. ``since`` is
    the oldest server on which all this was seen. ``destructive``: it takes away what nothing brings back.
    ``expect_above``: of more targets than that the exact number has to be said. ``settles`` has the statuses that tell
    that it has happened; empty where the status does not tell.
    """

    operation: str | None
    batch: str | None
    needs: str
    effects: Mapping[str, Effect]
    settles: frozenset[str]
    destructive: bool = False
    options: frozenset[str] = frozenset()
    with_vqueues: Mapping[str, Effect] = field(default_factory=dict)
    moved: Mapping[str, Effect] = field(default_factory=dict)
    moved_with_vqueues: Mapping[str, Effect] = field(default_factory=dict)
    since: str = OLDEST

    @property
    def expect_above(self) -> int:
        """Return how many targets may be acted on without saying their exact number."""
        return _FEW if self.destructive else _MANY

    @property
    def statuses(self) -> tuple[str, ...]:
        """Return the statuses in which it does something on some kind of server, in the order of STATUSES."""
        variants = (self.effects, self.with_vqueues, self.moved, self.moved_with_vqueues)
        return tuple(word for word in STATUSES if any(word in each and each[word].acts for each in variants))

    def effect(self, status: str, *, has_vqueues: bool, deployment: str | None = None) -> Effect:
        """Return what it does to an invocation in this status on this kind of server.

        ``deployment`` is the option: resuming elsewhere is refused where resuming in place is not. A status that the
        table does not know is treated as one that does not allow it.
        """
        layers = [self.with_vqueues if has_vqueues else {}, self.effects]
        if deployment not in {None, "keep"}:
            layers = [self.moved_with_vqueues if has_vqueues else {}, self.moved, *layers]
        effect = next((layer[status] for layer in layers if status in layer), None)
        return effect or _refusal(f"not known to be possible while it is {status}")


class ACTIONS(StrEnum):
    """What can be done to invocations; ``.rule`` says in which status, and what it does there.

        rl.plan(lab, rl.ACTIONS.RESUME, ids)      # the same as "resume"
        rl.ACTIONS.RESUME.rule.needs

    MOVE_TO is what ``rl.move_to`` does. The guide has all of it as a table: ``help("restate_lab.guide.actions")``.
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
    """Return the table: one row per action and status, in their orders.

    Columns: ``action, status, without_vqueues, with_vqueues`` (what it does, in words), ``acts_without, acts_with``
    (whether anything comes of it).
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
_HAS_NOT_BEGUN = _for_each(NOT_BEGUN, _refusal("it has not begun"))
_IS_REMOVED = _for_each(NOT_BEGUN, Effect("removed at once, without a completed record of it", (GONE,)))
_GOES_ON = (*_GOING, *ENDED)

_CANCEL = ActionRule(
    operation="cancel_invocation",
    batch="cancel",
    needs="it has not ended",
    settles=frozenset({*ENDED, GONE}),
    effects={
        **_IS_REMOVED,
        "ready": Effect("told at its first await, once it runs", ("ready", "running", "cancelled")),
        "backing-off": Effect(
            "told at its next attempt and not before: resume it to bring that about",
            ("backing-off", "running", "cancelled"),
        ),
        "running": Effect("told at its next await; it may clean up before it ends", ("running", "cancelled")),
        "suspended": Effect("woken and told; it may clean up before it ends", ("ready", "running", "cancelled")),
        "paused": Effect(
            "woken, tried again, and told at its next await; one that fails before is paused again",
            ("ready", "running", "backing-off", "paused", "cancelled"),
        ),
        **_HAS_ENDED,
    },
)
_KILL = ActionRule(
    operation="kill_invocation",
    batch="kill",
    needs="it has not ended",
    settles=frozenset({*ENDED, GONE}),
    destructive=True,
    effects={
        **_IS_REMOVED,
        **_for_each(_GOING, Effect("ended at once, without clean-up", ("killed",))),
        **_HAS_ENDED,
    },
)
_PAUSE = ActionRule(
    operation="pause_invocation",
    batch="pause",
    needs="it runs or backs off; with vqueues also ready and suspended ones",
    settles=frozenset({"paused"}),
    effects={
        **_HAS_NOT_BEGUN,
        "ready": _no_effect("nothing: this server forgets it, and it starts all the same", "ready"),
        "backing-off": Effect("paused", ("paused",)),
        "running": Effect(
            "paused when its attempt ends: at an await, or when the abort timeout fires", ("running", "paused")
        ),
        "suspended": _no_effect(
            "nothing: this server leaves it suspended, and it goes on when it is woken", "suspended"
        ),
        "paused": _no_effect("nothing: it is paused already", "paused"),
        **_HAS_ENDED,
    },
    with_vqueues={
        "ready": Effect("paused", ("paused",)),
        "running": Effect("paused at once; what a step under way gives is lost", ("paused",)),
        "suspended": Effect("paused: not even what it waits for wakes it", ("paused",)),
    },
)
_RESUME = ActionRule(
    operation="resume_invocation",
    batch="resume",
    needs="it is paused, suspended or backing off",
    settles=frozenset({*_GOING, *ENDED} - {"paused"}),
    options=frozenset({"deployment"}),
    effects={
        **_HAS_NOT_BEGUN,
        "ready": _no_effect("nothing: it is about to start", "ready", "running"),
        "backing-off": Effect("tried again now", _GOES_ON),
        "running": _no_effect("nothing: it runs already", "running"),
        "suspended": Effect("woken, and suspended again unless what it waits for is there", _GOES_ON),
        "paused": Effect("tried again now", _GOES_ON),
        **_HAS_ENDED,
    },
    moved={
        "ready": _refusal("its deployment cannot be changed while it is ready: restate_lab.move_to() can"),
        "backing-off": _refusal("its deployment cannot be changed while it backs off: restate_lab.move_to() can"),
        "running": _refusal("its deployment cannot be changed while it runs: restate_lab.move_to() can"),
        "suspended": Effect(
            "woken on the other deployment, and suspended again unless what it waits for is there", _GOES_ON
        ),
        "paused": Effect("tried again now, on the other deployment", _GOES_ON),
    },
    moved_with_vqueues={
        "ready": Effect("started on the other deployment", _GOES_ON),
        "backing-off": Effect(
            "tried again now, on the other deployment; refused where it backs off for a second or so", _GOES_ON
        ),
    },
)
_PURGE = ActionRule(
    operation="purge_invocation",
    batch="purge",
    needs="it has ended",
    settles=frozenset({GONE}),
    destructive=True,
    effects={
        **_for_each((*NOT_BEGUN, *_GOING), _refusal("it has not ended")),
        **_for_each(ENDED, Effect("removed with its journal; of a workflow, its state and promises too", (GONE,))),
    },
)
_PURGE_JOURNAL = ActionRule(
    operation="purge_journal",
    batch="purge-journal",
    needs="it has ended, and its journal is there",
    settles=frozenset(),
    destructive=True,
    effects={
        **_for_each((*NOT_BEGUN, *_GOING), _refusal("it has not ended")),
        **{
            word: Effect("its journal is removed: it stays listed, and cannot be restarted any more", (word,))
            for word in ENDED
        },
    },
)
_RESTART_AS_NEW = ActionRule(
    operation="restart_as_new_invocation",
    batch="restart-as-new",
    needs="it has ended, its journal is there, and it is no workflow",
    settles=frozenset(),
    options=frozenset({"deployment", "from_index"}),
    effects={
        **_HAS_NOT_BEGUN,
        **_for_each(_GOING, _refusal("it has not ended: cancel or kill it first")),
        **{word: Effect("a new invocation begins with its input; this one stays as it is", (word,)) for word in ENDED},
    },
)
_MOVE_TO = ActionRule(
    operation=None,
    batch=None,
    needs="it has begun and not ended",
    settles=frozenset(),
    options=frozenset({"deployment"}),
    effects={
        **_for_each(NOT_BEGUN, _refusal("it has not begun, and is bound to no deployment: it begins on the latest")),
        "ready": _refusal("this server forgets to pause a ready one: try again once it runs"),
        "backing-off": Effect("paused, then resumed on the other deployment", _GOES_ON),
        "running": Effect(
            "paused when its attempt ends (at an await, or when the abort timeout fires), then resumed on the other "
            "deployment",
            _GOES_ON,
        ),
        "suspended": Effect("resumed on the other deployment, where it goes on waiting", _GOES_ON),
        "paused": Effect("resumed on the other deployment", _GOES_ON),
        **_HAS_ENDED,
    },
    with_vqueues={
        "ready": Effect("paused, then resumed on the other deployment", _GOES_ON),
        "running": Effect("paused at once, then resumed on the other deployment", _GOES_ON),
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
