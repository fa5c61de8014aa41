"""What two journals, or a journal and its code, have to say, in one paragraph."""

from __future__ import annotations

from typing import Any

import pandas as pd

from restate_lab._text import format_duration, plural
from restate_lab.analysis.journal_mismatch import Mismatch
from restate_lab.analysis.journal_reading import Invocation

__all__ = ["compared", "explained"]

_NOTICEABLE = pd.Timedelta(milliseconds=500)


def compared(frame: pd.DataFrame) -> str:
    """Return what a frame of ``journal_diff`` shows of two invocations."""
    a, b = frame.attrs["a"], frame.attrs["b"]
    told = [f"{_who('a', a)}; {_who('b', b)}."]
    told += [f"{name} has no journal: {each['note']}." for name, each in (("a", a), ("b", b)) if "note" in each]
    diverging = frame.index[frame["divergence"]]
    if not len(diverging):
        told.append(f"They did the same in all of their {len(frame):,} entries." if len(frame) else "")
    else:
        at = int(diverging[0])
        told.append(f"They part after {plural(at, 'entry', 'entries')}: {_parting(frame, at)}.")
    told.append(_timing(frame))
    return " ".join(filter(None, told))


def explained(invocation: Invocation, mismatch: Mismatch) -> str:
    """Return what a journal mismatch (RT0016) of an invocation means, and what there is to do."""
    entry = next((each for each in invocation.entries if each.command_index == mismatch.command_index), None)
    recorded = entry.entry_type if entry and mismatch.command_index is not None else mismatch.recorded
    name = entry.name or entry.callee_target or entry.promise or entry.state_key if entry else None
    before, now = _called(recorded, name), _called(mismatch.entry_type, mismatch.name)
    place = f" at entry {entry.index} (command {mismatch.command_index})" if entry else ""
    differs = f" ({'; '.join(mismatch.differs)})" if mismatch.differs else ""
    deployment = invocation.row["pinned_deployment_id"]
    return (
        f"{invocation.row['target']} ({invocation.id}) ran into RT0016: its journal has {before}{place}, and the code "
        f"does {now} there now{differs}. The code behind {deployment or 'its deployment'} changed under a running "
        f"invocation, or does not do the same each time; while that stays so, trying again does not help. Put the code "
        f"that wrote the journal back, resume it on a deployment that has it, or kill it and restart it as new."
    )


def _who(name: str, attrs: dict[str, Any]) -> str:
    return f"{name} is {attrs['id']} ({attrs['target']}, {attrs['status']})"


def _called(entry_type: str | None, name: str | None) -> str:
    return f"{entry_type or 'something'} {name!r}" if name else entry_type or "something else"


def _parting(frame: pd.DataFrame, at: int) -> str:
    row = frame.iloc[at]
    if not str(row["difference"]).startswith("only in"):
        return f"{_called_in(row)} (entry {row['index_a']}) is {row['difference']}"
    told = []
    for side in "ab":
        alone = [number for number in range(at, len(frame)) if frame["difference"].iloc[number] == f"only in {side}"]
        here = [number for number in alone if _is_one_gap(frame, at, number)]
        told.append(f"{side} has {_called_in(frame.iloc[here[0]])}" if here else f"{side} has nothing there")
    return ", ".join(told)


def _is_one_gap(frame: pd.DataFrame, begin: int, end: int) -> bool:
    return all(str(each).startswith("only in") for each in frame["difference"].iloc[begin:end])


def _called_in(row: Any) -> str:
    return _called(row["entry_type"], row["name"] if pd.notna(row["name"]) else None)


def _timing(frame: pd.DataFrame) -> str:
    """Return the one entry whose duration differs most, if anybody would notice."""
    apart = frame["slower_by"].abs()
    if apart.isna().all() or apart.max() < _NOTICEABLE:
        return ""
    row = frame.iloc[int(apart.argmax())]
    took = [f"{format_duration(row[f'duration_{side}'])} in {side}" for side in "ab"]
    return f"The largest difference in time is {_called_in(row)}: {took[0]}, {took[1]}."
