"""The server itself: its version, its health, the members of its cluster."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from restate_lab.client.admin.operations import Door, await_that, not_understood, parsed, read_back
from restate_lab.client.arguments import check_id, shown
from restate_lab.client.models import (
    Accepted,
    ClusterHealth,
    DeletedRules,
    DeleteRule,
    ModelList,
    Rule,
    UpsertRule,
    VersionInformation,
)
from restate_lab.client.responses import SUCCESS
from restate_lab.errors import ArgumentError, NotFound, NotOnThisServer, ServerFailed

__all__ = ["Cluster", "Limits", "Vqueues"]

_SEEN_WITHIN = 0.5  # seconds; 3 ms are usual
_PAUSED = "SELECT queue_is_paused AS is_paused FROM sys_vqueue_meta WHERE id = :id"


class Cluster(Door):
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
            raise ServerFailed(not_understood("health", mismatch), status=response.status_code)

    def cluster_health(self) -> ClusterHealth:
        """Return the cluster's name and its configured members; a member that died is among them.

        Deprecated by the server, which names no replacement. It is not a check of health.
        """
        return self._model(ClusterHealth, "cluster_health", self._read("cluster_health", "/cluster-health"))


class Vqueues(Door):
    """Operations on vqueues. The server answers 202 to any id, so what came of it is read from sys_vqueue_meta."""

    def pause_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> Accepted:
        """Let no more invocations of a queue begin; those that run go on.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not switched on.
        """
        return self._turn("pause_vqueue", vqueue_id, "pause", reason, is_paused=True)

    def resume_vqueue(self, vqueue_id: str, /, *, reason: str | None = None) -> Accepted:
        """Let the invocations of a queue begin again.

        Raises:
            NotFound: there is no such queue.
            NotOnThisServer: before 1.7, or vqueues are not switched on.
        """
        return self._turn("resume_vqueue", vqueue_id, "resume", reason, is_paused=False)

    def _turn(self, operation: str, vqueue_id: str, verb: str, reason: str | None, *, is_paused: bool) -> Accepted:
        id_ = check_id("vqueue_id", vqueue_id, "vqueue")
        if self._served.has(operation) and not self._served.features.get("vqueues"):
            raise NotOnThisServer(
                f"{operation} was not sent: this server, Restate {self._served.version}, has vqueues switched off."
            )
        path = f"/vqueues/{id_}/{verb}"
        answer = self._change(operation, "POST", path, targets=[id_], reason=reason)

        def look() -> bool | None:
            rows = self._rows(_PAUSED, id=id_)
            return rows[0]["is_paused"] if rows else None

        with read_back(f"{operation} of {id_}"):
            seen = await_that(look, lambda paused: paused is None or paused is is_paused, within=_SEEN_WITHIN)
        if seen is None:
            raise NotFound(f"{operation}: there is no queue {id_} (the server said 202 all the same).", status=202)
        state = "paused" if seen else "not paused"
        took_effect = True if seen is is_paused else None
        note = f"the queue is {state}" if took_effect else f"accepted; the queue is {state} still"
        return Accepted(
            verb=operation, target=id_, status=answer.status_code, note=note, took_effect=took_effect, state=state
        )


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
