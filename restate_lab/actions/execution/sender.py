"""Send one lifecycle call for many invocations: through the batch endpoint where there is one, else one by one.

The batch endpoint is the web UI's own and in no document of the API (seen on 1.6.1 and 1.7.12): at most 1000 ids a
call, one malformed id refuses them all with 422, what failed is listed under status 200. A gateway may have it closed.
Nothing is sent twice here: what the server did not take is said to be so, and the caller decides.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import httpx

from restate_lab.actions.rules import ACTIONS
from restate_lab.client.responses import SUCCESS, routing
from restate_lab.client.transport import Record
from restate_lab.errors import (
    AccessDenied,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    RestateLabError,
    ServerFailed,
    Unreachable,
)

__all__ = ["LARGEST", "Answer", "Call", "Sender"]

LARGEST = 1000  # ids that the batch endpoint takes
AT_ONCE = 6  # single calls on their way; the wire keeps eight idle connections
CALL_LIMIT = 60.0  # seconds for one request
_BATCH = "/internal/invocations_batch_operations/"
# What a server without the endpoint, or a gateway before it, says; and 422: one id of the list is malformed.
_SINGLY = {404, 405, 422, 501}
_OPERATIONS = {action.rule.batch: str(action.rule.operation) for action in ACTIONS if action.rule.batch}


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked for each invocation: ``verb`` is the last part of the path, such as "restart-as-new"."""

    verb: str
    deployment: str | None = None
    from_index: int | None = None

    @property
    def params(self) -> dict[str, Any]:
        """Return the query parameters of a single call."""
        given = {"deployment": self.deployment, "from": self.from_index}
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of one invocation's call.

    "taken": the server took it, which is not yet that it has happened. "refused": it said no. "not taken": it said that
    it could not take it now, so it may be sent again after ``wait`` seconds. "lost": nobody knows, so read.
    ``never_forwarded``: a gateway says that what was lost never reached the server; it may be sent again once reading
    shows nothing of it. ``other_new_ids`` are restarts beside ``new_id``, which a gateway that repeats requests causes.
    ``milliseconds`` is the time from sending to the answer of the request that carried it.
    """

    kind: Literal["taken", "refused", "not taken", "lost"]
    error: str | None = None
    new_id: str | None = None
    wait: float | None = None
    milliseconds: float | None = None
    never_forwarded: bool = False
    other_new_ids: tuple[str, ...] = ()

    @property
    def may_go_again(self) -> bool:
        """Return whether the request may be sent again; after "lost" only if reading shows nothing of it."""
        return self.kind == "not taken" or (self.kind == "lost" and self.never_forwarded)


class Sender:
    """Sends calls under one audit record and keeps the last answer for each invocation, also when it is interrupted.

    ``closed`` has the verbs whose batch endpoint this connection has found closed, and gets more. ``stop`` is asked
    between single calls.
    """

    def __init__(self, record: Record, closed: set[str], stop: Callable[[], bool]) -> None:
        self.answers: dict[str, Answer] = {}
        self._record = record
        self._closed = closed
        self._stop = stop

    def send(self, call: Call, ids: Sequence[str]) -> None:
        """Send a call for each of at most ``LARGEST`` ids; ``answers`` has what came of it.

        It has nothing for those that were not sent: after a stop, or because the server could not take those before.
        """
        for id_ in ids:
            self.answers.pop(id_, None)
        if not ids:
            return
        if call.from_index is not None or call.verb in self._closed or not self._send_batch(call, ids):
            self._send_singly(call, ids)

    def _send_batch(self, call: Call, ids: Sequence[str]) -> bool:
        """Return whether the endpoint is there and has taken the list."""
        body = {"invocation_ids": list(ids), **call.params}
        # Until the answer is there nobody knows; so it also stands if the wait for it is interrupted.
        self.answers.update(dict.fromkeys(ids, _INTERRUPTED))
        started = time.monotonic()
        try:
            response = self._record.send(
                "POST", _BATCH + call.verb, success=SUCCESS["batch"], json=body, timeout=CALL_LIMIT
            )
        except RestateLabError as error:
            if not _is_for_single_calls(error):
                self.answers.update(dict.fromkeys(ids, _failed(error)))
                return True
            if getattr(error, "status", None) != 422:
                self._closed.add(call.verb)
            for id_ in ids:
                del self.answers[id_]
            return False
        took = (time.monotonic() - started) * 1000
        answers = _listed(response, ids)
        self.answers.update({id_: replace(answer, milliseconds=took) for id_, answer in answers.items()})
        return True

    def _send_singly(self, call: Call, ids: Sequence[str]) -> None:
        ended = threading.Event()

        def send(id_: str) -> None:
            if not ended.is_set() and not self._stop():
                self.answers[id_] = _INTERRUPTED
                self.answers[id_] = self._send_one(call, id_)
                if self.answers[id_].may_go_again:
                    ended.set()  # the others would hear the same: they stay without an answer, for the next round

        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="restate-lab") as pool:
            try:
                for future in [pool.submit(send, id_) for id_ in ids]:
                    future.result()
            finally:
                ended.set()

    def _send_one(self, call: Call, id_: str) -> Answer:
        started = time.monotonic()
        try:
            path = f"/invocations/{id_}/{call.verb}"
            success = SUCCESS[_OPERATIONS[call.verb]]
            response = self._record.send("PATCH", path, success=success, params=call.params, timeout=CALL_LIMIT)
        except RestateLabError as error:
            return replace(_failed(error), milliseconds=(time.monotonic() - started) * 1000)
        took = (time.monotonic() - started) * 1000
        return Answer("taken", new_id=success.created(response), milliseconds=took)


_INTERRUPTED = Answer("lost", "the wait for the answer was interrupted")


def _is_for_single_calls(error: RestateLabError) -> bool:
    """Tell whether a batch was refused as such, so that nothing of it was done and single calls may do better."""
    if isinstance(error, RequestRefused | ServerFailed):
        return error.status in _SINGLY
    return isinstance(error, AccessDenied)


def _failed(error: RestateLabError) -> Answer:
    match error:
        case OutcomeUnknown():
            words = f"the answer was lost ({error.__cause__ or error})"
            return Answer("lost", words, never_forwarded=error.never_forwarded)
        case ServerFailed():  # a server that breaks may have done it before
            return Answer("lost", f"the answer was lost ({error})")
        case RateLimited():
            return Answer("not taken", str(error), wait=error.retry_after)
        case Unreachable():
            return Answer("not taken", str(error))
        case RequestRefused():
            return Answer("refused", f"{error.status} {error.reason}".strip())
        case _:
            return Answer("refused", str(error))


def _parsed(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _listed(response: httpx.Response, ids: Iterable[str]) -> dict[str, Answer]:
    """Return what a batch's answer says of each id; one that it does not name is lost."""
    answers = dict.fromkeys(ids, Answer("lost", "the answer does not name it"))
    with contextlib.suppress(TypeError, KeyError, AttributeError):  # of another shape: what it does not name is lost
        answers.update({id_: answer for id_, answer in _named(_parsed(response)).items() if id_ in answers})
    return answers


def _named(body: Mapping[str, Any]) -> dict[str, Answer]:
    """Return what a batch's answer says of each id that it names."""
    answers: dict[str, Answer] = {}
    for each in body.get("succeeded", ()):
        if isinstance(each, dict):
            answers[each["old_invocation_id"]] = Answer("taken", new_id=each["new_invocation_id"])
        else:
            answers[each] = Answer("taken")
    for each in body.get("failed", ()):
        id_, error = each["invocation_id"], str(each.get("error"))
        # "Invocation 'inv_…' not found": the row has the id already.
        answers[id_] = Answer(routing(error) or "refused", error.replace(f" '{id_}'", ""))
    return answers
