"""The server itself: its version, its health, the members of its cluster."""

from __future__ import annotations

from restate_lab.client.admin.door import Door
from restate_lab.client.models import ClusterHealth, VersionInformation

__all__ = ["Cluster"]


class Cluster(Door):
    """Operations on the server itself."""

    def version(self) -> VersionInformation:
        """Return the server's version, the Admin API versions it speaks, its ingress and its feature flags.

        ``features`` is None before 1.7.
        """
        return self._model(VersionInformation, "version", self._read("version", "/version"))

    def health(self) -> None:
        """Return when the Admin API says that it is healthy, and raise otherwise.

        Raises:
            Unreachable, ServerFailed: it is not, or nobody answers.
        """
        self._transport.read("GET", "/health")

    def cluster_health(self) -> ClusterHealth:
        """Return the cluster's name and its configured members; a member that died is among them.

        Deprecated by the server, which names no replacement. It is not a check of health.
        """
        return self._model(ClusterHealth, "cluster_health", self._read("cluster_health", "/cluster-health"))
