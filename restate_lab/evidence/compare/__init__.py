"""Compare two sources: find everything that was created, removed or changed in a cluster between two times."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_age, format_duration, format_timestamp, join, one_line, plural
from restate_lab.client.schema import translate_errors
from restate_lab.document import Block, Document, Facts, Fold, Gaps, Row, Table
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from restate_lab.evidence.compare import invocations, objects
from restate_lab.evidence.compare.sides import Limitation, Sides, sides_of
from restate_lab.frames import BuiltRows, records
from restate_lab.result import Result
from restate_lab.source import Source

PARTS = ("invocations", "state", "deployments", "backlog")
_FEW = 3
_NAME_LENGTH = 48  # characters of a name on a line
_CARD_ROWS = 12  # rows of each frame that the card shows
_CELL_WIDTH = 60
_CARD_COLUMNS = {
    "invocations": ("id", "target", "change", "status_before", "status_after", "more_retries", "more_entries"),
    "state": ("service_name", "service_key", "key", "change", "bytes_before", "bytes_after"),
    "deployments": ("kind", "name", "change", "field", "before", "after"),
    "backlog": ("target_service_name", "target_service_key", "waiting_before", "waiting_after", "oldest_wait_after"),
}
LIMIT = 200_000
_CLOCKS = timedelta(seconds=1)  # the maximum difference between the clocks of a cluster's nodes
_NO_SHARED_INVOCATION = Limitation(
    "no invocation is in both sources; they may be different clusters, or all earlier invocations were removed"
)
Part = tuple[pd.DataFrame | None, list[Limitation]]


def _describe_invocations(frame: pd.DataFrame) -> str:
    return "; ".join(_invocation_changes(frame)) or "nothing changed"


def _invocation_changes(frame: pd.DataFrame) -> Iterator[str]:
    created, removed = (int((frame["change"] == word).sum()) for word in ("created", "removed"))
    stayed = frame[~frame["change"].isin(["created", "removed"])]
    if created:
        yield f"{created:,} created ({_most_frequent(frame.loc[frame['change'] == 'created', 'status_after'])})"
    if removed:
        over = int(frame["past_retention"].eq(other=True).fillna(value=False).sum())
        yield f"{removed:,} removed" + (f", {over:,} of them past their retention" if over else "")
    moved = stayed[stayed["status_before"] != stayed["status_after"]]
    if len(moved):
        steps = moved["status_before"] + " → " + moved["status_after"]
        yield f"{len(moved):,} changed status ({_most_frequent(steps)})"
    retried = stayed[stayed["more_retries"].gt(0).fillna(value=False)]
    if len(retried):
        least = "at least " if retried["retries_at_least"].any() else ""
        yield f"{len(retried):,} retried, {least}{int(retried['more_retries'].sum()):,} times"
    progressed = stayed[stayed["more_entries"].ne(0).fillna(value=False)]
    if len(progressed):
        yield f"{len(progressed):,} with a changed journal ({int(progressed['more_entries'].sum()):+,} entries)"
    if n := int((stayed["change"] == "deployment").sum()):
        yield f"{n:,} on another deployment"


def _describe_state(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "nothing changed"
    counts = frame["change"].value_counts()
    changes = ", ".join(f"{counts[word]:,} {word}" for word in ("added", "removed", "changed") if word in counts)
    return f"{changes} ({_most_frequent(frame['service_name'])})"


def _describe_deployments(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "nothing changed"
    groups = list(frame.groupby(["kind", "name"], sort=False))
    texts = []
    for (kind, name), rows in groups[: _FEW + 1]:
        fields = (
            f"{row.field} {one_line(str(row.before), _NAME_LENGTH)} → {one_line(str(row.after), _NAME_LENGTH)}"
            for row in rows.itertuples()
        )
        change = rows["change"].iloc[0]
        how = f": {', '.join(fields)}" if change == "changed" else f" {change}"
        texts.append(f"{kind} {one_line(str(name), _NAME_LENGTH)}{how}")
    return join(texts, _FEW, total=len(groups), separator="; ")


def _describe_backlog(frame: pd.DataFrame) -> str:
    before, after = (frame[name].sum() for name in ("waiting_before", "waiting_after"))
    changed = frame[frame["more"].fillna(0) != 0]
    if changed.empty:
        return f"nothing changed ({plural(int(after), 'call')} waiting)" if after else "no call waits for a key"
    texts = (
        f"{one_line(f'{row.target_service_name}/{row.target_service_key}', _NAME_LENGTH)} {row.waiting_before:,} → "
        f"{row.waiting_after:,}"
        for row in changed[: _FEW + 1].itertuples()
    )
    return f"{int(before):,} → {int(after):,} calls waiting; {join(texts, _FEW, total=len(changed))}"


_SUMMARIES = {
    "invocations": _describe_invocations,
    "state": _describe_state,
    "deployments": _describe_deployments,
    "backlog": _describe_backlog,
}


def _most_frequent(values: pd.Series) -> str:
    counts = values.fillna("?").value_counts()
    texts = (f"{one_line(str(value), _NAME_LENGTH)} {n:,}" for value, n in counts[: _FEW + 1].items())
    return join(texts, _FEW, total=len(counts))


def _table(part: str, frame: pd.DataFrame) -> Iterator[Fold]:
    """Yield the rows of a frame as a block of pages; a report has all rows of it, and a text only counts them."""
    filled = frame.head(_CARD_ROWS).dropna(axis="columns", how="all")
    columns = [name for name in _CARD_COLUMNS[part] if name in filled]
    if columns:
        cells = BuiltRows(frame, lambda row: Row(tuple(_cell_text(row[name]) for name in columns)))
        heads = tuple(name.replace("_", " ") for name in columns)
        yield Fold(part.capitalize(), (Table(heads, cells, shown=_CARD_ROWS),), is_aside=True)


def _cell_text(value: Any) -> str:
    text = "" if pd.isna(value) else format_duration(value) if isinstance(value, pd.Timedelta) else str(value)
    return one_line(text, _CELL_WIDTH)


@public
@dataclass(frozen=True, repr=False, eq=False)
class Comparison(Result):
    """The changes between two sources; ``compare()`` returns it.

    - ``invocations``: one row per run that differs. A workflow or a call with an idempotency key gets the same id
      again after a purge or expiry. In this case there are two rows with one id, one for the removed run and one for
      the created run, with different values of ``created_at``. Runs of a history are compared by these two values,
      and ``id`` is the one that ``after`` has, for removed runs that of ``before``. Columns: ``id, target``;
      ``change``, the first that applies of created, removed, status (changed), retries (more attempts), journal (more
      or fewer entries), deployment (pinned to another one); ``status_before, status_after, retry_count_before,
      retry_count_after``; ``more_retries`` (a lower bound if ``retries_at_least`` is true); ``journal_size_before,
      journal_size_after, more_entries, pinned_deployment_id_before, pinned_deployment_id_after, created_at``;
      ``past_retention`` (for removed ones: whether their retention had passed, None if unknown). ``attrs`` has the
      number of runs ``in_before``, ``in_after`` and ``in_both``.
    - ``state``: one row per value of a virtual object or workflow that differs. ``service_name, service_key, scope,
      key``; ``change`` (added, removed, changed); ``bytes_before, bytes_after, sha256_before, sha256_after``. The
      values themselves are not read. Evidence without payloads has only lengths.
    - ``deployments``: one row per changed field of a deployment or service. ``kind`` (deployment, service),
      ``name, change`` (added, removed, changed), ``field`` (the column), ``before, after``.
    - ``backlog``: one row per key with waiting calls on either side, the largest change first. ``target_service_name,
      target_service_key, scope, waiting_before, waiting_after, more, oldest_wait_before, oldest_wait_after``.
    - ``not_read``: one row per limitation of the comparison. ``part`` (the frame), ``reason``, ``whole`` (true if
      nothing of this frame was compared, so that it is empty), ``cut`` (caused by ``limit``).
    """

    _json = (*PARTS, "not_read")
    invocations: pd.DataFrame
    state: pd.DataFrame
    deployments: pd.DataFrame
    backlog: pd.DataFrame
    before: str
    after: str
    before_at: datetime

    @property
    def summary(self) -> str:
        """Return the number of changes on one line."""
        rows = self.invocations["change"].value_counts()
        changed = int(rows.sum()) - int(rows.get("created", 0)) - int(rows.get("removed", 0))
        keys = int((self.backlog["more"].fillna(0) != 0).sum())
        nouns = (
            (len(self.state), "value of state", "values of state"),
            (self.deployments["name"].nunique(), "deployment or service", "deployments and services"),
            (keys, "key with a changed backlog", "keys with a changed backlog"),
        )
        parts = [f"{rows[change]:,} {change}" for change in ("created", "removed") if change in rows]
        parts += [f"{changed:,} changed"] if changed else []
        parts += [plural(*noun) for noun in nouns if noun[0]]
        text = ", ".join(parts) or "nothing changed"
        return text + (" (not everything was compared)" if len(self.not_read) else "")

    def to_json(self) -> dict[str, Any]:
        """Return everything that differs, for programs, with both sources and the parts that were not compared."""
        return {
            "summary": self.summary,
            "before": {"source": self.before, "read_at": self.before_at.isoformat()},
            "after": {"source": self.after, "read_at": self.read_at.isoformat()},
            **super().to_json(),
        }

    @property
    def where(self) -> str:
        """Return the names of the sources and the time between them."""
        later = format_age(self.before_at, self.read_at)
        names = [one_line(name, _NAME_LENGTH) for name in (self.before, self.after)]
        return f"{names[0]} → {names[1]}, {later} later, {format_timestamp(self.read_at)}"

    def document(self, _: tzinfo = UTC, /) -> Document:
        """Return what changed in each part as blocks."""
        unread = [f"{row['part']}: {row['reason']}" for row in records(self.not_read)]
        blocks: tuple[Block, ...] = (
            Facts(tuple((part, self._describe(part)) for part in PARTS)),
            *(block for part in PARTS for block in _table(part, getattr(self, part))),
            Gaps(unread, "Not compared"),
        )
        return Document(self.summary, self.where, blocks, "running")

    def _describe(self, part: str) -> str:
        notes = self.not_read[self.not_read["part"] == part]
        if notes["whole"].any():
            return f"not compared: {one_line(str(notes['reason'].iloc[0]), 160)}"
        text = _SUMMARIES[part](getattr(self, part))
        return f"{text} (not everything was compared)" if len(notes) else text


@translate_errors
def compare(
    before: Source, after: Source, /, *, limit: int | None = LIMIT, timeout: DurationInput | None = "2m"
) -> Comparison:
    """Compare two sources of one cluster, the earlier one first: two frozen ones, or a frozen and a live one.

    ``help(rl.Comparison)`` describes the frames of the result. ``print()`` shows a line for each, and ``not_read``.

    ``limit`` is the maximum number of rows that are read from one table of each source; None reads all. If it is
    exceeded, invocations that are completed on both sides are excluded first, with a warning (Truncated). ``timeout``
    is for the whole call.

    Raises:
        ArgumentError: ``before`` is later than ``after``, or ``limit`` is not a number of rows.
        NotOnThisServer: a source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: any error of the sources.
    """
    sides = sides_of(before, after, limit=limit, timeout=timeout)
    if sides.before.now - sides.after.now > _CLOCKS:
        raise ArgumentError(
            f"before is {sides.before.where}, which is later than after, {sides.after.where}: pass the earlier source "
            f"first, rl.compare(before, after)."
        )
    parts = {name: _compare_part(sides, *how) for name, how in _PARTS.items()}
    counts = parts["invocations"][0].attrs
    if counts.get("in_before") and counts.get("in_after") and not counts["in_both"]:
        parts["invocations"][1].append(_NO_SHARED_INVOCATION)
    comparison = _comparison(sides, parts)
    cut = comparison.not_read[comparison.not_read["cut"]]
    if len(cut):
        warnings.warn(
            "; ".join(f"{row.part}: {row.reason}" for row in cut.itertuples()), Truncated, stacklevel=3
        )  # point to the caller of the decorated function
    return comparison


_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Sides], Any]]] = {
    "invocations": (invocations.NEEDS, invocations.COLUMNS, invocations.compare_invocations),
    "state": (objects.STATE_NEEDS, objects.STATE_COLUMNS, objects.compare_state),
    "deployments": (objects.DEPLOYMENT_NEEDS, objects.DEPLOYMENT_COLUMNS, objects.compare_deployments),
    "backlog": (objects.BACKLOG_NEEDS, objects.BACKLOG_COLUMNS, objects.compare_backlog),
}
"""Each frame with the columns that it needs on both sides, its own columns, and the function that builds it."""


def _compare_part(
    sides: Sides, needs: tuple[str, ...], columns: tuple[str, ...], compare_frames: Callable[[Sides], Part]
) -> tuple[pd.DataFrame, list[Limitation], bool]:
    frame: pd.DataFrame | None = None
    if missing := sides.missing(*needs):
        notes = [Limitation(missing)]
    else:
        try:
            frame, notes = compare_frames(sides)
        except NotOnThisServer as error:
            notes = [Limitation(str(error))]
    return pd.DataFrame(columns=list(columns), dtype=object) if frame is None else frame, notes, frame is None


def _comparison(sides: Sides, parts: dict[str, tuple[pd.DataFrame, list[Limitation], bool]]) -> Comparison:
    for frame, notes, _ in parts.values():
        frame.attrs = {**frame.attrs, **_attrs(sides, notes)}
    rows = [(name, note.text, is_whole, note.cut) for name, (_, notes, is_whole) in parts.items() for note in notes]
    not_read = pd.DataFrame(rows, columns=["part", "reason", "whole", "cut"]).astype({"whole": bool, "cut": bool})
    not_read.attrs = _attrs(sides, [])
    frames: dict[str, Any] = {name: frame for name, (frame, _, _) in parts.items()}
    return Comparison(
        **frames,
        not_read=not_read,
        before=sides.before.source.name,
        after=sides.after.source.name,
        before_at=sides.before.now,
        source=f"{sides.before.source.name} → {sides.after.source.name}",
        version=sides.after.source.version,
        read_at=sides.after.now,
        queries=(*sides.before.source.queries, *sides.after.source.queries),
    )


def _attrs(sides: Sides, notes: Iterable[Limitation]) -> dict[Hashable, Any]:
    attrs: dict[Hashable, Any] = {
        "source": f"{sides.before.source.name} → {sides.after.source.name}",
        "version": sides.after.source.version,
        "read_at": sides.after.now.isoformat(),
        "not_read": [note.text for note in notes],
    }
    if cut := [note.text for note in notes if note.cut]:
        attrs["truncated"] = {"limit": sides.limit, "message": "; ".join(cut)}
    return attrs
