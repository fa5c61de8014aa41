"""Send one lifecycle call for many invocations: through the batch endpoint if it exists, otherwise one by one.

The batch endpoint belongs to the web UI and is not documented (observed on 1.7.12). It accepts at most 1000
ids per call. One malformed id makes it refuse all of them with 422. With status 200, its response lists the failed ids.
A gateway can block it. This module sends nothing twice: it reports the requests that the server did not accept, and the
caller decides.
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

from restate_lab.actions.change import Change
from restate_lab.client.responses import SUCCESS, routing_outcome
from restate_lab.client.transport import ChangeRecord
from restate_lab.errors import (
    AccessDenied,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    RestateLabError,
    ServerFailed,
    Unreachable,
)

MAX_BATCH = 1000  # ids that the batch endpoint accepts
PARALLEL_CALLS = 6  # concurrent single calls; the transport keeps up to eight idle connections
CALL_TIMEOUT = 60.0  # seconds for one request
_BATCH = "/internal/invocations_batch_operations/"
# The responses of a server without the endpoint, or of a gateway; and 422: one id of the list is malformed.
_SINGLE_CALL_STATUSES = {404, 405, 422, 501}


@dataclass(frozen=True, slots=True)
class CallResult:
    """The known result of the call for one invocation.

    "taken": the server accepted it; its effect may be pending. "refused": the server rejected it. "not taken": it
    cannot accept it now, so it may be sent again after ``wait`` seconds. "lost": unknown, so read the invocation.
    ``never_forwarded``: a gateway reports that a lost request did not reach the server; it may be sent again if reading
    shows no effect. ``other_new_ids`` are restarts other than ``new_id``; a gateway that repeats requests causes them.
    ``milliseconds`` is the time from sending the request to its response.
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
        """Return whether the request may be sent again; after "lost" only if reading shows no effect."""
        return self.kind == "not taken" or (self.kind == "lost" and self.never_forwarded)


class BatchSender:
    """Sends calls under one audit record and keeps the last result of each invocation, also if it is interrupted.

    ``closed`` has the verbs whose batch endpoint is closed for this connection; this class adds to it. ``stop`` is
    called between single calls.
    """

    def __init__(self, record: ChangeRecord, closed: set[str], stop: Callable[[], bool]) -> None:
        self.results: dict[str, CallResult] = {}
        self._record = record
        self._closed = closed
        self._stop = stop

    def send(self, change: Change, ids: Sequence[str]) -> None:
        """Send the call for each of at most ``MAX_BATCH`` ids, and put the results into ``results``.

        A call that was not sent has no result. This happens after a stop, or if the server could not
        accept earlier calls.
        """
        for id_ in ids:
            self.results.pop(id_, None)
        if not ids:
            return
        # The batch endpoint restarts only from the input.
        has_index = change.from_index is not None or change.from_indexes
        if has_index or change.action.rule.batch in self._closed or not self._send_batch(change, ids):
            self._send_singly(change, ids)

    def _send_batch(self, change: Change, ids: Sequence[str]) -> bool:
        """Return whether the endpoint exists and has accepted the list."""
        verb, body = str(change.action.rule.batch), {"invocation_ids": list(ids), **change.common_params}
        # The result is unknown until the response arrives, or if waiting for it is interrupted.
        self.results.update(dict.fromkeys(ids, _INTERRUPTED))
        started = time.monotonic()
        try:
            response = self._record.send(
                "POST", _BATCH + verb, success=SUCCESS["batch"], json=body, timeout=CALL_TIMEOUT
            )
        except RestateLabError as error:
            if not _is_for_single_calls(error):
                self.results.update(dict.fromkeys(ids, _result_from_error(error)))
                return True
            if getattr(error, "status", None) != 422:
                self._closed.add(verb)
            for id_ in ids:
                del self.results[id_]
            return False
        self.results.update(_batch_results(response, ids, (time.monotonic() - started) * 1000))
        return True

    def _send_singly(self, change: Change, ids: Sequence[str]) -> None:
        ended = threading.Event()

        def send(id_: str) -> None:
            if not ended.is_set() and not self._stop():
                self.results[id_] = _INTERRUPTED
                self.results[id_] = self._send_one(change, id_)
                if self.results[id_].may_be_resent:
                    ended.set()  # the other calls would get the same response; they are sent in the next round

        with ThreadPoolExecutor(PARALLEL_CALLS, thread_name_prefix="restate-lab") as pool:
            try:
                for future in [pool.submit(send, id_) for id_ in ids]:
                    future.result()
            finally:
                ended.set()

    def _send_one(self, change: Change, id_: str) -> CallResult:
        started = time.monotonic()
        try:
            rule, index = change.action.rule, change.index_of(id_)
            path, success = f"/invocations/{id_}/{rule.batch}", SUCCESS[str(rule.operation)]
            params = change.common_params if index is None else {**change.common_params, "from": index}
            response = self._record.send("PATCH", path, success=success, params=params, timeout=CALL_TIMEOUT)
        except RestateLabError as error:
            return replace(_result_from_error(error), milliseconds=(time.monotonic() - started) * 1000)
        took = (time.monotonic() - started) * 1000
        return CallResult("taken", new_id=success.new_invocation_id(response), milliseconds=took)


_INTERRUPTED = CallResult("lost", "waiting for the response was interrupted")


def _is_for_single_calls(error: RestateLabError) -> bool:
    """Return whether a batch was refused as a whole, so that nothing was done and single calls may work."""
    if isinstance(error, RequestRefused | ServerFailed):
        return error.status in _SINGLE_CALL_STATUSES
    return isinstance(error, AccessDenied)


def _result_from_error(error: RestateLabError) -> CallResult:
    match error:
        case OutcomeUnknown():
            message = f"the response was lost ({error.__cause__ or error})"
            return CallResult("lost", message, never_forwarded=error.never_forwarded)
        case ServerFailed():  # the server may have made the change before it failed
            return CallResult("lost", f"the response was lost ({error})")
        case RateLimited():
            return CallResult("not taken", str(error), wait=error.retry_after)
        case Unreachable():
            return CallResult("not taken", str(error))
        case RequestRefused():
            return CallResult("refused", f"{error.status} {error.reason}".strip())
        case _:
            return CallResult("refused", str(error))


def _batch_results(response: httpx.Response, ids: Iterable[str], took: float) -> dict[str, CallResult]:
    """Return the result of each id from a batch's response; an id that it does not list is lost.

    ``took`` is the time of the request in milliseconds. Equal results share one object, because most are the same.
    """
    results = dict.fromkeys(ids, CallResult("lost", "the response does not list it", milliseconds=took))
    # A body of another form lists no ids, and an id that is not listed is lost.
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
        named = _parse_results(response.json(), took)
        results.update({id_: result for id_, result in named.items() if id_ in results})
    return results


def _parse_results(body: Mapping[str, Any], took: float) -> dict[str, CallResult]:
    results: dict[str, CallResult] = {}
    taken = CallResult("taken", milliseconds=took)
    for each in body.get("succeeded", ()):
        if isinstance(each, dict):
            results[each["old_invocation_id"]] = replace(taken, new_id=each["new_invocation_id"])
        else:
            results[each] = taken
    for each in body.get("failed", ()):
        id_, error = each["invocation_id"], str(each.get("error"))
        # "Invocation 'inv_…' not found": the row already has the id.
        kind, message = routing_outcome(error) or "refused", error.replace(f" '{id_}'", "")
        results[id_] = CallResult(kind, message, milliseconds=took)
    return results
