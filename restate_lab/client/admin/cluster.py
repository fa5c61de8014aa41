"""The server itself: its version, its health, the members of its cluster."""

from __future__ import annotations

from restate_lab.client.admin.door import Door, not_understood
from restate_lab.client.models import ClusterHealth, VersionInformation
from restate_lab.client.responses import SUCCESS
from restate_lab.errors import ServerFailed

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
            Unreachable: it is not, or nobody answers.
            ServerFailed: it is not, or a login page or another server answers in its place.
        """
        response = self._transport.read("GET", "/health")
        mismatch = SUCCESS["health"].mismatch(response)
        if mismatch is not None:
            raise ServerFailed(not_understood("health", mismatch), status=response.status_code)

    def cluster_health(self) -> ClusterHealth:
        """Return the cluster's name and its configured members; a member that died is among them.

        Deprecated by the server, which names no replacement. It is not a check of health.
        """
        return self._model(ClusterHealth, "cluster_health", self._read("cluster_health", "/cluster-health"))
