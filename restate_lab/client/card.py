"""The card of a Lab: which cluster this is, large, and how many invocations are in which status."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from restate_lab._html import render
from restate_lab._text import format_time
from restate_lab.errors import RestateLabError
from restate_lab.status import STATUSES, words_sql

__all__ = ["COUNT_LIMIT", "StatusCard", "counts_sql"]

COUNT_LIMIT = 2.0  # seconds that counting for a card may take
_FRESH = 60.0  # seconds for which the same counts are shown again


def counts_sql(*, has_vqueues: bool) -> str:
    """Return the statement that counts invocations per status word: columns ``word`` and ``n``. A scan."""
    return f"SELECT word, count(*) AS n FROM ({words_sql(has_vqueues=has_vqueues)}) GROUP BY 1"  # noqa: S608 - constants


class StatusCard:
    """Counts at most once a minute, and says so where it could not count.

    ``count`` answers the counting query within ``COUNT_LIMIT``, or raises.
    """

    def __init__(self, count: Callable[[], pa.Table]) -> None:
        self._count = count
        self._counted_at = -_FRESH
        self._counts: dict[str, int] = {}
        self._note = ""

    def html(self, title: str, address: str, mode: str, *, accent: str) -> str:
        """Return the card as HTML: title and address large, counts as a bar, mode and time below."""
        if time.monotonic() - self._counted_at >= _FRESH:
            self._counted_at = time.monotonic()
            self._refresh(format_time(datetime.now(UTC)))
        words = [word for word in STATUSES if word in self._counts]
        parts = [(word, self._counts[word], STATUSES[word].colour) for word in words]
        parts += [(word, n, STATUSES["ready"].colour) for word, n in self._counts.items() if word not in STATUSES]
        lines = [self._note, mode]
        return render("_html/card.html.j2", title=title, place=address, lines=lines, accent=accent, parts=parts)

    def _refresh(self, moment: str) -> None:
        try:
            rows = self._count().to_pylist()
        except RestateLabError as error:
            self._counts = {}
            self._note = f"not counted at {moment}: {error}"
            return
        self._counts = {row["word"]: row["n"] for row in rows}
        self._note = f"{sum(self._counts.values()):,} invocations, retained completed ones included, at {moment}"
