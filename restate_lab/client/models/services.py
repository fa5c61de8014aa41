"""Services and their handlers, with their configuration."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from restate_lab.client.models._base import Duration, Model, SafeMap
from restate_lab.client.models.cluster import SchemaInfo


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


class Handler(Model):
    """A handler. ``ty`` is "Exclusive", "Shared" or "Workflow"; None for a handler of a plain service.

    For a timeout or retention, None means the value of the service. The two schemas are JSON schemas.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "ty", "public", "input_description", "output_description")

    name: str
    ty: str | None = None
    documentation: str | None = None
    metadata: SafeMap | None = None
    public: bool | None = None
    input_description: str | None = None
    output_description: str | None = None
    input_json_schema: Any = None
    output_json_schema: Any = None
    idempotency_retention: Duration | None = None
    journal_retention: Duration | None = None
    inactivity_timeout: Duration | None = None
    abort_timeout: Duration | None = None
    enable_lazy_state: bool | None = None
    retry_policy: RetryPolicy | None = None
    info: tuple[SchemaInfo, ...] | None = None


# The server returns handlers and services in a different order at every call.
Handlers = Annotated[tuple[Handler, ...], AfterValidator(lambda all_: tuple(sorted(all_, key=lambda each: each.name)))]


class Service(Model):
    """A service in its newest revision. ``ty`` is "Service", "VirtualObject" or "Workflow".

    In a list of deployments only ``name`` and ``revision`` have values; all other fields have None.
    """

    line: ClassVar[tuple[str, ...]] = ("name", "ty", "revision", "deployment_id", "public", "handlers")

    name: str
    ty: str | None = None
    revision: int | None = None
    deployment_id: str | None = None
    documentation: str | None = None
    metadata: SafeMap | None = None
    public: bool | None = None
    handlers: Handlers | None = None
    idempotency_retention: Duration | None = None
    workflow_completion_retention: Duration | None = None
    journal_retention: Duration | None = None
    inactivity_timeout: Duration | None = None
    abort_timeout: Duration | None = None
    enable_lazy_state: bool | None = None
    retry_policy: RetryPolicy | None = None
    info: tuple[SchemaInfo, ...] | None = None


Services = Annotated[tuple[Service, ...], AfterValidator(lambda all_: tuple(sorted(all_, key=lambda each: each.name)))]
