"""The only network I/O: one door for reads, one for changes.

Reads are repeated for some seconds where the failure passes by itself. Changes are refused on a read-only
connection, written to the audit log before they are sent, and never repeated here.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from restate_lab.audit import AuditLog
from restate_lab.client import _recovery as repeating
from restate_lab.client._bodies import BODY_LIMIT, Bounded
from restate_lab.client._http import CONNECT_LIMIT, Wire, headers_for, is_loopback, way_to
from restate_lab.client._recording import Record, recorded, waiting_for
from restate_lab.client._recovery import Comeback, broke_at_work, was_away
from restate_lab.client.arguments import check_seconds, seconds_left
from restate_lab.client.responses import (
    Refusal,
    Success,
    closed_by,
    failure,
    is_lost,
    no_answer,
    passes_by_itself,
    read_refusal,
    retry_after,
    says_never_forwarded,
)
from restate_lab.client.settings import Settings
from restate_lab.durations import DurationInput
from restate_lab.errors import ArgumentError, OutcomeUnknown, ReadOnly, RestateLabError
from restate_lab.interrupts import Shield

__all__ = ["Record", "Transport"]

RETRY_FOR = 10.0  # seconds, for reads
_AT_ONCE = 2.0  # seconds
_BROKEN = (httpx.TransportError, httpx.DecodingError)  # what reading an answer's body raises


class Transport:
    """Talks to one address of a cluster, its Admin API or its ingress; safe to use from several threads.

    ``timeout`` is the total limit for a call. ``transport`` replaces the network, for tests of error paths.
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
        self._comeback = Comeback()
        self.answered_at = -math.inf  # time.monotonic() of the last success of a read
        self.closed: set[str] = set()
        """Ways that this connection has found closed, by who asked; kept so that each is tried once."""
        self._ca = ca
        self._network = transport
        self._pid = os.getpid()
        self._client = self._made()

    def read(
        self,
        method: str,
        path: str,
        *,
        timeout: DurationInput | None = None,
        retry_for: float = RETRY_FOR,
        **request: Any,
    ) -> httpx.Response:
        """Return the whole answer of a request that changes nothing; ``request`` is as httpx takes it.

        Raises:
            Unreachable, TimedOut, AccessDenied, RateLimited, RequestRefused, ServerFailed
        """
        with self.reading(method, path, timeout=timeout, retry_for=retry_for, **request) as response:
            with self._translated(f"{method} {path}"):
                response.read()
            return response

    @contextmanager
    def reading(
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
        """Give the answer with its body still to come; leaving the block ends it on the server too.

        With ``is_query`` a server that was just away is asked once more when it has had time to catch up.
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
        """Send a change once and return its answer; ``action`` and ``targets`` go to the audit log.

        ``success`` says which responses mean that it was done. No redirect is followed.

        Raises:
            ReadOnly: this connection may only read; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
            OutcomeUnknown: no response came, or none of Restate's own; read before repeating.
            RequestRefused, AccessDenied, RateLimited, Unreachable, ServerFailed: the server did not take it.
        """
        with self.recording(action, targets, reason=reason, request=f"{method} {path}") as record:
            return record.send(method, path, success=success, timeout=timeout, **request)

    @contextmanager
    def recording(self, action: str, targets: Sequence[str], *, reason: str | None, request: str) -> Iterator[Record]:
        """Write one intent for all requests of a block, and one result when it ends, whatever ends it.

        ``request`` says in a few words what is going to be sent. An interrupt outside of a request is held back until
        the result is written.

        Raises:
            ReadOnly: this connection may only read; nothing was sent.
            AuditFailed: the intent could not be written; nothing was sent.
        """
        if self.read_only:
            raise ReadOnly(f"{action} was not sent: this connection to {self.settings.environment} may only read.")
        where = {"environment": self.settings.environment, "address": self.address}
        send = partial(self._change, action)
        with recorded(self.audit, action, targets, send, reason=reason, **where, request=request) as record:
            yield record

    def limit(self, timeout: DurationInput | None) -> float:
        """Return the seconds that a call may take; None means the connection's own limit."""
        return seconds_left(self.timeout if timeout is None else check_seconds("timeout", timeout))

    def check_open(self) -> None:
        """Raise ArgumentError when it was closed."""
        if self._client.is_closed:
            where = f"{self.settings.environment} ({self.address})"
            raise ArgumentError(f"the connection to {where} was closed, and nothing was sent: connect() again.")

    def note_return(self) -> None:
        """Take that the server was away until now: queries let it catch up for some seconds."""
        self._comeback.note()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _made(self) -> httpx.Client:
        way = way_to(self.address, self._ca)
        self._where = f"{self.address}{way.words}"
        network = self._network or way.network
        self._is_wire = isinstance(network, Wire)
        return httpx.Client(
            base_url=way.base,
            transport=Bounded(network),
            headers=headers_for(self.settings, is_loopback=is_loopback(way.base)),
            follow_redirects=False,
            trust_env=False,
        )

    def _own_client(self) -> httpx.Client:
        """Return the client of this process: on a line that a fork shares, each would read the other's answers."""
        self.check_open()
        if self._pid != os.getpid():
            self._client, self._pid = self._made(), os.getpid()
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
        timeout: DurationInput | None = None,
        **request: Any,
    ) -> httpx.Response:
        """Send a change once; ``result`` has what is known of it by then, also when this raises."""
        asked = f"{method} {path}"
        deadline = time.monotonic() + self.limit(timeout)
        result.clear()
        result["outcome"] = "not sent"
        answers: list[httpx.Response] = []

        def exchange() -> None:
            tick, sending = waiting_for(shield), partial(result.update, outcome="unknown")
            response = self._send(method, path, deadline=deadline, tick=tick, request=request, sending=sending)
            with closing(response):
                response.read()
            answers.append(response)

        try:
            shield.let_through(exchange)
        except KeyboardInterrupt:
            with suppress(RestateLabError, IndexError):  # the answer is there if the interrupt came at the very end
                self._judged(answers[0], action, asked, success, result)
            raise
        except ArgumentError as error:
            result.update(outcome="not sent", error=str(error))
            raise
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            result.update(outcome="not sent", error=str(error))
            raise self._no_answer(error, asked) from error
        except _BROKEN as error:
            result.update(outcome="unknown", error=str(error))
            raise self._lost(action, str(error)) from error
        return self._judged(answers[0], action, asked, success, result)

    def _judged(
        self, response: httpx.Response, action: str, asked: str, success: Success, result: dict[str, Any]
    ) -> httpx.Response:
        """Return the response of a change that was done, and raise what any other one means."""
        result["status"] = response.status_code
        if response.is_success:
            if (mismatch := success.mismatch(response)) is not None:
                result["error"] = mismatch
                raise self._lost(action, mismatch)
            result["outcome"] = "done"
            if (new_id := success.created(response)) is not None:
                result["new_ids"] = {"0": new_id}
            return response
        refusal, error = read_refusal(response), self._failure(response, asked)
        result["error"] = refusal.words
        if is_lost(response, refusal):
            self._note(refusal)
            words = f"a redirect, which was not followed; {error}" if response.is_redirect else refusal.words
            raise self._lost(action, words, never_forwarded=says_never_forwarded(refusal))
        result["outcome"] = "refused"
        raise error

    def _lost(self, action: str, words: str, *, never_forwarded: bool = False) -> OutcomeUnknown:
        return OutcomeUnknown(
            f"{action} was sent to {self.settings.environment} ({self.address}), and no response of Restate's own came "
            f"back: {words.rstrip('.')}. It may have happened: read the present state before you repeat it.",
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
        asked = f"{method} {path}"
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
                may_pass = repeating.broke_before_answer(error) and time.monotonic() + pause <= give_up
                self._check_break(error, asked, breaks, deadline=deadline, may_pass=may_pass)
                wait, reason = pause, str(error)
            else:
                if response.is_success:
                    self.answered_at = time.monotonic()
                    wait, reason = self._comeback.left, "it was away until now, and may not have all its rows yet"
                    if not may_settle or not 0 < wait < deadline - time.monotonic():
                        return response
                    response.close()
                    may_settle = False
                else:
                    wait, reason = self._repeats(response, asked, pause, give_up)
            repeating.tell(wait, asked, reason, waited=time.monotonic() - started)
            repeating.wait(wait, tick)
            pause = min(pause * 2, 2.0)

    def _check_break(
        self, error: httpx.TransportError, asked: str, breaks: list[object], *, deadline: float, may_pass: bool
    ) -> None:
        """Raise where a broken connection does not pass by repeating the request.

        ``breaks`` collects the signs of absence for connections that broke in succession, each while the server
        answered another request at once. The second one has its cause in the request: the server is not away.
        """
        sign = self._note(error)
        if not may_pass:
            raise self._no_answer(error, asked) from error
        if sign is None or not broke_at_work(error) or not self._answers_others(deadline):
            breaks.clear()
            return
        breaks.append(sign)
        if len(breaks) > 1:
            self._comeback.withdraw(breaks)
            raise closed_by(error, asked=asked, settings=self.settings, address=self._where) from error

    def _answers_others(self, deadline: float) -> bool:
        """Tell whether the server answers a simple request at once."""
        within = min(deadline, time.monotonic() + _AT_ONCE)
        try:
            with closing(self._send("GET", "/health", deadline=within, tick=None, request={})) as response:
                return response.is_success
        except httpx.TransportError:
            return False

    def _repeats(self, response: httpx.Response, asked: str, pause: float, give_up: float) -> tuple[float, str]:
        """Return in how many seconds to ask again after a refusal, and why; raise where that does not help."""
        with closing(response), self._translated(asked):
            response.read()
        refusal, wait = read_refusal(response), retry_after(response) or pause
        self._note(refusal)
        if not passes_by_itself(refusal) or time.monotonic() + wait > give_up:
            raise self._failure(response, asked)
        return wait, refusal.words

    def _note(self, said: httpx.TransportError | Refusal) -> object | None:
        return self._comeback.note() if was_away(said) else None

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
        """Send a request; ``sending`` is called before the first byte goes out."""
        client, left = self._own_client(), max(0.01, deadline - time.monotonic())
        try:
            built = client.build_request(
                method,
                path,
                timeout=httpx.Timeout(left, connect=min(left, CONNECT_LIMIT)),
                extensions={"deadline": deadline, "tick": tick, "sending": sending, "body_limit": body_limit},
                **request,
            )
        except httpx.InvalidURL as error:
            raise ArgumentError(f"{method} {path[:60]}… was not sent: a name in it is no address ({error}).") from error
        if sending is not None and not self._is_wire:  # httpx's own transports do not tell when
            sending()
        return client.send(built, stream=True)

    @contextmanager
    def _translated(self, asked: str) -> Iterator[None]:
        try:
            yield
        except _BROKEN as error:
            raise self._no_answer(error, asked) from error

    def _failure(self, response: httpx.Response, asked: str) -> RestateLabError:
        return failure(response, asked=asked, settings=self.settings, address=self.address)

    def _no_answer(self, error: httpx.RequestError, asked: str) -> RestateLabError:
        return no_answer(error, asked=asked, settings=self.settings, address=self._where)
