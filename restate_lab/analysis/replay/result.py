"""The result of ``replay()``: the verdicts as frames, as text, and as a card with both paths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._html import render
from restate_lab._public import public
from restate_lab._text import escape_invisible, format_timestamp, plural
from restate_lab.analysis.patterns import normalize
from restate_lab.analysis.replay.diff import diff_frame
from restate_lab.analysis.replay.recording import CANNOT_SAY, FITS, NOT_CHECKABLE, RecordedCommand, Recording
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT, VERDICTS, ReplayOutcome
from restate_lab.client.arguments import check_id
from restate_lab.errors import ArgumentError
from restate_lab.frames import records, rows_to_table
from restate_lab.status import STATUSES

SAMPLED_OUT = "sampled out"
_ROWS: dict[str, pa.DataType] = {
    "id": pa.string(),
    "target": pa.string(),
    "status": pa.string(),
    "verdict": pa.string(),
    "journal_index": pa.int64(),
    "command_index": pa.int64(),
    "recorded": pa.string(),
    "now": pa.string(),
    "continues_with": pa.string(),
    "reason": pa.string(),
    "group": pa.int64(),
}
_GROUPS: dict[str, pa.DataType] = {
    "group": pa.int64(),
    "verdict": pa.string(),
    "handler": pa.string(),
    "command_index": pa.int64(),
    "recorded": pa.string(),
    "now": pa.string(),
    "reason": pa.string(),
    "invocations": pa.int64(),
    "example_id": pa.string(),
}
_NOT_CHECKED: dict[str, pa.DataType] = dict.fromkeys(("id", "target", "status", "reason"), pa.string())
_NULLABLE: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype()}
_COLOURS = MappingProxyType(
    {
        DIVERGES: STATUSES["failed"].colour,
        FAILS: STATUSES["backing-off"].colour,
        CANNOT_SAY: STATUSES["pending"].colour,
        NOT_CHECKABLE: STATUSES["suspended"].colour,
        OTHER_RESULT: STATUSES["running"].colour,
        FITS: STATUSES["succeeded"].colour,
    }
)
_MOST = 8  # groups in the text and on the card; the frame has all of them
_BEFORE = 3  # commands before the divergence that the card shows


@public
@dataclass(frozen=True, repr=False, eq=False)
class Replay:
    """The verdicts of a replay check; ``replay()`` returns it, and its docstring describes the frames.

    ``diff(id)`` explains the verdict on one invocation command by command.
    """

    rows: pd.DataFrame
    groups: pd.DataFrame
    not_checked: pd.DataFrame
    address: str
    sdk: str
    source: str
    version: str
    at: datetime
    limitations: tuple[str, ...]
    _paths: Mapping[str, tuple[RecordedCommand, ...]]
    queries: tuple[Mapping[str, Any], ...] = ()
    """Each statement that was sent: ``sql``, ``params`` as JSON values, ``times``."""

    @property
    def counts(self) -> dict[str, int]:
        """Return the number of invocations per verdict, the worst verdict first."""
        counts = self.rows["verdict"].value_counts()
        return {verdict: int(counts[verdict]) for verdict in VERDICTS if verdict in counts.index}

    @property
    def verdict(self) -> str:
        """Return the worst verdict; "cannot say" if nothing was checked, or if an invocation was missed.

        An invocation that was sampled out is represented by the others with the same path.
        """
        missed = self.not_checked["reason"].ne(SAMPLED_OUT).any()
        found = {*self.counts, *((CANNOT_SAY,) if missed or self.rows.empty else ())}
        return next(verdict for verdict in VERDICTS if verdict in found)

    @property
    def summary(self) -> str:
        """Return a summary on one line, such as "2 diverge, 10 fit; 3 not checked"."""
        counts = ", ".join(f"{count:,} {_form(verdict, count)}" for verdict, count in self.counts.items())
        missed = f"; {len(self.not_checked):,} not checked" if len(self.not_checked) else ""
        verdict = "" if self.verdict in self.counts else f"{self.verdict}: "
        return f"{verdict}{counts or 'nothing was checked'}{missed}"

    @property
    def where(self) -> str:
        """Return the deployment and its SDK, and the source of the journals with the time."""
        sdk = f" ({self.sdk})" if self.sdk else ""
        return (
            f"{self.address}{sdk} with journals of {self.source}, restate {self.version}, {format_timestamp(self.at)}"
        )

    def diff(self, invocation_id: str, /) -> pd.DataFrame:
        """Compare the recorded commands of one checked invocation with what the new code does, up to the parting.

            checked = rl.replay(lab, {"service": "Checkout"}, new, confirm=new)
            checked.diff(checked.groups["example_id"][0])

        One row per recorded command, in order, and one more row for what is outside of them: what the code does next
        if it fits, or the reason if the response does not show a command. Nothing is read or sent.

        Columns: ``journal_index, command_index`` (counted from 0, the input; None in the row outside), ``recorded`` and
        ``now`` (the command there; ``now`` has None if it is not known), ``difference`` (None where the code issues
        the recorded command, the reason at the parting, "not known" after it, because the check stops the code there,
        or "after the recorded commands"), ``divergence`` (True in the row where they part). Payloads are not shown.

        ``frame.attrs`` has ``id``, ``verdict``, ``summary`` (the verdict, its reason, and the limits of it), and
        ``divergence`` (the position of that row, or None). ``journal_diff()`` explains a mismatch that has happened.

        Raises:
            ArgumentError: it is not an invocation id, or this invocation was not checked.
        """
        id_ = check_id("invocation_id", invocation_id, "invocation")
        found = self.rows[self.rows["id"] == id_]
        if found.empty:
            missed = self.not_checked.loc[self.not_checked["id"] == id_, "reason"]
            why = f"was not checked: {missed.iloc[0]}" if len(missed) else "is not in this replay"
            raise ArgumentError(f"{id_} {why}; choose an id in rows.")
        return diff_frame(records(found)[0], self._paths.get(id_, ()))

    def __str__(self) -> str:
        return escape_invisible("\n".join(_lines(self)))

    def __repr__(self) -> str:
        return escape_invisible(f"<Replay at {self.address}: {self.summary}; print() shows it>")

    def _repr_pretty_(self, printer: Any, _: bool) -> None:
        printer.text(str(self))

    def _repr_html_(self) -> str:
        return _card(self)


def row_frame(outcomes: Sequence[tuple[Recording, ReplayOutcome]]) -> pd.DataFrame:
    """Return one row per outcome; ``group`` is the number of its row in ``groups``, null for those that fit."""
    numbers: dict[Any, int] = {}
    rows = []
    for recording, outcome in outcomes:
        at = outcome.command_index
        command = recording.commands[at] if at is not None else None
        row = {
            "id": recording.id,
            "target": recording.row["target"],
            "status": recording.row["status"],
            "verdict": outcome.verdict,
            "journal_index": command.index if command else None,
            "command_index": at,
            "recorded": str(command) if command else None,
            "now": outcome.now,
            "continues_with": outcome.continues_with,
            "reason": outcome.reason,
        }
        key = _group_key(recording, outcome)
        rows.append({**row, "group": None if outcome.verdict == FITS else numbers.setdefault(key, len(numbers))})
    return _frame(rows, _ROWS)


def group_frame(outcomes: Sequence[tuple[Recording, ReplayOutcome]]) -> pd.DataFrame:
    """Return one row per group of equal divergences, in the order of their numbers."""
    groups: defaultdict[Any, list[tuple[Recording, ReplayOutcome]]] = defaultdict(list)
    for recording, outcome in outcomes:
        if outcome.verdict != FITS:
            groups[_group_key(recording, outcome)].append((recording, outcome))
    rows = []
    for number, members in enumerate(groups.values()):
        recording, outcome = members[0]
        at = outcome.command_index
        row = {
            "group": number,
            "verdict": outcome.verdict,
            "handler": _handler(recording),
            "command_index": at,
            "recorded": str(recording.commands[at]) if at is not None else None,
            "now": outcome.now,
            "reason": outcome.reason,
            "invocations": len(members),
            "example_id": recording.id,
        }
        rows.append(row)
    return _frame(rows, _GROUPS)


def not_checked_frame(rows: Sequence[tuple[Mapping[str, Any], str]]) -> pd.DataFrame:
    """Return one row per invocation that was not checked, from its row and the reason."""
    return _frame(
        [{"reason": reason, **{name: row.get(name) for name in ("id", "target", "status")}} for row, reason in rows],
        _NOT_CHECKED,
    )


def _form(verdict: str, count: int) -> str:
    """Return a verdict as a verb, in the form for a number of invocations."""
    return verdict.removesuffix("s") if count != 1 and verdict in {DIVERGES, FAILS, FITS} else verdict


def paths_of(recordings: Iterable[Recording]) -> dict[str, tuple[RecordedCommand, ...]]:
    """Return the recorded commands by id; equal ones share one tuple, because many invocations take the same path."""
    shared: dict[tuple[RecordedCommand, ...], tuple[RecordedCommand, ...]] = {}
    return {each.id: shared.setdefault(each.commands, each.commands) for each in recordings}


def _frame(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pd.DataFrame:
    return rows_to_table(rows, types).to_pandas(types_mapper=_NULLABLE.get)


def _handler(recording: Recording) -> str:
    return f"{recording.row['service']}/{recording.row['handler']}"


def _group_key(recording: Recording, outcome: ReplayOutcome) -> Any:
    at = outcome.command_index
    recorded = str(recording.commands[at]) if at is not None else normalize(outcome.reason)
    return outcome.verdict, _handler(recording), at, recorded, outcome.now


def _lines(replay: Replay) -> list[str]:
    groups = records(replay.groups)
    lines = [f"{replay.summary}.", f"Checked at {replay.where}."]
    for row in groups[:_MOST]:
        lines.append(f"- {row['verdict']}: {plural(row['invocations'], 'invocation')} of {row['handler']}, for example")
        lines.append(f"  {row['example_id']}: {row['reason']}.")
    if len(groups) > _MOST:
        lines.append(f"… and {len(groups) - _MOST:,} more groups")
    return [*lines, *_missed_lines(replay), *replay.limitations]


def _missed_lines(replay: Replay) -> list[str]:
    reasons = replay.not_checked["reason"].value_counts()
    return [f"Not checked: {plural(int(count), 'invocation')}, {reason}." for reason, count in reasons.items()]


def _card(replay: Replay) -> str:
    """Return the card as HTML; all text from the cluster and from the deployment is escaped."""
    more = len(replay.groups) - _MOST
    return render(
        "analysis/replay/card.html.j2",
        title=replay.summary,
        place="",
        lines=[
            *([f"… and {more:,} more groups"] if more > 0 else []),
            *_missed_lines(replay),
            replay.where,
            *replay.limitations,
        ],
        accent=_COLOURS[replay.verdict],
        parts=[(verdict, count, _COLOURS[verdict]) for verdict, count in replay.counts.items()],
        groups=[_group_block(row, replay) for row in records(replay.groups)[:_MOST]],
    )


def _group_block(row: Mapping[Any, Any], replay: Replay) -> dict[str, Any]:
    at, commands = row["command_index"], replay._paths.get(row["example_id"], ())  # noqa: SLF001 - ours
    steps = []
    if at is not None:
        path = [(f"{number}", str(commands[number])) for number in range(max(0, at - _BEFORE), at + 1)]
        steps = [(number, recorded, recorded) for number, recorded in path]
        steps[-1] = (*path[-1], row["now"] or "")
    return {
        "colour": _COLOURS[row["verdict"]],
        "heading": f"{row['verdict']}: {plural(row['invocations'], 'invocation')} of {row['handler']}",
        "example": row["example_id"],
        "reason": row["reason"],
        "steps": steps,
    }
