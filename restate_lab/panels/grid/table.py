"""One frame in the grid: its ids, its columns, and the order of its visible rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from restate_lab._cells import Kind, full_text, kind_of
from restate_lab.errors import ArgumentError
from restate_lab.export.columns import is_text
from restate_lab.status import STATUSES

Positions: TypeAlias = npt.NDArray[np.int64]
Flags: TypeAlias = npt.NDArray[np.bool_]
_Column: TypeAlias = "pa.ChunkedArray[Any]"


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The sort column and the filter; None is the frame's order for ``sort``, and all columns for ``within``."""

    sort: str | None = None
    descending: bool = False
    text: str = ""
    within: str | None = None


class GridTable:
    """A frame with an id in every row; it never changes the frame.

    ``run`` is a column that distinguishes the runs of an id, if an id can be reused.

    Raises:
        ArgumentError: the key column has nulls or repeated ids.
    """

    def __init__(self, frame: pd.DataFrame, key: str, run: str | None = None) -> None:
        self.frame = frame.copy(deep=False)
        self.key = key
        self.names: list[str] = list(frame.columns)
        self.run = run if run in self.names else None
        self.kinds: dict[str, Kind] = {name: kind_of(name, frame[name]) for name in self.names}
        self._values = {name: frame[name].array for name in self.names}
        self._ids = _checked_ids(frame[key])
        self._arrow: dict[str, _Column] = {}
        self._sorted: tuple[str, bool, Positions] | None = None
        self._groups: tuple[str | None, Positions, pd.Index[Any]] | None = None

    def __len__(self) -> int:
        return len(self.frame)

    def value(self, position: int, name: str) -> Any:
        """Return one value."""
        return self._values[name][position]

    def id_at(self, position: int) -> Any:
        """Return the id of a row, as in the frame."""
        return _plain(self._values[self.key][position])

    def run_at(self, position: int) -> Any:
        """Return the run of a row, or None if it is unknown."""
        value = None if self.run is None else self.value(position, self.run)
        return None if pd.isna(value) else _plain(value)

    def has_other_runs(self, positions: Positions, table: GridTable, theirs: Positions) -> Flags:
        """Return for which rows another table has another run; ``theirs`` are the positions there, -1 if missing."""
        if self.run is None or table.run is None:
            return np.zeros(len(positions), dtype=np.bool_)
        here = pd.Series(self._values[self.run].take(positions))
        there = pd.Series(table._values[table.run].take(theirs, allow_fill=True))
        is_same = (here == there).fillna(value=False).to_numpy(dtype=np.bool_) | (here.isna() & there.isna()).to_numpy()
        return (theirs >= 0) & ~is_same

    def ids(self, positions: Positions) -> list[Any]:
        """Return the ids of rows, in the order of ``positions``."""
        return list(self._ids[positions])

    def index(self, positions: Positions) -> pd.Index[Any]:
        """Return the ids of rows as an index, in the order of ``positions``."""
        return self._ids.take(positions)

    def positions(self, ids: Iterable[Any]) -> Positions:
        """Return the positions of ids in the frame, -1 for ids that it does not have."""
        wanted = ids if isinstance(ids, pd.Index) else pd.Index(list(ids))
        return self._ids.get_indexer(wanted).astype(np.int64)

    def order(self, arrangement: Arrangement, shown: Sequence[str]) -> Positions:
        """Return the positions of the matching rows, sorted: nulls last, equal rows in the order of the frame.

        The filter searches the text columns in ``shown``. It is case-sensitive if the text has a capital letter.
        """
        order = self._sorted_by(arrangement.sort, arrangement.descending)
        if not arrangement.text:
            return order
        names = [arrangement.within] if arrangement.within else shown
        return order[self._matching(arrangement.text, names)[order]]

    def text_columns(self) -> list[str]:
        """Return the columns that the filter can search."""
        return [
            name for name in self.names if self.kinds[name] in {"text", "status"} and is_text(self.arrow(name).type)
        ]

    def groups(self, name: str | None) -> tuple[Positions, pd.Index[Any]]:
        """Return the group code of each row, -1 if the column is null or missing, and the group values by code."""
        if self._groups is None or self._groups[0] != name:
            column = self.frame[name] if name in self.names else pd.Series(np.full(len(self), None), dtype=object)
            codes, values = pd.factorize(column)
            self._groups = (name, codes.astype(np.int64), pd.Index(values))
        return self._groups[1:]

    def arrow(self, name: str) -> _Column:
        """Return a column as Arrow; values without an Arrow type are converted to their display text."""
        if name not in self._arrow:
            self._arrow[name] = _arrow(self.frame[name])
        return self._arrow[name]

    def _sorted_by(self, name: str | None, descending: bool) -> Positions:
        if name is None:
            return np.arange(len(self), dtype=np.int64)
        if self._sorted is None or self._sorted[:2] != (name, descending):
            ranks = _ranks(self.arrow(name), self.kinds[name])
            order: Literal["ascending", "descending"] = "descending" if descending else "ascending"
            indices = pc.sort_indices(pa.table([ranks], names=["rank"]), sort_keys=[("rank", order)])
            self._sorted = (name, descending, indices.to_numpy().astype(np.int64))
        return self._sorted[2]

    def _matching(self, text: str, names: Sequence[str]) -> Flags:
        """Return one flag per row; a million rows of text take about 0.1 s per column."""
        found = np.zeros(len(self), dtype=np.bool_)
        for name in names:
            column = self.arrow(name)
            if is_text(column.type):
                matches = pc.match_substring(column, text, ignore_case=text == text.lower())
                found |= matches.fill_null(False).to_numpy()  # noqa: FBT003 - pyarrow's own signature
        return found


