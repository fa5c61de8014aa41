"""Which rows are selected: by id, whatever is sorted, filtered or read again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from restate_lab.panels.grid_table import Flags, Positions, Table

__all__ = ["Selection"]


class Selection:
    """The selected ids of one table, one flag a row.

    An id that a new frame no longer has stays selected, without counting: it is ``gone``, and comes back with its row.
    An id that has another run in a new frame is deselected, and counted in ``replaced`` until the selection is changed.
    """

    def __init__(
        self,
        table: Table,
        positions: Positions | None = None,
        *,
        gone: Mapping[Any, Any] | None = None,
        replaced: int = 0,
        revision: int = 0,
    ) -> None:
        self._table = table
        self._flags: Flags = np.zeros(len(table), dtype=np.bool_)
        if positions is not None:
            self._flags[positions] = True
        self._gone = dict(gone or {})  # with the run that was selected
        self.replaced = replaced
        self._range: tuple[int, Flags] | None = None
        self.revision = revision  # another number after every change

    def over(self, table: Table) -> Self:
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
        renewed = type(self)(table, kept, gone=gone, replaced=replaced, revision=self.revision)
        if len(renewed) != len(self) or renewed.gone != self.gone or replaced != self.replaced:
            renewed.revision += 1
        return renewed

    def __len__(self) -> int:
        return int(self._flags.sum())

    @property
    def gone(self) -> int:
        """How many selected ids the frame no longer has."""
        return len(self._gone)

    def ids(self) -> list[Any]:
        """Return the selected ids that the frame has, in its order."""
        return self._table.ids(self.positions())

    def positions(self) -> Positions:
        """Return where the selected rows stand in the frame."""
        return np.flatnonzero(self._flags).astype(np.int64)

    def has(self, position: int) -> bool:
        """Tell whether a row is selected."""
        return bool(self._flags[position])

    def within(self, order: Positions) -> int:
        """Return how many of these rows are selected."""
        return int(self._flags[order].sum())

    def set(self, positions: Positions, *, on: bool) -> None:
        """Select these rows, or take them out; the others stay as they are."""
        self._range = None
        self._flags[positions] = on
        self._changed()

    def extend(self, order: Positions, start: int, end: int) -> None:
        """Select the lines from ``start`` to ``end`` of ``order``, in place of the last range from the same row."""
        first, last = sorted((start, end))
        origin = int(order[start])
        if self._range is None or self._range[0] != origin:
            self._range = (origin, self._flags.copy())
        self._flags = self._range[1].copy()
        self._flags[order[first : last + 1]] = True
        self._changed()

    def end_range(self) -> None:
        """Let the next range add to what is selected now."""
        self._range = None

    def replace(self, positions: Positions) -> None:
        """Select these rows and no others; what is gone is forgotten."""
        self._gone = {}
        self._flags[:] = False
        self.set(positions, on=True)

    def _changed(self) -> None:
        self.replaced = 0
        self.revision += 1
