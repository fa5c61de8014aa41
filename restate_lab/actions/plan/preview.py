"""What an action would do to each invocation, by what was just read of it; or why it is left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab.actions.rules import ACTIONS, Effect, Rule
from restate_lab.actions.snapshot import Reading, is_invocation_id, read_destinations, read_states
from restate_lab.analysis.ids import describe_new_run, is_other_run
from restate_lab.analysis.journal.entries import ABANDONED, OPEN, Entry, pair_entries
from restate_lab.client.schema import checked
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["COLUMNS", "prefix_frame", "preview", "read_prefixes"]

_CHUNK = 500  # journals in a statement
_ENTRIES = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json
FROM sys_journal WHERE id IN :ids"""
COLUMNS = (
    "id", "target", "service", "status", "created_at", "age", "idle_for", "effect", "excluded", "callee_of",
)  # fmt: skip
_MALFORMED = "malformed: no invocation has such an id"
_GONE = "gone: there is no such invocation (any more)"
_WORKFLOW = "a workflow cannot be restarted"
_NO_JOURNAL = "its journal was purged, or not kept"


@dataclass(frozen=True, slots=True)
class Prefix:
    """How much of one journal may be kept: ``from_index`` below ``ends``, of ``length`` entries in all.

    ``entries`` are the commands that may be named; ``stopped_by`` is the first that has no completion, or "".
    """

    ends: int
    length: int
    entries: tuple[Entry, ...]
    stopped_by: str = ""


def read_prefixes(lab: Source, ids: Sequence[str]) -> dict[str, Prefix]:
    """Return what may be kept of the journals of these ended invocations; without payloads, as point reads."""
    journals: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in _rows(lab, ids):
        journals[row["id"]].append(row)
    return {id_: prefix_of(id_, journals[id_]) for id_ in ids}


def prefix_of(id_: str, rows: Sequence[Mapping[str, Any]]) -> Prefix:
    """Return what may be kept of one journal, from its rows of sys_journal."""
    commands = [
        entry for entry in pair_entries(rows, id_, ended=True) if entry.index is not None and _is_command(entry)
    ]
    stops = next((entry for entry in commands if entry.status in {OPEN, ABANDONED, None}), None)
    ends = len(rows) if stops is None or stops.index is None else stops.index
    kept = tuple(entry for entry in commands if (entry.index or 0) < ends)
    return Prefix(ends, len(rows), kept, entry_words(stops) if stops else "")


def prefix_frame(prefixes: Mapping[str, Prefix]) -> pd.DataFrame:
    """Return one row per entry that ``from_index`` may name: ``id, from_index, entry`` (type and name), ``result``."""
    rows = [
        (id_, entry.index, entry_words(entry), entry.result)
        for id_, prefix in prefixes.items()
        for entry in prefix.entries
    ]
    return pd.DataFrame(rows, columns=["id", "from_index", "entry", "result"]).astype({"from_index": "int64"})


def entry_words(entry: Entry) -> str:
    """Return an entry's type and name."""
    return f"{entry.entry_type} “{entry.name}”" if entry.name else entry.entry_type


def _is_command(entry: Entry) -> bool:
    # Signals stand among the entries with themselves as their completion.
    return entry.completion_index is None or entry.completion_index != entry.index