def _checked_ids(column: pd.Series[Any]) -> pd.Index[Any]:
    ids: pd.Index[Any] = pd.Index(column)
    if ids.hasnans or not ids.is_unique:
        number = len(ids) - ids.nunique()
        raise ArgumentError(f"{number:,} rows have no value or a repeated one in {column.name}, which must be unique.")
    return ids


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _arrow(column: pd.Series[Any]) -> _Column:
    try:
        found = pa.array(column, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, UnicodeEncodeError):
        found = _as_text(column)
    if pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if found.type == pa.null():
        found = found.cast(pa.large_string())
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def _as_text(column: pd.Series[Any]) -> pa.Array[Any]:
    return pa.array([full_text(value, UTC) or None for value in column], pa.large_string())


def _ranks(column: _Column, kind: Kind) -> _Column:
    """Return the sort keys of a column: statuses sort by life cycle, nested values by their text."""
    if kind == "status" and is_text(column.type):
        places = pc.index_in(column, value_set=pa.array(list(STATUSES), column.type)).fill_null(len(STATUSES))
        ranks: _Column = pc.if_else(column.is_valid(), places, None)
        return ranks
    if pa.types.is_nested(column.type):
        return pa.chunked_array([_as_text(pd.Series(column.to_pylist(), dtype=object))])
    return column


_SMALLEST_GROUP = 3  # rows; for two rows, a group line would save no space


def gather(order: Positions, codes: Positions) -> tuple[Positions, Positions]:
    """Return the order with the rows of each group after its first row, and the group code of each row (-1: none).

    ``codes`` has the group of each row of the table. Groups with fewer than three rows are ignored.
    """
    of = codes[order]
    number = int(codes.max(initial=-1)) + 1
    sizes = np.bincount(of[of >= 0], minlength=number)
    of = np.where(np.append(sizes, 0)[of] >= _SMALLEST_GROUP, of, -1)
    at = np.arange(len(order))
    first = np.zeros(number + 1, dtype=np.int64)
    first[of[::-1]] = at[::-1]
    by_group = np.argsort(np.where(of >= 0, first[of], at), kind="stable")
    return order[by_group], of[by_group]


class Lines:
    """The lines of a table: one per row, plus one after the first row of each group for its other rows.

    ``codes`` has the group of each row in the order shown, as returned by ``gather``, or None without groups. The rows
    of a group are shown below its line if ``expanded`` has its code; otherwise only the line is shown.
    """

    def __init__(self, rows: int, codes: Positions | None = None, expanded: Collection[int] = ()) -> None:
        self.rows = rows
        self.starts: Positions | None = None  # for each line, the start of its rows; None if each row is a line
        if codes is None or codes.max(initial=-1) < 0:
            return
        is_first = (codes >= 0) & (codes != np.append(-1, codes[:-1]))
        self._is_member = (codes >= 0) & ~is_first
        is_folded = self._is_member & ~np.isin(codes, np.array(list(expanded), dtype=np.int64))
        group_lines = np.flatnonzero(is_first) + 1
        starts = np.concatenate([group_lines, np.flatnonzero(~is_folded)])
        groups = np.concatenate([codes[is_first], np.full(len(starts) - len(group_lines), -1)])
        lines = np.argsort(starts, kind="stable")
        self.starts, self._groups = starts[lines].astype(np.int64), groups[lines].astype(np.int64)
        self._sizes = np.bincount(codes[codes >= 0])

    def __len__(self) -> int:
        return self.rows if self.starts is None else len(self.starts)

    def equals(self, other: Lines) -> bool:
        """Return whether other lines show the same places."""
        if self.starts is None or other.starts is None:
            return self.starts is other.starts and self.rows == other.rows
        return np.array_equal(self.starts, other.starts) and np.array_equal(self._groups, other._groups)

    def group(self, line: int) -> int | None:
        """Return the code of the group of a group line, or None for the line of a row."""
        code = -1 if self.starts is None else int(self._groups[line])
        return None if code < 0 else code

    def place(self, line: int) -> int:
        """Return the place in the order of the first row of a line."""
        return line if self.starts is None else int(self.starts[line])

    def end(self, line: int) -> int:
        """Return the place after the last row of a line; a collapsed group has all its other rows in its line."""
        return self.place(line + 1) if line + 1 < len(self) else self.rows

    def members(self, line: int) -> slice:
        """Return the places of all rows in the group of a line."""
        code = self.group(line)
        first = self.place(line) - (code is not None)
        return slice(first, first + (1 if code is None else int(self._sizes[code])))

    def is_member(self, line: int) -> bool:
        """Return whether a line is a row of an expanded group, below the group line."""
        return self.starts is not None and self.group(line) is None and bool(self._is_member[self.starts[line]])

    def line_of(self, place: int) -> int:
        """Return the line of the row at a place."""
        return place if self.starts is None else int(np.searchsorted(self.starts, place, side="right")) - 1

    def line_of_group(self, code: int) -> int | None:
        """Return the line of a group, or None if it has too few rows."""
        lines = None if self.starts is None else np.flatnonzero(self._groups == code)
        return int(lines[0]) if lines is not None and len(lines) else None


