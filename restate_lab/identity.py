"""The identity of a cluster: whether an address is still the cluster that it was.

A port can be forwarded to another cluster, and a name can lead to a new one. The server gives each deployment a random
id, so a cluster is known by the ids of its deployments and the times of their creation. A copy of a cluster's data is
the same cluster by this rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

_KEPT = 25  # of the newest and of the oldest deployments, in a stored identity
_CHANGED = "none of its deployments of that time is there: it is another cluster, or all were replaced"


@dataclass(frozen=True, slots=True)
class ClusterIdentity:
    """The deployments of a cluster at one time, each with its id and the time of its creation."""

    deployments: frozenset[tuple[str, str]]

    @classmethod
    def of(cls, rows: Iterable[Mapping[Any, Any]]) -> ClusterIdentity:
        """Return the identity from rows of ``sys_deployment`` with ``id`` and ``created_at``."""
        return cls(frozenset((str(row["id"]), _text_of(row["created_at"])) for row in rows))

    @classmethod
    def from_json(cls, value: Any) -> ClusterIdentity | None:
        """Return the identity of a stored list; None if it was not stored.

        Raises:
            TypeError: the value is not such a list.
        """
        if value is None:
            return None
        if not isinstance(value, list) or not all(_is_pair(each) for each in value):
            raise TypeError("not a list of deployments with their times")
        return cls(frozenset((id_, created) for id_, created in value))

    def to_json(self) -> list[list[str]]:
        """Return the list to store: the newest deployments and the oldest ones, because a cluster can have thousands.

        The oldest ones are rarely replaced, and the newest ones stay for longest if the others are.
        """
        oldest_first = sorted(self.deployments, key=lambda each: (each[1], each[0]))
        kept = dict.fromkeys([*oldest_first[:_KEPT], *oldest_first[-_KEPT:]])
        return [[id_, created] for id_, created in kept]


def why_not_same(then: ClusterIdentity | None, now: ClusterIdentity | None) -> str:
    """Return why it is not proven that a cluster is the one that it was; "" if it is: a deployment is in both.

    None is an identity that was not stored, or could not be read.
    """
    if then is None:
        return "its cluster is not known, because an earlier version of restate_lab wrote it"
    if not then.deployments:
        return "its cluster had no deployments, by which it could be recognized"
    if now is None:
        return "the deployments of the cluster cannot be read now"
    if not now.deployments:
        return "the cluster has no deployments now, by which it could be recognized"
    return _CHANGED if then.deployments.isdisjoint(now.deployments) else ""


def _text_of(time: datetime | None) -> str:
    """Return a time to the millisecond, as the server has it; "" if it is missing."""
    if time is None or time != time:  # noqa: PLR0124 - a missing time of pandas is not equal to itself
        return ""
    return time.astimezone(UTC).isoformat(timespec="milliseconds")


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)