def _rows(lab: Source, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
    for chunk in chunks(ids, _CHUNK):
        answer = lab.arrow(_ENTRIES, ids=chunk, progress=False)
        yield from checked(answer, _ENTRIES, lab).to_pylist()


def preview(
    lab: Source,
    action: ACTIONS,
    ids: Sequence[str],
    *,
    deployment: str | None,
    from_index: int | None,
    callee_of: Mapping[str, str] | None = None,
    created: Mapping[str, frozenset[datetime]] | None = None,
) -> pd.DataFrame:
    """Read each target and return one row per id, in order, with ``effect`` or ``excluded``; sends nothing.

    ``callee_of`` has, for targets that come with others, the id that they come with. ``created`` has the creation times
    of the runs that are meant, for ids where that is known: another run of the id is left out.
    """
    known = {id_: is_invocation_id(id_) for id_ in ids}
    states = read_states(lab, [id_ for id_ in ids if known[id_]]).reindex(pd.Index(list(ids), name="id"))
    others = _other_runs(states, created or {})
    states.loc[others.index, ["status", "created_at", "modified_at"]] = None  # the run that is meant is gone
    effects = _effects(action.rule, states["status"], lab, deployment)
    why = states["status"].map({word: None if effect.acts else effect.words for word, effect in effects.items()})
    why = why.astype("object").where(why.notna(), _more(lab, action, states[why.isna()], deployment, from_index))
    why[states["status"].isna()] = _GONE
    why[others.index] = others["why"]
    why[[id_ for id_ in ids if not known[id_]]] = _MALFORMED
    words = states["status"].map({word: effect.words for word, effect in effects.items()}).astype("object")
    now = pd.Timestamp(lab.now)
    frame = pd.DataFrame(
        {
            "target": states["target"],
            "service": states["target_service_name"],
            "status": states["status"],
            "created_at": pd.to_datetime(states["created_at"], utc=True),
            "age": now - pd.to_datetime(states["created_at"], utc=True),
            "idle_for": now - pd.to_datetime(states["modified_at"], utc=True),
            "effect": words.where(why.isna(), None),
            "excluded": why.where(why.notna(), None),
            "callee_of": pd.Series([(callee_of or {}).get(id_) for id_ in ids], index=states.index, dtype="object"),
        }
    )
    frame.loc[others.index, "created_at"] = others["created_at"]
    texts = [name for name in COLUMNS if name not in {"id", "created_at", "age", "idle_for"}]
    frame[texts] = frame[texts].astype("object").where(frame[texts].notna(), None)
    return frame.reset_index()[list(COLUMNS)]


def _other_runs(states: pd.DataFrame, created: Mapping[str, frozenset[datetime]]) -> pd.DataFrame:
    """Return one row per id that has another run than the one that is meant: its ``created_at``, and ``why``."""
    there = {str(id_): time for id_, time in states.loc[states["status"].notna(), "created_at"].items()}
    meant = {id_: max(created[id_]) for id_, time in there.items() if is_other_run(time, created, id_)}
    why = [describe_new_run(there[id_], time) for id_, time in meant.items()]
    times = pd.to_datetime(pd.Series(meant, dtype="object"), utc=True)
    return pd.DataFrame({"created_at": times, "why": pd.Series(why, index=times.index, dtype="object")})


def _effects(rule: Rule, statuses: pd.Series[Any], lab: Source, deployment: str | None) -> dict[str, Effect]:
    has_vqueues = lab.features.get("vqueues", False)
    return {
        word: rule.effect(word, has_vqueues=has_vqueues, deployment=deployment) for word in statuses.dropna().unique()
    }


def _more(
    lab: Source, action: ACTIONS, states: pd.DataFrame, deployment: str | None, from_index: int | None
) -> pd.Series[Any]:
    """Return why each is left out by something else than its status."""
    why = pd.Series(None, index=states.index, dtype="object")
    if action is ACTIONS.MOVE_TO:
        there = read_destinations(lab, str(deployment))
        exist = states[states["status"].notna()]
        found = [there.why_not(_reading(row)) for row in exist.to_dict("records")]
        why[exist.index] = pd.Series(found, index=exist.index, dtype="object")
    if action in {ACTIONS.RESTART_AS_NEW, ACTIONS.PURGE_JOURNAL}:
        why[states["journal_size"].fillna(0) == 0] = _NO_JOURNAL
    if action is ACTIONS.RESTART_AS_NEW:
        why[states["service_type"] == "workflow"] = _WORKFLOW
        if from_index:
            left = list(why.index[why.isna() & states["status"].notna()])
            for id_, prefix in read_prefixes(lab, left).items():
                why[id_] = _why_not_from(from_index, prefix)
    return why


def _why_not_from(from_index: int, prefix: Prefix) -> str | None:
    if from_index < prefix.ends:
        return None
    if from_index >= prefix.length:
        return f"its journal has no entry {from_index}: it ends with {prefix.length - 1}"
    return f"entry {prefix.ends} ({prefix.stopped_by}) has no completion: from_index may be {prefix.ends - 1} at most"


def _reading(row: Mapping[Any, Any]) -> Reading:
    return Reading(
        status=row["status"],
        journal_size=0,
        deployment=row["pinned_deployment_id"],
        protocol=None if pd.isna(row["protocol"]) else int(row["protocol"]),
        service=row["target_service_name"],
    )
