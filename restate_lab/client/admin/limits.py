"""Rules that limit how many invocations of a scope run at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from restate_lab.client.admin.door import Door, parsed
from restate_lab.client.arguments import shown
from restate_lab.client.models import DeletedRules, DeleteRule, ModelList, Rule, UpsertRule
from restate_lab.errors import ArgumentError

__all__ = ["Limits"]


class Limits(Door):
    """Operations on limit rules (since 1.7). There is none that reads them: ``lab.sql("SELECT * FROM sys_rules")``."""

    def upsert_rules(self, rules: Iterable[UpsertRule], /, *, reason: str | None = None) -> ModelList[Rule]:
        """Make or replace rules, all or none, and return them by pattern.

        A rule is replaced as a whole: one that is sent again without its description has none.

        Raises:
            Conflict: a ``precondition`` does not hold; no rule was changed.
            RequestRefused: a pattern is none.
            NotOnThisServer: before 1.7.
        """
        checked = _each(rules, UpsertRule, "rules")
        answer = self._change(
            "upsert_rules",
            "PUT",
            "/limits/rules",
            targets=[rule.pattern for rule in checked],
            reason=reason,
            json=[rule.body() for rule in checked],
        )
        models = self._models(Rule, "upsert_rules", {"rules": parsed("upsert_rules", answer)}, "rules")
        return ModelList(Rule, models, by=lambda each: each.pattern)

    def bulk_delete_rules(self, rules: Iterable[DeleteRule | str], /, *, reason: str | None = None) -> DeletedRules:
        """Remove rules, given as ``DeleteRule`` or by pattern, all or none; say which were there.

        Raises:
            Conflict: an ``expected_version`` does not hold; no rule was removed.
            NotOnThisServer: before 1.7.
        """
        checked = _each(
            [DeleteRule(rule) if isinstance(rule, str) else rule for rule in _several(rules, "rules")],
            DeleteRule,
            "rules",
        )
        answer = self._change(
            "bulk_delete_rules",
            "POST",
            "/limits/rules/bulk-delete",
            targets=[rule.pattern for rule in checked],
            reason=reason,
            json=[rule.body() for rule in checked],
        )
        removed = tuple(parsed("bulk_delete_rules", answer))
        absent = tuple(rule.pattern for rule in checked if rule.pattern not in removed)
        return DeletedRules(removed=removed, absent=absent)


def _several(rules: Any, argument: str) -> list[Any]:
    if isinstance(rules, str | bytes | dict) or not isinstance(rules, Iterable):
        raise ArgumentError(f"{argument} must be a list of rules; got {shown(rules)}.")
    made = list(rules)
    if not made:
        raise ArgumentError(f"{argument} is empty: there is nothing to change.")
    return made


def _each(rules: Any, kind: type, argument: str) -> list[Any]:
    made = _several(rules, argument)
    for rule in made:
        if not isinstance(rule, kind):
            raise ArgumentError(f"{argument} must hold {kind.__name__}(…) only; got {shown(rule)}.")
    return made
