"""Compare two sources: what was created, removed or changed between two moments of one cluster."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab.client.schema import translated
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, NotOnThisServer, Truncated
from restate_lab.evidence import compare_backlog, compare_deployments, compare_invocations, compare_state
from restate_lab.evidence.compare_card import comparison_card
from restate_lab.evidence.compare_sides import Note, Side, Sides, sides_of
from restate_lab.evidence.compare_words import headline, summary_lines, where_of
from restate_lab.source import Source, check_tried

__all__ = ["Comparison", "compare"]

LIMIT = 200_000
_CLOCKS = timedelta(seconds=1)  # by which the clocks of a cluster's nodes may differ
_STRANGERS = Note("no invocation is in both: these may be two clusters, or all that was there is gone")
_NOT_COMPARED = ("part", "reason", "whole", "cut")
Part = tuple[pd.DataFrame | None, list[Note]]


@public
@dataclass(frozen=True, repr=False, eq=False)
class Comparison:
    """What changed between two sources; ``compare()`` makes it, and says what is in the frames."""

    invocations: pd.DataFrame
    state: pd.DataFrame
    deployments: pd.DataFrame
    backlog: pd.DataFrame
    not_compared: pd.DataFrame
    before: str
    after: str
    before_at: datetime
    after_at: datetime

    @property
    def summary(self) -> str:
        """Return what changed in five lines: of which sources, invocations, state, deployments, backlog."""
        return "\n".join(summary_lines(self))

    @property
    def verdict(self) -> str:
        """Return all of it in a line."""
        return headline(self)

    @property
    def where(self) -> str:
        """Return which sources these are, and how far apart."""
        return where_of(self)

    def __repr__(self) -> str:
        return f"<Comparison of {self.where}: {self.verdict}>"

    def __str__(self) -> str:
        left = [f"  {row['part']}: {row['reason']}" for row in self.not_compared.to_dict("records")]
        return "\n".join([self.summary, *(["NOT COMPARED", *left] if left else [])])

    def _repr_html_(self) -> str:
        return comparison_card(self)


@translated
def compare(
    before: Source, after: Source, /, *, limit: int | None = LIMIT, timeout: DurationInput | None = None
) -> Comparison:
    """Compare two sources of one cluster, two frozen ones or a frozen and a live one, the earlier one first.

    - ``invocations``: one row per run of an invocation that differs. A workflow, or a call with an idempotency key,
      gets the same id again after a purge or expiry: the run before is then removed and the new one created, in
      two rows with one id, and ``created_at`` tells them apart. ``id, target``; ``change``, the first that is true of:
      created, removed, status (it has another), retries (more attempts), journal (more or fewer entries), deployment
      (pinned to another); ``status_before, status_after, retry_count_before, retry_count_after``; ``more_retries``,
      a lower bound where ``retries_at_least`` says so; ``journal_size_before, journal_size_after, more_entries,
      pinned_deployment_id_before, pinned_deployment_id_after, created_at``; ``past_retention`` (of those that were
      removed: whether their time was over, None where that is not known). ``attrs`` has how many are ``in_before``,
      ``in_after`` and ``in_both``.
    - ``state``: one row per value of a virtual object or workflow that differs. ``service_name, service_key, scope,
      key``; ``change`` (added, removed, changed); ``bytes_before, bytes_after, sha256_before, sha256_after``. Values
      themselves are not read. Evidence without payloads has lengths alone.
    - ``deployments``: one row per thing that differs of a deployment or service. ``kind`` (deployment, service),
      ``name, change`` (added, removed, changed), ``what`` (the column), ``before, after``.
    - ``backlog``: one row per key for which calls wait on either side, most change first. ``target_service_name,
      target_service_key, scope, waiting_before, waiting_after, more, oldest_wait_before, oldest_wait_after``.
    - ``not_compared``: one row per thing that could not be compared. ``part`` (the frame), ``reason``, ``whole``
      (nothing of that frame was compared: it is empty for that reason alone), ``cut`` (by ``limit``).

    ``summary`` says it in five lines, ``print()`` adds what was not compared. ``limit`` bounds how many rows are read
    of one table of each source, None reads all; beyond it invocations that are completed on both sides are left out
    first. What it cut is warned of (Truncated). ``timeout`` is for the whole call; None leaves each
    statement to the connection's own limit.

    Raises:
        ArgumentError: ``before`` is later than ``after``, or ``limit`` is no number of rows.
        NotOnThisServer: a source is too old.
        TimedOut: not everything was read within ``timeout``.
        RestateLabError: what the sources raise.
    """
    for side in (before, after):
        check_tried(side, "compare()")
    sides = sides_of(before, after, limit=limit, timeout=timeout)
    if sides.before.now - sides.after.now > _CLOCKS:
        raise ArgumentError(
            f"before is {sides.before.where}, which is later than after, {sides.after.where}: give the earlier one "
            f"first, rl.compare(before, after)."
        )
    made = {name: _part(sides, *how) for name, how in _PARTS.items()}
    if _are_strangers(made["invocations"][0]):
        made["invocations"][1].append(_STRANGERS)
    comparison = _comparison(sides, made)
    cut = comparison.not_compared[comparison.not_compared["cut"]]
    if len(cut):
        warnings.warn(
            "; ".join(f"{row.part}: not {row.reason}" for row in cut.itertuples()), Truncated, stacklevel=3
        )  # of the caller of the decorated function
    return comparison


_PARTS: dict[str, tuple[tuple[str, ...], tuple[str, ...], Callable[[Sides], Any]]] = {
    "invocations": (
        compare_invocations.NEEDS,
        compare_invocations.COLUMNS,
        compare_invocations.compare_invocations,
    ),
    "state": (compare_state.NEEDS, compare_state.COLUMNS, compare_state.compare_state),
    "deployments": (
        compare_deployments.NEEDS,
        compare_deployments.COLUMNS,
        compare_deployments.compare_deployments,
    ),
    "backlog": (compare_backlog.NEEDS, compare_backlog.COLUMNS, compare_backlog.compare_backlog),
}
"""Each frame with the columns that it takes on both sides, its own columns, and what makes it."""


def _part(
    sides: Sides, needs: tuple[str, ...], columns: tuple[str, ...], made_by: Callable[[Sides], Part]
) -> tuple[pd.DataFrame, list[Note], bool]:
    """Return a frame, what was not compared for it, and whether that is all of it."""
    frame: pd.DataFrame | None = None
    if lacking := sides.lack(*needs):
        notes = [Note(lacking)]
    else:
        try:
            frame, notes = made_by(sides)
        except NotOnThisServer as error:
            notes = [Note(str(error))]
    return pd.DataFrame(columns=list(columns), dtype=object) if frame is None else frame, notes, frame is None


def _are_strangers(invocations: pd.DataFrame) -> bool:
    counts = invocations.attrs
    return bool(counts.get("in_before") and counts.get("in_after")) and not counts["in_both"]


def _comparison(sides: Sides, made: dict[str, tuple[pd.DataFrame, list[Note], bool]]) -> Comparison:
    for frame, notes, _ in made.values():
        frame.attrs = {**frame.attrs, **_attrs(sides, notes)}
    rows = [(name, note.text, is_whole, note.cut) for name, (_, notes, is_whole) in made.items() for note in notes]
    not_compared = pd.DataFrame(rows, columns=list(_NOT_COMPARED)).astype({"whole": bool, "cut": bool})
    not_compared.attrs = _attrs(sides, [])
    return Comparison(
        **{name: frame for name, (frame, _, _) in made.items()},
        not_compared=not_compared,
        before=sides.before.source.name,
        after=sides.after.source.name,
        before_at=sides.before.now,
        after_at=sides.after.now,
    )


def _attrs(sides: Sides, notes: Iterable[Note]) -> dict[Hashable, Any]:
    attrs: dict[Hashable, Any] = {
        "source": f"{sides.before.source.name} → {sides.after.source.name}",
        "version": sides.after.source.version,
        "now": sides.after.now.isoformat(),
        "before": _origin(sides.before),
        "after": _origin(sides.after),
        "not_compared": [note.text for note in notes],
    }
    if cut := [note.text for note in notes if note.cut]:
        attrs["truncated"] = {"limit": sides.limit, "message": "; ".join(cut)}
    return attrs


def _origin(side: Side) -> dict[str, str]:
    return {"source": side.source.name, "version": side.source.version, "at": side.now.isoformat()}
