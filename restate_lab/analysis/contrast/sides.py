"""Both sides of a comparison: the kinds of failing invocations, the arguments, and the chosen invocations."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from restate_lab._text import plural
from restate_lab.analysis.contrast.reader import SideCondition
from restate_lab.errors import ArgumentError
from restate_lab.frames import handler_of
from restate_lab.reads import Row
from restate_lab.status import STOPPED_SQL

SUCCEEDED = "status = 'completed' AND completion_result = 'success'"
"""The condition on invocations that succeeded."""
TOOK = """arrow_cast(completed_at, 'Int64') - arrow_cast(
    coalesce(CASE WHEN scheduled_at IS NOT NULL THEN scheduled_start_at END, created_at), 'Int64')"""
"""The duration of an ended invocation in milliseconds; a delayed one starts at its planned time."""
_FAILED = f"status = 'completed' AND completion_result = 'failure' AND NOT {STOPPED_SQL}"
BY_ID = "chosen by id"
"""How a side was chosen whose invocations are an argument."""
LEAST_PERIOD = timedelta(hours=1)
"""Both sides were created within at least this time of each other."""
_IN_PERIOD = "created_at >= :since AND created_at <= :until"
_OF_HANDLER = "target_service_name = :service AND target_handler_name = :handler"


@dataclass(frozen=True, slots=True)
class FailingKind:
    """A kind of failing invocations: the condition on their rows, their outcome, and a predicate for messages.

    A kind without a condition is chosen in its own way.
    """

    condition: str
    outcome: str
    predicate: str
    is_open: bool = False


FAILING_KINDS: Mapping[str, FailingKind] = {
    "failed": FailingKind(_FAILED, "failed", "has failed"),
    "backing-off": FailingKind("", "retried", "is backing off", is_open=True),
    "paused": FailingKind("status = 'paused'", "paused", "is paused", is_open=True),
    "suspended": FailingKind("status = 'suspended'", "suspended", "is suspended", is_open=True),
    "slow": FailingKind("", "succeeded", "has succeeded"),
}
"""The kinds that ``failing`` can be, by name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContrastRequest:
    """The arguments of a comparison."""

    failing: Any
    healthy: Any = None
    service: str | None = None
    handler: str | None = None
    sample: int = 2_000
    window: timedelta | None = None
    reads_steps: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side: its sampled rows, the number of all its invocations, how it was chosen, and a condition if it has one.

    ``name`` is "failing" or "healthy". ``total``: None if it has more rows than the sample and was not counted yet.
    ``ids`` are all its invocations if it was chosen by ids, also those that were not read.
    """

    name: str
    rows: Sequence[Row] = ()
    total: int | None = 0
    chosen: str = ""
    condition: SideCondition | None = None
    ids: Collection[str] = ()

    @property
    def all_ids(self) -> Collection[str]:
        """Return the ids that are known."""
        return self.ids or [row["id"] for row in self.rows]


@dataclass(slots=True)
class ContrastSides:
    """Both sides while they are chosen. With a ``statement``, they cannot be compared, and it says why.

    ``known`` and ``groups`` come from ``Outcomes``; ``outcome`` belongs to the failing kind. ``span`` has the
    times at which the first and the last of all failing invocations were created; None means those of the sample.
    ``has_times`` is whether both sides have the same time. ``has_all_healthy`` is whether all successful invocations of
    the handler were created in that time: then ``groups`` has the counts of both sides. ``journals`` has journals that
    were read.
    """

    known: Sequence[Row] = ()
    groups: Sequence[Row] = ()
    outcome: str = ""
    span: tuple[datetime, datetime] | None = None
    has_all_healthy: bool = False
    failing: Side = Side(name="failing")
    healthy: Side = Side(name="healthy")
    service: str = ""
    handler: str = ""
    statement: str = ""
    has_times: bool = True
    is_slow: bool = False
    handlers: pd.DataFrame = field(default_factory=pd.DataFrame)
    not_read: list[str] = field(default_factory=list)
    journals: dict[str, list[Row]] = field(default_factory=dict)

    @property
    def target(self) -> str:
        """Return the handler as text."""
        return f"{self.service}/{self.handler}"

    def of_handler(self, where: str, **params: Any) -> SideCondition:
        """Return a condition on the invocations of the handler that is compared."""
        return SideCondition(f"{_OF_HANDLER} AND {where}", {"service": self.service, "handler": self.handler, **params})

    def has_row(self, row: Row) -> bool:
        """Return whether a row belongs to the handler that is compared."""
        return handler_of(row) == (self.service, self.handler)

    def known_groups(self) -> list[Row]:
        """Return the groups of both sides with ``is_failing``; none if they are not those of all rows of both sides."""
        outcomes = {self.outcome: True, "succeeded": False}
        return [
            row | {"is_failing": outcomes[row["outcome"]]}
            for row in (self.groups if self.has_all_healthy else ())
            if self.has_row(row) and row["outcome"] in outcomes
        ]

    def known_of(self, outcome: str) -> Row | None:
        """Return the count of all invocations of the handler with an outcome; None if there are none."""
        return next((row for row in self.known if self.has_row(row) and row["outcome"] == outcome), None)

    @property
    def succeeded(self) -> int:
        """Return the number of all successful invocations of the handler."""
        row = self.known_of("succeeded")
        return int(row["n"]) if row else 0

    def period(self, window: timedelta | None, now: datetime) -> tuple[datetime, datetime]:
        """Return the time in which the failing ones were created, widened to an hour, or by ``window``, until now."""
        times = [row["created_at"] for row in self.failing.rows]
        first, last = self.span or (min(times), max(times))
        around = max(timedelta(0), LEAST_PERIOD - (last - first)) / 2 if window is None else window
        return first - around, max(last, min(last + around, now))

    def in_period(self, where: str, period: tuple[datetime, datetime]) -> SideCondition:
        """Return a condition on the invocations of the handler that were created in a period."""
        return self.of_handler(f"{where} AND {_IN_PERIOD}", since=period[0], until=period[1])

    def frame(self, without_input: Mapping[str, int]) -> pd.DataFrame:
        """Return one row for each side; ``without_input`` has for each side the rows whose input was not read."""
        rows = [self._row(each, without_input.get(each.name)) for each in (self.failing, self.healthy)]
        types = {"total": "Int64", "read": "int64", "without_input": "Int64"}
        frame = pd.DataFrame(rows).astype(types)
        for name in ("since", "until"):
            frame[name] = pd.to_datetime(frame[name], utc=True).dt.as_unit("ms")
        return frame

    def _row(self, side: Side, without_input: int | None) -> dict[str, Any]:
        times = [row["created_at"] for row in side.rows]
        return {
            "side": side.name,
            "service": self.service,
            "handler": self.handler,
            "total": side.total,
            "read": len(side.rows),
            "since": min(times, default=None),
            "until": max(times, default=None),
            "chosen": side.chosen,
            "without_input": without_input,
        }


def targets_of(targets: Any) -> Any:
    """Return ids, or a frame with ids, from an argument; a finding of the doctor has the ids of its invocations.

    A finding is a Finding, a row of ``findings`` (a Series or a dict), or a frame with only this row.

    Raises:
        ArgumentError: there are several findings, or the finding is not about invocations.
    """
    if "ids" in getattr(targets, "columns", ()):
        if len(targets) != 1:
            raise ArgumentError(
                f"the frame has {plural(len(targets), 'finding')}: pass one of them, findings.iloc[[0]]."
            )
        targets = targets.iloc[0]
    is_row = isinstance(targets, Mapping | pd.Series)
    ids = targets.get("ids") if is_row else getattr(targets, "ids", None)
    if not isinstance(ids, tuple | list):
        return targets
    if not ids or not all(str(id_).startswith("inv_") for id_ in ids):
        raise ArgumentError("the finding has no ids of invocations; pass a finding about invocations, or ids.")
    return ids
