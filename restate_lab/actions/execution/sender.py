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
from restate_lab.client.responses import SUCCESS, routing_outcome
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

__all__ = ["MAX_BATCH", "ActionCall", "BatchSender", "CallResult"]

MAX_BATCH = 1000  # ids that the batch endpoint takes
PARALLEL_CALLS = 6  # single calls on their way; the wire keeps eight idle connections
CALL_TIMEOUT = 60.0  # seconds for one request
_BATCH = "/internal/invocations_batch_operations/"
# What a server without the endpoint, or a gateway before it, says; and 422: one id of the list is malformed.
_SINGLE_CALL_STATUSES = {404, 405, 422, 501}
_OPERATIONS = {action.rule.batch: str(action.rule.operation) for action in ACTIONS if action.rule.batch}


@dataclass(frozen=True, slots=True)
class ActionCall:
    """The call that is sent for each invocation: ``verb`` is the last part of the path, such as "restart-as-new"."""

    verb: str
    deployment: str | None = None
    from_index: int | None = None

    @property
    def params(self) -> dict[str, Any]:
        """Return the query parameters of a single call."""
        params = {"deployment": self.deployment, "from": self.from_index}
        return {name: value for name, value in params.items() if value is not None}


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of the call for one invocation, as far as it is known.

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
    def may_be_resent(self) -> bool:
        """Return whether the request may be sent again; after "lost" only if reading shows nothing of it."""
        return self.kind == "not taken" or (self.kind == "lost" and self.never_forwarded)


class BatchSender:
    """Sends calls under one audit record and keeps the last answer for each invocation, also when it is interrupted.

    ``closed`` has the verbs whose batch endpoint this connection has found closed, and gets more. ``stop`` is asked
    between single calls.
    """

    def __init__(self, record: Record, closed: set[str], stop: Callable[[], bool]) -> None:
        self.results: dict[str, CallResult] = {}
        self._record = record
        self._closed = closed
        self._stop = stop

    def send(self, call: ActionCall, ids: Sequence[str]) -> None:
        """Send a call for each of at most ``MAX_BATCH`` ids; ``results`` has what came of it.

        It has nothing for those that were not sent: after a stop, or because the server could not take those before.
        """
        for id_ in ids:
            self.results.pop(id_, None)
        if not ids:
            return
        if call.from_index is not None or call.verb in self._closed or not self._send_batch(call, ids):
            self._send_singly(call, ids)

    def _send_batch(self, call: ActionCall, ids: Sequence[str]) -> bool:
        """Return whether the endpoint is there and has taken the list."""
        body = {"invocation_ids": list(ids), **call.params}
        # Until the answer is there nobody knows; so it also stands if the wait for it is interrupted.
        self.results.update(dict.fromkeys(ids, _INTERRUPTED))
        started = time.monotonic()
        try:
            response = self._record.send(
                "POST", _BATCH + call.verb, success=SUCCESS["batch"], json=body, timeout=CALL_TIMEOUT
            )
        except RestateLabError as error:
            if not _is_for_single_calls(error):
                self.results.update(dict.fromkeys(ids, _result_from_error(error)))
                return True
            if getattr(error, "status", None) != 422:
                self._closed.add(call.verb)
            for id_ in ids:
                del self.results[id_]
            return False
        self.results.update(_batch_results(response, ids, (time.monotonic() - started) * 1000))
        return True

    def _send_singly(self, call: ActionCall, ids: Sequence[str]) -> None:
        ended = threading.Event()

        def send(id_: str) -> None:
            if not ended.is_set() and not self._stop():
                self.results[id_] = _INTERRUPTED
                self.results[id_] = self._send_one(call, id_)
                if self.results[id_].may_be_resent:
                    ended.set()  # the others would hear the same: they stay without an answer, for the next round

        with ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="restate-lab") as pool:
            try:
                for future in [pool.submit(send, id_) for id_ in ids]:
                    future.result()
            finally:
                ended.set()

    def _send_one(self, call: ActionCall, id_: str) -> CallResult:
        started = time.monotonic()
        try:
            path = f"/invocations/{id_}/{call.verb}"
            success = SUCCESS[_OPERATIONS[call.verb]]
            response = self._record.send("PATCH", path, success=success, params=call.params, timeout=CALL_TIMEOUT)
        except RestateLabError as error:
            return replace(_result_from_error(error), milliseconds=(time.monotonic() - started) * 1000)
        took = (time.monotonic() - started) * 1000
        return CallResult("taken", new_id=success.new_invocation_id(response), milliseconds=took)


_INTERRUPTED = CallResult("lost", "the wait for the answer was interrupted")


def _is_for_single_calls(error: RestateLabError) -> bool:
    """Tell whether a batch was refused as such, so that nothing of it was done and single calls may do better."""
    if isinstance(error, RequestRefused | ServerFailed):
        return error.status in _SINGLE_CALL_STATUSES
    return isinstance(error, AccessDenied)


def _result_from_error(error: RestateLabError) -> CallResult:
    match error:
        case OutcomeUnknown():
            message = f"the answer was lost ({error.__cause__ or error})"
            return CallResult("lost", message, never_forwarded=error.never_forwarded)
        case ServerFailed():  # a server that breaks may have done it before
            return CallResult("lost", f"the answer was lost ({error})")
        case RateLimited():
            return CallResult("not taken", str(error), wait=error.retry_after)
        case Unreachable():
            return CallResult("not taken", str(error))
        case RequestRefused():
            return CallResult("refused", f"{error.status} {error.reason}".strip())
        case _:
            return CallResult("refused", str(error))


def _body_of(response: httpx.Response) -> Mapping[str, Any]:
    try:
        body = response.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _batch_results(response: httpx.Response, ids: Iterable[str], took: float) -> dict[str, CallResult]:
    """Return what a batch's answer, that took so many milliseconds, says of each id; one that it does not name is lost.

    Equal results are one object: of a thousand ids most have the same.
    """
    results = dict.fromkeys(ids, CallResult("lost", "the answer does not name it", milliseconds=took))
    with contextlib.suppress(TypeError, KeyError, AttributeError):  # of another shape: what it does not name is lost
        named = _parse_results(_body_of(response), took)
        results.update({id_: result for id_, result in named.items() if id_ in results})
    return results


def _parse_results(body: Mapping[str, Any], took: float) -> dict[str, CallResult]:
    """Return what a batch's answer says of each id that it names."""
    results: dict[str, CallResult] = {}
    taken = CallResult("taken", milliseconds=took)
    for each in body.get("succeeded", ()):
        if isinstance(each, dict):
            results[each["old_invocation_id"]] = replace(taken, new_id=each["new_invocation_id"])
        else:
            results[each] = taken
    for each in body.get("failed", ()):
        id_, error = each["invocation_id"], str(each.get("error"))
        # "Invocation 'inv_…' not found": the row has the id already.
        kind, message = routing_outcome(error) or "refused", error.replace(f" '{id_}'", "")
        results[id_] = CallResult(kind, message, milliseconds=took)
    return results
