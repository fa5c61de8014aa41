"""A comparison in words: one line for a repr, five for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from restate_lab._text import format_age, format_timestamp, join, one_line, plural

if TYPE_CHECKING:
    from restate_lab.evidence.compare import Comparison

__all__ = ["headline", "part_line", "summary_lines", "where_of"]

PARTS = ("invocations", "state", "deployments", "backlog")
_FEW = 3
_NAME = 48  # characters of a name in a line
_LINE = 160  # characters of a reason in a line


def where_of(made: Comparison) -> str:
    """Return which sources these are, and how far apart."""
    later = format_age(made.before_at, made.after_at)
    names = [one_line(name, _NAME) for name in (made.before, made.after)]
    return f"{names[0]} → {names[1]}, {later} later, {format_timestamp(made.after_at)}"


def headline(made: Comparison) -> str:
    """Return how much changed, in a line."""
    rows = made.invocations["change"].value_counts()
    changed = int(rows.sum()) - int(rows.get("created", 0)) - int(rows.get("removed", 0))
    parts = [
        f"{rows['created']:,} created" if "created" in rows else "",
        f"{rows['removed']:,} removed" if "removed" in rows else "",
        f"{changed:,} moved on" if changed else "",
        plural(len(made.state), "value of state", "values of state") if len(made.state) else "",
        plural(made.deployments["name"].nunique(), "deployment or service", "deployments and services")
        if len(made.deployments)
        else "",
        plural(int((made.backlog["more"] != 0).sum()), "key with another backlog", "keys with another backlog")
        if _has_more(made.backlog)
        else "",
    ]
    said = ", ".join(part for part in parts if part) or "nothing changed"
    return said + (" (not everything was compared)" if len(made.not_compared) else "")


def summary_lines(made: Comparison) -> list[str]:
    """Return the five lines: which sources, and one for each frame."""
    return [where_of(made), *(f"{part}: {part_line(made, part)}" for part in PARTS)]


def part_line(made: Comparison, part: str) -> str:
    """Return what changed of one frame, in a line."""
    notes = made.not_compared[made.not_compared["part"] == part]
    if notes["whole"].any():
        return f"not compared, {one_line(str(notes['reason'].iloc[0]), _LINE)}"
    said = _SAID[part](getattr(made, part))
    return f"{said} (not everything was compared)" if len(notes) else said


def _invocations(frame: pd.DataFrame) -> str:
    return "; ".join(_of_invocations(frame)) or "nothing changed"


def _of_invocations(frame: pd.DataFrame) -> Iterator[str]:
    created, removed = (int((frame["change"] == word).sum()) for word in ("created", "removed"))
    stayed = frame[~frame["change"].isin(["created", "removed"])]
    if created:
        yield f"{created:,} created ({_top(frame.loc[frame['change'] == 'created', 'status_after'])})"
    if removed:
        over = int(frame["past_retention"].eq(other=True).fillna(value=False).sum())
        yield f"{removed:,} removed" + (f", {over:,} of them past their retention" if over else "")
    moved = stayed[stayed["status_before"] != stayed["status_after"]]
    if len(moved):
        yield f"{len(moved):,} changed status ({_top(moved['status_before'] + ' → ' + moved['status_after'])})"
    retried = stayed[stayed["more_retries"].gt(0).fillna(value=False)]
    if len(retried):
        least = "at least " if retried["retries_at_least"].any() else ""
        yield f"{len(retried):,} tried again, {least}{int(retried['more_retries'].sum()):,} times"
    progressed = stayed[stayed["more_entries"].ne(0).fillna(value=False)]
    if len(progressed):
        yield f"{len(progressed):,} with other journals ({int(progressed['more_entries'].sum()):+,} entries)"
    if n := int((stayed["change"] == "deployment").sum()):
        yield f"{n:,} on another deployment"


def _state(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "nothing changed"
    counts = frame["change"].value_counts()
    said = ", ".join(f"{counts[word]:,} {word}" for word in ("added", "removed", "changed") if word in counts)
    return f"{said} ({_top(frame['service_name'])})"


def _deployments(frame: pd.DataFrame) -> str:
    if frame.empty:
        return "nothing changed"
    things = list(frame.groupby(["kind", "name"], sort=False))
    said = (_thing(str(kind), str(name), rows) for (kind, name), rows in things[: _FEW + 1])
    return join(said, _FEW, total=len(things), separator="; ")


def _thing(kind: str, name: str, rows: pd.DataFrame) -> str:
    if rows["change"].iloc[0] != "changed":
        return f"{kind} {one_line(name, _NAME)} {rows['change'].iloc[0]}"
    how = ", ".join(
        f"{row.what} {one_line(str(row.before), _NAME)} → {one_line(str(row.after), _NAME)}"
        for row in rows.itertuples()
    )
    return f"{kind} {one_line(name, _NAME)}: {how}"


def _backlog(frame: pd.DataFrame) -> str:
    before, after = (frame[name].sum() for name in ("waiting_before", "waiting_after"))
    if not _has_more(frame):
        return f"nothing changed ({plural(int(after), 'call')} waiting)" if after else "nobody waits for a key"
    changed = frame[frame["more"].fillna(0) != 0]
    said = (
        f"{one_line(f'{row.target_service_name}/{row.target_service_key}', _NAME)} {row.waiting_before:,} → "
        f"{row.waiting_after:,}"
        for row in changed[: _FEW + 1].itertuples()
    )
    return f"{int(before):,} → {int(after):,} calls waiting; {join(said, _FEW, total=len(changed))}"


_SAID = {"invocations": _invocations, "state": _state, "deployments": _deployments, "backlog": _backlog}


def _has_more(backlog: pd.DataFrame) -> bool:
    return bool((backlog["more"].fillna(0) != 0).any())


def _top(words: pd.Series) -> str:
    counts = words.fillna("?").value_counts()
    said = (f"{one_line(str(word), _NAME)} {n:,}" for word, n in counts[: _FEW + 1].items())
    return join(said, _FEW, total=len(counts))
