"""The card of a Lab: which cluster this is, large, and how many invocations are in which status."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pyarrow as pa

from restate_lab.errors import RestateLabError
from restate_lab.markup import bar, card
from restate_lab.status import STATUS_SQL, STATUSES

__all__ = ["COUNT_LIMIT", "StatusCard", "counts_sql"]

COUNT_LIMIT = 2.0  # seconds that counting for a card may take
_FRESH = 60.0  # seconds for which the same counts are shown again
_COUNTS = f"SELECT {STATUS_SQL} AS word, count(*) AS n FROM sys_invocation GROUP BY 1"  # noqa: S608 - constants
# With vqueues a long back-off shows as ready in sys_invocation; sys_vqueues has the truth.
_COUNTS_VQUEUES = f"""
SELECT CASE WHEN v.entry_id IS NOT NULL AND i.word = 'ready' THEN 'backing-off' ELSE i.word END AS word, count(*) AS n
FROM (SELECT id, {STATUS_SQL} AS word FROM sys_invocation) i
LEFT JOIN (SELECT DISTINCT entry_id FROM sys_vqueues WHERE status = 'backing-off') v ON v.entry_id = i.id
GROUP BY 1"""  # noqa: S608 - constants


def counts_sql(*, has_vqueues: bool) -> str:
    """Return the statement that counts invocations per status word: columns ``word`` and ``n``. A scan."""
    return _COUNTS_VQUEUES if has_vqueues else _COUNTS


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
            self._refresh(datetime.now(UTC).strftime("%H:%M:%S UTC"))
        words = [word for word in STATUSES if word in self._counts]
        parts = [(word, self._counts[word], STATUSES[word].colour) for word in words]
        parts += [(word, n, STATUSES["ready"].colour) for word, n in self._counts.items() if word not in STATUSES]
        return card(title, address, [self._note, mode], accent=accent, body=bar(parts))

    def _refresh(self, moment: str) -> None:
        try:
            rows = self._count().to_pylist()
        except RestateLabError as error:
            self._counts = {}
            self._note = f"not counted at {moment}: {error}"
            return
        self._counts = {row["word"]: row["n"] for row in rows}
        self._note = f"{sum(self._counts.values()):,} invocations, retained completed ones included, at {moment}"
