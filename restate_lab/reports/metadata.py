"""The metadata of a report: its source, and the SQL statements behind its sections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pandas as pd

from restate_lab._text import escape_invisible, format_duration, truncate
from restate_lab.client.lab import is_lab
from restate_lab.reports.masking import Masker
from restate_lab.reports.parts import Statement
from restate_lab.server import has_vqueues
from restate_lab.source import Source

_LONGEST = 300  # characters of a parameter


@dataclass(frozen=True, slots=True)
class SourceMetadata:
    """The source of a report.

    ``address`` is "" if the source has none. ``evidence`` is the sha256 of the manifest, or "" for a live cluster.
    ``mode`` is a sentence about whether changes were possible.
    """

    name: str
    version: str
    address: str
    now: datetime
    mode: str
    evidence: str

    @property
    def is_evidence(self) -> bool:
        """Return whether the source is frozen evidence."""
        return bool(self.evidence)


def source_metadata(source: Source) -> SourceMetadata:
    """Read the metadata of a source; ``now`` is the current time of the source, in UTC."""
    digest = str(getattr(source, "digest", "") or "")
    vqueues = ", vqueues" if has_vqueues(source) else ""
    return SourceMetadata(
        name=source.name,
        version=f"{source.version}{vqueues}",
        address=source.address,
        now=pd.Timestamp(source.now).floor("us").to_pydatetime().astimezone(UTC),
        mode=_mode(source, is_frozen=bool(digest)),
        evidence=digest + (" (not verified)" if digest and not getattr(source, "verified", True) else ""),
    )


def _mode(source: Source, *, is_frozen: bool) -> str:
    if is_frozen:
        return "not possible: frozen evidence is read-only"
    if not source.live and source.coverage.is_past:
        return "not possible: a cluster at an earlier time is read-only"
    if not (source.live or source.coverage.open_invocations):
        return "not possible: a history is read-only"
    if not is_lab(source):
        return "not known"
    if source.read_only:
        return "not possible: this connection was read-only"
    return "allowed on this connection"


def statement_of(attrs: Mapping[Any, Any], masker: Masker, *, printed: bool = True) -> Statement | None:
    """Return the SQL statement of a frame, or None if its attrs do not contain one."""
    sql = attrs.get("sql")
    if not isinstance(sql, str) or not sql.strip():
        return None
    params = {str(name): masker.value(value, str(name)) for name, value in dict(attrs.get("params") or {}).items()}
    texts = tuple((name, escape_invisible(truncate(str(value), _LONGEST))) for name, value in params.items())
    call = f'rl.ask(source, "{attrs["question"]}")' if attrs.get("question") else ""
    return Statement(call, escape_invisible(masker.text(sql.strip())), texts, _query_notes(attrs), printed=printed)


def statements_of(contents: Iterable[Any], masker: Masker) -> tuple[Statement, ...]:
    """Return the SQL statements behind these frames, results and panels, each once with a count."""
    queries_by_key: dict[tuple[str, str], dict[Any, Any]] = {}
    for content in contents:
        attrs = getattr(content, "attrs", None) or {}
        queries = getattr(content, "queries", None) or attrs.get("queries")
        for each in queries or [attrs if attrs.get("sql") else _panel_query(content)]:
            key = (str(each.get("sql")), "" if queries else str(each.get("params")))
            first = queries_by_key.setdefault(key, {"printed": not queries, **each, "times": 0})
            first["times"] += each.get("times", 1)
    statements = (statement_of(each, masker, printed=each["printed"]) for each in queries_by_key.values())
    return tuple(each for each in statements if each)


def _panel_query(content: Any) -> dict[str, Any]:
    sql = getattr(content, "sql", None)
    if not isinstance(sql, str):
        return {}
    return {"sql": sql, "params": {name: str(value) for name, value in dict(getattr(content, "params", {})).items()}}


def _query_notes(attrs: Mapping[Any, Any]) -> str:
    parts = [
        f"the question {attrs['question']}" if attrs.get("question") else "",
        f"sent at {str(attrs['asked_at'])[:19].replace('T', ' ')} UTC" if attrs.get("asked_at") else "",
        f"took {format_duration(attrs['seconds'])}" if attrs.get("seconds") is not None else "",
        f"sent {attrs['times']:,} times, first with these parameters" if attrs.get("times", 1) > 1 else "",
    ]
    return ", ".join(each for each in parts if each)
