"""Why a panel cannot read at present: the kind of problem and its description."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from restate_lab._text import format_age, format_duration, format_time
from restate_lab.calls import without_options
from restate_lab.errors import AccessDenied, RateLimited, RestateLabError, TimedOut
from restate_lab.panels._base.source import LIMIT

Kind = Literal["away", "slow", "denied", "limited", "failed"]

_LEADS: dict[Kind, str] = {
    "away": "Cannot reach {name}",
    "slow": "The query took longer than {limit}",
    "denied": "{name} denied access",
    "limited": "{name} limits the number of requests",
    "failed": "{name} responds, but the last read failed",
}
_SLOW_ADVICE = "{name} responds to other requests. Use narrower filters: a panel reads for at most {limit}."
_SHORT_ADVICE = (
    "{name} responds to other requests. Use narrower filters, or a connection with a longer time limit than {limit}."
)


def kind_of(error: RestateLabError, unreached: RestateLabError | None) -> Kind:
    """Return the kind of problem that made a read fail with ``error``.

    ``unreached`` is the error of a cheap request right after it, or None if the server responded to that request.
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
    """A problem that keeps a panel from reading, ``since`` when, and the time ``next_at`` of the next attempt.

    ``name`` is the name of the source. ``shown_at`` is the time of the data still shown, or None without data.
    ``limit`` is the time limit of the last read in seconds, and ``detail`` the error as text. Times are UTC.
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
        """Return the start of the sentence, without a duration and a period."""
        return _LEADS[self.kind].format(name=self.name, limit=format_duration(self.limit))

    @property
    def showing(self) -> str:
        """Return the sentence about the data that is still shown."""
        return f"Showing {format_time(self.shown_at, show_zone=False)}." if self.shown_at else "There is no data yet."

    @property
    def advice(self) -> str:
        """Return advice or details for the user; "" if the first sentence is enough."""
        if self.kind == "slow":
            advice = _SLOW_ADVICE if self.limit >= LIMIT else _SHORT_ADVICE
            return advice.format(name=self.name, limit=format_duration(self.limit))
        return "" if self.kind == "away" else without_options(self.detail)

    def text(self, now: datetime) -> str:
        """Return the whole message as text, with durations relative to ``now``."""
        gone = f" for {format_age(self.since, now)}" if self.kind == "away" else ""
        left = max(0.0, (self.next_at - now).total_seconds())
        first = f"{self.lead}{gone}. {self.showing} Next try in {format_duration(round(left))}."
        return "\n".join(filter(None, (first, self.advice or without_options(self.detail))))

    def for_view(self) -> dict[str, Any]:
        """Return the fields that ``head.js`` needs for the message and its countdown; times are seconds since 1970."""
        return {
            "kind": self.kind,
            "lead": self.lead,
            "since": self.since.timestamp(),
            "since_text": format_time(self.since),
            "showing": self.showing,
            "next_at": self.next_at.timestamp(),
            "advice": self.advice,
            "detail": without_options(self.detail) if self.kind in {"away", "slow"} else "",
            "stale": self.shown_at is not None,
        }
