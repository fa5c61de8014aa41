"""A comparison as parts of a report: what changed in words, and a table for each kind of change."""

from __future__ import annotations

from restate_lab._text import escape_invisible
from restate_lab.evidence.compare import Comparison
from restate_lab.reports.parts import Notice, Part, Prose
from restate_lab.reports.tables import Maker

__all__ = ["parts_of"]

_COLUMNS = {
    "invocations": ("target", "change", "status_before", "status_after", "more_retries", "more_entries", "id"),
    "state": ("service_name", "service_key", "key", "change", "bytes_before", "bytes_after"),
    "deployments": ("kind", "name", "change", "what", "before", "after"),
    "backlog": (
        *("target_service_name", "target_service_key", "waiting_before", "waiting_after", "more"),
        "oldest_wait_after",
    ),
}


def parts_of(comparison: Comparison, maker: Maker, *, rows: int) -> tuple[Part, ...]:
    """Return the summary, what could not be compared, and the frames in which something stands."""
    parts: list[Part] = [Prose((maker.masker.text(escape_invisible(comparison.summary)),))]
    parts += [
        Notice(maker.masker.text(escape_invisible(f"Not compared, {row['part']}: {row['reason']}")))
        for row in comparison.not_compared.to_dict("records")
    ]
    for name, columns in _COLUMNS.items():
        frame = getattr(comparison, name)
        if len(frame):
            parts.append(
                maker.table(frame, title=name.capitalize(), columns=columns, rows=rows, file=name, drop_empty=True)
            )
    return tuple(parts)
