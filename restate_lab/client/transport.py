"""All network I/O: one method for reads, and one for changes.

Reads are repeated for some seconds if the failure is temporary. Changes are refused on a read-only connection, written
to the audit log before they are sent, and never repeated here.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from restate_lab.audit import AuditLog
from restate_lab.client import _recovery as recovery
from restate_lab.client._bodies import BODY_LIMIT, BodyLimitTransport
from restate_lab.client._http import CONNECT_LIMIT, QuickAckTransport, headers_for, route_to
from restate_lab.client._recording import ChangeRecord, interrupt_tick, record_change
from restate_lab.client._recovery import RecoveryTracker, closed_without_response, indicates_absence
from restate_lab.client.arguments import check_seconds, seconds_left
from restate_lab.client.responses import (
    ErrorResponse,
    Success,
    error_from_response,
    error_from_transport,
    is_lost,
    is_temporary,
    place_of,
    read_error_response,
    retry_after,
    says_never_forwarded,
)
from restate_lab.client.settings import Settings
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, OutcomeUnknown, ReadOnly, RestateLabError, ServerFailed
from restate_lab.interrupts import Shield

__all__ = ["ChangeRecord", "Transport"]

RETRY_FOR = 10.0  # seconds, for reads
_AT_ONCE = 2.0  # seconds
_BROKEN = (httpx.TransportError, httpx.DecodingError)  # raised while the body of a response is read


class Transport:
    """The connection to one address of a cluster, its Admin API or its ingress; safe to use from several threads.

    ``timeout`` is the time limit of a whole call. ``transport`` replaces the network, for tests of error paths.
    """

    def __init__(
        self,
        settings: Settings,
        address: str,
        *,
        read_only: bool,
        timeout: DurationInput,
        audit: AuditLog,
        ca: str | Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.address = address
        self.read_only = read_only
        self.timeout = check_seconds("timeout", timeout)
        self.audit = audit
        self._recovery = RecoveryTracker()
        self.answered_at = -math.inf  # time.monotonic() of the last success of a read
        self.refused_batches: set[str] = set()
        """The verbs whose batch endpoint this server refuses, so that each is tried only once."""
        self.searching = threading.Lock()
        """Held during a search of payloads: it reads so much that a connection has one at a time."""
        self._ca = ca
        self._replacement = transport
        self._pid = os.getpid()
        self._client = self._create_client()

    def read(
        self,
        method: str,
        path: str,
        *,
        timeout: DurationInput | None = None,
        retry_for: float = RETRY_FOR,
        **request: Any,
    ) -> httpx.Response:
        """Return the complete response of a request that changes nothing; ``request`` has arguments for httpx.

        Raises:
            Unreachable, TimedOut, AccessDenied, RateLimited, RequestRefused, ServerFailed
        """
        with self.stream(method, path, timeout=timeout, retry_for=retry_for, **request) as response:
            with self._translate_errors(f"{method} {path}"):
                response.read()
            return response

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        *,
        timeout: DurationInput | None = None,
        retry_for: float = RETRY_FOR,
        tick: Callable[[], None] | None = None,
        is_query: bool = False,
        **request: Any,
    ) -> Iterator[httpx.Response]:
        """Yield the response before its body is read; leaving the block also ends the request on the server.

        With ``is_query`` the request is repeated once, after a wait, if the server has just come back: it may not have
        all its rows yet.
        """
        deadline = time.monotonic() + self.limit(timeout)
        response = self._open(
            method, path, deadline=deadline, retry_for=retry_for, tick=tick, is_query=is_query, request=request
        )
        try:
            yield response
        finally:
            response.close()

    def change(
        self,
        method: str,
        path: str,
        *,
        action: str,
        targets: Sequence[str],
        success: Success,
        timeout: DurationInput | None = None,
        reason: str | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send a change once and return its response; ``action`` and ``targets`` are written to the audit log.

        ``success`` describes the responses that confirm the change. Redirects are not followed.

        Raises:
            ReadOnly: this connection is read-only; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
            OutcomeUnknown: no response arrived, or it is not from Restate; read the state before you repeat the change.
            RequestRefused, AccessDenied, RateLimited, Unreachable, ServerFailed: the server did not accept it.
        """
        with self.record(action, targets, reason=reason, request=f"{method} {path}") as record:
            return record.send(method, path, success=success, timeout=timeout, **request)

    @contextmanager
    def record(
        self,
        action: str,
        targets: Sequence[str],
        *,
        reason: str | None,
        request: str,
        from_indexes: Sequence[int] | None = None,
    ) -> Iterator[ChangeRecord]:
        """Write one intent for all requests of a block, and one result when the block ends for any reason.

        ``request`` briefly describes the requests, and ``from_indexes`` has the index of each target's restart. An
        interrupt outside of a request is held back until the result is written.

        Raises:
            ReadOnly: this connection is read-only; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
        """
        if self.read_only:
            raise ReadOnly(f"{action} was not sent: this connection to {self.settings.environment} is read-only.")
        details: dict[str, Any] = {"environment": self.settings.environment, "address": self.address}
        details["request"] = request
        if from_indexes is not None:
            details["from_indexes"] = from_indexes
        send = partial(self._change, action)
        with record_change(self.audit, action, targets, send, reason=reason, **details) as record:
            yield record

    def limit(self, timeout: DurationInput | None) -> float:
        """Return the time limit of a call in seconds; None means the limit of the connection."""
        return seconds_left(self.timeout if timeout is None else check_seconds("timeout", timeout))

    def check_open(self) -> None:
        """Raise ArgumentError if the connection was closed."""
        if self._client.is_closed:
            where = place_of(self.settings, self.address)
            raise ArgumentError(f"the connection to {where} was closed, so nothing was sent: connect() again.")

    def note_return(self) -> None:
        """Record that the server was unavailable until now: queries give it some seconds to recover all its rows."""
        self._recovery.note()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _create_client(self) -> httpx.Client:
        route = route_to(self.address, self._ca)
        self._where = f"{self.address}{route.description}"
        network = self._replacement or route.network
        self._reports_sending = isinstance(network, QuickAckTransport)
        self._network = BodyLimitTransport(network)
        client = httpx.Client(
            base_url=route.base,
            transport=self._network,
            headers=headers_for(self.settings, route.base),
            trust_env=False,
        )
        self._urls = {"/query": client.build_request("POST", "/query").url}  # parsed once; other paths vary
        return client

    def _own_client(self) -> httpx.Client:
        """Return the client of this process.

        A forked process needs its own: if two processes share a connection, each can read the other's responses.
        """
        self.check_open()
        if self._pid != os.getpid():
            self._client, self._pid = self._create_client(), os.getpid()
        return self._client

    def _change(
        self,
        action: str,
        method: str,
        path: str,
        *,
        success: Success,
        result: dict[str, Any],
        shield: Shield,
        sent: threading.Event,
        timeout: DurationInput | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send a change once; ``result`` always has its current outcome, also if this raises.

        ``sent`` is set before the first byte is sent.
        """
        request_line = f"{method} {path}"
        deadline = time.monotonic() + self.limit(timeout)
        result.clear()
        result["outcome"] = "not sent"
        answers: list[httpx.Response] = []

        def note_sending() -> None:
            result.update(outcome="unknown")
            sent.set()

        def exchange() -> None:
            tick = interrupt_tick(shield)
            response = self._send(method, path, deadline=deadline, tick=tick, request=request, sending=note_sending)
            with closing(response):
                response.read()
            answers.append(response)

        try:
            shield.let_through(exchange)
        except KeyboardInterrupt:
            with suppress(RestateLabError, IndexError):  # the response exists if the interrupt arrived after it
                self._evaluate(answers[0], action, request_line, success, result)
            raise
        except ArgumentError as error:
            result.update(outcome="not sent", error=str(error))
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            result.update(outcome="not sent", error=str(error))
            raise self._transport_error(error, request_line) from error
        except _BROKEN as error:
            result.update(outcome="unknown", error=str(error))
            raise self._outcome_unknown(action, str(error)) from error
        return self._evaluate(answers[0], action, request_line, success, result)

    def _evaluate(
        self, response: httpx.Response, action: str, request_line: str, success: Success, result: dict[str, Any]
    ) -> httpx.Response:
        """Return the response if it confirms the change; otherwise raise the error that it means."""
        result["status"] = response.status_code
        if response.is_success:
            if (mismatch := success.mismatch(response)) is not None:
                result["error"] = mismatch
                raise self._outcome_unknown(action, mismatch)
            result["outcome"] = "done"
            if (new_id := success.new_invocation_id(response)) is not None:
                result["new_ids"] = {"0": new_id}
            return response
        error_response, error = read_error_response(response), self._response_error(response, request_line)
        result["error"] = error_response.summary
        if is_lost(response, error_response):
            self._note_absence(error_response)
            reason = f"a redirect, which was not followed; {error}" if response.is_redirect else error_response.summary
            raise self._outcome_unknown(action, reason, never_forwarded=says_never_forwarded(error_response))
        result["outcome"] = "refused"
        raise error

    def _outcome_unknown(self, action: str, reason: str, *, never_forwarded: bool = False) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{action} was sent to {place_of(self.settings, self.address)}, but Restate did not confirm it: "
            f"{reason.rstrip('.')}. The change may have happened: read the current state before you repeat it.",
            never_forwarded=never_forwarded,
        )

    def _open(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        retry_for: float,
        tick: Callable[[], None] | None,
        is_query: bool,
        request: Mapping[str, Any],
    ) -> httpx.Response:
        request_line = f"{method} {path}"
        started = time.monotonic()
        give_up = min(deadline, started + retry_for)
        pause, may_settle = 0.1, is_query
        breaks: list[object] = []
        body_limit = None if is_query else BODY_LIMIT
        while True:
            try:
                response = self._send(
                    method, path, deadline=deadline, tick=tick, request=request, body_limit=body_limit
                )
            except httpx.TransportError as error:
                may_pass = recovery.may_repeat_read(error) and time.monotonic() + pause <= give_up
                self._check_break(error, request_line, breaks, deadline=deadline, may_pass=may_pass)
                wait, reason = pause, str(error)
            else:
                if response.is_success:
                    self.answered_at = time.monotonic()
                    wait = self._recovery.seconds_left
                    reason = "it has just come back and may not have all its rows yet"
                    if not may_settle or not 0 < wait < deadline - time.monotonic():
                        return response
                    response.close()
                    may_settle = False
                else:
                    wait, reason = self._retry_delay(response, request_line, pause, give_up)
            recovery.report_wait(wait, request_line, reason, waited=time.monotonic() - started)
            recovery.wait(wait, tick)
            pause = min(pause * 2, 2.0)

    def _check_break(
        self, error: httpx.TransportError, request_line: str, breaks: list[object], *, deadline: float, may_pass: bool
    ) -> None:
        """Raise if a connection broke and repeating the request does not help.

        ``breaks`` collects signs of absence: one for each consecutive connection that broke while the server answered
        another request at once. At the second one, the request itself is the cause, because the server is available.
        If other requests show signs of absence too, a node of the cluster is failing, and that is the cause.
        """
        sign = self._note_absence(error)
        if not may_pass:
            raise self._transport_error(error, request_line) from error
        if sign is None or not closed_without_response(error) or not self._answers_others(deadline):
            breaks.clear()
            return
        breaks.append(sign)
        if len(breaks) > 1 and not self._recovery.has_others(breaks):
            self._recovery.withdraw(breaks)
            what = "this statement" if request_line.endswith("/query") else "this request"
            raise ServerFailed(
                f"{request_line} on {place_of(self.settings, self._where)}: the server closed the connection "
                f"twice while it worked on {what} ({error}), but it answers other requests. {what.capitalize()} "
                f"probably makes a worker of the server fail: do not send it again unchanged. The server's log has "
                f"the reason.",
                status=0,
            ) from error

    def _answers_others(self, deadline: float) -> bool:
        """Return whether the server answers a simple request at once."""
        within = min(deadline, time.monotonic() + _AT_ONCE)
        try:
            with closing(self._send("GET", "/health", deadline=within, tick=None, request={})) as response:
                return response.is_success
        except httpx.TransportError:
            return False

    def _retry_delay(
        self, response: httpx.Response, request_line: str, pause: float, give_up: float
    ) -> tuple[float, str]:
        """Return after how many seconds to repeat a refused request, and why; raise if that does not help."""
        with closing(response), self._translate_errors(request_line):
            response.read()
        error_response, wait = read_error_response(response), retry_after(response) or pause
        self._note_absence(error_response)
        if not is_temporary(error_response) or time.monotonic() + wait > give_up:
            raise self._response_error(response, request_line)
        return wait, error_response.summary

    def _note_absence(self, problem: httpx.TransportError | ErrorResponse) -> object | None:
        return self._recovery.note() if indicates_absence(problem) else None

    def _send(
        self,
        method: str,
        path: str,
        *,
        deadline: float,
        tick: Callable[[], None] | None,
        request: Mapping[str, Any],
        body_limit: int | None = BODY_LIMIT,
        sending: Callable[[], None] | None = None,
    ) -> httpx.Response:
        """Send a request; ``sending`` is called before the first byte is sent."""
        client, left = self._own_client(), max(0.01, deadline - time.monotonic())
        try:
            built = client.build_request(
                method,
                self._urls.get(path, path),
                timeout=httpx.Timeout(left, connect=min(left, CONNECT_LIMIT)),
                extensions={"deadline": deadline, "tick": tick, "sending": sending, "body_limit": body_limit},
                **request,
            )
        except httpx.InvalidURL as error:
            raise ArgumentError(
                f"{method} {path[:60]}… was not sent: a name in it cannot be part of a URL ({error})."
            ) from error
        if sending is not None and not self._reports_sending:  # httpx's own transports do not call it
            sending()
        response = self._network.handle_request(built)  # client.send() would search every response for cookies
        response.request = built
        if "set-cookie" in response.headers:
            client.cookies.extract_cookies(response)
        return response

    @contextmanager
    def _translate_errors(self, request_line: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise self._transport_error(error, request_line) from error

    def _response_error(self, response: httpx.Response, request_line: str) -> RestateLabError:
        return error_from_response(response, request_line=request_line, settings=self.settings, address=self.address)

    def _transport_error(self, error: httpx.RequestError, request_line: str) -> RestateLabError:
        return error_from_transport(error, request_line=request_line, settings=self.settings, address=self._where)
