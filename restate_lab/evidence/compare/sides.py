"""The two sources of a comparison, with their columns and the reasons for missing columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pandas as pd

from restate_lab._text import format_timestamp
from restate_lab.client.arguments import check_count
from restate_lab.client.schema import tables_of
from restate_lab.durations import DurationInput
from restate_lab.evidence.selection import statement_chunks
from restate_lab.frames import to_frame
from restate_lab.reads import Reads, begin
from restate_lab.source import Source

_NOWHERE = "this server has no such column"


@dataclass(frozen=True, slots=True)
class Limitation:
    """Something that was not compared, with the reason; ``cut`` means that a higher ``limit`` would include it."""

    text: str
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ComparedSource:
    """One source and its timestamp; ``columns`` ("table.column") are the columns that exist and are not masked.

    ``reasons`` has the reasons why other columns and tables are missing. ``part`` describes which part of the cluster
    the source contains, "" for all of it.
    """

    role: str
    source: Reads
    now: datetime
    columns: frozenset[str]
    reasons: Mapping[str, str]
    part: str

    @property
    def where(self) -> str:
        """Return the name, version and timestamp of the source."""
        return f"{self.source.name} (restate {self.source.version}, {format_timestamp(self.now)})"

    def rows(self, statement: str, **values: Any) -> pd.DataFrame:
        """Return the rows of a statement."""
        return to_frame(self.source.query(statement, values))

    def rows_of(self, statement: str, ids: Iterable[str]) -> Iterator[pd.DataFrame]:
        """Yield the rows of a statement with ``:ids``, in several reads if there are many ids."""
        for chunk in statement_chunks(ids):
            yield self.rows(statement, ids=chunk)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both sources; ``limit`` is the maximum number of rows of one table per source, None for no limit."""

    before: ComparedSource
    after: ComparedSource
    limit: int | None

    def __iter__(self) -> Iterator[ComparedSource]:
        return iter((self.before, self.after))

    def has(self, *names: str) -> bool:
        """Return whether both have all of these columns."""
        return not self.missing(*names)

    def missing(self, *names: str) -> str:
        """Return a text about the first missing column, with the side and the reason; "" if both have all."""
        for side in self:
            for name in names:
                if name not in side.columns:
                    reason = side.reasons.get(name) or side.reasons.get(name.partition(".")[0]) or _NOWHERE
                    return f"{side.role} has no {name} ({reason})"
        return ""

    def exceeds_limit(self, count: int) -> bool:
        """Return whether the number of rows exceeds the limit."""
        return self.limit is not None and count > self.limit


def sides_of(before: Source, after: Source, *, limit: int | None, timeout: DurationInput | None) -> Sides:
    """Read the columns of both sources, within one ``timeout`` that starts now.

    Raises:
        ArgumentError: ``limit`` is not a number of rows.
    """
    if limit is not None:
        check_count("limit", limit, least=1)
    reads = [begin(source, "compare", timeout) for source in (before, after)]
    return Sides(_describe("before", before, reads[0]), _describe("after", after, reads[1]), limit)


def merge(before: pd.DataFrame, after: pd.DataFrame, on: list[str]) -> pd.DataFrame:
    """Join both frames by their keys, which must be unique; the column ``found`` has the side that each key is on."""
    # pandas 3 cannot merge texts from Arrow if both sides are empty, and different kinds of null must be equal.
    sides = [frame.astype(dict.fromkeys(on, "object")) for frame in (before, after)]
    return sides[0].merge(
        sides[1], on=on, how="outer", suffixes=("_before", "_after"), indicator="found", validate="1:1"
    )


def _describe(role: str, source: Source, reads: Reads) -> ComparedSource:
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