class Selection:
    """The selected ids of one table, one flag per row.

    An id that a new frame does not have stays selected but is not counted: it is ``missing`` until its row is back. An
    id with another run in a new frame is deselected and counted in ``replaced`` until the selection changes.
    """

    def __init__(
        self,
        table: GridTable,
        positions: Positions | None = None,
        *,
        gone: Mapping[Any, Any] | None = None,
        replaced: int = 0,
        revision: int = 0,
        extended: tuple[int, Flags] | None = None,
    ) -> None:
        self._table = table
        self._flags: Flags = np.zeros(len(table), dtype=np.bool_)
        if positions is not None:
            self._flags[positions] = True
        self._gone = dict(gone or {})  # id → selected run
        self.replaced = replaced
        self._range = extended  # the first row of the last range, and the selection before it
        self.revision = revision  # changes with every change of the selection

    def over(self, table: GridTable) -> Self:
        """Return the same selection over another frame."""
        mine = self.positions()
        theirs = table.positions(self._table.ids(mine))
        is_other = self._table.has_other_runs(mine, table, theirs)
        gone = {self._table.id_at(at): self._table.run_at(at) for at in mine[theirs < 0]}
        places = dict(zip(self._gone, table.positions(self._gone).tolist(), strict=True))
        back = {each: at for each, at in places.items() if at >= 0}
        same = [at for each, at in back.items() if self._gone[each] in {None, table.run_at(at)}]
        gone |= {each: run for each, run in self._gone.items() if each not in back}
        replaced = self.replaced + int(is_other.sum()) + len(back) - len(same)
        kept = np.concatenate([theirs[(theirs >= 0) & ~is_other], np.array(same, dtype=np.int64)])
        extended = self._range_over(table)
        renewed = type(self)(table, kept, gone=gone, replaced=replaced, revision=self.revision, extended=extended)
        if len(renewed) != len(self) or renewed.missing != self.missing or replaced != self.replaced:
            renewed.revision += 1
        return renewed

    def _range_over(self, table: GridTable) -> tuple[int, Flags] | None:
        """Return the range that Shift extends, for another frame; None if its first row is missing there."""
        if self._range is None:
            return None
        origin, before = self._range
        places = table.positions(self._table.ids(np.append(np.flatnonzero(before), origin).astype(np.int64)))
        if places[-1] < 0:
            return None
        flags: Flags = np.zeros(len(table), dtype=np.bool_)
        flags[places[:-1][places[:-1] >= 0]] = True
        return int(places[-1]), flags

    def __len__(self) -> int:
        return int(self._flags.sum())

    @property
    def missing(self) -> int:
        """The number of selected ids that the frame no longer has."""
        return len(self._gone)

    def ids(self) -> list[Any]:
        """Return the selected ids of the frame, in its order."""
        return self._table.ids(self.positions())

    def positions(self) -> Positions:
        """Return the positions of the selected rows in the frame."""
        return np.flatnonzero(self._flags).astype(np.int64)

    def has(self, position: int) -> bool:
        """Return whether a row is selected."""
        return bool(self._flags[position])

    def within(self, order: Positions) -> int:
        """Return the number of these rows that are selected."""
        return int(self._flags[order].sum())

    def set(self, positions: Positions, *, on: bool) -> None:
        """Select or deselect these rows; the others stay unchanged."""
        self._range = None
        self._flags[positions] = on
        self._new_revision()

    def extend(self, positions: Positions, origin: int) -> None:
        """Select rows that extend from a row; this replaces the last range from the same row."""
        if self._range is None or self._range[0] != origin:
            self._range = (origin, self._flags.copy())
        self._flags = self._range[1].copy()
        self._flags[positions] = True
        self._new_revision()

    def end_range(self) -> None:
        """Let the next range add to the current selection."""
        self._range = None

    def replace(self, positions: Positions) -> None:
        """Select only these rows and forget missing ids."""
        self._gone = {}
        self._flags[:] = False
        self.set(positions, on=True)

    def _new_revision(self) -> None:
        self.replaced = 0
        self.revision += 1
