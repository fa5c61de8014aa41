"""Find the steps that are executed again because of a plan: a running step (Run) has no result in the journal yet.

Observed on 1.7.12 with vqueues: a pause ends the attempt at once. The code of the step goes on in the service, its
result is not recorded, and the step is executed again when the invocation is resumed. On another deployment, each step
without a result is executed again.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pandas as pd

from restate_lab._text import one_line, plural, verb_form
from restate_lab.actions.plan.reader import PartialFrame, read_open_steps
from restate_lab.actions.rules import ACTIONS
from restate_lab.analysis.patterns import step_patterns
from restate_lab.errors import RestateLabError
from restate_lab.reads import Reads

COLUMNS = ("id", "step", "entry_index", "since")
JOURNALS = 2_000  # targets whose journals are read
STEPS = 10_000  # rows of one read
_WITHIN = 10.0  # seconds
_UNNAMED = "a step without a name"
_LONGEST_ERROR = 300


def find_open_steps(reads: Reads, action: ACTIONS, targets: pd.DataFrame) -> PartialFrame:
    """Read the steps without a result of the targets whose effect repeats them; payloads are not read.

    One row per step: ``id`` (the target), ``step`` (its name, None without one), ``entry_index`` (in sys_journal) and
    ``since`` (when it began, UTC). ``targets`` are the rows of a plan that are acted on. At most JOURNALS journals are
    read, for some seconds; the limitations have the omitted ones, also if a read failed.
    """
    ids = list(targets.loc[targets["effect"].isin(action.rule.repeating), "id"])
    rows: list[dict[str, Any]] = []
    limitations = []
    if len(ids) > JOURNALS:
        limitations.append(f"steps that are executed again: only the first {JOURNALS:,} of {len(ids):,} were read")
    limited = Reads(reads, _WITHIN, over="their read took too long")
    try:
        for part in read_open_steps(limited, ids[:JOURNALS], STEPS):
            rows += part
            if len(part) == STEPS:
                limitations.append(f"steps that are executed again: one read has only the first {STEPS:,}")
    except RestateLabError as error:
        reason = one_line(str(error), _LONGEST_ERROR)
        limitations.append(f"not read: the steps that are executed again, or some of them ({reason})")
    return PartialFrame(step_frame(rows), tuple(limitations))


def step_frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Return the rows as a frame with the columns of ``find_open_steps``."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS)).astype({"id": "object", "step": "object"})
    frame["step"] = frame["step"].where(frame["step"].notna() & (frame["step"] != ""), None)
    return frame.astype({"entry_index": "Int64"}).assign(since=pd.to_datetime(frame["since"], utc=True))


def count_steps(steps: pd.DataFrame) -> list[tuple[str, int]]:
    """Return the names of steps with the number of invocations, highest number first.

    Names that differ only in data are one pattern.
    """
    patterns = step_patterns({name for name in steps["step"] if name})
    pairs = {(id_, patterns[name] if name else _UNNAMED) for id_, name in zip(steps["id"], steps["step"], strict=True)}
    return sorted(Counter(name for _, name in pairs).items(), key=lambda each: (-each[1], each[0]))


def describe_repeats(action: ACTIONS, steps: pd.DataFrame) -> str:
    """Return how many invocations are in a step that is executed again, without the names; "" if none is."""
    number = steps["id"].nunique()
    when = "after the pause" if action is ACTIONS.PAUSE else "on the other deployment"
    verb = verb_form(number, "is", "are")
    return f"{plural(number, 'invocation')} {verb} in a step that is executed again {when}" if number else ""
