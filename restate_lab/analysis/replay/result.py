"""The result of ``replay()``: the verdicts as frames, and as a document with both paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa

from restate_lab._public import public
from restate_lab._text import join, plural
from restate_lab.analysis.patterns import normalize
from restate_lab.analysis.replay.recording import (
    CANNOT_SAY,
    FITS,
    NOT_CHECKABLE,
    Recording,
    ReplayOutcome,
)
from restate_lab.analysis.replay.verdict import DIVERGES, FAILS, OTHER_RESULT, VERDICTS
from restate_lab.client.arguments import check_id
from restate_lab.document import Block, Document, Gaps, Item, Items, Line, Picture, Text, Word
from restate_lab.errors import ArgumentError
from restate_lab.frames import BuiltRows, records, rows_to_table
from restate_lab.protocol.commands import RecordedCommand
from restate_lab.result import Result
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
_NOT_READ: dict[str, pa.DataType] = dict.fromkeys(("part", "reason", "target", "status"), pa.string())
AFTER, NOT_KNOWN = "after the recorded commands", "not known"
_DIFF: dict[str, pa.DataType] = {
    "journal_index": pa.int64(),
    "command_index": pa.int64(),
    "recorded": pa.string(),
    "now": pa.string(),
    "difference": pa.string(),
    "divergence": pa.bool_(),
}
_NULLABLE: dict[pa.DataType, Any] = {pa.int64(): pd.Int64Dtype()}
_TONES = {
    DIVERGES: "failed",
    FAILS: "backing-off",
    CANNOT_SAY: "pending",
    NOT_CHECKABLE: "suspended",
    OTHER_RESULT: "running",
    FITS: "succeeded",
}
_DIVERGING = frozenset({DIVERGES, FAILS, OTHER_RESULT})
_ENDS_THERE = "The check stops the code there, so what it would do next is not known."
_PLACE_UNKNOWN = "The response does not show at which command, so how far the code follows the journal is not known."
_BEFORE = 3  # commands before the divergence that are shown


@public
@dataclass(frozen=True, repr=False, eq=False)
class Replay(Result):
    """The verdicts of a replay check; ``replay()`` returns it.

    ``diff(id)`` explains the verdict on one invocation command by command.

    - ``rows``: one row per checked invocation. ``id, target, status``; ``verdict``: "fits", "diverges", "fails" (the
      code raises an error or does not have the handler), "other result" (the same path and another result),
      "not checkable" or "cannot say"; ``journal_index, command_index`` (the entry where the paths part; commands are
      counted from 0, the input), ``recorded`` and ``now`` (the command there), ``continues_with`` (what the code does
      after the recorded commands), ``reason`` (one sentence), ``group``. Payloads are not shown.
    - ``groups``: one row per group of equal verdicts other than "fits", with ``invocations`` and ``example_id``.
    - ``not_read``: ``part`` (the id), ``reason, target, status``: sampled out, changed during the check, or late.
    - ``counts``, ``verdict`` (the worst one), ``summary``, ``warnings`` (what the check does not show), ``queries``.

    Live journals are read from ``sys_journal.raw``. Evidence must have been frozen with payloads. Tried with restate
    1.7.12, the protocol versions 5 to 7, and the SDKs for Python (0.10 to 1.3) and TypeScript (1.7 to 1.17).
    """

    _json = (
        *("verdict", "counts", "address", "sdk", "source", "version", "read_at"),
        *("rows", "groups", "not_read", "warnings"),
    )
    rows: pd.DataFrame
    groups: pd.DataFrame
    address: str
    sdk: str
    warnings: tuple[str, ...]
    _paths: Mapping[str, tuple[RecordedCommand, ...]]

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
        missed = self.not_read["reason"].ne(SAMPLED_OUT).any()
        found = {*self.counts, *((CANNOT_SAY,) if missed or self.rows.empty else ())}
        return next(verdict for verdict in VERDICTS if verdict in found)

    @property
    def summary(self) -> str:
        """Return a summary on one line, such as "2 diverge, 10 fit; 3 not checked"."""
        counts = ", ".join(f"{count:,} {_form(verdict, count)}" for verdict, count in self.counts.items())
        missed = f"; {len(self.not_read):,} not checked" if len(self.not_read) else ""
        verdict = "" if self.verdict in self.counts else f"{self.verdict}: "
        return f"{verdict}{counts or 'nothing was checked'}{missed}"

    @property
    def where(self) -> str:
        """Return the deployment and its SDK, and the source of the journals with the time."""
        sdk = f" ({self.sdk})" if self.sdk else ""
        return f"{self.address}{sdk} with journals of {super().where}"

    def diff(self, invocation_id: str, /) -> pd.DataFrame:
        """Compare the recorded commands of one checked invocation with those of the new code, until they differ.

            checked = rl.replay(lab, {"service": "Checkout"}, new, confirm=new)
            checked.diff(checked.groups["example_id"][0])

        One row per recorded command, in order, and one more row for what is outside of them: what the code does next
        if it fits, or the reason if the response does not show a command. Nothing is read or sent.

        Columns: ``journal_index, command_index`` (counted from 0, the input; None in the row outside), ``recorded`` and
        ``now`` (the command there; ``now`` has None if it is not known), ``difference`` (None where the code issues
        the recorded command, the reason in the row where both differ, "not known" after that row, because the check
        stops the code there, or "after the recorded commands"), ``divergence`` (True in the row where both differ).
        Payloads are not shown.

        ``frame.attrs`` has ``id``, ``verdict``, ``summary`` (the verdict, its reason, and the limits of it), and
        ``divergence`` (the position of that row, or None). ``journal_diff()`` explains a mismatch that has happened.

        Raises:
            ArgumentError: it is not an invocation id, or this invocation was not checked.
        """
        id_ = check_id("invocation_id", invocation_id, "invocation")
        found = self.rows[self.rows["id"] == id_]
        if found.empty:
            missed = self.not_read.loc[self.not_read["part"] == id_, "reason"]
            why = f"was not checked: {missed.iloc[0]}" if len(missed) else "is not in this replay"
            raise ArgumentError(f"{id_} {why}; choose an id in rows.")
        return _diff_frame(records(found)[0], self._paths.get(id_, ()))

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return the groups, the invocations that were not checked, and what the check does not show as blocks."""
        missed = self.not_read["reason"].value_counts().items()
        blocks: tuple[Block, ...] = (
            Picture("_html/bar.html.j2", self._bar),
            Items(BuiltRows(self.groups, partial(_group_item, paths=self._paths))),
            Gaps([f"{plural(int(count), 'invocation')}, {reason}" for reason, count in missed], "Not checked"),
            *(Text(Word(each, "quiet")) for each in self.warnings),
        )
        return Document(self.summary, self.where, blocks, _TONES[self.verdict])

    def _bar(self) -> Mapping[str, Any]:
        counts = self.counts.items()
        return {"parts": [(verdict, count, STATUSES[_TONES[verdict]].colour) for verdict, count in counts]}


