"""Rules that limit how many invocations of a scope run at once: as the server has them, and as they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from restate_lab.client.arguments import check_count, check_flag, check_name, format_value
from restate_lab.client.models._base import Model, Timestamp
from restate_lab.errors import ArgumentError

__all__ = ["DeleteRule", "DeletedRules", "LimitRule", "UpsertRule", "UserLimits"]


class UserLimits(Model):
    """The limits of a rule; ``concurrency`` None means that there is none."""

    line: ClassVar[tuple[str, ...]] = ("concurrency",)

    concurrency: int | None = None


class LimitRule(Model):
    """A rule as the server has it. ``version`` grows with every change and serves as a precondition for the next."""

    line: ClassVar[tuple[str, ...]] = ("pattern", "limits", "disabled", "version", "last_modified")

    pattern: str
    limits: UserLimits | None = None
    description: str | None = None
    disabled: bool | None = None
    version: int | None = None
    last_modified: Timestamp | None = Field(default=None, alias="last_modified_millis_since_epoch")


class DeletedRules(Model):
    """Which rules were removed, and which of those asked for did not exist: the server passes over them in silence."""

    line: ClassVar[tuple[str, ...]] = ("removed", "absent")

    removed: tuple[str, ...]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class UpsertRule:
    """A rule to be made or replaced as a whole: what is left out here is gone from it afterwards.

    ``limits`` is ``{"concurrency": 5}``, or None for no limit. ``precondition`` is the version that the rule must have,
    or "does_not_exist"; None means that nothing is checked.
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
            raise ArgumentError(f"limits has {format_value(min(unknown))}; the limits there are: {allowed}.")
        for name, value in (self.limits or {}).items():
            check_count(f"limits[{name!r}]", value, least=1)
        if self.precondition not in {None, "does_not_exist"}:
            check_count("precondition", self.precondition)

    def body(self) -> dict[str, Any]:
        """Return it as the server takes it."""
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
    """A rule to be removed; ``expected_version`` is the version it must have, None checks nothing."""

    pattern: str
    expected_version: int | None = None

    def __post_init__(self) -> None:
        check_name("pattern", self.pattern)
        if self.expected_version is not None:
            check_count("expected_version", self.expected_version)

    def body(self) -> dict[str, Any]:
        """Return it as the server takes it."""
        version = {} if self.expected_version is None else {"expected_version": self.expected_version}
        return {"pattern": self.pattern, **version}
