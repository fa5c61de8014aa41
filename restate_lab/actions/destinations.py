"""Where a move goes: which deployment each service has there, and why an invocation cannot or need not go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from restate_lab.actions.reading import Reading
from restate_lab.client.schema import checked
from restate_lab.source import Source

__all__ = ["Destination", "Destinations", "read_destinations"]

_LATEST = """
SELECT s.name AS service, d.id, d.min_service_protocol_version AS oldest, d.max_service_protocol_version AS newest
FROM sys_service s JOIN sys_deployment d ON d.id = s.deployment_id"""
_NAMED = """
SELECT id, services, min_service_protocol_version AS oldest, max_service_protocol_version AS newest
FROM sys_deployment WHERE id = :id"""


@dataclass(frozen=True, slots=True)
class Destination:
    """A deployment, and the oldest and newest protocol that it speaks."""

    id: str
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """The deployment of each service; ``asked`` is "latest" or a deployment's id."""

    asked: str
    of: Mapping[str, Destination]

    def has(self, reading: Reading) -> bool:
        """Tell whether an invocation is bound to its destination."""
        there = self.of.get(reading.service or "")
        return there is not None and reading.deployment == there.id

    def why_not(self, reading: Reading) -> str | None:
        """Return why an invocation cannot or need not go there, or None where it can."""
        if reading.deployment is None:
            return "it is bound to no deployment yet: its next attempt goes to the latest"
        there = self.of.get(reading.service or "")
        if there is None:
            who = "no deployment has" if self.asked == "latest" else f"{self.asked} does not have"
            return f"{who} the service {reading.service}"
        if reading.deployment == there.id:
            return f"it is on {there.id} already"
        if reading.protocol is not None and not there.oldest <= reading.protocol <= there.newest:
            return f"it speaks protocol {reading.protocol}, and {there.id} {there.oldest} to {there.newest}"
        return None


def read_destinations(lab: Source, deployment: str) -> Destinations:
    """Return where each service would go; a deployment that does not exist has none."""
    if deployment == "latest":
        rows = checked(lab.arrow(_LATEST, progress=False), _LATEST, lab).to_pylist()
        return Destinations(
            deployment, {row["service"]: Destination(row["id"], row["oldest"], row["newest"]) for row in rows}
        )
    rows = checked(lab.arrow(_NAMED, id=deployment, progress=False), _NAMED, lab).to_pylist()
    return Destinations(
        deployment,
        {service: Destination(row["id"], row["oldest"], row["newest"]) for row in rows for service in row["services"]},
    )
