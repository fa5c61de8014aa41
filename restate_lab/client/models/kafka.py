"""Kafka clusters and the subscriptions that bring their messages to handlers."""

from __future__ import annotations

from typing import ClassVar

from restate_lab.client.models.base import Model, Moment, SafeMap
from restate_lab.client.models.info import SchemaInfo

__all__ = ["KafkaCluster", "Subscription"]


class Subscription(Model):
    """Messages of ``source`` ("kafka://cluster/topic") go to ``sink`` ("service://Service/handler")."""

    line: ClassVar[tuple[str, ...]] = ("id", "source", "sink")

    id: str
    source: str | None = None
    sink: str | None = None
    options: SafeMap | None = None


class KafkaCluster(Model):
    """A Kafka cluster. The server itself hides some passwords in ``properties``, for good; others are masked here.

    ``subscriptions`` is None where they were not asked for.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "properties", "subscriptions", "created_at")

    name: str
    properties: SafeMap | None = None
    created_at: Moment | None = None
    subscriptions: tuple[Subscription, ...] | None = None
    info: tuple[SchemaInfo, ...] | None = None
