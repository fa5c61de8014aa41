"""The two sources of a comparison: which columns each has, and why it lacks others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.analysis.deadline import within
from restate_lab.client.arguments import check_count
from restate_lab.client.schema import check_columns, tables_of
from restate_lab.durations import DurationInput
from restate_lab.evidence.selection import statement_chunks
from restate_lab.source import Source

__all__ = ["ComparedSource", "Limitation", "Sides", "merge", "sides_of"]

_NOWHERE = "this server has no such column"


@dataclass(frozen=True, slots=True)
class Limitation:
    """What was not compared, and why; ``cut`` where a higher ``limit`` would have compared it."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ComparedSource:
    """One source and its timestamp; ``columns`` ("table.column") are those that exist and are not masked.

    ``reasons`` has why other columns and tables are missing. ``part`` describes the part of a cluster that evidence
    holds, "" for the whole.
    """

    role: str
    source: Source
    now: datetime
    columns: frozenset[str]
    reasons: Mapping[str, str]
    part: str

    @property
    def has_vqueues(self) -> bool:
        """Return whether the server has vqueues."""
        return bool(self.source.features.get("vqueues", False))

    @property
    def where(self) -> str:
        """Return which source this is, and its timestamp."""
        return f"{self.source.name} (restate {self.source.version}, {format_timestamp(self.now)})"

    def rows(self, statement: str, **values: Any) -> pd.DataFrame:
        """Return the rows of a statement."""
        rows = self.source.sql(statement, params=values, progress=False)
        return check_columns(rows, statement, self.source)

    def rows_of(self, statement: str, ids: Iterable[str]) -> Iterator[pd.DataFrame]:
        """Yield the rows of a statement with ``:ids``, in as many reads as they need."""
        for chunk in statement_chunks(ids):
            yield self.rows(statement, ids=chunk)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sources; ``limit`` (None for no limit) is how many rows of one table are read of each."""

    before: ComparedSource
    after: ComparedSource
    limit: int | None

    def __iter__(self) -> Iterator[ComparedSource]:
        return iter((self.before, self.after))

    def has(self, *names: str) -> bool:
        """Return whether both have all of these columns."""
        return not self.missing(*names)

    def missing(self, *names: str) -> str:
        """Return which side lacks which of these columns, and why; "" where both have all."""
        for side in self:
            for name in names:
                if name not in side.columns:
                    reason = side.reasons.get(name) or side.reasons.get(name.partition(".")[0]) or _NOWHERE
                    return f"{side.role} has no {name} ({reason})"
        return ""

    def exceeds_limit(self, count: int) -> bool:
        """Return whether that many rows are more than may be read."""
        return self.limit is not None and count > self.limit


def sides_of(before: Source, after: Source, *, limit: int | None, timeout: DurationInput | None) -> Sides:
    """Read which columns both sources have; both are read within one ``timeout``, counted from now.

    Raises:
        ArgumentError: ``limit`` is no number of rows.
    """
    if limit is not None:
        check_count("limit", limit, least=1)
    reads = [within(source, timeout, verb="compare") for source in (before, after)]
    return Sides(_describe("before", before, reads[0]), _describe("after", after, reads[1]), limit)


def merge(before: pd.DataFrame, after: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Return both by their keys, which are unique on each side; the column ``found`` says on which side each was."""
    # pandas 3 cannot merge texts from Arrow where both sides are empty, and two forms of null have to meet.
    sides = [frame.astype(dict.fromkeys(on, "object")) for frame in (before, after)]
    return sides[0].merge(
        sides[1], on=on, how="outer", suffixes=("_before", "_after"), indicator="found", validate="1:1"
    )


def _describe(role: str, source: Source, reads: Source) -> ComparedSource:
    tables = tables_of(reads)
    names = [(row["table"], row["column"]) for row in tables[["table", "column"]].to_dict("records")]
    coverage = source.coverage
    return ComparedSource(
        role,
        reads,
        reads.now,
        frozenset(f"{table}.{column}" for table, column in names) - coverage.masked,
        {**coverage.missing, **dict.fromkeys(coverage.masked, "masked when it was frozen")},
        coverage.part,
    )
