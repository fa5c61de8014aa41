"""The lifecycle of an invocation: cancel, kill, pause, resume, purge, restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from typing_extensions import deprecated

from restate_lab.client.admin import effects
from restate_lab.client.admin.operations import Operations, drop_none, poll_until, verification_errors
from restate_lab.client.arguments import check_count, check_deployment_choice, check_id, check_reason, format_value
from restate_lab.client.models import ChangeResult, RestartedInvocation
from restate_lab.errors import ArgumentError

_SEEN_WITHIN = 0.5  # seconds; most effects are visible within 50 ms
_STATUS = "SELECT status FROM sys_invocation WHERE id = :id"
_MODES = ("Cancel", "Kill", "Purge")


class Invocations(Operations):
    """Operations on one invocation each.

    With ``verify=True`` the invocation's row is read after the change (by id, repeated for at most half a second), and
    ``took_effect`` and ``note`` report the result. Without it they only depend on the HTTP status.
    """

    def cancel_invocation(self, invocation_id: str, /, *, reason: str, verify: bool = True) -> ChangeResult:
        """Ask an invocation to end; it can clean up first, and its children are cancelled too.

        202: it gets the cancellation at its next await or attempt. 200: it had not started (pending, scheduled), so its
        row was removed and there is no completed row; with the feature preflight_invocation_termination_retention of
        the server, it is completed as failed with "[409] canceled". A paused invocation is woken and gets the
        cancellation at its next await; if it fails before that, it is paused again.

        Raises:
            Conflict: it was already completed.
            NotFound: there is no invocation with this id.
        """
        answer = self._change_lifecycle("cancel_invocation", invocation_id, "cancel", check_reason(reason))
        if answer.status == 200:
            return self._verify_effect(
                answer, verify, lambda state: state in {None, "completed"}, effects.cancel_finished
            )
        return self._verify_effect(answer, verify, lambda state: state != "paused", effects.cancel_accepted)

    def kill_invocation(self, invocation_id: str, /, *, reason: str, verify: bool = True) -> ChangeResult:
        """End an invocation and its children at once, without clean-up. Effects of earlier steps remain.

        It is completed as failed with "[409] killed". If it had not started, it is removed without a completed row,
        unless the server has the feature preflight_invocation_termination_retention.

        Raises:
            Conflict: it was already completed.
            NotFound: there is no invocation with this id.
        """
        answer = self._change_lifecycle("kill_invocation", invocation_id, "kill", check_reason(reason))
        return self._verify_effect(answer, verify, lambda state: state in {None, "completed"}, effects.kill_effect)

    def pause_invocation(
        self, invocation_id: str, /, *, verify: bool = True, reason: str | None = None
    ) -> ChangeResult:
        """Stop the attempts of an invocation until it is resumed.

        202: in a vqueue it pauses at once, and a running step is executed again when it is resumed. Otherwise it pauses
        when its attempt ends: at the next await or, during a long step, at the abort timeout. 200: it is already
        paused, or it is suspended. Servers without vqueues do not pause a suspended invocation; then ``took_effect`` is
        False.

        Raises:
            Conflict: it is completed, pending or scheduled.
            NotFound: there is no invocation with this id.
        """
        answer = self._change_lifecycle("pause_invocation", invocation_id, "pause", reason)
        if answer.status == 200:
            return self._verify_effect(
                answer, verify, lambda state: state in {"paused", "suspended"}, effects.pause_finished
            )
        return self._verify_effect(answer, verify, lambda state: state == "paused", effects.pause_accepted)

    def resume_invocation(
        self, invocation_id: str, /, *, deployment: str | None = None, reason: str | None = None
    ) -> ChangeResult:
        """Retry a paused, suspended or backing-off invocation now.

        ``deployment``: "latest" or a deployment id moves it there; "keep" or None does not. The server also returns 200
        for a running invocation, which does not change.

        Raises:
            Conflict: it is completed; it is pending or scheduled (425); or its deployment cannot be changed, because it
                is not paused (``rl.move_to`` pauses it first), or is not yet pinned to a deployment.
            NotFound: there is no invocation with this id.
            RequestRefused: there is no such deployment.
        """
        params = drop_none(deployment=None if deployment is None else check_deployment_choice("deployment", deployment))
        answer = self._change_lifecycle("resume_invocation", invocation_id, "resume", reason, params)
        return answer.model_copy(update={"note": effects.RESUMED})

    def purge_invocation(self, invocation_id: str, /, *, reason: str, verify: bool = True) -> ChangeResult:
        """Remove a completed invocation and its journal; for a workflow, also its state and promises.

        Raises:
            Conflict: it is not completed.
            NotFound: there is no invocation with this id.
        """
        answer = self._change_lifecycle("purge_invocation", invocation_id, "purge", check_reason(reason))
        return self._verify_effect(answer, verify, lambda state: state is None, effects.purge_effect)

    def purge_journal(self, invocation_id: str, /, *, reason: str) -> ChangeResult:
        """Remove the journal of a completed invocation; its row remains, but it can no longer be restarted from it.

        Raises:
            Conflict: it is not completed.
            NotFound: there is no invocation with this id.
        """
        answer = self._change_lifecycle("purge_journal", invocation_id, "purge-journal", check_reason(reason))
        return answer.model_copy(update={"note": effects.JOURNAL_PURGED})

    def restart_as_new_invocation(
        self,
        invocation_id: str,
        /,
        *,
        reason: str,
        from_index: int | None = None,
        deployment: str | None = None,
    ) -> RestartedInvocation:
        """Start a new invocation with the input of a completed one, which does not change.

        ``from_index`` is an index of sys_journal: the new invocation keeps the journal entries up to and including it
        (by default 0, the input). It must not separate a command from its completion. ``deployment`` is "latest",
        "keep" or a deployment id; None means the server's default.

        Raises:
            Conflict: it is not completed (409), has not started (425), or its journal was removed (410).
            RequestRefused: it is a workflow (422); ``from_index`` separates a command from its completion, or there is
                no such deployment (400).
            NotFound: there is no invocation with this id.
        """
        id_ = check_id("invocation_id", invocation_id, "invocation")
        chosen = None if deployment is None else check_deployment_choice("deployment", deployment)
        params = {
            **({} if from_index is None else {"from": check_count("from_index", from_index)}),
            **drop_none(deployment=chosen),
        }
        operation, why = "restart_as_new_invocation", check_reason(reason)
        path = f"/invocations/{id_}/restart-as-new"
        answer = self._change(operation, "PATCH", path, targets=[id_], reason=why, params=params)
        return self._model(RestartedInvocation, operation, answer, restarted_from=id_)

    @deprecated("the server deprecates delete_invocation: use cancel_invocation, kill_invocation or purge_invocation")
    def delete_invocation(
        self, invocation_id: str, /, *, reason: str, mode: Literal["Cancel", "Kill", "Purge"] = "Cancel"
    ) -> ChangeResult:
        """Cancel, kill or purge an invocation with a deprecated operation; use the three other methods instead.

        The server also returns 202 for ids that do not exist, and for states that do not allow the change.
        """
        if mode not in _MODES:
            raise ArgumentError(f"mode must be one of {', '.join(_MODES)}; got {format_value(mode)}.")
        id_, why = check_id("invocation_id", invocation_id, "invocation"), check_reason(reason)
        answer = self._change(
            "delete_invocation", "DELETE", f"/invocations/{id_}", targets=[id_], reason=why, params={"mode": mode}
        )
        return ChangeResult(verb="delete_invocation", target=id_, status=answer.status_code, note=effects.DELETED)

    def _change_lifecycle(
        self, operation: str, invocation_id: str, verb: str, reason: str | None, params: dict[str, Any] | None = None
    ) -> ChangeResult:
        id_ = check_id("invocation_id", invocation_id, "invocation")
        path = f"/invocations/{id_}/{verb}"
        answer = self._change(operation, "PATCH", path, targets=[id_], reason=reason, params=params)
        return ChangeResult(verb=operation, target=id_, status=answer.status_code, note="")

    def _verify_effect(
        self, answer: ChangeResult, verify: bool, is_settled: Callable[[str | None], bool], check: effects.EffectCheck
    ) -> ChangeResult:
        if not verify:
            return answer.model_copy(update={"note": check(effects.NOT_READ)[1]})

        with verification_errors(f"{answer.verb} of {answer.target}"):
            state = poll_until(lambda: self._value(_STATUS, id=answer.target), is_settled, within=_SEEN_WITHIN)
        took_effect, note = check(state)
        return answer.model_copy(update={"took_effect": took_effect, "state": state, "note": note})
