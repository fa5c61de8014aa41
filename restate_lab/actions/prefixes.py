"""Which beginning of a journal a restart may keep: every command in it needs its completion.

``from_index`` names the last entry that is kept, by its index in sys_journal. The server refuses one that would keep a
command without its completion, or that is behind the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from restate_lab.analysis.journal.entries import ABANDONED, OPEN, Entry, pair
from restate_lab.client.schema import checked
from restate_lab.client.sql.bind import chunks
from restate_lab.source import Source

__all__ = ["Prefix", "prefix_frame", "read_prefixes"]

_CHUNK = 500  # journals in a statement
_ENTRIES = """
SELECT id, index, entry_type, name, appended_at, completed, entry_lite_json
FROM sys_journal WHERE id IN :ids"""


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
    commands = [entry for entry in pair(rows, id_, ended=True) if entry.index is not None and _is_command(entry)]
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
