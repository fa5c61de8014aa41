"""The words people see for an invocation's status: their order, their colours, how they come from columns.

The server has eight statuses; people tell the four ways to end apart, as the web UI does.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["STATUSES", "STATUS_SQL", "Status", "word", "words_sql"]


@dataclass(frozen=True, slots=True)
class Status:
    """One word: its colour on light and dark ground, and whether such an invocation has ended."""

    word: str
    colour: str
    ended: bool = False


_GREY = "#8a8f98"
STATUSES: dict[str, Status] = {
    status.word: status
    for status in (
        Status("scheduled", "#b6bac2"),
        Status("pending", "#d9a400"),
        Status("ready", "#a5aab3"),
        Status("backing-off", "#e8710a"),
        Status("yielded", "#c9b458"),
        Status("running", "#2f6fde"),
        Status("suspended", _GREY),
        Status("paused", "#c98500"),
        Status("succeeded", "#2f9e55", ended=True),
        Status("failed", "#d93025", ended=True),
        Status("cancelled", "#6d727b", ended=True),
        Status("killed", "#53575e", ended=True),
    )
}

# "[409] killed", older servers "[409] Killed" and "[409 Aborted] killed"; "canceled" is older, too.
_KILLED = r"^\[409( Aborted)?\] [Kk]illed$"
_CANCELLED = r"^\[409( Aborted)?\] [Cc]ancell?ed$"

STATUS_SQL = f"""CASE
  WHEN status <> 'completed' THEN status
  WHEN completion_result = 'success' THEN 'succeeded'
  WHEN completion_failure ~ '{_KILLED}' THEN 'killed'
  WHEN completion_failure ~ '{_CANCELLED}' THEN 'cancelled'
  ELSE 'failed' END"""
"""The word as an SQL expression over the columns of ``sys_invocation``."""


_WORDS = f"SELECT id, {STATUS_SQL} AS word FROM sys_invocation"  # noqa: S608 - constants
# With vqueues a long back-off shows as ready in sys_invocation; sys_vqueues has the truth.
_WORDS_VQUEUES = f"""
SELECT i.id, CASE WHEN v.entry_id IS NOT NULL AND i.word = 'ready' THEN 'backing-off' ELSE i.word END AS word
FROM ({_WORDS}) i
LEFT JOIN (SELECT DISTINCT entry_id FROM sys_vqueues WHERE status = 'backing-off') v ON v.entry_id = i.id"""  # noqa: S608


def words_sql(*, has_vqueues: bool) -> str:
    """Return the statement that gives every invocation's ``id`` and ``word``, right for the kind of server. A scan."""
    return _WORDS_VQUEUES if has_vqueues else _WORDS


def word(status: str, completion_result: str | None = None, completion_failure: str | None = None) -> str:
    """Return the word for what ``sys_invocation`` says; an unknown status of a newer server stays as it is."""
    if status != "completed":
        return status
    if completion_result == "success":
        return "succeeded"
    if re.search(_KILLED, completion_failure or ""):
        return "killed"
    if re.search(_CANCELLED, completion_failure or ""):
        return "cancelled"
    return "failed"
