"""The life of an invocation: cancel, kill, pause, resume, purge, restart."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from typing_extensions import deprecated

from restate_lab.client.admin import effects
from restate_lab.client.admin.operations import Operations, drop_none, poll_until, verification_errors
from restate_lab.client.arguments import check_count, check_deployment_choice, check_id, format_value
from restate_lab.client.models import ChangeResult, RestartedInvocation
from restate_lab.errors import ArgumentError

__all__ = ["Invocations"]

_SEEN_WITHIN = 0.5  # seconds; most is seen within 50 ms
_STATUS = "SELECT status FROM sys_invocation WHERE id = :id"
_MODES = ("Cancel", "Kill", "Purge")


class Invocations(Operations):
    """Operations on one invocation each.

    With ``verify=True`` the invocation's row is read after the change (a point read by id, repeated for at most half a
    second), and ``took_effect`` and ``note`` say what was seen; without, they rest on the HTTP status alone.
    """

    def cancel_invocation(
        self, invocation_id: str, /, *, verify: bool = True, reason: str | None = None
    ) -> ChangeResult:
        """Ask an invocation to end; it may clean up first, and its children are asked too.

        202: it is told at its next await or attempt. 200: it had not begun (pending, scheduled) and its row is gone,
        without a completed one. One that is paused is woken and told at its next await; one that fails before it is
        paused again.

        Raises:
            Conflict: it was completed already.
            NotFound: there is none with this id.
        """
        answer = self._change_lifecycle("cancel_invocation", invocation_id, "cancel", reason)
        if answer.status == 200:
            return self._verify_effect(answer, verify, _is_removed, effects.cancel_finished)
        return self._verify_effect(answer, verify, lambda state: state != "paused", effects.cancel_accepted)

    def kill_invocation(self, invocation_id: str, /, *, verify: bool = True, reason: str | None = None) -> ChangeResult:
        """End an invocation at once, without clean-up; its children too. What it has done so far stays done.

        It is completed as failed with "[409] killed"; one that had not begun is gone without a completed row.

        Raises:
            Conflict: it was completed already.
            NotFound: there is none with this id.
        """
        answer = self._change_lifecycle("kill_invocation", invocation_id, "kill", reason)
        return self._verify_effect(answer, verify, lambda state: state in {None, "completed"}, effects.kill_effect)

    def pause_invocation(
        self, invocation_id: str, /, *, verify: bool = True, reason: str | None = None
    ) -> ChangeResult:
        """Stop trying an invocation until it is resumed.

        202: it is paused when its attempt ends, at the next await or, within a step that lasts, when the abort timeout
        fires. 200: it is paused already, or suspended, which servers without vqueues leave as it is: ``took_effect`` is
        False then.

        Raises:
            Conflict: it is completed, pending or scheduled.
            NotFound: there is none with this id.
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
        """Let a paused, suspended or backing-off invocation try again now.

        ``deployment``: "latest" or the id of one moves it there, "keep" or None leaves it. 200 is also the answer for
        one that runs already, for which nothing happens.

        Raises:
            Conflict: it is completed; pending or scheduled (425); or its deployment cannot be changed, because it is
                not paused (``rl.move_to`` pauses it first), or has taken no step yet that would have bound it to one.
            NotFound: there is none with this id.
            RequestRefused: there is no such deployment.
        """
        params = drop_none(deployment=None if deployment is None else check_deployment_choice("deployment", deployment))
        answer = self._change_lifecycle("resume_invocation", invocation_id, "resume", reason, params)
        return answer.model_copy(update={"note": effects.RESUMED})

    def purge_invocation(
        self, invocation_id: str, /, *, verify: bool = True, reason: str | None = None
    ) -> ChangeResult:
        """Remove a completed invocation and its journal; of a workflow, its state and promises too.

        Raises:
            Conflict: it is not completed.
            NotFound: there is none with this id.
        """
        answer = self._change_lifecycle("purge_invocation", invocation_id, "purge", reason)
        return self._verify_effect(answer, verify, _is_removed, effects.purge_effect)

    def purge_journal(self, invocation_id: str, /, *, reason: str | None = None) -> ChangeResult:
        """Remove the journal of a completed invocation; its row stays, but it cannot be restarted from it any more.

        Raises:
            Conflict: it is not completed.
            NotFound: there is none with this id.
        """
        answer = self._change_lifecycle("purge_journal", invocation_id, "purge-journal", reason)
        return answer.model_copy(update={"note": effects.JOURNAL_PURGED})

    def restart_as_new_invocation(
        self,
        invocation_id: str,
        /,
        *,
        from_index: int | None = None,
        deployment: str | None = None,
        reason: str | None = None,
    ) -> RestartedInvocation:
        """Start a new invocation with the input of a completed one, which stays as it is.

        ``from_index`` keeps the journal's entries up to and including this index of sys_journal (0, the input, by
        default); each command among them must have its completion among them or behind. ``deployment``: "latest",
        "keep" or the id of one; None is the server's choice.

        Raises:
            Conflict: it is not completed (409), has not begun (425), or its journal is not there any more (410).
            RequestRefused: it is a workflow (422); ``from_index`` cuts a command from its completion, or there is no
                such deployment (400).
            NotFound: there is none with this id.
        """
        id_ = check_id("invocation_id", invocation_id, "invocation")
        chosen = None if deployment is None else check_deployment_choice("deployment", deployment)
        params = {
            **({} if from_index is None else {"from": check_count("from_index", from_index)}),
            **drop_none(deployment=chosen),
        }
        operation = "restart_as_new_invocation"
        path = f"/invocations/{id_}/restart-as-new"
        answer = self._change(operation, "PATCH", path, targets=[id_], reason=reason, params=params)
        return self._model(RestartedInvocation, operation, answer, restarted_from=id_)

    @deprecated("the server deprecates delete_invocation: use cancel_invocation, kill_invocation or purge_invocation")
    def delete_invocation(
        self, invocation_id: str, /, *, mode: Literal["Cancel", "Kill", "Purge"] = "Cancel", reason: str | None = None
    ) -> ChangeResult:
        """Cancel, kill or purge by the deprecated operation, which answers 202 to everything.

        Deprecated: it answers 202 for ids that do not exist and for states that do not allow it. Use the three others.
        """
        if mode not in _MODES:
            raise ArgumentError(f"mode must be one of {', '.join(_MODES)}; got {format_value(mode)}.")
        id_ = check_id("invocation_id", invocation_id, "invocation")
        answer = self._change(
            "delete_invocation", "DELETE", f"/invocations/{id_}", targets=[id_], reason=reason, params={"mode": mode}
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
        """Return the answer with the status of the invocation that was read afterwards."""
        if not verify:
            return answer.model_copy(update={"note": check(effects.NOT_READ)[1]})

        def read_status() -> str | None:
            rows = self._rows(_STATUS, id=answer.target)
            return rows[0]["status"] if rows else None

        with verification_errors(f"{answer.verb} of {answer.target}"):
            state = poll_until(read_status, is_settled, within=_SEEN_WITHIN)
        took_effect, note = check(state)
        return answer.model_copy(update={"took_effect": took_effect, "state": state, "note": note})


def _is_removed(state: str | None) -> bool:
    return state is None
