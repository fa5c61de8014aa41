"""Deployments: where the services run, and what registering one answered."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from restate_lab.client.models._base import Model, SafeMap, Timestamp
from restate_lab.client.models.cluster import SchemaInfo
from restate_lab.client.models.services import Services

__all__ = ["Deployment", "GoogleIdTokenAuth", "HttpAuth", "RegisteredDeployment"]

_DRY_RUN = "dry run: nothing was stored"


class GoogleIdTokenAuth(Model):
    """A Google-signed identity token per request. ``audience`` None means the deployment's own address."""

    line: ClassVar[tuple[str, ...]] = ("audience", "impersonate_service_account")

    audience: str | None = None
    impersonate_service_account: str | None = None


class HttpAuth(Model):
    """How the server signs in at an HTTP deployment (since 1.7)."""

    line: ClassVar[tuple[str, ...]] = ("google_id_token",)

    google_id_token: GoogleIdTokenAuth | None = Field(default=None, alias="GoogleIdToken")


class Deployment(Model):
    """A deployment: an HTTP one has ``uri``, a Lambda one ``arn``.

    ``additional_headers`` shows secret values as •••; ``additional_headers.reveal()`` gives them. Services stand in the
    order of their names; in a list of deployments they have name and revision only.
    """

    line: ClassVar[tuple[str, ...]] = ("id", "uri", "arn", "services", "sdk_version", "created_at")

    id: str
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

    @property
    def remark(self) -> str:
        """Say that nothing was stored, where that is so."""
        return _DRY_RUN if self.is_dry_run else ""


class RegisteredDeployment(Model):
    """What registering a deployment answered.

    ``is_new`` is False when the server knew this address already; then nothing changed unless it was forced. In a dry
    run nothing was stored and ``id`` is one that the server made up: asking for it gives NotFound.
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
        """Say what the id and the status do not."""
        if self.is_dry_run:
            return f"{_DRY_RUN}, the id is made up"
        if self.is_new:
            return ""
        return "was known, discovered again" if self.is_forced else "was known, nothing changed (force=True discovers)"
