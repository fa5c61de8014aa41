"""Read each target of a plan and describe what the action would do to it, or why it is excluded.

A restart can keep the beginning of the journal, if every command in it has its completion. ``from_index`` is the index
in sys_journal of the last entry to keep. The server refuses an index that keeps a command without its completion, or
that is after the end of the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab.actions.change import Change
from restate_lab.actions.plan.reader import read_journals
from restate_lab.actions.reader import InvocationSnapshot, read_destinations, read_invocations
from restate_lab.actions.rules import ACTIONS, RETENTION
from restate_lab.analysis.ids import describe_new_run, is_other_run
from restate_lab.analysis.journal.entries import (
    ABANDONED,
    ENTRY_TYPES,
    OPEN,
    ROW_TYPES,
    Entry,
    entries_of,
    pair_entries,
)
from restate_lab.analysis.patterns import step_patterns, summarize_messages
from restate_lab.reads import Reads
from restate_lab.server import has_feature

COLUMNS = (
    "id", "target", "service", "status", "created_at", "age", "idle_for", "effect", "excluded", "callee_of",
)  # fmt: skip
RESTART_COLUMNS = (
    "from_index",
    "failed_type",
    "failed_name",
    "failure",
    "kept_steps",
    "repeated_steps",
    "repeated_for",
    "repeated_tokens",
)
"""The columns that a plan has in addition if each target restarts from its own index."""
REPEAT_COLUMNS = (
    "service",
    "failed_type",
    "failed_name",
    "invocations",
    "failure",
    "kept_steps",
    "repeated_steps",
    "repeated_for",
    "repeated_tokens",
)
_GONE = "gone: there is no such invocation, or it was removed"
_WORKFLOW = "a workflow cannot be restarted"
_NO_JOURNAL = "its journal was purged or not retained"


@dataclass(frozen=True, slots=True)
class JournalPrefix:
    """The part of one journal that a restart can keep: ``from_index`` below ``ends``, of ``length`` entries in total.

    ``entries`` are the commands that ``from_index`` can select; ``stopped_by`` is the first command without a
    completion, or "".
    """

    ends: int
    length: int
    entries: tuple[Entry, ...]
    stopped_by: str = ""


def preview_targets(
    reads: Reads,
    change: Change,
    ids: Sequence[str],
    *,
    callee_of: Mapping[str, str] | None = None,
    created: Mapping[str, frozenset[datetime]] | None = None,
) -> pd.DataFrame:
    """Read each target and return one row per id, in order, with ``effect`` or ``excluded``; this sends nothing.

    ``callee_of`` maps a target that was added as a callee to its caller. ``created`` has the creation times of the
    selected runs, for ids where they are known: another run of the id is excluded.
    """
    states = read_invocations(reads, ids).reindex(pd.Index(list(ids), name="id"))
    others = _other_runs(states, created or {})
    states.loc[others.index, ["status", "created_at", "modified_at"]] = None  # the selected run is gone
    effects = _effects(change, states, has_retention=has_feature(reads, RETENTION))
    descriptions = effects.map(lambda effect: effect.description, na_action="ignore").astype("object")
    acts = pd.Series([effect is not None and effect.acts for effect in effects], index=states.index, dtype=bool)
    reasons = descriptions.mask(acts)
    allowed = states[reasons.isna()]
    reasons = reasons.where(reasons.notna(), _other_reasons(reads, change, allowed))
    reasons[states["status"].isna()] = _GONE
    reasons[others.index] = others["why"]
    now = pd.Timestamp(reads.read_clock())  # after the rows, so that no age is negative
    frame = pd.DataFrame(
        {
            "target": states["target"],
            "service": states["target_service_name"],
            "status": states["status"],
            "created_at": pd.to_datetime(states["created_at"], utc=True),
            "age": now - pd.to_datetime(states["created_at"], utc=True),
            "idle_for": now - pd.to_datetime(states["modified_at"], utc=True),
            "effect": descriptions.where(reasons.isna(), None),
            "excluded": reasons.where(reasons.notna(), None),
            "callee_of": pd.Series([(callee_of or {}).get(id_) for id_ in ids], index=states.index, dtype="object"),
        }
    )
    frame.loc[others.index, "created_at"] = others["created_at"]
    texts = [name for name in COLUMNS if name not in {"id", "created_at", "age", "idle_for"}]
    frame[texts] = frame[texts].astype("object").where(frame[texts].notna(), None)
    return frame.reset_index()[list(COLUMNS)]


def read_prefixes(reads: Reads, ids: Sequence[str]) -> dict[str, JournalPrefix]:
    """Return the parts that a restart can keep of the journals of these ended invocations; payloads are not read."""
    return {id_: prefix_of(entries, length) for id_, (entries, length) in read_entries(reads, ids).items()}


def read_entries(reads: Reads, ids: Sequence[str]) -> dict[str, tuple[list[Entry], int]]:
    """Return the entries of the journals of these ended invocations, and their numbers of rows, without payloads."""
    journals = read_journals(reads, ids)
    rows = pa.Table.from_pylist([row for journal in journals.values() for row in journal], ROW_TYPES)
    entries = pair_entries(rows, ended=ids).by_id()
    return {id_: (entries_of(entries.get(id_, ENTRY_TYPES.empty_table())), len(journals.get(id_, ()))) for id_ in ids}


def prefix_of(entries: Sequence[Entry], length: int) -> JournalPrefix:
    """Return the part that a restart can keep of one journal with ``length`` rows, from its entries."""
    commands = [entry for entry in entries if entry.index is not None and is_command(entry)]
    stops = next((entry for entry in commands if entry.status in {OPEN, ABANDONED, None}), None)
    ends = length if stops is None or stops.index is None else stops.index
    kept = tuple(entry for entry in commands if (entry.index or 0) < ends)
    return JournalPrefix(ends, length, kept, describe_entry(stops) if stops else "")


def prefix_frame(prefixes: Mapping[str, JournalPrefix]) -> pd.DataFrame:
    """Return one row per possible ``from_index``: ``id, from_index, entry`` (type and name), ``result``."""
    rows = [
        (id_, entry.index, describe_entry(entry), entry.result)
        for id_, prefix in prefixes.items()
        for entry in prefix.entries
    ]
    return pd.DataFrame(rows, columns=["id", "from_index", "entry", "result"]).astype({"from_index": "int64"})


def repeat_frame(rows: pd.DataFrame) -> pd.DataFrame:
    """Return what would run again, for rows with ``RESTART_COLUMNS``: one row per service and failed command.

    Names that differ only in data have one row, with their pattern. ``invocations`` failed there, for example with
    the messages in ``failure``. ``kept_steps`` and ``repeated_steps`` are their total numbers of steps that are kept,
    and that run again and took ``repeated_for``. ``repeated_tokens`` are the tokens of their responses of models.
    """
    if "from_index" not in rows or rows.empty:
        return pd.DataFrame(columns=list(REPEAT_COLUMNS))
    keys = ["service", "failed_type", "failed_name"]
    patterns = step_patterns({name for name in rows["failed_name"] if name})
    names = pd.Series([patterns[name] if name else None for name in rows["failed_name"]], rows.index, dtype="object")
    groups = rows.assign(failed_name=names).groupby(keys, dropna=False, sort=False)
    frame = groups.agg(
        invocations=("id", "size"),
        failure=("failure", summarize_messages),
        kept_steps=("kept_steps", "sum"),
        repeated_steps=("repeated_steps", "sum"),
        repeated_for=("repeated_for", "sum"),
        repeated_tokens=("repeated_tokens", lambda tokens: tokens.sum(skipna=False)),
    ).reset_index()
    frame[keys] = frame[keys].astype("object").where(frame[keys].notna(), None)
    order = ["invocations", *keys]
    return frame[list(REPEAT_COLUMNS)].sort_values(order, ascending=[False, True, True, True], ignore_index=True)


def describe_entry(entry: Entry) -> str:
    """Return an entry's type and name."""
    return describe_command(entry.entry_type, name_of(entry))


