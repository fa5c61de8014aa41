"""Operations on the cluster: its version, health and members, its vqueues, and its limit rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from restate_lab.client.admin.operations import (
    Operations,
    invalid_response_message,
    parse_json,
    poll_until,
    verification_errors,
)
from restate_lab.client.arguments import check_id, format_value
from restate_lab.client.models import (
    ChangeResult,
    ClusterHealth,
    DeletedRules,
    DeleteRule,
    LimitRule,
    ModelList,
    UpsertRule,
    VersionInformation,
)
from restate_lab.client.responses import SUCCESS
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, ServerFailed

__all__ = ["Cluster", "Limits", "Vqueues"]

_SEEN_WITHIN = 0.5  # seconds; 3 ms are usual
_PAUSED = "SELECT queue_is_paused AS is_paused FROM sys_vqueue_meta WHERE id = :id"


class Cluster(Operations):
    """Operations on the server itself."""

    def version(self) -> VersionInformation:
        """Return the server's version, the Admin API versions it speaks, its ingress and its feature flags.

        ``features`` is None before 1.7.
        """
        return self._model(VersionInformation, "version", self._read("version", "/version"))

    def health(self) -> None:
        """Return when the Admin API says that it is healthy, and raise otherwise.

        Raises:
            Unreachable: it is not, or nobody answers.
            ServerFailed: it is not, or a login page or another server answers in its place.
        """
        response = self._transport.read("GET", "/health")
        mismatch = SUCCESS["health"].mismatch(response)
        if mismatch is not None:
            raise ServerFailed(invalid_response_message("health", mismatch), status=response.status_code)

    def cluster_health(self) -> ClusterHealth:
        """Return the cluster's name and its configured members; a member that died is among them.

        Deprecated by the server, which names no replacement. It is not a check of health.
        """
        return self._model(ClusterHealth, "cluster_health", self._read("cluster_health", "/cluster-health"))


class Vqueues(Operations):
    """Operations on vqueues. The server answers 202 to any id, so what came of it is read from sys_vqueue_meta."""

    def pause_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> ChangeResult:
        """Let no more invocations of a queue begin; those that run go on.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not switched on.
        """
        return self._set_paused("pause_vqueue", vqueue_id, "pause", reason, is_paused=True)

    def resume_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> ChangeResult:
        """Let the invocations of a queue begin again.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not switched on.
        """
        return self._set_paused("resume_vqueue", vqueue_id, "resume", reason, is_paused=False)

    def _set_paused(
        self, operation: str, vqueue_id: str, verb: str, reason: str | None, *, is_paused: bool
    ) -> ChangeResult:
        id_ = check_id("vqueue_id", vqueue_id, "vqueue")
        if self._catalog.has(operation) and not self._catalog.features.get("vqueues"):
            raise NotOnThisServer(
                f"{operation} was not sent: this server, Restate {self._catalog.version}, has vqueues switched off."
            )
        path = f"/vqueues/{id_}/{verb}"
        answer = self._change(operation, "POST", path, targets=[id_], reason=reason)

        def read_is_paused() -> bool | None:
            rows = self._rows(_PAUSED, id=id_)
            return rows[0]["is_paused"] if rows else None

        with verification_errors(f"{operation} of {id_}"):
            paused = poll_until(read_is_paused, lambda each: each is None or each is is_paused, within=_SEEN_WITHIN)
        if paused is None:
            raise NotFound(f"{operation}: there is no queue {id_} (the server said 202 all the same).", status=202)
        state = "paused" if paused else "not paused"
        took_effect = True if paused is is_paused else None
        note = f"the queue is {state}" if took_effect else f"accepted; the queue is {state} still"
        return ChangeResult(
            verb=operation, target=id_, status=answer.status_code, note=note, took_effect=took_effect, state=state
        )


class Limits(Operations):
    """Operations on limit rules (since 1.7). There is none that reads them: ``lab.sql("SELECT * FROM sys_rules")``."""

    def upsert_rules(self, rules: Iterable[UpsertRule], /, *, reason: str | None = None) -> ModelList[LimitRule]:
        """Make or replace rules, all or none, and return them by pattern.

        A rule is replaced as a whole: one that is sent again without its description has none.

        Raises:
            Conflict: a ``precondition`` does not hold; no rule was changed.
            RequestRefused: a pattern is none.
            NotOnThisServer: before 1.7.
        """
        upserts = _check_rules(rules, UpsertRule, "rules")
        answer = self._change(
            "upsert_rules",
            "PUT",
            "/limits/rules",
            targets=[rule.pattern for rule in upserts],
            reason=reason,
            json=[rule.body() for rule in upserts],
        )
        models = self._models(LimitRule, "upsert_rules", {"rules": parse_json("upsert_rules", answer)}, "rules")
        return ModelList(LimitRule, models, by=lambda each: each.pattern)

    def bulk_delete_rules(self, rules: Iterable[DeleteRule | str], /, *, reason: str | None = None) -> DeletedRules:
        """Remove rules, given as ``DeleteRule`` or by pattern, all or none; say which were there.

        Raises:
            Conflict: an ``expected_version`` does not hold; no rule was removed.
            NotOnThisServer: before 1.7.
        """
        deletions = _check_rules(
            [DeleteRule(rule) if isinstance(rule, str) else rule for rule in _rule_list(rules, "rules")],
            DeleteRule,
            "rules",
        )
        answer = self._change(
            "bulk_delete_rules",
            "POST",
            "/limits/rules/bulk-delete",
            targets=[rule.pattern for rule in deletions],
            reason=reason,
            json=[rule.body() for rule in deletions],
        )
        removed = tuple(parse_json("bulk_delete_rules", answer))
        absent = tuple(rule.pattern for rule in deletions if rule.pattern not in removed)
        return DeletedRules(removed=removed, absent=absent)


def _rule_list(rules: Any, argument: str) -> list[Any]:
    if isinstance(rules, str | bytes | dict) or not isinstance(rules, Iterable):
        raise ArgumentError(f"{argument} must be a list of rules; got {format_value(rules)}.")
    listed = list(rules)
    if not listed:
        raise ArgumentError(f"{argument} is empty: there is nothing to change.")
    return listed


def _check_rules(rules: Any, kind: type, argument: str) -> list[Any]:
    listed = _rule_list(rules, argument)
    for rule in listed:
        if not isinstance(rule, kind):
            raise ArgumentError(f"{argument} must hold {kind.__name__}(…) only; got {format_value(rule)}.")
    return listed
