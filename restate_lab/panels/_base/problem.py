"""Why a panel cannot read at present: what kind of problem it is, and the sentences that say so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from restate_lab._text import format_age, format_duration, format_time
from restate_lab.errors import AccessDenied, RateLimited, RestateLabError, TimedOut
from restate_lab.panels._base.source import LIMIT

__all__ = ["Kind", "ReadFailure", "kind_of"]

Kind = Literal["away", "slow", "denied", "limited", "failed"]

_LEADS: dict[Kind, str] = {
    "away": "Cannot reach {name}",
    "slow": "The query took longer than {limit}",
    "denied": "{name} denied access",
    "limited": "{name} limits the number of requests",
    "failed": "{name} answers, but the last read failed",
}
_SLOW_ADVICE = (
    "{name} answers other requests. Use narrower filters, or run the statement once with more time: "
    "lab.sql(panel.sql, params=panel.params, timeout=300)."
)
_SHORT_ADVICE = (
    "{name} answers other requests. Use narrower filters, or allow more time with connect(timeout=…); this connection "
    "allows {limit}."
)


def kind_of(error: RestateLabError, unreached: RestateLabError | None) -> Kind:
    """Return the kind of problem that made a read fail with ``error``.

    ``unreached`` is what a cheap request raised just after that; None where the server answered it.
    """
    latest = unreached or error
    if isinstance(latest, AccessDenied):
        return "denied"
    if isinstance(latest, RateLimited):
        return "limited"
    if unreached is not None:
        return "away"
    return "slow" if isinstance(error, TimedOut) else "failed"


@dataclass(frozen=True, slots=True)
class ReadFailure:
    """What keeps a panel from reading: ``since`` when, and ``next_at`` when it reads again by itself.

    ``name`` is the source's name, ``shown_at`` when the data that is still shown was read (None: nothing was read yet).
    ``limit`` is the time that the last read was allowed, in seconds, ``detail`` the error in words. Times are UTC.
    """

    kind: Kind
    name: str
    since: datetime
    shown_at: datetime | None
    next_at: datetime
    limit: float
    detail: str

    @property
    def lead(self) -> str:
        """Return the first words of the sentence, without a length of time and without a full stop."""
        return _LEADS[self.kind].format(name=self.name, limit=format_duration(self.limit))

    @property
    def showing(self) -> str:
        """Return the sentence about the data that is still shown."""
        return f"Showing {format_time(self.shown_at, show_zone=False)}." if self.shown_at else "Nothing was read yet."

    @property
    def advice(self) -> str:
        """Return what to do or to know; "" where the first sentence says all."""
        if self.kind == "slow":
            advice = _SLOW_ADVICE if self.limit >= LIMIT else _SHORT_ADVICE
            return advice.format(name=self.name, limit=format_duration(self.limit))
        return "" if self.kind == "away" else self.detail

    def text(self, now: datetime) -> str:
        """Return all of it as text, with lengths of time that count from ``now``."""
        gone = f" for {format_age(self.since, now)}" if self.kind == "away" else ""
        left = max(0.0, (self.next_at - now).total_seconds())
        first = f"{self.lead}{gone}. {self.showing} Next try in {format_duration(round(left))}."
        return "\n".join(filter(None, (first, self.advice or self.detail)))

    def for_view(self) -> dict[str, Any]:
        """Return what ``head.js`` needs to show it and to count down; times are in seconds since 1970."""
        return {
            "kind": self.kind,
            "lead": self.lead,
            "since": self.since.timestamp(),
            "since_text": format_time(self.since),
            "showing": self.showing,
            "next_at": self.next_at.timestamp(),
            "advice": self.advice,
            "detail": self.detail if self.kind in {"away", "slow"} else "",
            "stale": self.shown_at is not None,
        }
