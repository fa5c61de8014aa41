"""Remarks of the server on what is registered."""

from __future__ import annotations

from typing import ClassVar

from restate_lab.client.models.base import Model

__all__ = ["SchemaInfo"]


class SchemaInfo(Model):
    """One remark on a deployment, service or handler, such as a setting that is deprecated; ``code`` may be None."""

    line: ClassVar[tuple[str, ...]] = ("message", "code")

    message: str | None = None
    code: str | None = None
