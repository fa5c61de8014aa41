"""The server and its cluster: version, members, remarks (SchemaInfo), Kafka clusters and subscriptions."""

from __future__ import annotations

from typing import ClassVar

from restate_lab.client.models._base import Model, SafeMap, Timestamp


class VersionInformation(Model):
    """A server's version, its Admin API versions, the ingress that it reports, and its feature flags (since 1.7)."""

    line: ClassVar[tuple[str, ...]] = ("version", "ingress_endpoint", "on")

    version: str
    min_admin_api_version: int | None = None
    max_admin_api_version: int | None = None
    ingress_endpoint: str | None = None
    features: dict[str, bool] | None = None

    @property
    def on(self) -> tuple[str, ...] | None:
        """Return the names of the flags that are on; None if the server has no flags."""
        return None if self.features is None else tuple(sorted(name for name, is_on in self.features.items() if is_on))


class MetadataClusterHealth(Model):
    """The configured members of the metadata cluster, by node id."""

    line: ClassVar[tuple[str, ...]] = ("members",)

    members: tuple[int, ...] | None = None


class ClusterHealth(Model):
    """The cluster's name and its configured members, including dead ones."""

    line: ClassVar[tuple[str, ...]] = ("cluster_name", "members")

    cluster_name: str
    metadata_cluster_health: MetadataClusterHealth | None = None

    @property
    def members(self) -> tuple[int, ...] | None:
        """Return the node ids of the configured members, including dead ones; None if the server sends none."""
        return self.metadata_cluster_health.members if self.metadata_cluster_health else None

    @property
    def remark(self) -> str:
        """Return that dead members are included."""
        return "configured members, including dead ones"


class SchemaInfo(Model):
    """One remark on a deployment, service or handler, such as a setting that is deprecated; ``code`` may be None."""

    line: ClassVar[tuple[str, ...]] = ("message", "code")

    message: str | None = None
    code: str | None = None


class Subscription(Model):
    """A subscription: messages of ``source`` ("kafka://cluster/topic") go to ``sink`` ("service://Service/handler")."""

    line: ClassVar[tuple[str, ...]] = ("id", "source", "sink")

    id: str
    source: str | None = None
    sink: str | None = None
    options: SafeMap | None = None


class KafkaCluster(Model):
    """A Kafka cluster. The server never returns some passwords in ``properties``; other secrets are masked here.

    ``subscriptions`` has None if they were not requested.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "properties", "subscriptions", "created_at")

    name: str
    properties: SafeMap | None = None
    created_at: Timestamp | None = None
    subscriptions: tuple[Subscription, ...] | None = None
    info: tuple[SchemaInfo, ...] | None = None