def outcome_frames(outcomes: Sequence[tuple[Recording, ReplayOutcome]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per outcome, and one row per group of equal verdicts other than "fits"."""
    rows: list[dict[str, Any]] = []
    groups: dict[Any, dict[str, Any]] = {}
    for recording, outcome in outcomes:
        at = outcome.command_index
        command = recording.commands[at] if at is not None else None
        row = {
            **{name: recording.row[name] for name in ("id", "target", "status")},
            **{name: getattr(outcome, name) for name in ("verdict", "now", "continues_with", "reason")},
            "journal_index": command.index if command else None,
            "command_index": at,
            "recorded": str(command) if command else None,
            "group": None,
        }
        rows.append(row)
        if outcome.verdict != FITS:
            handler = f"{recording.row['service']}/{recording.row['handler']}"
            key = (outcome.verdict, handler, at, row["recorded"] or normalize(outcome.reason), outcome.now)
            first = {**row, "group": len(groups), "handler": handler, "invocations": 0, "example_id": recording.id}
            group = groups.setdefault(key, first)
            group["invocations"] += 1
            row["group"] = group["group"]
    return _frame(rows, _ROWS), _frame([*groups.values()], _GROUPS)


def not_read_frame(rows: Sequence[tuple[Mapping[str, Any], str]]) -> pd.DataFrame:
    """Return one row per invocation that was not checked, from its row and the reason."""
    return _frame(
        [
            {"part": row["id"], "reason": reason, "target": row.get("target"), "status": row.get("status")}
            for row, reason in rows
        ],
        _NOT_READ,
    )


def _form(verdict: str, count: int) -> str:
    return verdict.removesuffix("s") if count != 1 and verdict in {DIVERGES, FAILS, FITS} else verdict


def _frame(rows: Sequence[Mapping[str, Any]], types: Mapping[str, pa.DataType]) -> pd.DataFrame:
    return rows_to_table(rows, types).to_pandas(types_mapper=_NULLABLE.get)


def _group_item(row: Mapping[Any, Any], paths: Mapping[str, Sequence[RecordedCommand]]) -> Item:
    """Return a group with the commands where the paths of its example part, after those that are equal."""
    at, example = row["command_index"], row["example_id"]
    lines: list[Line] = [f"{row['reason']}.", Word(f"for example {example}", "quiet")]
    if at is not None:
        before = join(map(str, paths.get(example, ())[max(0, at - _BEFORE) : at]), _BEFORE)
        lines += [Word(f"after {before}", "quiet")] if before else []
        lines += [f"recorded {at}: {row['recorded']}", (f"now {at}: ", Word(row["now"] or ""))]
    affected = f": {plural(row['invocations'], 'invocation')} of {row['handler']}"
    return Item((Word(row["verdict"], _TONES[row["verdict"]]), Word(affected)), lines=tuple(lines))


def _diff_frame(outcome: Mapping[str, Any], commands: Sequence[RecordedCommand]) -> pd.DataFrame:
    at = outcome["command_index"]
    rows = list(_diff_rows(outcome, commands))
    frame = _frame(rows, _DIFF)
    frame.attrs |= {
        "id": outcome["id"],
        "verdict": outcome["verdict"],
        "summary": _summarize(outcome, is_last=at is not None and at == len(commands) - 1),
        "divergence": next((number for number, each in enumerate(rows) if each["divergence"]), None),
    }
    return frame


def _diff_rows(outcome: Mapping[str, Any], commands: Sequence[RecordedCommand]) -> Iterator[dict[str, Any]]:
    at, verdict = outcome["command_index"], outcome["verdict"]
    followed = len(commands) if verdict == FITS else at or 0
    for number, command in enumerate(commands):
        cells = {"journal_index": command.index, "command_index": number, "recorded": str(command)}
        if number < followed:
            yield _diff_row(**cells, now=str(command))
        elif number == at:
            yield _diff_row(**cells, now=outcome["now"], difference=outcome["reason"], divergence=True)
        else:
            yield _diff_row(**cells, difference=NOT_KNOWN)
    if verdict == FITS and outcome["continues_with"] is not None:
        yield _diff_row(now=outcome["continues_with"], difference=AFTER)
    elif verdict != FITS and at is None:
        yield _diff_row(now=outcome["now"], difference=outcome["reason"], divergence=verdict in _DIVERGING)


def _diff_row(**cells: Any) -> dict[str, Any]:
    return {**dict.fromkeys(_DIFF), "divergence": False, **cells}


def _summarize(outcome: Mapping[str, Any], *, is_last: bool) -> str:
    parts = [f"{outcome['target']} ({outcome['id']}), {outcome['verdict']}: {outcome['reason']}."]
    if outcome["command_index"] is not None:
        parts += [] if is_last else [_ENDS_THERE]
    elif outcome["verdict"] == DIVERGES:
        parts.append(_PLACE_UNKNOWN)
    return " ".join(parts)
