"""The responses of the Admin API, as frozen values with real types, and the changes of rules that requests have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, model_validator

from restate_lab.client.arguments import check_count, check_flag, check_name, format_value
from restate_lab.client.models.base import Duration, Model, SafeMap, Timestamp
from restate_lab.errors import ArgumentError

_DRY_RUN = "dry run: nothing was stored"


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


class RetryPolicy(Model):
    """How a failed attempt is retried.

    In a handler, None means the value of the service. In a service, ``max_attempts`` None means no limit.
    """

    line: ClassVar[tuple[str, ...]] = ("initial_interval", "exponentiation_factor", "max_interval", "max_attempts")

    initial_interval: Duration | None = None
    exponentiation_factor: float | None = None
    max_attempts: int | None = None
    max_interval: Duration | None = None
    on_max_attempts: str | None = None


class _Configured(Model):
    name: str
    ty: str | None = None
    documentation: str | None = None
    metadata: SafeMap | None = None
    public: bool | None = None
    idempotency_retention: Duration | None = None
    journal_retention: Duration | None = None
    inactivity_timeout: Duration | None = None
    abort_timeout: Duration | None = None
    enable_lazy_state: bool | None = None
    retry_policy: RetryPolicy | None = None
    info: tuple[SchemaInfo, ...] | None = None


class Handler(_Configured):
    """A handler. ``ty`` is "Exclusive", "Shared" or "Workflow"; None for a handler of a plain service.

    For a timeout or retention, None means the value of the service. The two schemas are JSON schemas.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "ty", "public", "input_description", "output_description")

    input_description: str | None = None
    output_description: str | None = None
    input_json_schema: Any = None
    output_json_schema: Any = None


# The server returns handlers and services in a different order at every call.
Handlers = Annotated[tuple[Handler, ...], AfterValidator(lambda all_: tuple(sorted(all_, key=lambda each: each.name)))]


class Service(_Configured):
    """A service in its newest revision. ``ty`` is "Service", "VirtualObject" or "Workflow".

    In a list of deployments only ``name`` and ``revision`` have values; all other fields have None.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "ty", "revision", "deployment_id", "public", "handlers")

    revision: int | None = None
    deployment_id: str | None = None
    handlers: Handlers | None = None
    workflow_completion_retention: Duration | None = None


Services = Annotated[tuple[Service, ...], AfterValidator(lambda all_: tuple(sorted(all_, key=lambda each: each.name)))]


class GoogleIdTokenAuth(Model):
    """Authentication with a Google-signed identity token; ``audience`` None means the deployment's own address."""

    line: ClassVar[tuple[str, ...]] = ("audience", "impersonate_service_account")

    audience: str | None = None
    impersonate_service_account: str | None = None


class HttpAuth(Model):
    """How the server authenticates to an HTTP deployment (since 1.7)."""

    line: ClassVar[tuple[str, ...]] = ("google_id_token",)

    google_id_token: GoogleIdTokenAuth | None = Field(default=None, alias="GoogleIdToken")


