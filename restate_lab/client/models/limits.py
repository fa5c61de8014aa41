"""Rules that limit how many invocations of a scope run at once: the server's rules, and requested changes of rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from restate_lab.client.arguments import check_count, check_flag, check_name, format_value
from restate_lab.client.models._base import Model, Timestamp
from restate_lab.errors import ArgumentError


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
