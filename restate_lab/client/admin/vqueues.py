"""Queues of invocations, on servers that have vqueues switched on: pause and resume them as a whole."""

from __future__ import annotations

from restate_lab.client.admin.door import Door, await_that, read_back
from restate_lab.client.arguments import check_id
from restate_lab.client.models import Accepted
from restate_lab.errors import NotFound, NotOnThisServer

__all__ = ["Vqueues"]

_SEEN_WITHIN = 0.5  # seconds; 3 ms are usual
_PAUSED = "SELECT queue_is_paused AS is_paused FROM sys_vqueue_meta WHERE id = :id"


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
