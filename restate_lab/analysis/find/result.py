"""The result of ``find()``: the invocations that have the text, and back to when they were searched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import partial
from typing import Any

import pandas as pd

from restate_lab._public import public
from restate_lab._text import format_timestamp, plural, verb_form
from restate_lab.document import Document, Gaps, Row, Table
from restate_lab.frames import BuiltRows
from restate_lab.result import ORIGIN, Result

_HEADS = ("invocation", "where the text is", "handler", "created")
_STATE_HEADS = ("state", "name", "where the text is")
_MEGABYTE = 1_000_000


@public
@dataclass(frozen=True, repr=False, eq=False)
class Matches(Result):
    """The invocations with a text in their input; ``find()`` returns it. It does not have the text itself.

    - ``frame``: one row per invocation, newest first; each verb takes it as its targets. ``id, created_at`` (UTC),
      ``service, handler``; ``path``: the places with the text, such as "input.order.id", "input.items[3].sku",
      "header x-order-id", "key" or "idempotency key". "input" is the input as a whole, and ``*`` in a path is a name
      that has the text or does not look like the name of a field. With ``payloads=True`` also ``payload``: the input
      as text with secret fields masked, at most 20,000 characters.
    - ``states``: one row per value of state, if a service was searched. ``service, key, name, path``, and ``payload``.
    - ``looked``: how many invocations were searched, of ``total`` in the window (None if there are more than 100,000);
      ``looked_back_to``: the creation of the oldest of them, or ``since``, the start of the window, if all were
      searched (UTC; None if not even the newest 500 were).
    - ``size``: the bytes of inputs and values that were read. ``ended_by``: the limit that ended the search; "" if the
      whole window was searched. ``not_read`` has the inputs and values that were not searched.
    """

    _json = (*ORIGIN, "searched", "not_read", "frame", "states")
    frame: pd.DataFrame
    states: pd.DataFrame
    looked: int
    total: int | None
    looked_back_to: datetime | None
    since: datetime
    size: int
    ended_by: str

    @property
    def ids(self) -> list[str]:
        """Return the ids of the invocations, newest first."""
        return list(self.frame["id"])

    @property
    def summary(self) -> str:
        """Return how many invocations and values of state have the text, on one line."""
        count, states = len(self.frame), len(self.states)
        if not self.total and not states and not self.ended_by:
            return f"No invocation was created since {format_timestamp(self.since)}"
        found = plural(count, "invocation") if count else "No searched invocation"
        also = f", and {plural(states, 'value')} of state" if states else ""
        return f"{found} {verb_form(count or 1, 'has', 'have')} the text{also}"

    @property
    def searched(self) -> str:
        """Return how many invocations were searched, and back to when, as one sentence."""
        total = f"more than {self.looked:,}" if self.total is None else f"{self.total:,}"
        if self.looked == self.total:
            what = f"all {plural(self.looked, 'invocation')} since {format_timestamp(self.since)}"
        elif self.looked_back_to is None:
            what = f"only some of {total} invocations"
        else:
            what = f"the newest {self.looked:,} of {total} invocations, back to {format_timestamp(self.looked_back_to)}"
        return f"Searched: {what} ({format_size(self.size)} read)."

    def _brief(self) -> str:
        return f"{self.where}: {self.summary}. {self.searched}"

    def document(self, zone: tzinfo = UTC, /) -> Document:
        """Return the invocations and the values of state that have the text as blocks."""
        blocks = (
            Table(_HEADS, BuiltRows(self.frame, partial(_row, zone=zone))),
            Table(_STATE_HEADS, BuiltRows(self.states, _state_row)),
            Gaps(self.reasons, "Not searched"),
        )
        tone = "pending" if len(self.frame) or len(self.states) else "scheduled"
        foot = () if self.total == 0 else (self.searched,)
        return replace(super().document(zone), blocks=blocks, tone=tone, foot=foot)


def _row(row: Mapping[Any, Any], zone: tzinfo) -> Row:
    created = format_timestamp(row["created_at"], zone=zone)
    return Row((row["id"], row["path"], f"{row['service']}/{row['handler']}", created))


def _state_row(row: Mapping[Any, Any]) -> Row:
    return Row((f"{row['service']}/{row['key']}", row["name"], row["path"]))


def format_size(size: float) -> str:
    """Return a number of bytes as "3.2 MB", "12 kB" or "80 bytes"."""
    if size >= _MEGABYTE / 10:
        return f"{size / _MEGABYTE:,.1f} MB".replace(".0 MB", " MB")
    return f"{size / 1_000:,.0f} kB" if size >= 1_000 else plural(size, "byte")


def frame_of(rows: Sequence[Mapping[str, Any]], columns: tuple[str, ...], *, payloads: bool) -> pd.DataFrame:
    """Return rows as a frame with these columns, and ``payload`` if payloads are shown."""
    names = [*columns, "payload"] if payloads else list(columns)
    kinds = {"created_at": "datetime64[ms, UTC]"}
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=kinds.get(name, "str")) for name in names})
    if "created_at" in frame:
        frame = frame.sort_values("created_at", ascending=False, kind="stable", ignore_index=True)
    return frame
