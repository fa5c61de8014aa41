"""The possible actions for an invocation: the rules that apply to it or to its root blocker, with their calls."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pandas as pd

from restate_lab.analysis.waits.text import Deadlock
from restate_lab.analysis.why.chain import Chain
from restate_lab.analysis.why.details import InvocationDetails
from restate_lab.analysis.why.rules import RULES, Calls, plan_calls
from restate_lab.calls import python_code


@dataclass(frozen=True, slots=True)
class Option:
    """One possible action; ``calls`` perform it in order, and () means that no call is needed."""

    action: str
    id: str
    target: str
    effect: str
    calls: Calls

    @property
    def code(self) -> str:
        """Return the calls as Python, one on each line."""
        return python_code(self.calls)


def list_options(details: InvocationDetails, root: InvocationDetails | None, chain: Chain) -> tuple[Option, ...]:
    """Return the options, most helpful first: those for the root blocker, then those for this invocation alone.

    ``root`` is ``None`` if it no longer exists.
    """
    if chain.deadlock:
        return _deadlock_options(chain.deadlock, (root or details).row["target"])
    if root is None or root.row["id"] == details.row["id"]:
        return tuple(_options_for(details))
    own = [option for option in _options_for(details) if option.action in {"cancel", "kill"}]
    return (*_options_for(root), *(replace(each, effect=f"only this invocation: {each.effect}") for each in own))


def option_frame(options: Iterable[Option]) -> pd.DataFrame:
    """Return the options as a frame, one row for each."""
    names = ["action", "id", "target", "effect", "code"]
    rows = [[getattr(option, name) for name in names] for option in options]
    return pd.DataFrame(rows, columns=names, dtype=object)


def _options_for(details: InvocationDetails) -> list[Option]:
    row = details.row
    fitting = [rule for rule in RULES if details.status in rule.statuses and rule.applies(details)]
    return [Option(rule.action, row["id"], row["target"], rule.what(details), rule.calls(details)) for rule in fitting]


def _deadlock_options(deadlock: Deadlock, target: str) -> tuple[Option, ...]:
    id_ = deadlock.cancel
    kill = "if the cancel has no effect: ends it at once without clean-up"
    return (
        Option("cancel", id_, target, f"breaks the deadlock: {deadlock.why}", plan_calls("cancel", id_)),
        Option("kill", id_, target, kill, plan_calls("kill", id_)),
    )
