"""Deployments, where the services run, and the results of registering them."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field, model_validator

from restate_lab.client.models._base import Model, SafeMap, Timestamp
from restate_lab.client.models.cluster import SchemaInfo
from restate_lab.client.models.services import Services

_DRY_RUN = "dry run: nothing was stored"


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