def name_of(entry: Entry) -> str | None:
    """Return the name of an entry, or else its target, promise or state key; None without any of them."""
    return entry.name or entry.callee_target or entry.promise or entry.state_key


def describe_command(entry_type: str, name: str | None) -> str:
    """Return the type and the name of a command."""
    return f"{entry_type} “{name}”" if name else entry_type


def _other_runs(states: pd.DataFrame, created: Mapping[str, frozenset[datetime]]) -> pd.DataFrame:
    """Return one row per id that now has another run than the selected one: its ``created_at``, and ``why``."""
    exist = states[states["status"].notna() & states.index.isin(list(created))]
    created_now = {str(id_): time for id_, time in exist["created_at"].items()}
    planned = {id_: max(created[id_]) for id_, time in created_now.items() if is_other_run(time, created, id_)}
    reasons = [describe_new_run(created_now[id_], time) for id_, time in planned.items()]
    times = pd.to_datetime(pd.Series(planned, dtype="object"), utc=True)
    return pd.DataFrame({"created_at": times, "why": pd.Series(reasons, index=times.index, dtype="object")})


def _effects(change: Change, states: pd.DataFrame, *, has_retention: bool) -> pd.Series[Any]:
    kinds = list(zip(states["status"], states["in_vqueue"].eq(1), strict=True))  # null for an id without an invocation
    effects = {
        kind: change.action.rule.effect(
            kind[0], has_vqueues=kind[1], deployment=change.deployment, has_retention=has_retention
        )
        for kind in dict.fromkeys(kinds)
        if isinstance(kind[0], str)
    }
    return pd.Series([effects.get(kind) for kind in kinds], index=states.index, dtype="object")


