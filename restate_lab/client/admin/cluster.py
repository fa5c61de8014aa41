"""Operations on the cluster: version, health, members, vqueues, and limit rules."""

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
from restate_lab.client.arguments import check_id, check_list, check_reason, format_value
from restate_lab.client.models import (
    ChangeResult,
    ClusterHealth,
    DeletedRules,
    DeleteRule,
    LimitRule,
    UpsertRule,
    VersionInformation,
)
from restate_lab.client.models.base import ModelList
from restate_lab.client.responses import SUCCESS
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, ServerFailed
from restate_lab.server import has_vqueues

_SEEN_WITHIN = 0.5  # seconds; 3 ms are usual
_PAUSED = "SELECT queue_is_paused AS is_paused FROM sys_vqueue_meta WHERE id = :id"


class Cluster(Operations):
    """Operations on the server itself, its vqueues and its limit rules.

    For an operation on a vqueue the server returns 202 for any id, so the outcome is read from sys_vqueue_meta. Limit
    rules exist since 1.7; to read them, use ``lab.sql("SELECT * FROM sys_rules")``.
    """

    def version(self) -> VersionInformation:
        """Return the server's version, its Admin API versions, its ingress and its feature flags.

        Before 1.7, ``features`` has the value None.
        """
        return self._model(VersionInformation, "version", self._read("version", "/version"))

    def health(self) -> None:
        """Check that the Admin API reports that it is healthy.

        Raises:
            Unreachable: it is not healthy, or there is no response.
            ServerFailed: it is not healthy, or the response is from a login page or another server.
        """
        response = self._transport.read("GET", "/health")
        mismatch = SUCCESS["health"].mismatch(response)
        if mismatch is not None:
            raise ServerFailed(invalid_response_message("health", mismatch), status=response.status_code)

    def cluster_health(self) -> ClusterHealth:
        """Return the cluster's name and its configured members, including dead ones.

        It does not check health. Restate 1.8 removed it from the Admin API.

        Raises:
            NotOnThisServer: the server is 1.8 or newer; ``restatectl status`` has the members there.
        """
        try:
            return self._model(ClusterHealth, "cluster_health", self._read("cluster_health", "/cluster-health"))
        except NotOnThisServer as error:
            raise NotOnThisServer(
                f"cluster_health is not supported by this server, Restate {self._catalog.version}: 1.8 removed it. Use "
                f"`restatectl status` for the members, and lab.admin.health() for the health of this node."
            ) from error

    def pause_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> ChangeResult:
        """Pause a queue: its invocations no longer start, but running ones continue.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not enabled.
        """
        return self._set_paused(vqueue_id, reason, is_paused=True)

    def resume_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> ChangeResult:
        """Resume a queue: its invocations can start again.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not enabled.
        """
        return self._set_paused(vqueue_id, reason, is_paused=False)

    def _set_paused(self, vqueue_id: str, reason: str | None, *, is_paused: bool) -> ChangeResult:
        id_, verb = check_id("vqueue_id", vqueue_id, "vqueue"), "pause" if is_paused else "resume"
        operation = f"{verb}_vqueue"
        if not has_vqueues(self._catalog):
            raise NotOnThisServer(
                f"{operation} was not sent: vqueues are disabled on this server, Restate {self._catalog.version}."
            )
        answer = self._change(operation, "POST", f"/vqueues/{id_}/{verb}", targets=[id_], reason=reason)
        with verification_errors(f"{operation} of {id_}"):
            paused = poll_until(
                lambda: self._value(_PAUSED, id=id_),
                lambda value: value is None or value is is_paused,
                within=_SEEN_WITHIN,
            )
        if paused is None:
            raise NotFound(f"{operation}: there is no queue {id_}, although the server returned 202.", status=202)
        state = "paused" if paused else "not paused"
        took_effect = True if paused is is_paused else None
        note = f"the queue is {state}" if took_effect else f"accepted; the queue is still {state}"
        return ChangeResult(
            verb=operation, target=id_, status=answer.status_code, note=note, took_effect=took_effect, state=state
        )

    def upsert_rules(self, rules: Iterable[UpsertRule], /, *, reason: str | None = None) -> ModelList[LimitRule]:
        """Create or replace rules, all or none, and return them sorted by pattern.

        A rule is replaced completely: if you omit its description, the description is removed.

        Raises:
            Conflict: a ``precondition`` does not hold; no rule was changed.
            RequestRefused: a pattern is invalid.
            NotOnThisServer: before 1.7.
        """
        upserts = _check_rules(rules, UpsertRule)
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

    def bulk_delete_rules(self, rules: Iterable[DeleteRule | str], /, *, reason: str) -> DeletedRules:
        """Remove rules, all or none, and return which of them existed; pass ``DeleteRule`` or patterns.

        Raises:
            Conflict: an ``expected_version`` does not hold; no rule was removed.
            NotOnThisServer: before 1.7.
        """
        listed = check_list("rules", rules, "rules", "change")
        deletions = _check_rules([DeleteRule(rule) if isinstance(rule, str) else rule for rule in listed], DeleteRule)
        answer = self._change(
            "bulk_delete_rules",
            "POST",
            "/limits/rules/bulk-delete",
            targets=[rule.pattern for rule in deletions],
            reason=check_reason(reason),
            json=[rule.body() for rule in deletions],
        )
        removed = tuple(parse_json("bulk_delete_rules", answer))
        absent = tuple(rule.pattern for rule in deletions if rule.pattern not in removed)
        return DeletedRules(removed=removed, absent=absent)


def _check_rules(rules: Any, kind: type) -> list[Any]:
    listed = check_list("rules", rules, "rules", "change")
    for rule in listed:
        if not isinstance(rule, kind):
            raise ArgumentError(f"rules must only have {kind.__name__}(…); got {format_value(rule)}.")
    return listed