class Deployment(Model):
    """A deployment: an HTTP deployment has ``uri``, a Lambda deployment has ``arn``.

    ``additional_headers`` shows secret values as •••; ``additional_headers.reveal()`` returns them. Services are sorted
    by name; in a list of deployments they only have name and revision. ``type`` is "http" or "lambda"; before 1.8 the
    server does not send it, and it is "lambda" if there is an ``arn``.
    """

    line: ClassVar[tuple[str, ...]] = ("id", "uri", "arn", "services", "sdk_version", "created_at")

    id: str
    type: str | None = None
    uri: str | None = None
    arn: str | None = None
    assume_role_arn: str | None = None
    compression: str | None = None
    protocol_type: str | None = None
    http_version: str | None = None
    additional_headers: SafeMap | None = None
    auth: HttpAuth | None = None
    metadata: SafeMap | None = None
    created_at: Timestamp | None = None
    min_protocol_version: int | None = None
    max_protocol_version: int | None = None
    sdk_version: str | None = None
    services: Services | None = None
    info: tuple[SchemaInfo, ...] | None = None
    is_dry_run: bool = False

    @model_validator(mode="before")
    @classmethod
    def _add_type(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("type") is not None:
            return value
        return {**value, "type": "lambda" if value.get("arn") else "http"}

    @property
    def remark(self) -> str:
        """Return that nothing was stored, after a dry run."""
        return _DRY_RUN if self.is_dry_run else ""


class RegisteredDeployment(Model):
    """The result of registering a deployment.

    ``is_new`` is False if the address was already registered; then nothing changed unless ``force`` was set. In a dry
    run nothing was stored, and ``id`` is an invented id: reading it raises NotFound.
    """

    line: ClassVar[tuple[str, ...]] = ("id", "services", "sdk_version")

    id: str
    services: Services | None = None
    min_protocol_version: int | None = None
    max_protocol_version: int | None = None
    sdk_version: str | None = None
    info: tuple[SchemaInfo, ...] | None = None
    is_new: bool = True
    is_dry_run: bool = False
    is_forced: bool = False

    @property
    def remark(self) -> str:
        """Return whether something was stored, unless the deployment is new."""
        if self.is_dry_run:
            return f"{_DRY_RUN}, the id is invented"
        if self.is_new:
            return ""
        if self.is_forced:
            return "already registered, discovered again"
        return "already registered, nothing changed (force=True discovers it again)"


class DeletedDeployments(Model):
    """The result of removing several deployments, as the list of deployments shows it afterwards.

    ``removed`` are the ids that the list does not have (any more), ``remaining`` those that it still has.
    """

    line: ClassVar[tuple[str, ...]] = ("removed", "remaining")

    removed: tuple[str, ...]
    remaining: tuple[str, ...] = ()


class UserLimits(Model):
    """The limits of a rule; ``concurrency`` None means no limit."""

    line: ClassVar[tuple[str, ...]] = ("concurrency",)

    concurrency: int | None = None


class LimitRule(Model):
    """A rule of the server. ``version`` grows with every change and can be the precondition of the next change."""

    line: ClassVar[tuple[str, ...]] = ("pattern", "limits", "disabled", "version", "last_modified")

    pattern: str
    limits: UserLimits | None = None
    description: str | None = None
    disabled: bool | None = None
    version: int | None = None
    last_modified: Timestamp | None = Field(default=None, alias="last_modified_millis_since_epoch")


class DeletedRules(Model):
    """The removed rules, and the requested rules that did not exist, which the server silently ignores."""

    line: ClassVar[tuple[str, ...]] = ("removed", "absent")

    removed: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpsertRule:
    """A rule to create or to replace completely: fields that you omit are removed from an existing rule.

    ``limits`` is ``{"concurrency": 5}``, or None for no limit. ``precondition`` is the version that the rule must have,
    or "does_not_exist"; None means no check.
    """

    pattern: str
    limits: Mapping[str, int] | None = None
    description: str | None = None
    disabled: bool = False
    precondition: int | Literal["does_not_exist"] | None = None

    def __post_init__(self) -> None:
        check_name("pattern", self.pattern)
        check_flag("disabled", self.disabled)
        unknown = set(self.limits or {}) - set(UserLimits.model_fields)
        if unknown:
            allowed = ", ".join(UserLimits.model_fields)
            raise ArgumentError(f"unknown limit {format_value(min(unknown))} in limits; choose from: {allowed}.")
        for name, value in (self.limits or {}).items():
            check_count(f"limits[{name!r}]", value, least=1)
        if self.precondition not in {None, "does_not_exist"}:
            check_count("precondition", self.precondition)

    def body(self) -> dict[str, Any]:
        """Return the rule as JSON for the request."""
        body: dict[str, Any] = {"pattern": self.pattern, "limits": dict(self.limits or {}), "disabled": self.disabled}
        if self.description is not None:
            body["description"] = self.description
        if self.precondition is not None:
            is_version = isinstance(self.precondition, int)
            kind = {"type": "matches", "version": self.precondition} if is_version else {"type": self.precondition}
            body["precondition"] = kind
        return body


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """A rule to remove; ``expected_version`` is the version that it must have, None means no check."""

    pattern: str
    expected_version: int | None = None

    def __post_init__(self) -> None:
        check_name("pattern", self.pattern)
        if self.expected_version is not None:
            check_count("expected_version", self.expected_version)

    def body(self) -> dict[str, Any]:
        """Return the removal as JSON for the request."""
        version = {} if self.expected_version is None else {"expected_version": self.expected_version}
        return {"pattern": self.pattern, **version}


class ChangeResult(Model):
    """The result of a change whose response has no body.

    ``verb`` is the operation, ``target`` the id, ``status`` the HTTP status, and ``note`` its meaning. ``took_effect``
    is True or False if that was read afterwards; None means that the effect is still pending, or was not read.
    ``state`` is the status that was read; None if the row does not exist or was not read.
    """

    line: ClassVar[tuple[str, ...]] = ("verb", "target", "status", "took_effect", "state")

    verb: str
    target: str
    status: int
    note: str
    took_effect: bool | None = None
    state: str | None = None

    @property
    def remark(self) -> str:
        """Return the note."""
        return self.note


class RestartedInvocation(Model):
    """The new invocation; it has the old one's input and, with ``from_index``, the beginning of its journal."""

    line: ClassVar[tuple[str, ...]] = ("new_invocation_id", "restarted_from")

    new_invocation_id: str
    restarted_from: str | None = None


class StateChange(Model):
    """The result of a change of state.

    ``applied`` True means that the new state was read back. None means that the change waits for ``queued_behind``, the
    invocation that holds the object now.
    """

    line: ClassVar[tuple[str, ...]] = ("service", "object_key", "scope", "applied", "queued_behind")

    service: str
    object_key: str
    scope: str | None = None
    status: int
    applied: bool | None = None
    queued_behind: str | None = None
    note: str = ""

    @property
    def remark(self) -> str:
        """Return the note."""
        return self.note