def _other_reasons(reads: Reads, change: Change, states: pd.DataFrame) -> pd.Series[Any]:
    action, from_index = change.action, change.from_index
    reasons = pd.Series(None, index=states.index, dtype="object")
    if action is ACTIONS.MOVE_TO:
        destinations = read_destinations(reads, str(change.deployment))
        exist = states[states["status"].notna()]
        against = [destinations.reason_against(_snapshot_of(row)) for row in exist.to_dict("records")]
        reasons[exist.index] = pd.Series(against, index=exist.index, dtype="object")
    if action in {ACTIONS.RESTART_AS_NEW, ACTIONS.PURGE_JOURNAL}:
        reasons[states["journal_size"].fillna(0) == 0] = _NO_JOURNAL
    if action is ACTIONS.RESTART_AS_NEW:
        reasons[states["service_type"] == "workflow"] = _WORKFLOW
        if from_index:
            restartable = list(reasons.index[reasons.isna() & states["status"].notna()])
            for id_, prefix in read_prefixes(reads, restartable).items():
                reasons[id_] = reason_against_index(from_index, prefix)
    return reasons


def reason_against_index(from_index: int, prefix: JournalPrefix) -> str | None:
    """Return why the server would not restart from this index; None if it would."""
    if from_index < prefix.ends:
        return None
    if from_index >= prefix.length:
        return f"its journal has no entry {from_index}: the last one is {prefix.length - 1}"
    return f"entry {prefix.ends} ({prefix.stopped_by}) has no completion: from_index can be at most {prefix.ends - 1}"


def _snapshot_of(row: Mapping[Any, Any]) -> InvocationSnapshot:
    return InvocationSnapshot(
        status=row["status"],
        journal_size=0,
        deployment=row["pinned_deployment_id"],
        protocol=None if pd.isna(row["protocol"]) else int(row["protocol"]),
        service=row["target_service_name"],
    )


def is_command(entry: Entry) -> bool:
    """Return whether an entry is a command: a signal is an entry that is its own completion."""
    return entry.completion_index is None or entry.completion_index != entry.index
