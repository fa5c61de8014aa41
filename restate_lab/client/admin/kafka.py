"""Kafka clusters and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping

from restate_lab.client.admin.operations import Operations, drop_none
from restate_lab.client.arguments import (
    check_flag,
    check_id,
    check_name,
    check_reason,
    check_strings,
    check_uri,
    path_segment,
)
from restate_lab.client.models import KafkaCluster, Subscription
from restate_lab.client.models.base import ModelList
from restate_lab.redaction import Secret

_SOURCE = "kafka://cluster/topic"
_SINK = "service://Service/handler"


class Kafka(Operations):
    """Operations on subscriptions and, since 1.7, on Kafka clusters (before, they are in the server's settings)."""

    def list_subscriptions(self, *, source: str | None = None, sink: str | None = None) -> ModelList[Subscription]:
        """Return the subscriptions, sorted by source, sink and id; ``source`` and ``sink`` filter them."""
        params = drop_none(
            source=None if source is None else check_uri("source", source, _SOURCE),
            sink=None if sink is None else check_uri("sink", sink, _SINK),
        )
        answer = self._read("list_subscriptions", "/subscriptions", params)
        models = self._models(Subscription, "list_subscriptions", answer, "subscriptions")
        return ModelList(Subscription, models, by=lambda each: (each.source or "", each.sink or "", each.id))

    def get_subscription(self, subscription: str, /) -> Subscription:
        """Return one subscription.

        Raises:
            NotFound: there is no subscription with this id.
        """
        path = f"/subscriptions/{check_id('subscription', subscription, 'subscription')}"
        return self._model(Subscription, "get_subscription", self._read("get_subscription", path))

    def create_subscription(
        self,
        *,
        source: str,
        sink: str,
        options: Mapping[str, str | Secret] | None = None,
        reason: str | None = None,
    ) -> Subscription:
        """Subscribe a handler ("service://Service/handler") to the messages of a topic ("kafka://cluster/topic").

        ``options`` are options of the Kafka consumer, such as ``auto.offset.reset``; None means the server's defaults.
        The same source and sink can be subscribed twice. The server does not check whether the topic exists.

        Raises:
            RequestRefused: there is no such Kafka cluster, service or handler.
        """
        body = {
            "source": check_uri("source", source, _SOURCE),
            "sink": check_uri("sink", sink, _SINK),
            **drop_none(options=None if options is None else check_strings("options", options)),
        }
        answer = self._change(
            "create_subscription", "POST", "/subscriptions", targets=[source, sink], reason=reason, json=body
        )
        return self._model(Subscription, "create_subscription", answer)

    def delete_subscription(self, subscription: str, /, *, reason: str) -> None:
        """Remove a subscription; invocations that it has already started continue.

        Raises:
            NotFound: there is no subscription with this id.
        """
        id_, why = check_id("subscription", subscription, "subscription"), check_reason(reason)
        self._change("delete_subscription", "DELETE", f"/subscriptions/{id_}", targets=[id_], reason=why)

    def list_kafka_clusters(self) -> ModelList[KafkaCluster]:
        """Return the Kafka clusters, sorted by name, without their subscriptions.

        Raises:
            NotOnThisServer: before 1.7.
        """
        answer = self._read("list_kafka_clusters", "/kafka-clusters")
        models = self._models(KafkaCluster, "list_kafka_clusters", answer, "clusters")
        return ModelList(KafkaCluster, models, by=lambda each: each.name)

    def get_kafka_cluster(self, cluster_name: str, /, *, include_subscriptions: bool = True) -> KafkaCluster:
        """Return one Kafka cluster.

        Without ``include_subscriptions``, ``subscriptions`` has the value None.

        Raises:
            NotFound: there is no cluster with this name.
            NotOnThisServer: before 1.7.
        """
        wanted = check_flag("include_subscriptions", include_subscriptions)
        params = {"include_subscriptions": str(wanted).lower()}
        answer = self._read("get_kafka_cluster", _path(cluster_name), params)
        known = {} if wanted else {"subscriptions": None}  # the server sends an empty list if they are not requested
        return self._model(KafkaCluster, "get_kafka_cluster", answer, **known)

    def create_kafka_cluster(
        self, name: str, /, *, properties: Mapping[str, str | Secret], reason: str | None = None
    ) -> KafkaCluster:
        """Register a Kafka cluster; ``properties`` are properties of its client, "bootstrap.servers" is required.

        The server connects to it only when there is a subscription.

        Raises:
            Conflict: there is already a cluster with this name.
            RequestRefused: a property is missing, or the name is not a valid host name.
            NotOnThisServer: before 1.7.
        """
        body = {"name": check_name("name", name), "properties": check_strings("properties", properties)}
        answer = self._change(
            "create_kafka_cluster", "POST", "/kafka-clusters", targets=[name], reason=reason, json=body
        )
        return self._model(KafkaCluster, "create_kafka_cluster", answer)

    def update_kafka_cluster(
        self, cluster_name: str, /, *, properties: Mapping[str, str | Secret], reason: str | None = None
    ) -> KafkaCluster:
        """Replace all properties of a Kafka cluster; properties that you omit are removed.

        Raises:
            NotFound: there is no cluster with this name.
            NotOnThisServer: before 1.7.
        """
        body = {"properties": check_strings("properties", properties)}
        path = _path(cluster_name)
        answer = self._change("update_kafka_cluster", "PATCH", path, targets=[cluster_name], reason=reason, json=body)
        return self._model(KafkaCluster, "update_kafka_cluster", answer)

    def delete_kafka_cluster(self, cluster_name: str, /, *, reason: str, force: bool = False) -> None:
        """Remove a Kafka cluster; ``force=True`` removes it even if subscriptions use it, and they remain without it.

        Raises:
            Conflict: subscriptions use it.
            NotFound: there is no cluster with this name.
            NotOnThisServer: before 1.7.
        """
        params = {"force": "true"} if check_flag("force", force) else None
        path, why = _path(cluster_name), check_reason(reason)
        self._change("delete_kafka_cluster", "DELETE", path, targets=[cluster_name], reason=why, params=params)


def _path(cluster_name: str) -> str:
    return f"/kafka-clusters/{path_segment(check_name('cluster_name', cluster_name))}"
