"""The responses of the Admin API, as frozen values with real types."""

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
    DeletedDeployments,
    Deployment,
    GoogleIdTokenAuth,
    HttpAuth,
    RegisteredDeployment,
)
from restate_lab.client.models.limits import DeletedRules, DeleteRule, LimitRule, UpsertRule, UserLimits
from restate_lab.client.models.outcomes import ChangeResult, RestartedInvocation, StateChange
from restate_lab.client.models.services import Handler, RetryPolicy, Service

__all__ = [
    "ChangeResult",
    "ClusterHealth",
    "DeleteRule",
    "DeletedDeployments",
    "DeletedRules",
    "Deployment",
    "GoogleIdTokenAuth",
    "Handler",
    "HttpAuth",
    "KafkaCluster",
    "LimitRule",
    "MetadataClusterHealth",
    "Model",
    "ModelList",
    "RegisteredDeployment",
    "RestartedInvocation",
    "RetryPolicy",
    "SafeMap",
    "SchemaInfo",
    "Service",
    "StateChange",
    "Subscription",
    "UpsertRule",
    "UserLimits",
    "VersionInformation",
]
