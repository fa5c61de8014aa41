"""A week of a parcel shop, in which a day takes five seconds, with a new release in the middle.

The server keeps the invocations for about two days, and the archive is visited once a day. Then its times are moved to
real days. The release changes two behaviors: labels are printed more slowly, and more cards are declined.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType

from restate_lab.demo.api import Api
from restate_lab.demo.stories.steps import Act, Deploy, Send, StoryStep, wait_for_statuses

DAY = 5.0  # seconds
SETTLED = 3.0  # seconds after the last order; it takes two
WEEK_SETTINGS = MappingProxyType({"RESTATE_WORKER__CLEANUP_INTERVAL": "1s"})
"""Settings of the server: it removes invocations as soon as their retention is over."""


@dataclass(frozen=True, slots=True)
class Day(StoryStep):
    """Send the orders of a day, and visit the archive meanwhile; the role is the invocation that sends them."""

    role: str
    number: int
    reaches: str = "succeeded"

    def act(self, api: Api, roles: Mapping[str, str]) -> str:  # noqa: ARG002 - the signature of a step
        """Return when the day is over."""
        started = time.monotonic()
        id_ = api.send("Cron/send_orders", self.number)
        api.archive()
        time.sleep(max(started + DAY - time.monotonic(), 0.0))
        return id_


@dataclass(frozen=True, slots=True)
class Visit(StoryStep):
    """Visit the archive until everything has ended, and move it to real days; the role is the cluster's name there."""

    role: str
    after: Mapping[str, str] = field(default_factory=dict)

    def act(self, api: Api, roles: Mapping[str, str]) -> str:
        """Visit when the status is reached, and again when the last orders have ended."""
        wait_for_statuses(api, roles, self.after)
        api.archive()
        time.sleep(SETTLED)
        name = api.archive()
        api.move_archive(timedelta(seconds=DAY))
        return name


def _days(first: int, last: int) -> tuple[StoryStep, ...]:
    return tuple(Day(f"day_{number}", number) for number in range(first, last + 1))


WEEK: tuple[StoryStep, ...] = (
    Deploy("daily", "parcels-daily"),
    Deploy("release_1", "parcels-1"),
    *_days(1, 4),
    Send("not_closed", "Books/close", "October", "failed"),
    Deploy("release_2", "parcels-2", after={"not_closed": "failed"}),
    Act("closed", "restart-as-new", "not_closed", {"not_closed": "failed"}, "succeeded"),
    *_days(5, 7),
    Visit("archive", after={"day_7": "succeeded"}),
)
