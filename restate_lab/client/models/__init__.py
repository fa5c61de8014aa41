"""What the Admin API answers, as frozen values with real types."""

from restate_lab.client.models._base import Model, ModelList, SafeMap
from restate_lab.client.models.cluster import (
    ClusterHealth,
    KafkaCluster,
    MetadataClusterHealth,
    SchemaInfo,
    Subscription,
    VersionInformation,
)
from restate_lab.client.models.deployments import (
    Deployment,
    GoogleIdTokenAuth,
    HttpAuth,
    RegisteredDeployment,
)
from restate_lab.client.models.limits import DeletedRules, DeleteRule, Rule, UpsertRule, UserLimits
from restate_lab.client.models.outcomes import Accepted, RestartedInvocation, StateChange
from restate_lab.client.models.services import Handler, RetryPolicy, Service

__all__ = [
    "Accepted",
    "ClusterHealth",
    "DeleteRule",
    "DeletedRules",
    "Deployment",
    "GoogleIdTokenAuth",
    "Handler",
    "HttpAuth",
    "KafkaCluster",
    "MetadataClusterHealth",
    "Model",
    "ModelList",
    "RegisteredDeployment",
    "RestartedInvocation",
    "RetryPolicy",
    "Rule",
    "SafeMap",
    "SchemaInfo",
    "Service",
    "StateChange",
    "Subscription",
    "UpsertRule",
    "UserLimits",
    "VersionInformation",
]
